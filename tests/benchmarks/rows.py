"""A file of measured rows: one at a time, each written as soon as it is known, none made twice."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from course_lib import checkpoints

FIGURES = Path(__file__).parents[2] / "data/figures"


def measure(doc: str, name: str, n: int, jobs: Callable[[Iterable[int]], list[dict]], row: Callable[..., dict]) -> None:
    """The whole of a benchmark: for each of `jobs(seeds)` the keys of a row and `row(n, **job)`, what was measured.

    `data/figures/NAME.json` keeps them, with the command. So it may be stopped at any time.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=n)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=FIGURES / f"{name}.json")
    args = parser.parse_args()
    found = {"command": f"python tests/benchmarks/{name}.py --n {args.n}", "n": args.n}
    found |= {"torch": torch.__version__.split("+")[0], "runs": []}
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    for job in jobs(args.seeds):
        if not any(job.items() <= run.items() for run in found["runs"]):
            found["runs"].append(job | row(args.n, **job))
            checkpoints.write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())
            print(json.dumps(found["runs"][-1]), flush=True)
