"""`course bench`: entries of the minute trained, sampled, judged, and put into a table."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import secrets
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib import validate
from course_lib.files import must_be_writable, write_atomically
from course_lib.teaching.classroom import sandbox
from course_lib.teaching.minute import SECONDS, entry, machine

N = 1000
DRIFT = 0.05
"""The largest change of a machine's pace during a training, as a share: beyond it the training is not like another's."""
OF_MACHINE = ("drift", "share", "uneven")
"""What a row says of the machine during its training."""


def bench(paths: Sequence[Path], seeds: Sequence[int], seconds: float, out: Path, unprotected: bool = False) -> str:
    """A table in Markdown of the entries in these files, whose rows are written into the file `out`, JSON.

    Pictures are kept in a folder beside it. All entries are trained and sampled before anything that they may not see is
    loaded. Raises ValueError for a file that is no entry, RuntimeError where entries cannot be shut in.
    """
    validate.positive("seconds", seconds)
    entries = [entry.read(path) for path in validate.filled("paths", paths)]
    _no_two_alike("entries", [each.name for each in entries])
    _no_two_alike("seeds", seeds)
    if out.suffix != ".json":
        raise ValueError(f"out must be a file .json, beside which is a folder of that name, got {out}")
    must_be_writable(out)
    way = sandbox.safest()
    if "namespaces" not in way and not unprotected:
        raise RuntimeError(f"entries can be shut in by {way} only: {sandbox.WAYS[way]}; use a container, or --unprotected")
    torch.set_num_threads(1)
    made = list(drawn(entries, seeds, seconds, way, out.with_suffix("")))
    rows = judged([each for each in made if isinstance(each, Drawn)])
    failed = [each for each in made if not isinstance(each, Drawn)]
    for row in rows:
        row.faults.extend(f"no row for seed {each['seed']}" for each in failed if each["entry"] == row.entry)
    report = {"seconds": seconds, "shut in by": way, "rows": [dataclasses.asdict(row) for row in rows], "failed": failed}
    write_atomically(out, json.dumps(report, indent=1))
    return table(report["rows"], failed)


def _no_two_alike(name: str, values: Sequence) -> None:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{name} must differ, got {', '.join(map(str, twice))} twice: a table would take them for one")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The pictures x (1000, 1, 16, 16) of a training at one number of evaluations, and what they cost."""

    entry: str
    seed: int
    evaluations: int
    x: Tensor
    spent: tuple[float, float]
    drift: float
    share: float | None = None
    uneven: float | None = None


def labels() -> Tensor:
    """The labels of the pictures, (1000,): each class as often."""
    return torch.arange(N, device="cpu", dtype=torch.long) % 10


def drawn(
    entries: Sequence[entry.Entry], seeds: Sequence[int], seconds: float, way: str, folder: Path
) -> Iterator[Drawn | dict]:
    """The pictures of each entry and seed, or, where there are none, a dict that says why.

    They are kept in `folder`, so that a run that was stopped goes on where it was.
    """
    x, label = entry.training_digits()
    for each in entries:
        for seed in seeds:
            kept = folder / f"{each.name}-{seed}-{seconds:g}-{hashlib.sha256(each.source.encode()).hexdigest()[:8]}.npz"
            try:
                if not kept.exists():
                    write_atomically(kept, _one(each, x, label, seconds, seed, way))
                arrays = _arrays(kept)
                for k in each.evaluations:
                    pictures = torch.from_numpy(arrays[f"x{k}"]).float() / 127.5 - 1
                    milliseconds, counted = arrays[f"spent{k}"].tolist()
                    of_machine = {key: float(arrays[key]) for key in OF_MACHINE if key in arrays}  # an older file has not all
                    yield Drawn(each.name, seed, k, pictures, (milliseconds, counted), **of_machine)
            except entry.Fault as why:
                print(f"{each.name}, seed {seed}: {why}", file=sys.stderr, flush=True)
                yield {"entry": each.name, "seed": seed, "why": str(why)}


