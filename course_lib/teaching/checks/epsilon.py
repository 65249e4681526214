"""Lesson 02: the epsilon loss."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import training
from course_lib.denoisers import Denoiser
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import ddpm
from course_lib.schedules import cosine_beta
from course_lib.teaching.checks.check import Case, Check, after, minus, on
from course_lib.teaching.checks.spy import CLOUD, DENOISER, PICTURES, POINTS, PROCESS, T_EACH, Record, Z

# denoising_loss. A right answer may draw t and the noise in any order. So what is compared is the input of the network.


def _denoising_loss(denoiser: Denoiser, x0: Tensor, rng: torch.Generator) -> Tensor:
    """The mean squared error of the predicted noise. Ho et al. 2020, Algorithm 1."""
    process = denoiser.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    x_t = process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).eps - eps).square().mean()


_X_T = "process.add_noise(x0, t, eps)"

denoising_loss = Check(
    "denoising_loss",
    _denoising_loss,
    cases=[
        Case("the loss is the mean squared error of the noise, for points (B, 2)", lambda f: Record(f, CLOUD).ratio, 0.08),
        Case("the same for pictures (B, C, H, W)", lambda f: Record(f, PICTURES.repeat(2000, 1, 1, 1)).ratio, 0.15),
        Case("each t lies in 1 .. T", lambda f: Record(f, CLOUD).out_of_range(50)),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: Record(f, CLOUD).counts(50), 0.2),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: Record(f, CLOUD).noise, 0.04),
        Case("the gradient of the loss reaches the network", lambda f: Record(f, CLOUD).slope, 0.08),
        Case("the same rng gives the same loss", lambda f: torch.equal(*(Record(f, PICTURES).value for _ in range(2)))),
        Case("x0 is left as it was", after(DENOISER, PICTURES, seeded(7))),
    ],
    mistakes={
        "one t is drawn for the whole batch; draw one for each picture": {"_t(len(x0), rng)": "_t(1, rng).expand(len(x0))"},
        "t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T": {"len(x0), rng)": "len(x0), rng) - 1"},
        "the squares are summed, not averaged: the loss grows with the batch": {".mean()": ".sum()"},
        "the squares are summed over each picture, as the norm of Algorithm 1 says; right, but take the mean, so that "
        "losses of pictures of any size can be compared": {".square().mean()": ".square().flatten(1).sum(1).mean()"},
        "the loss is one number for each of the batch; its mean is asked for": {".mean()": ".flatten(1).mean(1)"},
        "the root of the mean square is taken": {".mean()": ".mean().sqrt()"},
        "absolute values are averaged, not squares": {".square()": ".abs()"},
        "this is a Huber loss, which is linear where the error is large; Algorithm 1 has the square": {
            "(denoiser(x_t, t).eps - eps).square().mean()": "torch.nn.functional.smooth_l1_loss(denoiser(x_t, t).eps, eps)"
        },
        "half of the mean square is returned": {".mean()": ".mean() / 2"},
        "the difference is averaged, not its square": {".square()": ""},
        "the predicted x_0 is compared with x_0; Algorithm 1 compares noises": {".eps - eps": ".x0 - x0"},
        "the predicted noise is compared with the clean picture x_0, not with the noise": {".eps - eps": ".eps - x0"},
        "the predicted noise is compared with the noisy picture x_t, not with the noise": {".eps - eps": ".eps - x_t"},
        "the noise is drawn anew for the comparison; it must be the noise in x_t": {".eps - eps": ".eps - randn_like(x0, rng)"},
        "the network is given the clean picture x_0, not x_t": {_X_T: "x0"},
        "x_0 is not scaled by sqrt(alpha_bar) in x_t": {_X_T: "x0 + process.coefficients(t, x0)[1] * eps"},
        "sqrt(alpha_bar) and sqrt(1 - alpha_bar) have changed places in x_t": {_X_T: "process.add_noise(eps, t, x0)"},
        "the denoiser is given t - 1, as if t were counted from 0": {"denoiser(x_t, t)": "denoiser(x_t, t - 1)"},
        "the square roots are missing: alpha_bar and 1 - alpha_bar are variances": {
            _X_T: "a**2 * x0 + b**2 * eps",
            "x_t =": "a, b = process.coefficients(t, x0)\n    x_t =",
        },
        "alpha_t stands where alpha_bar_t belongs: x_t has the noise of a single step": {
            _X_T: "a * x0 + (1 - a**2).sqrt() * eps",
            "x_t =": "a = process.coefficients(t, x0)[0] / process.coefficients(t - 1, x0)[0]\n    x_t =",
        },
        "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x0, rng)": "torch.rand(x0.shape, generator=rng)"},
        "all of the batch gets the same noise": {"randn_like(x0, rng)": "randn_like(x0[:1], rng).expand_as(x0)"},
        "the loss is cut off from the network (.detach(), .item() or no_grad)": {".mean()": ".mean().item()"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x0, rng)": "torch.randn_like(x0)"},
    },
    hint="Draw t with process.sample_t(len(x0), rng) and eps, standard normal, of x0's shape; make x_t of them; return the "
    "mean of (eps - denoiser(x_t, t).eps) squared.",
    shown=(training.denoising_loss,),
)


def _ddpm_step(denoiser: Denoiser, x_t: Tensor, t: int, z: Tensor) -> Tensor:
    """One step of Algorithm 2 of Ho et al. 2020, with the variance of the posterior (their eq. 7)."""
    process = denoiser.process
    alpha, bar, before = process.alpha(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    shrink, beta = (1 - before) / (1 - bar), process.beta(t)
    sigma = (shrink * beta).sqrt()
    return 1 / alpha.sqrt() * (x_t - (1 - alpha) / (1 - bar).sqrt() * denoiser(x_t, t).eps) + sigma * z


_STEP = "1 / alpha.sqrt() * (x_t - (1 - alpha) / (1 - bar).sqrt() * denoiser(x_t, t).eps) + sigma * z"
_CLAMPED = "(x_t - bar.sqrt() * denoiser(x_t, t).x0.clamp(-1, 1)) / (1 - bar).sqrt()"

ddpm_step = Check(
    "ddpm_step",
    _ddpm_step,
    cases=[
        Case("without noise (z = 0), in the middle of the chain", on(DENOISER, PICTURES, 25, 0 * Z)),
        Case("without noise, at t = T", on(DENOISER, PICTURES, 50, 0 * Z)),
        Case("without noise, at t = 1", on(DENOISER, PICTURES, 1, 0 * Z)),
        Case("what z adds is sigma_t z", minus(on(DENOISER, PICTURES, 25, Z), on(DENOISER, PICTURES, 25, 0 * Z))),
        Case("the last step, t = 1, adds no noise", on(DENOISER, PICTURES, 1, Z)),
        Case("the step before it does", on(DENOISER, PICTURES, 2, Z)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, 25, POINTS.flip(0))),
        Case("x_t is left as it was", after(DENOISER, PICTURES, 25, Z)),
    ],
    mistakes={
        "the bar is lost: sqrt(1 - alpha_t) stands where sqrt(1 - alpha_bar_t) belongs, as on a slide": {
            "(1 - bar).sqrt()": "(1 - alpha).sqrt()"
        },
        "a square root is missing below: 1 - alpha_bar_t stands where sqrt(1 - alpha_bar_t) belongs": {"bar).sqrt()": "bar)"},
        "there is a bar too many: 1 - alpha_bar_t stands where 1 - alpha_t belongs": {"- alpha) /": "- bar) /"},
        "sqrt(1 - alpha_t) stands where 1 - alpha_t belongs": {"(1 - alpha) /": "(1 - alpha).sqrt() /"},
        "alpha_t stands where 1 - alpha_t belongs before the noise": {"(1 - alpha) /": "alpha /"},
        "the factor 1 / sqrt(alpha_t) is missing": {"1 / alpha.sqrt() *": "1 *"},
        "1 / alpha_t stands where 1 / sqrt(alpha_t) belongs": {"1 / alpha.sqrt()": "1 / alpha"},
        "sqrt(alpha_t) multiplies where it must divide": {"1 / alpha.sqrt()": "alpha.sqrt()"},
        "there is a bar too many: 1 / sqrt(alpha_bar_t) stands where 1 / sqrt(alpha_t) belongs": {"alpha.sqrt()": "bar.sqrt()"},
        "the predicted noise is added, not subtracted": {"x_t - (1": "x_t + (1"},
        "the predicted x_0 is subtracted, not the predicted noise: .eps is what you want": {".eps": ".x0"},
        "noise is added at the last step too, with sigma_t^2 = beta_t: Algorithm 2 has z = 0 at t = 1": {"shrink * ": ""},
        "sigma_t^2 is beta_t; Ho et al. allow it, but this exercise asks for the posterior's variance (eq. 7)": {
            "shrink *": "(t > 1) *"
        },
        "noise is added at the last step too: line 3 of Algorithm 2 has z = 0 at t = 1": {
            "return": "sigma = sigma if t > 1 else _posterior_variance(process, 2).sqrt()\n    return"
        },
        "the variance sigma_t^2 multiplies z; it should be sigma_t, its root": {"beta).sqrt()": "beta)"},
        "the noise z is forgotten": {" + sigma * z": ""},
        "the root is taken twice: sigma_t is the root of the variance": {"beta).sqrt()": "beta) ** 0.25"},
        "the predicted x_0 is returned; x_(t-1) is asked for": {_STEP: "denoiser(x_t, t).x0"},
        "this is a step of DDIM, which adds no noise": {
            _STEP: "before.sqrt() * denoiser(x_t, t).x0 + (1 - before).sqrt() * denoiser(x_t, t).eps"
        },
        "the predicted x_0 is clamped to -1 .. 1; Algorithm 2 has no bounds": {"denoiser(x_t, t).eps": _CLAMPED},
        "the predicted x_0 is made noisy again, to t - 1, with z: that is a draw from q(x_(t-1) | x_0), without x_t": {
            _STEP: "before.sqrt() * denoiser(x_t, t).x0 + (1 - before).sqrt() * z"
        },
        "sigma_t is the posterior's at t - 1": {
            "return": "sigma = _posterior_variance(process, max(t - 1, 1)).sqrt()\n    return"
        },
        "z stands inside the bracket, so that 1 / sqrt(alpha_t) multiplies it too": {"eps) + sigma * z": "eps + sigma * z)"},
        "alpha and alpha_bar are read one step too early: alpha_bar(t) is that of x_t": {
            "return": "alpha, bar = process.alpha(t - 1), before\n    return"
        },
    },
    hint="x_(t-1) = (x_t - (1 - alpha_t) / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t) + sigma_t z, "
    "with eps = denoiser(x_t, t).eps and sigma_t the root of the posterior's variance, which is 0 at t = 1.",
    shown=(ddpm,),
)


def _posterior_variance(process: DDPM, t: int | Tensor) -> Tensor:
    """The variance of q(x_(t-1) | x_t, x_0), which depends on neither x. Ho et al. 2020, eq. 7."""
    beta, bar, before = process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1)
    shrink = (1 - before) / (1 - bar)
    return shrink * beta


posterior_variance = Check(
    "posterior_variance",
    _posterior_variance,
    cases=[
        Case("at t = 1 it is 0", on(PROCESS, 1)),
        Case("in the middle of the chain", on(PROCESS, 25)),
        Case("at t = T", on(PROCESS, 50)),
        Case("as a share of beta_t, at t = 2", lambda f: torch.as_tensor(on(PROCESS, 2)(f)) / PROCESS.beta(2)),
        Case("for a batch of times, a variance each", on(PROCESS, T_EACH)),
        Case("another schedule", on(DDPM(cosine_beta(10)), torch.arange(1, 11))),
    ],
    mistakes={
        "it is beta_t, the variance of a step forward; a step back, with x_0 known, varies less: beta_t times "
        "(1 - alpha_bar_(t-1)) / (1 - alpha_bar_t)": {"shrink * ": ""},
        "the standard deviation is returned, not the variance": {"shrink * beta": "(shrink * beta).sqrt()"},
        "the logarithm of the variance is returned": [
            {"shrink * beta": "(shrink * beta).log()"},
            {"shrink * beta": "(shrink * beta).clamp(min=1e-20).log()"},
        ],
        "the factor beta_t is missing": {" * beta": ""},
        "alpha_t stands where beta_t belongs": {"process.beta": "process.alpha"},
        "it is upside down: 1 - alpha_bar_(t-1) belongs above the line, 1 - alpha_bar_t below": {"shrink *": "1 / shrink *"},
        "there are square roots over 1 - alpha_bar; in a variance there are none": {"shrink * beta": "shrink.sqrt() * beta"},
        "alpha_bar stands where 1 - alpha_bar belongs": {"(1 - before) / (1 - bar)": "before / bar"},
        "the bars are lost: alpha stands for alpha_bar": {"alpha_bar(t), process.alpha_bar": "alpha(t), process.alpha"},
        "the line below is missing: divide by 1 - alpha_bar_t": {" / (1 - bar)": ""},
        "beta_(t-1) stands where beta_t belongs": {"process.beta(t)": "process.beta(t - 1)"},
        "all is taken one step too early, as if t were counted from 0": {"beta, bar": "t = t - 1\n    beta, bar"},
        "the variance at t = 1 is that of t = 2, as programs do before they take its logarithm; at t = 1 it is 0": {
            "beta, bar": "t = torch.as_tensor(t).clamp(min=2)\n    beta, bar"
        },
        "it works for one t, not for a batch of them": {"beta, bar": "t = int(t)\n    beta, bar"},
    },
    hint="beta_tilde_t = (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t) beta_t; process.alpha_bar(t - 1) is right for t = 1 too.",
    shown=(DDPM.posterior,),
)
