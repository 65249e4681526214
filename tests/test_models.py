"""The shipped models and the `course` command, used as a student would, and misused."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.__main__ import main
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_ships_a_checkpoint_that_fits_its_record(name):
    model, record = models.load(name), models.records()[name]
    net = getattr(model, "net", model)
    assert record["recipe"] == name and record["finished"] and record["figures"] and record["seconds"] > 0
    assert record["parameters"] == sum(p.numel() for p in net.parameters())
    assert not any(p.requires_grad for p in net.parameters())


def test_samples_are_what_was_asked_for(tmp_path):
    assert main(["sample", "digits", "-n", "20", "--steps", "10", "--out", str(tmp_path / "all.npz")]) == 0
    all_classes = np.load(tmp_path / "all.npz")
    assert all_classes["x"].shape == (20, 1, 16, 16) and all_classes["x"].dtype == np.float32
    assert np.abs(all_classes["x"]).max() <= 1 and (all_classes["label"] == np.arange(20) % 10).all()
    seen = models.load("classifier")(torch.from_numpy(all_classes["x"])).argmax(1).numpy()
    assert (seen == all_classes["label"]).mean() >= 0.85

    assert main(["sample", "digits", "--label", "3", "-n", "4", "--steps", "5", "--out", str(tmp_path / "three.png")]) == 0
    assert Image.open(tmp_path / "three.png").size == (4 * 33, 4 * 33)


def test_the_seed_decides_and_w_changes():
    draw = lambda **options: models.sample("digits", n=2, steps=4, **options)[0]
    assert torch.equal(draw(seed=1), draw(seed=1)) and not torch.equal(draw(seed=1), draw(seed=2))
    assert not torch.equal(draw(w=1.0), draw(w=4.0))
    assert not torch.equal(draw(sampler="ddim"), draw(sampler="ddpm"))


@pytest.mark.parametrize("name", ["gan", "vae", "diffusion"])
def test_the_three_generators_draw(name, tmp_path):
    assert main(["sample", name, "-n", "3", "--steps", "2", "--out", str(tmp_path / "a.npz")]) == 0
    made = np.load(tmp_path / "a.npz")
    assert made["x"].shape == (3, 1, 16, 16) and "label" not in made
    draw = lambda seed: models.sample(name, n=3, steps=2, seed=seed)[0]
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_students_draw_in_their_own_steps_and_the_guided_one_is_given_w():
    seen = models.load("classifier")
    for name in ("progressive4", "consistency", "guided"):
        x, label = models.sample(name, n=20)
        assert (seen(x).argmax(1) == label).double().mean() >= 0.85
    draw = lambda **options: models.sample("guided", n=2, **options)[0]
    assert not torch.equal(draw(w=1.0), draw(w=4.0)) and not torch.equal(draw(steps=1), draw(steps=2))
    with pytest.raises(ValueError, match="w must be finite, got nan"):
        draw(w=float("nan"))


def test_models_lists_figures(capsys):
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digits"]["figures"]
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in RECIPES)
    hours = sum(record["seconds"] for record in models.records().values()) / 3600
    assert f"{len(RECIPES)} models, {hours:.1f} hours in all" in shown


@pytest.mark.parametrize(
    "line, words",
    [
        ("sample nobody --out a.png", "name must be one of"),
        ("sample digits --out a.jpg", "--out must end in .png or .npz, got a.jpg"),
        ("sample digits --label 12 --out a.png", "label must lie in 0..9 (or be NULL), got"),
        ("sample digits --w nan --out a.png", "w must be finite, got nan"),
        ("sample digits --w inf --out a.png", "w must be finite, got inf"),
        ("sample digits -n 0 --out a.png", "n must be at least 1, got 0"),
        ("sample digits --steps 2000 --out a.png", "n must be at most T"),
        ("sample digits --sampler euler --out a.png", "sampler must be one of ddim, "),
        ("sample classifier --out a.png", "name must be a model that draws, got 'classifier'"),
        ("sample ring --label 3 --out a.png", "label must be left out for ring"),
        ("sample gan --label 3 --out a.png", "label must be left out for gan"),
        ("sample upsampler --out a.png", "name must be a model that draws, got 'upsampler'"),
        ("sample digits -n 1 --steps 1 --out /proc/nowhere/a.png", "path must be in a folder that can be written"),
        ("train nobody", "name must be one of"),
        ("train ring --out /proc/nowhere/ring.safetensors", "path must be in a folder that can be written"),
        ("publish nonsense", "must be"),
        ("claims 99", "no lesson begins with '99'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 1
    out, err = capsys.readouterr()
    assert words in err and err.startswith("course: ") and err.count("\n") == 1 and not out


@pytest.mark.parametrize("line", ["", "dance", "sample", "sample digits", "sample digits --label three --out a.png"])
def test_what_is_not_understood_exits_with_two(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2 and "usage: course" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "demo", "train", "models", "sample", "claims", "publish"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0 and "usage: course" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    whole = checkpoints.shipped("digits").read_bytes()
    monkeypatch.setattr(models, "load", partial(models.load, folder=tmp_path))
    assert main(["sample", "digits", "--out", str(tmp_path / "a.png")]) == 1
    assert "digits has not been made yet: `course train digits` makes it" in capsys.readouterr().err
    (tmp_path / "digits.safetensors").write_bytes(whole[:-1000])
    assert main(["sample", "digits", "--out", str(tmp_path / "a.png")]) == 1
    assert "whole safetensors file" in capsys.readouterr().err


def test_training_writes_its_record_and_an_interrupt_keeps_what_was_learned(tmp_path, monkeypatch, capsys):
    out = tmp_path / "ring.safetensors"
    assert main(["train", "ring", "--seconds", "1", "--out", str(out)]) == 0
    record = checkpoints.read(out)[1]
    assert record["finished"] and record["figures"] == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["tolerances"] == dict.fromkeys(record["figures"], [0.02, 0.2])
    before = out.read_bytes()

    def stopped(training, name):
        for progress in training:
            if progress.step == 5:
                return progress

    monkeypatch.setattr(models, "show_progress", stopped)
    assert main(["train", "ring", "--seconds", "5", "--out", str(out)]) == 130
    err = capsys.readouterr().err
    assert "what ring learned in 5 steps is in" in err and out.read_bytes() == before
    assert checkpoints.read(tmp_path / "ring.partial.safetensors")[1]["finished"] is False


TRAINER = """
import os, sys, torch, tqdm
from course_lib.zoo import models, recipes
torch.set_num_threads(1)  # no threads, tqdm's neither: a child of fork has only the one that forked
tqdm.tqdm.monitor_interval = 0
list(recipes.train_ring(recipes.ring_network(), seconds=0.1))  # once for all: the first steps import what they need
while sys.stdin.readline():  # each of the hundred children trains until it is killed
    pid = os.fork()
    if pid:
        print(pid, flush=True)
    else:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        models.make("ring", seconds=0.6, out=sys.argv[1], every=0.0)
        os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_a_hundred_random_moments_a_training_leaves_only_files_that_load(tmp_path):
    luck, steps = random.Random(0), set()
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "ring.safetensors")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        for _ in range(100):
            parent.stdin.write("go\n")
            parent.stdin.flush()
            pid = int(parent.stdout.readline())
            time.sleep(luck.uniform(0.02, 0.4))
            os.kill(pid, signal.SIGKILL)
            for path in tmp_path.glob("*.safetensors"):
                steps.add(checkpoints.read(path)[1]["steps"])
        parent.stdin.close()
    assert len(steps) > 5, f"the training was killed before it wrote anything of note: {steps}"
