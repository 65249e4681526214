"""What the rows of the dictionary are about: tiny random pipelines, their parts, and what draws with them.

Needs the optional packages: `pip install "diffusion-course[real]"`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_lib.denoisers import NULL, Denoiser
from course_lib.guidance import ClassifierFree, DynamicThreshold, StaticThreshold, classifier_free
from course_lib.methods.editing import sdedit
from course_lib.methods.edm import karras_sigmas
from course_lib.methods.latents import kl_term
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.nets.dit import patchify
from course_lib.nets.embeddings import sinusoidal
from course_lib.prediction import Prediction
from course_lib.process import RectifiedFlow, Time, VarianceExploding, randn, seeded
from course_lib.samplers import consistency, ddim, ddpm, heun, rectified_flow, result
from course_lib.zoo.diffusers import from_diffusers, scheduler_times
from course_lib.zoo.tiny_pipelines import tiny

STEPS = 5
"""The steps of every sampler in the table."""
SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "UniPCMultistepScheduler",
)
"""The classes of diffusers of which the table has a row."""


@dataclass(frozen=True)
class OnSigmas:
    """A denoiser of a chain in the scale x_0 + sigma eps, at the same times: what k-diffusion's samplers work with."""

    denoiser: Denoiser

    @property
    def process(self) -> VarianceExploding:
        chain = self.denoiser.process
        t = torch.arange(1, int(chain.T) + 1, dtype=torch.long, device="cpu")
        return VarianceExploding(chain.noise(t) / chain.signal(t))

    def __call__(self, x: Tensor, t: Time) -> Prediction:
        a, _ = self.denoiser.process.coefficients(t, x)
        return Prediction(x, *self.process.coefficients(t, x), "x0", self.denoiser(a * x, t).x0)


def names(seed: int = 0) -> dict[str, Any]:
    """What the expressions of the rows are about: tiny random pipelines, their parts, and what draws with them."""
    known: dict[str, Any] = {"t": 500, "prompts": ["a red house", "two cats, at sea"], "blur": "a blurry cat"}
    pipe = tiny("StableDiffusionPipeline", seed)
    network = from_diffusers(pipe)
    process, net = network.process, network.net
    known |= {"pipe": pipe, "unet": pipe.unet, "vae": pipe.vae}
    known |= {"network": network, "net": net, "process": process, "T": process.T, "NULL": NULL}
    for short, kind in (("xl", "StableDiffusionXL"), ("sd3", "StableDiffusion3"), ("lcm", "LatentConsistencyModel")):
        known[short] = tiny(f"{kind}Pipeline", seed)
        known[f"{short}_network"] = from_diffusers(known[short])
    known |= _schedulers(pipe)
    pipe.scheduler, known["xl"].scheduler = known["DDIMScheduler"](), known["DDIMScheduler"]()
    known |= {"scheduler": pipe.scheduler} | _tensors(known)
    known |= _samplers(known)
    known |= {"Prediction": Prediction, "ClassifierFree": ClassifierFree, "classifier_free": classifier_free}
    known |= {"RectifiedFlow": RectifiedFlow, "OnSigmas": OnSigmas, "karras_sigmas": karras_sigmas, "sdedit": sdedit}
    known |= {"StaticThreshold": StaticThreshold, "DynamicThreshold": DynamicThreshold, "sinusoidal": sinusoidal}
    known |= {"patchify": patchify, "kl_term": kl_term, "ddim": ddim}
    known |= {"ddpm": ddpm, "heun": heun, "dpm_solver": dpm_solver, "unipc": unipc, "result": result}
    return (
        known
        | {"randn": randn, "seeded": seeded, "float32": torch.float32}
        | {name: getattr(torch, name) for name in ("arange", "tensor", "cat")}
    )


def _schedulers(pipe: Any) -> dict[str, Callable[..., Any]]:
    """By their names: functions that make a scheduler of diffusers with the pipeline's chain and STEPS steps from T on."""
    import diffusers

    chain = {name: pipe.scheduler.config[name] for name in ("beta_start", "beta_end", "beta_schedule")}

    def make(name: str, **options: Any) -> Any:
        fixed = {"clip_sample": False} if name in ("DDIMScheduler", "DDPMScheduler") else {}
        own = getattr(diffusers, name)(**chain | {"timestep_spacing": "trailing"} | fixed | options)
        own.set_timesteps(STEPS)
        return own

    return {name: partial(make, name) for name in SCHEDULERS}


