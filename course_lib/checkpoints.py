"""Checkpoints: a network's weights and the record of how they were made, in one safetensors file. Never a pickle.

A file is written whole or not at all, and is read only if its checksum is right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from course_lib import validate

FOLDER = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
_SCALE = ".scale of rows"
_KEY = "record"  # one metadata key only: with more, their order and so the file's bytes change from save to save


def shipped(name: str) -> Path:
    """Where the checkpoint of that name lies: in FOLDER, or in the folder of `shipped_in`."""
    return FOLDER / f"{name}.safetensors"


@contextmanager
def shipped_in(folder: Path) -> Iterator[None]:
    """For as long as the block lasts, every model that another learns from or is judged by is read from `folder`."""
    global FOLDER
    before, FOLDER = FOLDER, Path(folder)
    try:
        yield
    finally:
        FOLDER = before


def _checksum(weights: dict[str, Tensor], record: dict[str, Any]) -> str:
    """SHA-256 over the record and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(weights):
        w = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {w.dtype} {tuple(w.shape)}".encode())
        digest.update(w.view(-1).view(torch.uint8).numpy().tobytes() if w.numel() else b"")
    return digest.hexdigest()


def write(path: Path, net: nn.Module, record: dict[str, Any], bits: int = 32) -> None:
    """Writes net's weights and the record to `path`, atomically: a reader sees the old file or the new one, never half of one.

    `record` holds what JSON can: the recipe's name and arguments, seed, data, figures, seconds. `bits` is how a weight is kept,
    see `packed`; `load_into` makes of them what the network has. Raises OSError in one line where the folder cannot be
    written, TypeError where the record is not JSON.
    """
    path = Path(path)
    weights = packed({name: w.detach().cpu().contiguous() for name, w in net.state_dict().items()}, bits)
    metadata = {_KEY: json.dumps({**record, "sha256": _checksum(weights, record)}, sort_keys=True)}
    write_atomically(path, save(weights, metadata))


def packed(weights: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The weights as they are kept: 32-bit floats as they are, 16-bit floats, or, with 8 bits, every matrix as whole numbers
    from -127 to 127, each row with a scale of its own, and all else as 16-bit floats. Raises ValueError for other bits."""
    validate.choice("bits", bits, (32, 16, 8))
    kept = {}
    for name, w in weights.items():
        if bits == 8 and w.is_floating_point() and w.ndim > 1:
            rows = w.flatten(1)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
            kept[name] = (rows / scale).round().to(torch.int8).view(w.shape)
            kept[f"{name}{_SCALE}"] = scale[:, 0].contiguous()
        else:
            kept[name] = w.half() if bits < 32 and w.is_floating_point() else w
    return kept


def unpacked(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given, as nearly as it was kept: matrices of whole numbers as floats again."""
    scales = {name.removesuffix(_SCALE): scale for name, scale in kept.items() if name.endswith(_SCALE)}
    weights = {name: w for name, w in kept.items() if not name.endswith(_SCALE)}
    by_row = lambda name, w: scales[name].view(-1, *[1] * (w.ndim - 1))
    return {name: w.float() * by_row(name, w) if name in scales else w for name, w in weights.items()}


def round_to(net: nn.Module, bits: int) -> None:
    """Makes of net's weights what a checkpoint of so many bits would give back: what is measured should be what is kept."""
    net.load_state_dict(unpacked(packed(net.state_dict(), bits)))


def must_be_writable(path: Path) -> None:
    """Raises OSError where `path` could not be written: better before an hour of training than after."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    write_atomically(probe, b"")
    probe.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Writes bytes to a neighbour of `path`, then renames it: the rename is the one moment at which anything changes."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(f"path must be in a folder that can be written, got {path.parent}: {error.strerror}") from None
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the record of a checkpoint, checked against each other.

    Raises FileNotFoundError where there is none; ValueError where the file is not safetensors (a pickle, a truncated file),
    was not written by this course, or does not have the checksum that it claims.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a checkpoint, found none at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"path must be a whole safetensors file, got {path}: {error}".replace("\n", " ")) from None
    try:
        record = json.loads(metadata[_KEY])
        claimed = record.pop("sha256")
    except (KeyError, ValueError, AttributeError):
        raise ValueError(f"path must be a checkpoint of this course, got {path}, which has no record") from None
    if _checksum(weights, record) != claimed:
        raise ValueError(f"path must be a checkpoint as it was written, got {path}, whose checksum does not match: remake it")
    return unpacked(weights), record


def load_into(net: nn.Module, path: Path) -> dict[str, Any]:
    """Loads a checkpoint's weights into `net` and returns its record.

    Raises what `read` raises, and ValueError where the weights are not those of such a network.
    """
    weights, record = read(path)
    want = {name: tuple(w.shape) for name, w in net.state_dict().items()}
    have = {name: tuple(w.shape) for name, w in weights.items()}
    if want != have:
        odd = sorted(n for n in want.keys() | have.keys() if want.get(n) != have.get(n))
        raise ValueError(f"path must hold a {type(net).__name__}, got {path}, which differs in {odd[0]} ({len(odd)} in all)")
    net.load_state_dict(weights)
    return record
