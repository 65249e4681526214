"""Two processes on the CPU train as one does with the whole batch."""

import json
import subprocess
import sys

import pytest
import torch

from course_lib import parallel
from course_lib.files import ROOT
from course_lib.zoo import models
from course_lib.zoo.checkpoints import read

SHARED = [name for name in models.RECIPES if name not in ("classifier", "judge32", "reader")]
CURVES = """
import itertools, json, sys, torch
torch.set_num_threads(1)
from course_lib import parallel
from course_lib.zoo import models
found = {}
with parallel.process_group(torch.device("cpu")):
    for name in sys.argv[2:]:
        recipe = models.RECIPES[name]
        model = recipe.build(1)
        net = getattr(model, "net", model).double()
        losses = [p.loss for p in itertools.islice(recipe.train(model, seed=2, steps=8), 3)]
        weights = torch.cat([w.flatten() for w in net.parameters()])
        found[name] = {"losses": losses, "weights": weights[::997].tolist()}
    if parallel.rank() == 0:
        json.dump(found | {"size": parallel.size()}, open(sys.argv[1], "w"))
"""


def torchrun(*command, n=2):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *command]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)


def curves(folder, names, n):
    script, out = folder / "curves.py", folder / f"{n}.json"
    script.write_text(CURVES)
    ran = torchrun(str(script), str(out), *names, n=n)
    assert ran.returncode == 0, ran.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    "names",
    [
        ["digits", "noisy_classifier", "gan", "vae", "clip", "upsampler", "consistency", "flow_meanflow"],
        pytest.param(SHARED, marks=pytest.mark.thorough),
    ],
    ids=["one of each loss", "all"],
)
def test_two_processes_have_the_loss_curve_of_one(tmp_path, names):
    """In float64, where sums in another order differ by 1e-15.

    The bias of the keys has a gradient of 0 but for rounding, since a softmax is unchanged by it. In float32 that is 1e-9, near
    the 1e-8 which AdamW adds to its divisor, so that its steps are of any size up to the rate. An error of 1e-14 in a gradient
    changes a step by at most the rate, about 1e-3, times 1e-14 / 1e-8.
    """
    one, two = (curves(tmp_path, names, n) for n in (1, 2))
    assert (one.pop("size"), two.pop("size")) == (1, 2)
    for name, alone in one.items():
        assert alone["losses"] == pytest.approx(two[name]["losses"], rel=1e-7), name  # processes share it in float32
        assert alone["weights"] == pytest.approx(two[name]["weights"], rel=0, abs=1e-9), name


def test_the_command_writes_one_checkpoint(tmp_path):
    out = tmp_path / "ring.safetensors"
    ran = torchrun("-m", "course_lib", "train", "ring", "--seconds", "1", "--device", "cpu", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    weights, record = read(out)
    assert record["finished"] and ran.stdout.count("ring: done after") == 1 and [out] == sorted(tmp_path.iterdir())


def test_a_net_with_batch_normalisation_is_refused(tmp_path):
    ran = torchrun("-m", "course_lib", "train", "reader", "--device", "cpu", "--out", str(tmp_path / "reader.safetensors"))
    assert ran.returncode != 0 and "net must have no batch normalisation to be trained by 2 processes" in ran.stderr


def test_parts_are_even_and_make_up_the_whole(monkeypatch):
    x, seen = torch.arange(6.0), []
    monkeypatch.setattr(parallel, "size", lambda: 3)
    for k in range(3):
        monkeypatch.setattr(parallel, "rank", lambda k=k: k)
        seen += parallel.split(x).tolist()
    assert seen == x.tolist()
    with pytest.raises(ValueError, match="a batch must be a multiple of the 3 processes, got 4"):
        parallel.split(torch.zeros(4))
