"""Checkpoints: a network's weights and the record of how they were made, in one safetensors file. Never a pickle.

A file is written whole or not at all. It is read only if its checksum is right.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from course_lib import validate
from course_lib.files import DATA, write_atomically

FOLDER = DATA / "checkpoints"
_SCALE = ".scale of rows"
_KEY = "record"  # one metadata key only: with more, their order and so the file's bytes change from save to save


def shipped(name: str, folder: Path = FOLDER) -> Path:
    """The path of the checkpoint of that name: in FOLDER, where the shipped ones are, or in another folder."""
    return Path(folder) / f"{name}.safetensors"


def _checksum(weights: dict[str, Tensor], record: dict[str, Any]) -> str:
    """SHA-256 over the record and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(weights):
        w = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {w.dtype} {tuple(w.shape)}".encode())
        digest.update(w.view(-1).view(torch.uint8).numpy().tobytes() if w.numel() else b"")
    return digest.hexdigest()


def write(path: Path, net: nn.Module, record: dict[str, Any], bits: int = 32) -> None:
    """Writes net's weights and the record to `path`, atomically: at any moment the file is the old one or the new one, whole.

    `record` holds what JSON can: the recipe's name, seed, figures, seconds. `bits` is how a weight is stored, see `quantize`.
    Raises OSError in one line where the folder cannot be written, TypeError where the record is not JSON.
    """
    path = Path(path)
    weights = quantize({name: w.detach().cpu().contiguous() for name, w in net.state_dict().items()}, bits)
    metadata = {_KEY: json.dumps({**record, "sha256": _checksum(weights, record)}, sort_keys=True)}
    write_atomically(path, save(weights, metadata))


def quantize(weights: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The weights as they are stored: unchanged for 32 bits, 16-bit floats for 16. For 8, every matrix is whole numbers from
    -127 to 127, each row with its own scale, and all else 16-bit floats. Raises ValueError for other bits."""
    validate.choice("bits", bits, (32, 16, 8))
    stored = {}
    for name, w in weights.items():
        if bits == 8 and w.is_floating_point() and w.ndim > 1:
            rows = w.flatten(1)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
            stored[name] = (rows / scale).round().to(torch.int8).view(w.shape)
            stored[f"{name}{_SCALE}"] = scale[:, 0].contiguous()
        else:
            stored[name] = w.half() if bits < 32 and w.is_floating_point() else w
    return stored


def dequantize(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `quantize` was given, up to rounding: matrices of whole numbers become floats again."""
    scales = {name.removesuffix(_SCALE): scale for name, scale in stored.items() if name.endswith(_SCALE)}
    weights = {name: w for name, w in stored.items() if not name.endswith(_SCALE)}
    by_row = lambda name, w: scales[name].view(-1, *[1] * (w.ndim - 1))
    return {name: w.float() * by_row(name, w) if name in scales else w for name, w in weights.items()}


def round_to(net: nn.Module, bits: int) -> None:
    """Rounds net's weights to those of a checkpoint of so many bits, so that what is measured is what is stored."""
    net.load_state_dict(dequantize(quantize(net.state_dict(), bits)))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the record of a checkpoint, checked against each other.

    Raises FileNotFoundError where there is none. Raises ValueError where the file is not safetensors (a pickle, a truncated
    file), was not written by this course, or does not match the checksum in its record.
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
        expected = record.pop("sha256")
    except (KeyError, ValueError, AttributeError):
        raise ValueError(f"path must be a checkpoint of this course, got {path}, which has no record") from None
    if _checksum(weights, record) != expected:
        raise ValueError(f"path must be a checkpoint as it was written, got {path}, whose checksum does not match: remake it")
    return dequantize(weights), record


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
