"""Checkpoints: written whole or not at all, read only when right."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from course_lib.zoo import checkpoints


@pytest.fixture
def saved(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    path = tmp_path / "net.safetensors"
    checkpoints.write(path, net, {"recipe": "net", "seed": 7, "figures": {"accuracy": 0.5}})
    return path, net


def test_round_trip_keeps_weights_and_record(saved):
    path, net = saved
    again = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    record = checkpoints.load_into(again, path)
    assert record == {"recipe": "net", "seed": 7, "figures": {"accuracy": 0.5}}
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


def test_same_weights_same_bytes(saved, tmp_path):
    path, net = saved
    checkpoints.write(tmp_path / "twin.safetensors", net, {"figures": {"accuracy": 0.5}, "seed": 7, "recipe": "net"})
    assert path.read_bytes() == (tmp_path / "twin.safetensors").read_bytes()


def test_half_is_half_as_large_and_loads_as_it_was_rounded(saved, tmp_path):
    path, net = saved
    checkpoints.write(tmp_path / "half.safetensors", net, {}, bits=16)
    again = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    checkpoints.load_into(again, tmp_path / "half.safetensors")
    assert again[0].weight.dtype == torch.float32 and torch.equal(again[0].weight, net[0].weight.half().float())
    assert checkpoints.read(tmp_path / "half.safetensors")[0]["1.num_batches_tracked"].dtype == torch.int64


def one_line(error) -> str:
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    return str(error.value)


@pytest.mark.parametrize("length", [0, 5, 100, 300, -1])
def test_truncated_is_refused(saved, length):
    path, _ = saved
    data = path.read_bytes()
    path.write_bytes(data[:length])
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        checkpoints.read(path)
    one_line(error)


@pytest.mark.parametrize("where", range(1, 60, 7))
def test_one_altered_byte_is_refused(saved, where):
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[-where] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum") as error:
        checkpoints.read(path)
    one_line(error)


def test_an_altered_record_is_refused(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes().replace(b'accuracy\\": 0.5', b'accuracy\\": 0.9'))
    with pytest.raises(ValueError, match="checksum"):
        checkpoints.read(path)


def test_a_pickle_is_refused_unopened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os._exit, (3,))

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        checkpoints.read(path)
    one_line(error)


def test_strangers_and_wrong_networks_are_refused(saved, tmp_path):
    path, _ = saved
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no record"):
        checkpoints.read(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must hold a Linear"):
        checkpoints.load_into(nn.Linear(3, 4), path)
    with pytest.raises(FileNotFoundError, match="found none"):
        checkpoints.read(tmp_path / "missing.safetensors")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="folder that can be written") as error:
        checkpoints.write(tmp_path / "file" / "net.safetensors", nn.Linear(1, 1), {})
    one_line(error)


def test_a_failed_write_leaves_the_old_file_and_no_crumbs(saved, monkeypatch):
    path, net = saved
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(path, net, {"seed": 8})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


WRITER = """
import os, sys, torch
from course_lib.zoo import checkpoints
net = torch.nn.Linear(400, 400)
while sys.stdin.readline():  # torch is imported once; each of the hundred children writes until it is killed
    pid = os.fork()
    if pid:
        print(pid, flush=True)
    for seed in range(0 if pid else 10**6):
        checkpoints.write(sys.argv[1], net, {"seed": seed})
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_a_hundred_random_moments_the_file_always_loads(tmp_path):
    path, luck, found = tmp_path / "net.safetensors", random.Random(0), []
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for _ in range(100):
            parent.stdin.write("go\n")
            parent.stdin.flush()
            pid = int(parent.stdout.readline())
            time.sleep(luck.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            if path.exists():
                found.append(checkpoints.read(path)[1]["seed"])
        parent.stdin.close()
    assert len(found) > 50 and len(set(found)) > 1, f"the writer wrote too little to be a test: {found}"


def test_half_the_bits_half_the_size_and_what_is_read_is_what_was_rounded(tmp_path):
    torch.manual_seed(0)
    net, copy = nn.Linear(200, 100), nn.Linear(200, 100)
    for half in (False, True):
        checkpoints.write(tmp_path / f"{half}.safetensors", net, {"recipe": "a"}, bits=16 if half else 32)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert 1.9 < sizes[0] / sizes[1] < 2.05
    assert checkpoints.load_into(copy, tmp_path / "True.safetensors") == {"recipe": "a"}
    assert copy.weight.dtype == torch.float32 and torch.equal(copy.weight, net.weight.half().float())


def test_eight_bits_are_a_quarter_and_near_and_what_is_measured_is_what_is_kept(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Linear(64, 64), nn.GroupNorm(8, 64))
    for bits in (32, 8):
        checkpoints.write(tmp_path / f"{bits}.safetensors", net, {}, bits=bits)
    sizes = {bits: (tmp_path / f"{bits}.safetensors").stat().st_size for bits in (32, 8)}
    assert sizes[8] < 0.4 * sizes[32]
    again = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Linear(64, 64), nn.GroupNorm(8, 64))
    checkpoints.load_into(again, tmp_path / "8.safetensors")
    for mine, kept in zip(net.state_dict().values(), again.state_dict().values()):
        step = mine.flatten(1).abs().amax(1) / 127 if mine.ndim > 1 else torch.tensor(2e-3)
        assert (
            kept.dtype == torch.float32
            and ((mine - kept).flatten(1).abs().amax(1) if mine.ndim > 1 else mine - kept).le(0.51 * step).all()
        )
    checkpoints.round_to(net, 8)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values()))
    with pytest.raises(ValueError, match="bits must be one of 32, 16, 8, got 4"):
        checkpoints.quantize({}, 4)
