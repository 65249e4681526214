"""Lesson 29: a pipeline of diffusers by hand, from its parts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from course_lib.prediction import Prediction
from course_lib.teaching.checks.check import Case, Check
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import normal
from course_lib.zoo import diffusers

# euler_scale

ALPHAS = torch.linspace(0.9995, 0.98, 200).cumprod(0)
LATENTS = normal(3, 4, 2, 5, seed=1)


def _euler_scale(x, sigma, alphas_cumprod, back=False):
    """x_t (B, ...) of x = x_0 + sigma eps, and its time; with `back`, x of x_t. Karras et al. 2022, Table 1 (VP)."""
    t = 1 + int((alphas_cumprod - 1 / (1 + sigma**2)).abs().argmin())
    root = (1 + sigma**2) ** 0.5
    return (x * root if back else x / root), t


def _level(t: int) -> float:
    return float(((1 - ALPHAS[t - 1]) / ALPHAS[t - 1]) ** 0.5)


def _scaled(t: int, shape: tuple[int, ...] = (3, 4, 2, 5), **options: bool) -> Callable[[Callable], Tensor]:
    """A case's run: the scaled x and the time at the noise level of t."""

    def run(fn: Callable) -> Tensor:
        found = fn(LATENTS.flatten()[: torch.Size(shape).numel()].view(shape).clone(), _level(t), ALPHAS.clone(), **options)
        if not isinstance(found, tuple) or len(found) != 2:
            raise Refused("it must return two values: the scaled x, and the time t")
        return torch.cat([torch.as_tensor(v).flatten() for v in found])

    return run


euler_scale = Check(
    "euler_scale",
    _euler_scale,
    cases=[
        Case("x_t and its time at t = 120", _scaled(120)),
        Case("at the last time, T = 200", _scaled(200)),
        Case("at t = 1", _scaled(1)),
        Case("back, from x_t to x_0 + sigma eps", _scaled(120, back=True)),
        Case("points (B, 2), as well as latents", _scaled(60, (5, 2))),
    ],
    mistakes={
        "the time is their index k: ours is t = k + 1": {"1 + int(": "int("},
        "x is divided by 1 + sigma^2: its root is the standard deviation": {"(1 + sigma**2) ** 0.5": "1 + sigma**2"},
        "x is divided by sigma": {"(1 + sigma**2) ** 0.5": "sigma"},
        "x is multiplied where it must be divided, and the other way round": {
            "x * root if back else x / root": "x / root if back else x * root"
        },
        "`back` is ignored": {"x * root if back else x / root": "x / root"},
        "x is not scaled": {"(1 + sigma**2) ** 0.5": "1.0"},
        "the time counts from the noise: alphas_cumprod falls with t": {"1 + int(": "len(alphas_cumprod) - int("},
        "the noise level is compared with alphas_cumprod itself, not with 1 / (1 + sigma^2)": {
            "1 / (1 + sigma**2)).abs()": "sigma).abs()"
        },
        "alphas_cumprod is compared with 1 / sigma^2": {"1 / (1 + sigma**2)).abs()": "1 / sigma**2).abs()"},
    },
    hint="alpha_bar = 1 / (1 + sigma^2), and x_t = sqrt(alpha_bar) (x_0 + sigma eps). The time is 1 + the index of alpha_bar.",
)


# unet_denoiser

TEXT = normal(3, 6, 4, seed=2)


class _UNet:
    """What is called as their networks are: unet(x, k, encoder_hidden_states).sample."""

    def __call__(self, sample, timestep, encoder_hidden_states=None, return_dict=True, **more):
        if encoder_hidden_states is None:
            raise TypeError("forward() missing 1 required positional argument: 'encoder_hidden_states'")
        k = torch.as_tensor(timestep).double().reshape(-1, 1, 1, 1)
        text = encoder_hidden_states.double().square().mean((1, 2)).view(-1, 1, 1, 1)
        out = (0.8 * sample.double() + 0.01 * k + text).float()
        return SimpleNamespace(sample=out) if return_dict else (out,)


def _unet_denoiser(unet, alphas_cumprod, x, t, text):
    """The Prediction at x_t (B, ...) and time t of their network, whose output is eps. Rombach et al. 2022."""
    k = t - 1
    a, b = alphas_cumprod[k].sqrt(), (1 - alphas_cumprod[k]).sqrt()
    eps = unet(x, k, encoder_hidden_states=text).sample
    return Prediction(x, a, b, "eps", eps)


def _views(t: int, view: str = "", batch: int = 3) -> Callable[[Callable], Tensor]:
    """A case's run: x_0 and eps of the prediction at t, or one of the two."""

    def run(fn: Callable) -> Tensor:
        found = fn(_UNet(), ALPHAS.clone(), LATENTS[:batch].clone(), t, TEXT[:batch].clone())
        if not isinstance(found, Prediction):
            raise Refused(f"it must return a Prediction, got {type(found).__name__}")
        return torch.stack([getattr(found, name) for name in ([view] if view else ["x0", "eps"])])

    return run


