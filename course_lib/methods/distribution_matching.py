"""Distribution matching distillation: a generator of one evaluation, trained by the difference of two scores. Yin et al. 2024.

Two networks are trained in turns (`training.alternate`): the generator by `dmd_loss`, and a denoiser of its samples, the fake
one, by `denoising_loss` on them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.process import DDPM, Process, Time, rand, randn_like


def middle_times(process: Process, batch: int, rng: torch.Generator | None = None) -> Tensor:
    """Uniform times (batch,) from 0.02 T to 0.98 T, whole ones for a chain. Yin et al. 2024, section 3.2."""
    validate.instance("process", process, Process)
    t = (0.02 + 0.96 * rand(validate.at_least("batch", batch, 1), rng=rng).double()) * process.T
    return t.round().long().clamp(1, process.T) if isinstance(process, DDPM) else t


def dmd_gradient(x: Tensor, x_t: Tensor, t: Time, real: Denoiser, fake: Denoiser) -> Tensor:
    """The gradient (B, ...) with respect to samples x (B, ...) of the divergence KL(generated, real), weighted; no graph.

    It is w_t alpha_t (s_fake(x_t) - s_real(x_t)) at the noisy samples x_t (B, ...), with the weight
    w_t = sigma_t^2 / alpha_t^2 / mean |x - mu_real(x_t)|; in terms of x_0, (mu_fake - mu_real) / mean |x - mu_real|, with the
    mean over the numbers of each sample. Yin et al. 2024, eq. 7 and 8. `real` and `fake` are denoisers of the data and of the
    generated samples, t a number or (B,). Raises ValueError where x and x_t differ in shape.
    """
    for name, each in (("real", real), ("fake", fake)):
        validate.instance(name, each, Denoiser)
    validate.like("x_t", x_t, "x", validate.batch("x", x))
    with torch.no_grad():
        mu_real, mu_fake = real(x_t, t).x0, fake(x_t, t).x0
        size = (x - mu_real).abs().flatten(1).mean(1).clamp(min=1e-6)
        return (mu_fake - mu_real) / size.view(-1, *[1] * (x.ndim - 1))


def one_step(generator: Denoiser, z: Tensor) -> Tensor:
    """The generator's samples (B, ...) of noise z (B, ...): its x_0 at the largest time, one evaluation."""
    process = validate.instance("generator", generator, Denoiser).process
    return generator(validate.batch("z", z), process.T).x0


def dmd_loss(generator: Denoiser, fake: Denoiser, real: Denoiser, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """A loss () whose gradient is that of distribution matching: x of the noise z (B, ...) times a fixed `dmd_gradient`.

    Yin et al. 2024, Algorithm 2. Its value says nothing. Times and noise are drawn as in `middle_times`.
    """
    x = one_step(generator, z)
    for name, each in (("real", real), ("fake", fake)):
        validate.instance(name, each, Denoiser)
    t = middle_times(real.process, len(x), rng)
    x_t = real.process.add_noise(x.detach(), t, randn_like(x, rng))
    return (x * dmd_gradient(x.detach(), x_t, t, real, fake)).mean()
