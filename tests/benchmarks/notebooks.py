"""The wall time of every notebook, and the peak memory of it or its kernel.

    python tests/benchmarks/notebooks.py [NN ...] [--store]

Notebooks are executed from their sources and not stored, on a machine without other work. Required: at most 90 s on two cores
and 1.5 GB each, 20 minutes in all; otherwise the exit code is 1. `--store` puts the slowest into tests/benchmarks/README.md.
"""

import argparse
import os
import subprocess
import sys
import time

from course_lib.teaching.publish.build import sources

SECONDS, GIGABYTES, MINUTES = 90, 1.5, 20
ONE = """
import sys, tempfile
from pathlib import Path
from course_lib.teaching.publish.build import build
with tempfile.TemporaryDirectory() as folder:
    path = build(Path(sys.argv[1]), Path(folder))
    print(path.stat().st_size)
"""


def measured(command: list[str]) -> tuple[float, float, str]:
    """Seconds, GB, and what it printed, of one command. The memory is that of its largest process, itself or a child.

    Raises RuntimeError if the command fails.
    """
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        printed = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)  # of this child and those that it waited for, unlike getrusage
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{command[-1]} ended with {running.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, printed


def over(rows: list[tuple[str, float, float, int]]) -> list[str]:
    """The limits that are exceeded, in words."""
    found = [f"{name} takes {seconds:.0f} s" for name, seconds, _, _ in rows if seconds > SECONDS]
    found += [f"{name} takes {memory:.2f} GB" for name, _, memory, _ in rows if memory > GIGABYTES]
    minutes = sum(seconds for _, seconds, _, _ in rows) / 60
    return found + ([f"all take {minutes:.0f} minutes"] if minutes > MINUTES else [])


def table(rows: list[tuple[str, float, float, int]], slowest: int = 3) -> str:
    """Markdown: a row for each of the slowest notebooks (name, seconds, GB, bytes stored), and one for all."""
    lines = [f"| notebook, on {os.cpu_count()} cores | seconds | peak memory, GB | stored, MB |", "|---|---|---|---|"]
    for name, seconds, memory, stored in sorted(rows, key=lambda row: row[1], reverse=True)[:slowest]:
        lines.append(f"| {name} | {seconds:.0f} | {memory:.2f} | {stored / 1e6:.2f} |")
    seconds, memory, stored = sum(r[1] for r in rows), max(r[2] for r in rows), sum(r[3] for r in rows)
    return "\n".join([*lines, f"| all {len(rows)} | {seconds:.0f} | {memory:.2f} | {stored / 1e6:.2f} |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NN")
    parser.add_argument("--store", action="store_true")
    args = parser.parse_args()
    rows = []
    for source in sources(args.numbers):
        seconds, memory, stored = measured([sys.executable, "-c", ONE, str(source)])
        rows.append((source.stem, seconds, memory, int(stored)))
        print(f"{source.stem}: {seconds:.0f} s, {memory:.2f} GB", file=sys.stderr, flush=True)
    print(table(rows))
    if args.store:
        from rows import store  # it imports torch, which would count as memory of the measured processes

        store("notebooks", table(rows))
    if found := over(rows):
        sys.exit(f"limits exceeded: {'; '.join(found)}")


if __name__ == "__main__":
    main()
