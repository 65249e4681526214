"""The minute: five entries, three trainings each, by the rules of MINUTE.md.

    python tests/benchmarks/minute.py [--store]

About half an hour of one core. All is made in one process, that of `course bench`, which has loaded no digits before; what is
there already, in build/minute, is not made again.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from rows import BUILD, Benchmark, Part, measure

from course_lib.teaching.minute import SECONDS, entry
from course_lib.teaching.minute.command import table

ENTRIES = [entry.read(path) for path in sorted(Path(__file__).with_name("entries").glob("*.py"))]
SEEDS = (0, 1, 2)


def jobs(seeds):
    return [
        {"entry": each.name, "seed": seed, "evaluations": k} for each in ENTRIES for seed in seeds for k in each.evaluations
    ]


@cache
def all_rows() -> list[dict]:
    """The rows of all entries and SEEDS."""
    out, files = BUILD / "minute.json", [Path(__file__).with_name("entries") / f"{each.name}.py" for each in ENTRIES]
    options = ["--seeds", *map(str, SEEDS), "--seconds", str(SECONDS), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "course_lib", "bench", *map(str, files), *options], check=True)
    return json.loads(out.read_text(encoding="utf-8"))["rows"]


def row(**job) -> dict:
    return next(found for found in all_rows() if job.items() <= found.items())


BENCH = Benchmark(
    "minute",
    [Part(jobs=jobs, row=row)],
    seeds=SEEDS,
    header={"seconds": SECONDS},
    table=lambda found: table(found["runs"]),
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
