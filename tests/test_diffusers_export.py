"""Shipped models as pipelines of diffusers: the same pictures as ours, also from a folder, in a process of their own."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from course_lib.__main__ import main
from course_lib.guidance import classifier_free
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.process import DDPM, VarianceExploding, seeded
from course_lib.samplers import ddim, ddpm, rectified_flow, result
from course_lib.zoo import models

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from course_lib.zoo.export import pipeline_of, scheduler_of, to_diffusers  # noqa: E402

PROMPTS = {"digits": [3, 7], **dict.fromkeys(("text2shape", "latent2shape", "sd3"), ["a red circle", "a blue square"])}


@pytest.fixture(scope="module")
def pipelines():
    made = {name: pipeline_of(name) for name in PROMPTS}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("w", [1.0, 2.0])
@pytest.mark.parametrize(
    "name, scheduler, sampler, error",
    [
        *((name, "DDIMScheduler", ddim, 1e-5) for name in ("digits", "text2shape", "latent2shape")),
        *((name, "DPMSolverMultistepScheduler", dpm_solver, 1e-5) for name in ("digits", "text2shape", "latent2shape")),
        ("digits", "UniPCMultistepScheduler", unipc, 1e-4),
        *((name, "DDPMScheduler", ddpm, 1e-5) for name in ("digits", "text2shape", "latent2shape")),
        *((name, "EulerDiscreteScheduler", ddim, 1e-5) for name in ("text2shape", "latent2shape")),
        ("digits", "EulerDiscreteScheduler", ddim, 1e-3),  # in float32 theirs has x_0 + 20,000 eps at the first time
        ("sd3", "FlowMatchEulerDiscreteScheduler", rectified_flow, 1e-5),
    ],
)
def test_the_picture_is_ours(pipelines, name, scheduler, sampler, error, w):
    pipeline, network, prompt = pipelines[name], models.load(name, device="cpu"), PROMPTS[name]
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    x, to = network.draw_noise(2, seeded(1)), 1.0
    noise = {"rng": seeded(4)} if sampler is ddpm else {}
    if sampler is ddpm:
        x = x.double()  # Algorithm 2 divides by sqrt(alpha_t), 0.003 at the cosine schedule's first move: float32 loses digits
        pipeline.network.double()
    elif "EulerDiscrete" in scheduler and name != "sd3":
        pipeline.scheduler.set_timesteps(20)
        to = (1 + float(pipeline.scheduler.sigmas[0]) ** -2) ** 0.5  # its noise is scaled to sigma, not to sqrt(1 + sigma^2)
    want = pipeline(prompt, 20, w, generator=seeded(4), latents=to * x, output_type="latent").images
    pipeline.network.float()
    network.net.double() if sampler is ddpm else None
    got = result(sampler(classifier_free(network, prompt, w), x, network.process.times(20), **noise))
    assert (got - want).abs().max() < error * max(1, want.abs().max())
    swapped = result(sampler(classifier_free(network, prompt[::-1], w), x, network.process.times(20), **noise))
    assert (swapped - want).abs().max() > 0.1


def test_eulers_difference_on_digits_comes_from_float32(pipelines):
    """Of their loop: in float64 it is a third or less."""
    pipeline, network = pipelines["digits"], models.load("digits", device="cpu")
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.set_timesteps(20)
    x, to = network.draw_noise(6, seeded(4)), (1 + float(pipeline.scheduler.sigmas[0]) ** -2) ** 0.5
    ours, gaps = result(ddim(classifier_free(network, [0, 3, 5, 7, 8, 9], 2.0), x, network.process.times(20))), []
    for kind in (torch.float64, torch.float32):
        pipeline.network.to(kind)
        theirs = pipeline([0, 3, 5, 7, 8, 9], 20, 2.0, latents=to * x.to(kind), output_type="latent").images
        gaps.append((theirs - ours).abs().max())
    assert gaps[0] < gaps[1] / 3


@pytest.mark.parametrize("name", PROMPTS)
def test_a_folder_is_loaded_and_draws_the_same(name, tmp_path, pipelines):
    folder = to_diffusers(name, tmp_path / name)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".py"}
    again = diffusers.DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    again.set_progress_bar_config(disable=True)
    x, fresh = models.load(name, device="cpu").draw_noise(2, seeded(1)), pipeline_of(name)
    fresh.set_progress_bar_config(disable=True)
    want, got = (p(PROMPTS[name], 4, latents=x, output_type="pt").images for p in (fresh, again))
    assert (
        (got - want).abs().max() < 1e-5 and got.shape == (2, *models.RECIPES[name].shape) and 0 <= got.min() and got.max() <= 1
    )


def test_diffusers_alone_loads_the_folder(tmp_path):
    folder = to_diffusers("digits", tmp_path / "three")
    code = f"""
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained({str(folder)!r}, trust_remote_code=True)
pipeline([3], 10).images[0].save({str(tmp_path / "three.png")!r})
print(type(pipeline).__name__, pipeline.scheduler.config.prediction_type)
"""
    env = os.environ | {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["CoursePipeline", "v_prediction"] and (tmp_path / "three.png").stat().st_size > 100


def test_the_scheduler_says_how_the_network_was_trained(tmp_path):
    folder = to_diffusers("text2shape", tmp_path / "shapes")
    config = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    process = models.load("text2shape", device="cpu").process
    assert config["prediction_type"] == "sample" and config["timestep_spacing"] == "trailing" and config["set_alpha_to_one"]
    assert torch.tensor(config["trained_betas"]).allclose(process.betas.float())


def test_the_command_writes_a_folder(tmp_path, capsys, monkeypatch):
    assert main(["export", "digits", "--to", "diffusers", str(tmp_path / "digits")]) == 0
    assert (tmp_path / "digits/model_index.json").is_file() and capsys.readouterr().out.strip() == str(tmp_path / "digits")
    for wrong in (["digits", "--to", "onnx", "x"], ["--to", "diffusers", "x"]):
        assert main(["export", *wrong]) == 1 and "--to takes one model and the word diffusers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "course_lib.zoo.export", None)  # as where diffusers cannot be imported
    assert main(["export", "digits", "--to", "diffusers", "x"]) == 1
    assert capsys.readouterr().err == 'course: diffusers is not installed: pip install "diffusion-course[real]"\n'


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda tmp: to_diffusers("cats", tmp / "x"), ValueError, "name must be one of"),
        (lambda tmp: to_diffusers("gan", tmp / "x"), ValueError, "name must be a model that draws from labels or captions"),
        (lambda tmp: to_diffusers("digits", tmp), ValueError, "folder must be new or empty"),
        (lambda tmp: scheduler_of(VarianceExploding(torch.tensor([0.1, 1.0])), "eps"), TypeError, "process must be a DDPM"),
        (lambda tmp: scheduler_of(DDPM(torch.tensor([0.1, 0.2])), "score"), TypeError, "with view score"),
    ],
)
def test_bad_input_is_named_in_one_line(call, error, message, tmp_path):
    (tmp_path / "something").touch()
    with pytest.raises(error, match=re.escape(message)) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
