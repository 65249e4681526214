"""The minute: five entries, three trainings each, by the rules of MINUTE.md.

    python tests/benchmarks/minute.py [--store]

About half an hour of one core. What is there already, in build/minute, is not made again.
"""

import argparse
import json
from pathlib import Path

from rows import BUILD, FIGURES, store

from course_lib.files import write_atomically
from course_lib.teaching.minute import SECONDS
from course_lib.teaching.minute.command import bench

ENTRIES = sorted(Path(__file__).with_name("entries").glob("*.py"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="write data/figures/minute.json and the table in README.md")
    args = parser.parse_args()
    out = BUILD / "minute.json"
    table = bench(ENTRIES, (0, 1, 2), SECONDS, out)
    print(table)
    if args.store:
        report = json.loads(out.read_text(encoding="utf-8"))
        figures = {"command": "python tests/benchmarks/minute.py --store", "seconds": SECONDS, "runs": report["rows"]}
        write_atomically(FIGURES / "minute.json", json.dumps(figures, indent=1) + "\n")
        store("minute", table)


if __name__ == "__main__":
    main()