def _tensors(known: dict[str, Any]) -> dict[str, Any]:
    """Noises, latents, what the networks make of them, and times."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    pipe, process, t, shape = known["pipe"], known["process"], known["t"], known["net"].shape
    sd3, sd3_net = known["sd3"], known["sd3_network"].net
    x0, eps, x, z = (randn(2, *shape, rng=seeded(i)) for i in range(4))
    a, b = process.coefficients(t, x)
    with torch.no_grad():
        text, null = pipe.encode_prompt(known["prompts"], "cpu", 1, True)
        out, without = (pipe.unet(x, t - 1, of).sample for of in (text, null))
        q = pipe.vae.encode(randn(2, 3, *(2 * side for side in shape[1:]), rng=seeded(6))).latent_dist
        ids = pipe.tokenizer(known["prompts"], padding="max_length", return_tensors="pt").input_ids
    sd3.scheduler.set_timesteps(STEPS)
    patch_layer = sd3.transformer.pos_embed.proj  # a convolution
    even = torch.linspace(1, sd3.scheduler.sigma_min, STEPS, dtype=torch.float64, device="cpu")
    made = {
        "x0": x0,
        "eps": eps,
        "x": x,
        "z": z,
        "a": a,
        "b": b,
        "text": text,
        "out": out,
        "ids": ids,
        "text_encoder": pipe.text_encoder,
    }
    made |= {"z3": randn(2, *sd3_net.shape, rng=seeded(5)), "sd3_net": sd3_net, "t_even": even}
    made |= {"q": q, "patch_layer": patch_layer, "kernel": patch_layer.weight.permute(2, 3, 1, 0).flatten(0, 2)}
    made |= {"guided": without + 3 * (out - without), "flow_times": scheduler_times(sd3.scheduler, STEPS)}
    made |= {"denoiser": known["network"].given(known["prompts"]), "rescale_noise_cfg": rescale_noise_cfg}
    return made | {
        "sigma": lambda t: float(process.noise(t) / process.signal(t)),
        "spread": lambda x: x.std((1, 2, 3), keepdim=True),
        "shorter": shorter,
        "final_layer_norm": _body(pipe.text_encoder).final_layer_norm,
    }


def _body(text_encoder: Any) -> Any:
    """The module with the layers, which is one of the encoder's in some versions of transformers."""
    return getattr(text_encoder, "text_model", text_encoder)


def shorter(text_encoder: Any, n: int) -> Any:
    """A copy of a text encoder without its last n layers."""
    copied = copy.deepcopy(text_encoder)
    _body(copied).encoder.layers = _body(copied).encoder.layers[:-n]
    return copied


def _samplers(known: dict[str, Any]) -> dict[str, Any]:
    """`draw`, our samplers, and `run`, their pipelines, from the same noise; and what a few rows need besides."""
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe, process, x = known["pipe"], known["process"], known["x"]
    img2img = StableDiffusionImg2ImgPipeline(
        **pipe.components | {"scheduler": known["DDPMScheduler"](steps_offset=1)}, requires_safety_checker=False
    )
    img2img.set_progress_bar_config(disable=True)
    times = scheduler_times(pipe.scheduler, STEPS)

    def draw(denoiser: Any, sampler: Any = ddim, start: Tensor | None = None, times: Tensor = times, **options: Any) -> Tensor:
        """The end (B, ...) of our sampler, at the times of the scheduler that the denoiser's own pipeline has."""
        if isinstance(denoiser.process, RectifiedFlow):
            return result(rectified_flow(denoiser, known["z3"], known["flow_times"]))
        if getattr(denoiser, "w", None) is not None and not isinstance(denoiser, ClassifierFree):
            return result(consistency(denoiser, x, scheduler_times(known["lcm"].scheduler, STEPS), seeded(7)))
        return result(sampler(denoiser, x if start is None else start, times, **options))

    def run(of: Any = pipe, **options: Any) -> Tensor:
        """The latents (B, ...) that a pipeline of diffusers ends with, or `pipe` with the scheduler `of`."""
        asked = of if hasattr(of, "components") else pipe
        own, asked.scheduler = asked.scheduler, asked.scheduler if asked is of else of
        options = {"guidance_scale": 1.0} | options
        if asked is not img2img:
            options["latents"] = (known["z3"] if asked is known["sd3"] else x) * in_unit_variance(asked.scheduler)
        made = asked(known["prompts"], num_inference_steps=STEPS, output_type="latent", generator=seeded(7), **options).images
        asked.scheduler = own
        return made

    def in_unit_variance(scheduler: Any) -> float:
        """What the latents are multiplied by, so that the first x has the variance of x_T, sigma^2 + 1 in their scale."""
        if not type(scheduler).__name__.startswith(("EulerDiscrete", "EulerAncestral", "Heun")):
            return 1.0
        return float((scheduler.sigmas.max() ** 2 + 1) ** 0.5 / scheduler.init_noise_sigma)

    def timestep_given_to(unet: Any) -> Tensor:
        """The timestep that reaches the network when a denoiser of ours is called at t."""
        seen: list[Tensor] = []
        hook = unet.register_forward_pre_hook(lambda net, args: seen.append(args[1]))
        known["denoiser"](x, known["t"])
        hook.remove()
        return seen[0][0]

    def step_noise(t: int, s: int) -> Tensor:
        """The standard deviation of the fresh noise of a DDPM step from t to s."""
        now, then = process.alpha_bar(t), process.alpha_bar(s)
        return ((1 - then) / (1 - now) * (1 - now / then)).sqrt()

    made = {"draw": draw, "run": run, "img2img": img2img, "times": times, "timestep_given_to": timestep_given_to}
    return made | {"step_noise": step_noise}
