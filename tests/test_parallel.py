"""Two processes on the CPU train as one does with the whole batch."""

import json
import subprocess
import sys

import pytest
import torch

from course_lib import parallel
from course_lib.files import ROOT
from course_lib.zoo import recipes
from course_lib.zoo.checkpoints import read

CURVE = """
import json, sys, torch
torch.set_num_threads(1)
from course_lib import parallel
from course_lib.zoo import recipes
with parallel.process_group():
    network = recipes.digits_network(seed=1)
    losses = [p.loss for p in recipes.train_digits(network, seed=2, steps=6)]
    weights = torch.cat([w.flatten() for w in network.net.parameters()])
    if parallel.rank() == 0:
        json.dump({"losses": losses, "weights": weights[::997].tolist(), "size": parallel.size()}, open(sys.argv[1], "w"))
"""


def torchrun(*command, n=2):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *command]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    script, found = tmp_path / "curve.py", {}
    script.write_text(CURVE)
    for n in (1, 2):
        ran = torchrun(str(script), str(tmp_path / f"{n}.json"), n=n)
        assert ran.returncode == 0, ran.stderr
        found[n] = json.loads((tmp_path / f"{n}.json").read_text())
    assert [found[n]["size"] for n in (1, 2)] == [1, 2]
    assert found[1]["losses"] == pytest.approx(found[2]["losses"], rel=1e-4)
    assert found[1]["weights"] == pytest.approx(found[2]["weights"], abs=1e-4)
    assert found[1]["losses"][-1] < found[1]["losses"][0]


def test_the_command_writes_one_checkpoint(tmp_path):
    out = tmp_path / "ring.safetensors"
    ran = torchrun("-m", "course_lib", "train", "ring", "--seconds", "1", "--device", "cpu", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    weights, record = read(out)
    assert record["finished"] and ran.stdout.count("ring: done after") == 1 and [out] == sorted(tmp_path.iterdir())


def test_shares_are_even_and_make_up_the_whole(monkeypatch):
    network = recipes.digits_network().given(torch.arange(6) % 10)
    x, seen = torch.arange(6.0), []
    for k in range(3):
        monkeypatch.setattr(parallel, "rank", lambda k=k: k)
        monkeypatch.setattr(parallel, "size", lambda: 3)
        (part,) = parallel.share(x)
        assert network.part(parallel.members()).cond.tolist() == part.tolist()
        seen += part.tolist()
    assert sorted(seen) == x.tolist()
    with pytest.raises(ValueError, match="a batch must be a multiple of the 3 processes, got 4"):
        parallel.share(torch.zeros(4))
    assert network.given(3).part(parallel.members()).cond.tolist() == [3]
