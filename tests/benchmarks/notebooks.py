"""Every notebook from its first cell to its last: wall time, and the most memory that its kernel held.

    python tests/benchmarks/notebooks.py [NN ...]

Executed from the sources, stored nowhere. Asked: under 90 s on two cores and under 1.5 GB, each.
"""

import os
import resource
import subprocess
import sys
import time

from course_lib.notebooks.build import sources

ONE = """
import sys, tempfile
from pathlib import Path
from course_lib.notebooks.build import build
with tempfile.TemporaryDirectory() as folder:
    path = build(Path(sys.argv[1]), Path(folder))
    print(path.stat().st_size)
"""


def main():
    print(f"{os.cpu_count()} cores\n\n| notebook | seconds | peak memory, GB | stored, MB |\n|---|---|---|---|")
    for source in sources(sys.argv[1:]):
        begun = time.perf_counter()
        pid_before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        run = subprocess.run([sys.executable, "-c", ONE, str(source)], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        seconds = time.perf_counter() - begun
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB; of the largest process so far
        at_most = "" if most > pid_before else "at most "
        print(f"| {source.stem} | {seconds:.0f} | {at_most}{most / 1e6:.2f} | {int(run.stdout) / 1e6:.2f} |", flush=True)


if __name__ == "__main__":
    main()