unet_denoiser = Check(
    "unet_denoiser",
    _unet_denoiser,
    cases=[
        Case("the predicted noise at t = 120", _views(120, "eps")),
        Case("the predicted x_0 at t = 120", _views(120, "x0")),
        Case("both at the last time, T = 200", _views(200)),
        Case("both at t = 1", _views(1)),
        Case("one latent", _views(60, batch=1)),
    ],
    mistakes={
        "the network is given t: its timestep is t - 1": [
            {"k = t - 1": "k = t - 1\n    j = t", "unet(x, k,": "unet(x, j,"},
        ],
        "alphas_cumprod is read at t, not at t - 1": {
            "alphas_cumprod[k].sqrt(), (1 - alphas_cumprod[k])": "alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t])"
        },
        "all is one step too late: k = t - 1": {"k = t - 1": "k = t"},
        "the signal is alpha_bar: it is its root": {"alphas_cumprod[k].sqrt(), (1": "alphas_cumprod[k], (1"},
        "the noise is 1 - alpha_bar: it is its root": {"(1 - alphas_cumprod[k]).sqrt()": "(1 - alphas_cumprod[k])"},
        "signal and noise change places": {"Prediction(x, a, b,": "Prediction(x, b, a,"},
        "the output is taken for x_0: these networks predict eps": {'"eps", eps': '"x0", eps'},
        "the output is taken for v: these networks predict eps": {'"eps", eps': '"v", eps'},
        "the sign of the output is turned": {'"eps", eps': '"eps", -eps'},
        "the network is given x in Euler's scale": {"unet(x, k,": "unet(x / a, k,"},
    },
    hint='k = t - 1; a = sqrt(alphas_cumprod[k]), b = sqrt(1 - alphas_cumprod[k]); Prediction(x, a, b, "eps", the output).',
    shown=(diffusers.from_diffusers,),
)


# pipeline_by_hand


def _pipeline_by_hand(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    """Pictures (B, 3, H, W) for prompts, from noise (B, 4, h, w), in n steps with guidance w. Rombach et al. 2022."""
    with torch.no_grad():
        tokens = lambda texts: tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        null, text = text_encoder(tokens([""] * len(prompts)))[0], text_encoder(tokens(prompts))[0]
        scheduler.set_timesteps(n)
        x = noise * scheduler.init_noise_sigma
        for k in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, k)
            without, given = (unet(scaled, k, encoder_hidden_states=of).sample for of in (null, text))
            eps = without + w * (given - without)
            x = scheduler.step(eps, k, x).prev_sample
        return vae.decode(x / vae.config.scaling_factor).sample


@cache
def _made(seed: int) -> Any:
    from course_lib.zoo.tiny_pipelines import tiny

    return tiny("StableDiffusionPipeline", seed)


def _parts(seed: int, scheduler: str) -> tuple[Any, ...]:
    """Copies of the five parts of a tiny random pipeline, with that scheduler."""
    import diffusers

    pipe = deepcopy(_made(seed))
    own = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    return pipe.tokenizer, pipe.text_encoder, pipe.unet, own, pipe.vae


def _pictures(seed: int, scheduler: str, w: float, n: int, prompts: tuple[str, ...] = ("a red house", "cats, at sea")):
    """A case's run: the pictures for the prompts by a pipeline of that seed."""
    noise = normal(len(prompts), 4, 8, 8, seed=seed)
    return lambda fn: fn(*_parts(seed, scheduler), list(prompts), w, n, noise.clone())


def _noise_after(fn: Callable) -> Tensor:
    """The noise after the call."""
    noise = normal(1, 4, 8, 8, seed=9)
    fn(*_parts(4, "EulerDiscreteScheduler"), ["a cat"], 2.0, 1, noise)
    return noise


pipeline_by_hand = Check(
    "pipeline_by_hand",
    _pipeline_by_hand,
    cases=[
        Case("the pictures with DDIMScheduler, w = 3", _pictures(1, "DDIMScheduler", 3.0, 3)),
        Case("with EulerDiscreteScheduler, which has another scale of x", _pictures(2, "EulerDiscreteScheduler", 3.0, 3)),
        Case("without guidance, w = 1", _pictures(1, "DDIMScheduler", 1.0, 2)),
        Case("one prompt, in two steps", _pictures(3, "EulerDiscreteScheduler", 5.0, 2, ("a cat",))),
        Case("the noise is left as it was", _noise_after),
    ],
    mistakes={
        "scale_model_input is missing: the network is given x in the scheduler's scale": {
            "scheduler.scale_model_input(x, k)": "x"
        },
        "the halves of the guidance are exchanged: it is null + w (text - null)": {
            "without + w * (given - without)": "given + w * (without - given)"
        },
        "the autoencoder's scaling factor is forgotten": {"x / vae.config.scaling_factor": "x"},
        "the latents are multiplied by the scaling factor: for decoding they are divided": {"x / vae.config": "x * vae.config"},
        "the timestep is off by one: the scheduler's k is already t - 1": [
            {"unet(scaled, k,": "unet(scaled, k - 1,"},
            {"unet(scaled, k,": "unet(scaled, k + 1,"},
        ],
        "the noise is not multiplied by init_noise_sigma": {"noise * scheduler.init_noise_sigma": "noise.clone()"},
        "the weight is 1 + w, as in Ho and Salimans (text + w (text - null) is the same): guidance_scale is w itself": {
            "without + w *": "without + (1 + w) *"
        },
        "there is no guidance": {"without + w * (given - without)": "given"},
        "the prompts are not padded to the tokenizer's length": {'padding="max_length"': "padding=True"},
        "step is given the scaled input: it takes x itself": {"scheduler.step(eps, k, x)": "scheduler.step(eps, k, scaled)"},
        "x is the predicted x_0 after each step, not prev_sample": {"prev_sample": "pred_original_sample"},
        "zeros stand for the empty prompt": {
            '= text_encoder(tokens([""] * len(prompts)))[0]': "= 0 * text_encoder(tokens(prompts))[0]"
        },
        "the latents are not decoded": {"vae.decode(x / vae.config.scaling_factor).sample": "x"},
    },
    hint="set_timesteps(n); x = noise * init_noise_sigma; for each k: scale_model_input, the network twice, null + w (text - "
    "null), step(...).prev_sample; at the end vae.decode(x / scaling_factor).",
    shown=(diffusers.from_diffusers,),
)
