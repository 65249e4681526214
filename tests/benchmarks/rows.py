"""Where what is measured and trained goes: rows in a file, each written as soon as it is known, none made twice; a table in the
README; the weights of rivals that do not ship."""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from course_lib import checkpoints
from course_lib.training import Progress, show_progress

FIGURES = Path(__file__).parents[2] / "data/figures"
README = Path(__file__).with_name("README.md")


def store(name: str, table: str) -> None:
    """Puts a table between the README's marks of that name. Raises ValueError where it has not one pair of them."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, places = marks.subn(lambda block: f"{block[1]}{table}\n{block[2]}", README.read_text(encoding="utf-8"))
    if places != 1:
        raise ValueError(f"name must be that of one place in {README.name}, got {name!r}, which has {places}")
    checkpoints.write_atomically(README, text.encode())


def kept(path: Path, net: nn.Module, training: Iterable[Progress], bits: int = 32) -> dict:
    """Gives `net`, which `training` trains, its weights at the end as `path` keeps them, and returns the record; where the file
    is there already, nothing is trained."""
    if not path.is_file():
        begun = time.process_time()
        end = show_progress(training, path.stem)
        record = {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(time.process_time() - begun, 1)}
        checkpoints.write(path, net, record, bits)
    record = checkpoints.load_into(net, path)
    net.eval().requires_grad_(False)
    return record


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
