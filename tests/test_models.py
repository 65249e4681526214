"""The shipped models and the `course` command, used as a student would, and misused."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.__main__ import main
from course_lib.datasets.captions import describe
from course_lib.training import train
from course_lib.zoo import checkpoints, figures, models
from course_lib.zoo.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_ships_a_checkpoint_that_fits_its_record(name):
    model, record = models.load(name), models.records()[name]
    net = getattr(model, "net", model)
    assert record["recipe"] == name and record["finished"] and record["figures"]
    assert record["processor_seconds"] > 0 and "seconds" not in record
    assert record["parameters"] == sum(p.numel() for p in net.parameters())
    assert not any(p.requires_grad for p in net.parameters())


def test_all_records_are_on_one_clock():
    """A record's own processor seconds; for those that have wall seconds alone, the steps at the recipe's measured cost."""
    old = {"recipe": "ring", "steps": 1000, "seconds": 36.0}
    cost = min(figures.raw("recipe_costs")["milliseconds"]["ring"])
    assert models.on_one_clock(old) == {"recipe": "ring", "steps": 1000, "processor_seconds": round(cost, 1)}
    assert models.on_one_clock(old | {"processor_seconds": 2.5})["processor_seconds"] == 2.5
    assert models.on_one_clock(old | {"recipe": "nobody"})["processor_seconds"] is None


def test_a_training_records_processor_seconds(tmp_path):
    record = models.make("ring", device="cpu", seconds=0.2, out=tmp_path / "ring.safetensors")
    assert record["processor_seconds"] > 0 and "seconds" not in record


def test_samples_are_what_was_asked_for(tmp_path):
    assert main(["sample", "digits", "-n", "20", "--steps", "10", "--out", str(tmp_path / "all.npz")]) == 0
    all_classes = np.load(tmp_path / "all.npz")
    assert all_classes["x"].shape == (20, 1, 16, 16) and all_classes["x"].dtype == np.float32
    assert np.abs(all_classes["x"]).max() <= 1 and (all_classes["label"] == np.arange(20) % 10).all()
    seen = models.load("classifier")(torch.from_numpy(all_classes["x"])).argmax(1).numpy()
    assert (seen == all_classes["label"]).mean() >= 0.85

    assert main(["sample", "digits", "--label", "3", "-n", "4", "--steps", "5", "--out", str(tmp_path / "three.PNG")]) == 0
    assert Image.open(tmp_path / "three.PNG").size == (4 * 33, 4 * 33)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.shape])
def test_the_first_of_few_samples_are_the_first_of_many(name):
    captions = ("a red circle", "two blue stars") if RECIPES[name].captions else ()
    draw = lambda n: models.sample(name, n=n, steps=2, captions=captions)[0]
    few, many = draw(2), draw(5)
    assert many.shape == (5, *RECIPES[name].shape)
    assert torch.allclose(few, many[:2], atol=1e-4), (few - many[:2]).abs().max()
    assert not torch.allclose(many[0], many[2], atol=1e-2)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "consistency", "dpm_solver", "unipc"])
def test_the_noise_of_a_sample_is_its_own_in_every_sampler(sampler):
    few, many = (models.sample("digits", label=3, n=n, steps=3, sampler=sampler)[0] for n in (1, 4))
    assert torch.allclose(few, many[:1], atol=1e-4)


def test_a_sample_shows_its_caption(tmp_path):
    line = "sample text2shape -n 8 --out".split() + [str(tmp_path / "a.npz")]
    assert main([*line, "--caption", "a large red circle", "--caption", "a small blue star", "--w", "3"]) == 0
    told = describe(models.load("reader").detect(torch.from_numpy(np.load(tmp_path / "a.npz")["x"])))
    assert sum("red circle" in told[i] for i in (0, 2, 4, 6)) + sum("blue star" in told[i] for i in (1, 3, 5, 7)) >= 6, told


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
    hours = sum(record["processor_seconds"] for record in models.records().values()) / 3600
    assert f"{len(RECIPES)} models, {hours:.1f} hours of one core in all" in shown


@pytest.mark.parametrize(
    "line, words",
    [
        ("sample nobody --out a.png", "name must be one of"),
        ("sample digits --out a.jpg", "--out must end in .png or .npz, got a.jpg"),
        ("sample digits --label 12 --out a.png", "label must lie in 0..9, got 12\n"),
        ("sample digits --w nan --out a.png", "w must be finite, got nan"),
        ("sample digits --w inf --out a.png", "w must be finite, got inf"),
        ("sample digits -n 0 --out a.png", "n must be at least 1, got 0"),
        ("sample digits --steps 2000 --out a.png", "steps must lie in 1..1000, got 2000"),
        ("sample digits --steps 0 --out a.png", "steps must be at least 1, got 0"),
        ("sample digits --w 1e38 --out a.png", "w must be smaller, got 1e+38, for which samples hold NaN or infinity"),
        ("sample digits --caption circle --out a.png", "caption must be left out for digits"),
        ("sample text2shape --out a.png", "caption must be given to text2shape"),
        ("sample text2shape --caption redd --out a.png", "got 'redd'; did you mean red"),
        ("sample digits --seed -1 --out a.png", "seed must be at least 0, got -1"),
        ("sample digits --device tpu --out a.png", "device must be auto or one of this machine, cpu, got 'tpu'"),
        (
            "sample sd3 --sampler ddim --caption square --out a.png",
            "denoiser must be one of a DDPM process for ddim, got one of",
        ),
        ("sample digits --sampler euler --out a.png", "sampler must be one of ddim, "),
        ("sample classifier --out a.png", "name must be a model that draws, got 'classifier'"),
        ("sample ring --label 3 --out a.png", "label must be left out for ring"),
        ("sample gan --label 3 --out a.png", "label must be left out for gan"),
        ("sample upsampler --out a.png", "name must be a model that draws, got 'upsampler'"),
        ("sample digits -n 1 --steps 1 --out /proc/nowhere/a.png", "in a folder that can be written"),
        ("train nobody", "name must be one of"),
        ("train ring --seconds 0", "seconds must be positive, got 0"),
        ("train ring --seconds -1", "seconds must be positive, got -1"),
        ("train ring --seconds nan", "seconds must be finite, got nan"),
        ("train ring --device tpu", "device must be auto or one of this machine"),
        ("train ring --device cuda", "device must be auto or one of this machine"),
        ("train ring --out .", "out must be a file that ends in .safetensors, got ."),
        ("train ring --out ring.pt", "out must be a file that ends in .safetensors, got ring.pt"),
        (f"train ring --out {checkpoints.shipped('ring')}", "out must not be a shipped model"),
        ("train ring --replace --out ring.safetensors", "--replace must be given without --all and --out"),
        ("train ring --out /proc/nowhere/ring.safetensors", "in a folder that can be written"),
        ("publish nonsense", "must be"),
        ("claims 99", "numbers must be those of lessons, 00, 01"),
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


def test_a_damaged_checkpoint_is_said_in_one_line(tmp_path, capsys):
    whole, line = checkpoints.shipped("digits").read_bytes(), f"sample digits --folder {tmp_path} --out {tmp_path / 'a.png'}"
    assert main(line.split()) == 1
    assert "digits has not been made yet: `course train digits --replace` makes it" in capsys.readouterr().err
    (tmp_path / "digits.safetensors").write_bytes(whole[:-1000])
    assert main(line.split()) == 1
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


def test_training_leaves_what_ships_alone_unless_it_is_told_to_replace_it(tmp_path, monkeypatch, capsys):
    place, built = tmp_path / "shipped", tmp_path / "build"
    place.mkdir()
    old = checkpoints.shipped("ring").read_bytes()
    (place / "ring.safetensors").write_bytes(old)
    monkeypatch.setattr(models, "BUILD", built)
    monkeypatch.setattr(models, "FOLDER", place)
    monkeypatch.setattr(checkpoints, "shipped", lambda name, folder=place: folder / f"{name}.safetensors")
    assert main(["train", "ring", "--seconds", "0.2"]) == 0
    assert (place / "ring.safetensors").read_bytes() == old and checkpoints.read(built / "ring.safetensors")[1]["finished"]
    assert f"ring is in {built / 'ring.safetensors'}" in capsys.readouterr().out
    assert main(["train", "ring", "--seconds", "0.2", "--replace"]) == 0
    shown = capsys.readouterr().out
    assert "| ring | relative error of eps | 0.02643 |" in shown and f"ring is in {place / 'ring.safetensors'}" in shown
    assert (place / "ring.safetensors").read_bytes() == (built / "ring.safetensors").read_bytes() != old


def test_a_loss_that_is_not_finite_keeps_the_steps_before_it(tmp_path, monkeypatch, capsys):
    def train_until_nan(network, seconds=None, seed=0):
        def loss():
            x0 = torch.full((8, 2), float("nan")) if len(drawn) == 6 else torch.zeros(8, 2)
            drawn.append(1)
            return (network.net(x0, torch.zeros(8)) - 1).square().mean()

        drawn = []
        network.net.requires_grad_()
        yield from train(loss, network.net, 20)

    monkeypatch.setitem(RECIPES, "ring", replace(RECIPES["ring"], train=train_until_nan))
    out = tmp_path / "ring.safetensors"
    assert main(["train", "ring", "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert "loss must be finite, got nan" in err and "at step 7" in err and "learned in 6 steps is in" in err
    weights, record = checkpoints.read(tmp_path / "ring.partial.safetensors")
    assert record["steps"] == 6 and not record["finished"] and not out.exists()
    assert all(w.isfinite().all() for w in weights.values())


def test_a_full_disk_at_a_partial_save_does_not_end_the_training(tmp_path, monkeypatch, capsys):
    real = checkpoints.write_atomically

    def full(path, data):
        if "partial" in path.name:
            raise OSError(f"path must be a file in a folder that can be written, got {path}: No space left on device")
        return real(path, data)

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    record = models.make("ring", seconds=0.3, out=tmp_path / "ring.safetensors", every=0.0)
    assert record["finished"] and [path.name for path in tmp_path.iterdir()] == ["ring.safetensors"]
    assert "is not kept: path must be a file in a folder that can be written" in capsys.readouterr().err


def test_a_full_disk_at_the_end_loses_nothing(tmp_path, monkeypatch, capsys):
    real, out = checkpoints.write_atomically, tmp_path / "ring.safetensors"
    no_space = OSError("path must be a file in a folder that can be written: No space left on device")
    raising = lambda path, data: (_ for _ in ()).throw(no_space) if path == out else real(path, data)
    monkeypatch.setattr(checkpoints, "write_atomically", raising)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["train", "ring", "--seconds", "0.2", "--out", str(out)]) == 1
    (rescued,) = tmp_path.glob("*/ring.safetensors")
    assert f"No space left on device; the finished model is in {rescued}" in capsys.readouterr().err
    assert checkpoints.read(rescued)[1]["finished"] and not out.exists()


def test_an_early_interrupt_says_so(monkeypatch, capsys):
    monkeypatch.setattr(models, "records", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "course: stopped by hand\n"


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
