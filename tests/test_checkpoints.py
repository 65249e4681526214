"""Checkpoints: written whole or not at all, read only when right."""

import json
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from course_lib.files import write_atomically
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
    with pytest.raises(FileNotFoundError, match="got none"):
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


@pytest.mark.parametrize(
    "record",
    [
        {"seed": "7"},
        {"seed": 1.5},
        {"seed": True},
        {"recipe": 3},
        {"figures": [0.5]},
        {"figures": {"accuracy": "high"}},
        {"figures": {"accuracy": math.nan}},
        {"loss": math.inf},
        {"seconds": None},
        {"processor_seconds": "2"},
        {"finished": 1},
        {"tolerances": {"accuracy": [0.1]}},
        {"more": {1, 2}},
        {"more": torch.zeros(2)},
        {"more": math.nan},
        {3: "number as a key"},
        ["a list"],
        None,
    ],
)
def test_a_record_of_wrong_types_is_refused_on_writing(saved, tmp_path, record):
    path, net = saved
    before = path.read_bytes()
    with pytest.raises(ValueError, match="record must") as error:
        checkpoints.write(path, net, record)
    one_line(error)
    assert path.read_bytes() == before


def test_a_record_nested_too_deeply_is_refused_on_writing_and_on_reading(saved):
    path, net = saved
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="record must hold what JSON can"):
        checkpoints.write(path, net, {"more": nested})
    save_file(net.state_dict(), path, {"record": '{"more": ' + "[" * 100_000 + "]" * 100_000 + "}"})
    with pytest.raises(ValueError, match="must be a checkpoint of this course"):
        checkpoints.read(path)


def forged(path, weights, record):
    """A file with a right checksum that `write` would refuse to make."""
    full = {"record": json.dumps({**record, "sha256": checkpoints._checksum(weights, record)}, sort_keys=True)}
    save_file(weights, path, full)


@pytest.mark.parametrize(
    "change, record, words",
    [
        ({}, {"seed": "7"}, "its record must have an entry 'seed' of its type, got '7'"),
        ({}, {"figures": {"a": math.nan}}, "its record must hold what JSON can"),
        ({"0.bias": torch.tensor([0.0, math.nan, 0.0, 0.0])}, {}, "finite weights, got NaN or infinity in 0.bias"),
        ({"0.bias": torch.tensor([0.0, 1e6, 0.0, 0.0]).half()}, {}, "finite weights, got NaN or infinity in 0.bias"),
        ({"0.weight.scale of rows": torch.ones(4)}, {}, "a positive scale for each row of a matrix of int8"),
        ({"0.weight": torch.ones(4, 3, dtype=torch.int8), "0.weight.scale of rows": torch.ones(3)}, {}, "a positive scale"),
        ({"0.weight": torch.ones(4, 3, dtype=torch.int8), "0.weight.scale of rows": -torch.ones(4)}, {}, "a positive scale"),
        ({"nothing.scale of rows": torch.ones(4)}, {}, "a positive scale"),
        ({"0.weight": torch.ones(4, 3, dtype=torch.int8)}, {}, "which differs in 0.weight"),
        ({"0.weight": torch.ones(4, 3, dtype=torch.int64)}, {}, "which differs in 0.weight"),
    ],
)
def test_what_no_training_could_have_written_is_refused_on_reading(saved, change, record, words):
    path, net = saved
    forged(path, {**net.state_dict(), **change}, record)
    with pytest.raises(ValueError, match=words) as error:
        checkpoints.load_into(net, path)
    one_line(error)


@pytest.mark.parametrize("bits, large", [(32, math.inf), (32, math.nan), (16, 1e6), (8, 1e6)])
def test_weights_that_are_not_finite_in_so_many_bits_are_refused_on_writing(saved, bits, large):
    path, net = saved
    net[0].bias.data[1] = large
    with pytest.raises(ValueError, match="net must have finite weights, got NaN or infinity in 0.bias"):
        checkpoints.write(path, net, {}, bits)


def test_a_compiled_net_is_written_and_read_as_the_net_in_it(saved, tmp_path):
    path, net = saved
    compiled = torch.compile(net.eval(), backend="eager")
    compiled(torch.zeros(2, 3))
    checkpoints.write(tmp_path / "compiled.safetensors", compiled, {"recipe": "net", "seed": 7, "figures": {"accuracy": 0.5}})
    assert path.read_bytes() == (tmp_path / "compiled.safetensors").read_bytes()
    again = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval(), backend="eager")
    checkpoints.load_into(again, path)
    assert torch.equal(again(torch.ones(2, 3)), net(torch.ones(2, 3)))


def test_a_hundred_threads_may_write_one_file_at_once(tmp_path):
    path, texts = tmp_path / "new" / "text", [str(i) * 1000 for i in range(100)]
    with ThreadPoolExecutor(100) as pool:
        list(pool.map(lambda text: write_atomically(path, text), texts))
    assert path.read_text() in texts and [path] == list(path.parent.iterdir())


FULL = """
import resource, signal, sys
from course_lib.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
write_atomically(sys.argv[1], b"new" * 10_000)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_halfway_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    assert "OSError: path must be a file in a folder that can be written" in ran.stderr and "File too large" in ran.stderr
    assert path.read_bytes() == b"old" and [path] == list(tmp_path.iterdir())
