"""Checkpoints: a network's weights and the record of how they were made, in one safetensors file. Never a pickle.

A file is written whole or not at all. It is read only if its checksum is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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
_whole = lambda v: isinstance(v, int) and not isinstance(v, bool)
_number = lambda v: isinstance(v, int | float) and not isinstance(v, bool)
_pair = lambda v: v is None or isinstance(v, list | tuple) and len(v) == 2 and all(map(_number, v))
RECORD: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("recipe", "device", "torch"), lambda v: isinstance(v, str)),
    **dict.fromkeys(("seed", "steps", "parameters"), _whole),
    **dict.fromkeys(("loss", "seconds", "processor_seconds", "limit"), _number),
    "finished": lambda v: isinstance(v, bool),
    "figures": lambda v: isinstance(v, dict) and all(each is None or _number(each) for each in v.values()),
    "tolerances": lambda v: isinstance(v, dict) and all(map(_pair, v.values())),
}
"""The entries that a record may have, and which values each may have; others may have any."""
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

    `record` holds what JSON can: the recipe's name, seed, figures, times. `bits` is how a weight is stored, see `quantize`.
    Raises OSError in one line where the folder cannot be written. Raises ValueError for a record that is not JSON or whose
    entries have other types than those of RECORD, and for weights that are not finite, or would not be in so many bits.
    """
    must_be_a_record("record", record)
    weights = quantize({name: w.cpu().contiguous() for name, w in state_of(net).items()}, bits)
    must_be_finite("net", dequantize(weights))
    metadata = {_KEY: json.dumps({**record, "sha256": _checksum(weights, record)}, sort_keys=True)}
    write_atomically(path, save(weights, metadata))


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """The net's weights by name. `torch.compile` wraps a net in another, whose name for it is left out."""
    return {name.replace("_orig_mod.", ""): w.detach() for name, w in net.state_dict().items()}


def load_state_of(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads weights by the names of `state_of`."""
    net.load_state_dict({name: weights[name.replace("_orig_mod.", "")] for name in net.state_dict()})


def must_be_a_record(name: str, record: Any) -> None:
    """Raises ValueError unless `record` is a dict that JSON can hold, with entries of the types in RECORD."""
    try:
        json.dumps(record, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must hold what JSON can, got one for which JSON says: {error}") from None
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
        raise ValueError(f"{name} must be a dict with names as keys, got {type(record).__name__}")
    for key in record.keys() & RECORD.keys():
        if not RECORD[key](record[key]):
            raise ValueError(f"{name} must have an entry {key!r} of its type, got {record[key]!r}"[:300])


def must_be_finite(name: str, weights: dict[str, Tensor]) -> None:
    """Raises ValueError, which names the first weight with NaN or infinity."""
    for weight, w in weights.items():
        if w.is_floating_point() and not w.isfinite().all():
            raise ValueError(f"{name} must have finite weights, got NaN or infinity in {weight}")


def quantize(weights: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The weights as they are stored: unchanged for 32 bits, 16-bit floats for 16. For 8, every matrix is whole numbers from
    -127 to 127, each row with its own scale, and all else 16-bit floats. Raises ValueError for other bits."""
    validate.choice("bits", bits, (32, 16, 8))
    validate.instance("weights", weights, dict)
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
    """The weights that `quantize` was given, up to rounding: matrices of whole numbers become floats again.

    Raises ValueError for a scale that is not one positive number for each row of such a matrix.
    """
    scales = {name.removesuffix(_SCALE): scale for name, scale in stored.items() if name.endswith(_SCALE)}
    weights = {name: w for name, w in stored.items() if not name.endswith(_SCALE)}
    for name, scale in scales.items():
        w = weights.get(name)
        if w is None or w.dtype != torch.int8 or scale.shape != w.shape[:1] or not (scale > 0).all():
            raise ValueError(f"stored must have a positive scale for each row of a matrix of int8, got another for {name}")
    by_row = lambda name, w: scales[name].view(-1, *[1] * (w.ndim - 1))
    return {name: w.float() * by_row(name, w) if name in scales else w for name, w in weights.items()}


def round_to(net: nn.Module, bits: int) -> None:
    """Rounds net's weights to those of a checkpoint of so many bits, so that what is measured is what is stored."""
    load_state_of(net, dequantize(quantize({name: w.cpu() for name, w in state_of(net).items()}, bits)))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the record of a checkpoint, checked against each other.

    Raises FileNotFoundError where there is none. Raises ValueError where the file is not safetensors (a pickle, a truncated
    file), was not written by this course, does not match the checksum in its record, or holds what `write` refuses.
    """
    path = Path(validate.instance("path", path, Path, str))
    if not path.is_file():
        raise FileNotFoundError(f"path must be a checkpoint, got {'a folder' if path.is_dir() else 'none'} at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"path must be a whole safetensors file, got {path}: {error}".replace("\n", " ")) from None
    try:
        record = json.loads(metadata[_KEY])
        expected = record.pop("sha256")
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
        raise ValueError(f"path must be a checkpoint of this course, got {path}, which has no record") from None
    if _checksum(weights, record) != expected:
        raise ValueError(f"path must be a checkpoint as it was written, got {path}, whose checksum does not match: remake it")
    try:
        must_be_a_record("its record", record)
        weights = dequantize(weights)
        must_be_finite("it", weights)
    except ValueError as error:
        raise ValueError(f"path must be a checkpoint that this course could write, got {path}: {error}") from None
    return weights, record


def load_into(net: nn.Module, path: Path) -> dict[str, Any]:
    """Loads a checkpoint's weights into `net` and returns its record.

    Raises what `read` raises, and ValueError where the weights are not those of such a network.
    """
    validate.instance("net", net, nn.Module)
    weights, record = read(path)
    kind = lambda w: (tuple(w.shape), w.is_floating_point())
    want, have = ({name: kind(w) for name, w in state.items()} for state in (state_of(net), weights))
    if want != have:
        odd = sorted(n for n in want.keys() | have.keys() if want.get(n) != have.get(n))
        raise ValueError(f"path must hold a {type(net).__name__}, got {path}, which differs in {odd[0]} ({len(odd)} in all)")
    load_state_of(net, weights)
    return record
