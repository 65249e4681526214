"""Measured figures and trained weights: rows in a JSON file, a table in the README, weights of networks that are not shipped.

A row is written as soon as it is measured, and none is measured twice.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.files import DATA, ROOT, write_atomically
from course_lib.training import TrainingState, show_progress
from course_lib.zoo import checkpoints

FIGURES, BUILD = DATA / "figures", ROOT / "build"
README = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Part:
    """A part of what a benchmark measures. All parts without a name, or with the same one, are measured together.

    `jobs(seeds)` are the keys of each row, and `row(**amounts, **job)` is what was measured for it. `into` names the rows in
    the file: a list, or, where `by` is one of the keys, a table by that key. `once` are single figures, each
    `figure(**amounts)`.
    """

    name: str = ""
    jobs: Callable[[Sequence[int]], list[dict]] = lambda seeds: []
    row: Callable[..., Any] = dict
    into: str = "runs"
    by: str = ""
    once: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def missing(self, found: dict, seeds: Sequence[int], amounts: dict) -> list[dict]:
        """The jobs of these seeds that have no row in `found`."""
        rows = found.get(self.into, [])
        has = lambda job: job[self.by] in rows if self.by else any(_is_of(row, job, amounts) for row in rows)
        return [job for job in self.jobs(seeds) if not has(job)]

    def add(self, found: dict, job: dict, figures: Any, amounts: dict) -> None:
        """Puts a row into `found`, in the place of the row for the same job, if there is one."""
        if self.by:
            found.setdefault(self.into, {})[job[self.by]] = figures
        else:
            others = [row for row in found.get(self.into, []) if not _is_of(row, job, amounts)]
            found[self.into] = [*others, job | figures]


def _is_of(row: dict, job: dict, amounts: dict) -> bool:
    """Whether a row is that of a job; where it states amounts of its own, these count too."""
    return job.items() <= row.items() and all(row.get(key, value) == value for key, value in (amounts | job).items())


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose figures are kept in `data/figures/NAME.json`.

    `amounts` are the numbers that decide how much is measured, such as n, with their defaults; a file has one value of each.
    `seeds` are the default ones, none where no row has a seed. `header` are constants that the file states. `summary(found)`
    gives what is computed from all rows whenever one is added, and `table(found)` a table in Markdown, which `--store` puts
    into the README. `threads` is how many torch may use.
    """

    name: str
    parts: Sequence[Part]
    amounts: dict[str, float] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    header: dict[str, Any] = field(default_factory=dict)
    summary: Callable[[dict], dict] = lambda found: {}
    table: Callable[[dict], str] | None = None
    threads: int | None = None
    indent: int | None = 1

    @property
    def out(self) -> Path:
        return FIGURES / f"{self.name}.json"

    def missing(self, found: dict) -> list[dict | str]:
        """The rows that `found` lacks: jobs of the default seeds without a row, and the names of single figures."""
        once = [key for part in self.parts for key in part.once if key not in found]
        return once + [job for part in self.parts for job in part.missing(found, self.seeds, self.amounts)]


def load(name: str) -> dict:
    """The figures that ship of a benchmark."""
    return json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))


def measure(doc: str, bench: Benchmark) -> None:
    """Runs a benchmark from the command line: measures what its file does not have yet, and writes each row at once.

    So it may be stopped at any time, and several processes may measure different rows of one file. A row for which a model
    is missing is left out.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if names := list(dict.fromkeys(part.name for part in bench.parts if part.name)):
        parser.add_argument("part", nargs="?", choices=names, help="measure this part alone")
    for amount, default in bench.amounts.items():
        parser.add_argument(f"--{amount}", type=type(default), default=default)
    if bench.seeds:
        parser.add_argument("--seeds", type=int, nargs="+", default=bench.seeds)
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY=VALUE", help="measure only the rows with these keys")
    parser.add_argument("--again", action="store_true", help="measure also what the file has already")
    parser.add_argument("--out", type=Path, default=bench.out)
    if bench.table:
        parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    seeds = getattr(args, "seeds", ())
    if bench.threads:
        torch.set_num_threads(bench.threads)
    amounts = {name: getattr(args, name) for name in bench.amounts}
    given = "".join(f" --{name} {value:g}" for name, value in amounts.items())
    header = {"command": f"python tests/benchmarks/{bench.name}.py{given}", **amounts, **bench.header}
    if bench.threads:
        header["threads"] = bench.threads
    header["torch"] = torch.__version__.split("+")[0]
    read = lambda: json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else header
    for name, value in amounts.items():
        if value != (kept := read().get(name, value)):
            parser.error(f"--{name} must be {kept:g}, as in {args.out}, got {value:g}; or give another --out")

    def save(change: Callable[[dict], Any]) -> None:
        found = dict(read())  # read again each time: another process may have written since
        change(found)
        found |= bench.summary(found)
        write_atomically(args.out, json.dumps(found, indent=bench.indent) + "\n")

    wanted = lambda job: all(str(job.get(key)) == value for key, value in (item.split("=", 1) for item in args.only))
    for part in bench.parts:
        if names and args.part not in (None, part.name):
            continue
        for key, figure in part.once.items():
            if args.again or key not in read():
                value = figure(**amounts)
                save(lambda found, key=key, value=value: found.update({key: value}))
                print(json.dumps({key: value})[:1000], flush=True)
        for job in filter(wanted, part.jobs(seeds) if args.again else part.missing(read(), seeds, amounts)):
            try:
                figures = part.row(**amounts | job)
            except FileNotFoundError as error:
                print(f"{job} is left out: {error}", file=sys.stderr)
                continue
            save(lambda found, part=part, job=job, figures=figures: part.add(found, job, figures, amounts))
            print(json.dumps(job | (figures if not part.by else {part.into: figures}))[:1000], flush=True)
    if bench.table:
        print(bench.table(read()))
        if args.store:
            store(bench.name, bench.table(read()))


def store(name: str, table: str) -> None:
    """Puts a table between the README's marks of that name. Raises ValueError where it has not one pair of them."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, places = marks.subn(lambda block: f"{block[1]}{table}\n{block[2]}", README.read_text(encoding="utf-8"))
    if places != 1:
        raise ValueError(f"name must be that of one place in {README.name}, got {name!r}, which has {places}")
    write_atomically(README, text)


def load_or_train(
    path: Path,
    net: nn.Module,
    training: Callable[[], Iterable[TrainingState]],
    bits: int = 32,
    snapshots: dict[int, Path] | None = None,
) -> dict:
    """The record of a training of `net`, with the weights loaded into it: from `path`, or trained now and kept there.

    `snapshots` are further files, by the step after which the weights are kept there.
    """
    begun = time.process_time()

    def keep(path: Path, state: TrainingState) -> None:
        spent = round(time.process_time() - begun, 1)
        checkpoints.write(path, net, {"steps": state.step, "loss": round(state.loss, 4), "seconds": spent}, bits)

    def watched() -> Iterator[TrainingState]:
        for state in training():
            if state.step in (snapshots or {}):
                keep(snapshots[state.step], state)
            yield state

    if not path.is_file():
        keep(path, show_progress(watched(), path.stem))
    record = checkpoints.load_into(net, path)
    net.eval().requires_grad_(False)
    return record