def _arrays(kept: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as damaged:  # NumPy and zipfile have many
        raise ValueError(f"{kept} must be as it was written; delete it, and it is made again: {damaged}") from None


def _one(each: entry.Entry, x: Tensor, label: Tensor, seconds: float, seed: int, way: str) -> bytes:
    """A training, between two measurements of the machine's pace, and its samplings: arrays, as bytes of an .npz."""
    pace, before = machine.pace(), machine.clocks()
    weights = entry.trained(each, x, label, seconds * pace.mean, seed, way)
    share = machine.share(before, machine.clocks())
    drift = machine.pace().mean / pace.mean - 1
    said = f"trained; pace {pace.mean:.2f}, uneven {pace.uneven:.1%}, drift {drift:+.1%}, share of its core {share:.0%}"
    print(f"{each.name}, seed {seed}: {said}", file=sys.stderr, flush=True)
    arrays = {"drift": np.array(drift), "share": np.array(share), "uneven": np.array(pace.uneven)}
    for k in each.evaluations:
        pictures, milliseconds, counted = entry.sampled(each, weights, labels(), k, seed, pace.mean, way)
        arrays[f"x{k}"] = ((pictures + 1) * 127.5).round().to(torch.uint8).numpy()
        arrays[f"spent{k}"] = np.array([milliseconds / pace.mean, counted])
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def judged(pictures: Sequence[Drawn]) -> list:
    """The row of each set of pictures, by the frozen judge and by one that is trained now."""
    if not pictures:
        return []
    from course_lib.teaching.minute.score import first_judge, score, second_judge

    first, second = first_judge(), second_judge(secrets.randbelow(2**31))
    rows = []
    for p in pictures:
        row = score(p.entry, p.seed, p.evaluations, p.x, labels(), p.spent, first, second)
        of_machine = {key: None if (value := getattr(p, key)) is None else round(value, 4) for key in OF_MACHINE}
        rows.append(dataclasses.replace(row, **of_machine))
    return rows


def table(rows: Sequence[dict], failed: Sequence[dict] = ()) -> str:
    """Rows of several seeds as a table in Markdown: mean and standard error of the distance, best first, then what failed."""
    head = "| evaluations | entry | distance | class accuracy | precision | recall | ms a picture | verified |"
    lines = [head, "|" + "---|" * 8]
    groups: dict[tuple[int, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["evaluations"], row["entry"]), []).append(row)
    mean = lambda name, of: statistics.mean(row[name] for row in of)
    for (k, name), of in sorted(groups.items(), key=lambda item: (item[0][0], mean("distance", item[1]))):
        error = statistics.stdev([r["distance"] for r in of]) / len(of) ** 0.5 if len(of) > 1 else None
        distance = f"{mean('distance', of):.3f}" + (f" ± {error:.3f}" if error is not None else "")
        faults = sorted({fault for row in of for fault in row["faults"]})
        shares = " | ".join(f"{mean(figure, of):.3f}" for figure in ("accuracy", "precision", "recall"))
        said = ("; ".join(faults) or "yes") + "".join(f" ({why})" for why in _unlike_others(of))
        lines.append(f"| {k} | {name} | {distance} | {shares} | {mean('milliseconds', of):.2f} | {said} |")
    return "\n".join([*lines, *(f"\n{each['entry']}, seed {each['seed']}: no row: {each['why']}" for each in failed)])


def _unlike_others(rows: Sequence[dict]) -> Iterator[str]:
    """Why the trainings of these rows are not like those of other machines, where there is a reason."""
    if (most := max(abs(row["drift"]) for row in rows)) > DRIFT:
        yield f"the machine's pace changed by up to {most:.0%}"
    stated = lambda key: [row[key] for row in rows if row.get(key) is not None]  # older rows have not all
    if (least := min(stated("share"), default=1.0)) < machine.OWN_CORE:
        yield f"a training had {least:.0%} of its core"
    if (most := max(stated("uneven"), default=0.0)) > machine.UNEVEN:
        yield f"not like other machines: convolutions and matrix products differ in pace by up to {2 * most:.0%}"


def run(args) -> None:
    print(bench(args.entries, args.seeds, args.seconds, args.out, args.unprotected))


def add_to(commands) -> None:
    """Adds the command to those of `course`."""
    about = "train, sample and judge entries of the minute: see tests/benchmarks/MINUTE.md"
    sub = commands.add_parser("bench", help=about, description=about)
    sub.add_argument("entries", nargs="+", type=Path, metavar="ENTRY.py", help="files with the functions train and sample")
    sub.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="a training each; default: 0 1 2")
    sub.add_argument("--seconds", type=float, default=SECONDS, help="processor seconds of a training at the pace 1; default 60")
    sub.add_argument("--out", type=Path, default=Path("bench.json"), metavar="FILE.json", help="default: bench.json")
    sub.add_argument("--unprotected", action="store_true", help="where no process can be shut in: run what you trust alone")
    sub.set_defaults(run=run)
