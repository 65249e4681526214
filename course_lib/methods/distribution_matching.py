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


def middle_times(process: Process, batch: int, rng: torch.Generator | None = None, high: float = 0.98) -> Tensor:
    """Uniform times (batch,) from 0.02 T to `high` T, whole ones for a chain. Yin et al. 2024, section 3.2."""
    validate.instance("process", process, Process)
    width = validate.finite("high", high, 0.02, 1) - 0.02
    t = (0.02 + width * rand(validate.at_least("batch", batch, 1), rng=rng).double()) * process.T
    return t.round().long().clamp(1, process.T) if isinstance(process, DDPM) else t


def dmd_gradient(x: Tensor, x_t: Tensor, t: Time, real: Denoiser, fake: Denoiser) -> Tensor:
    """The gradient (B, ...) with respect to samples x (B, ...) of the divergence KL(generated, real), weighted; no graph.

    It is (mu_fake - mu_real) / mean |x - mu_real| with the x_0 that both predict from the noisy samples x_t (B, ...) at t, a
    number or (B,), and the mean over the numbers of each sample. In scores it is a weight times s_fake - s_real. Yin et al.
    2024, eq. 7 and 8, without a factor alpha_t, as in the code of DMD2 (Yin et al. 2024b). `real` and `fake` are denoisers of
    the data and of the generated samples. Raises ValueError where x and x_t differ in shape.
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


def dmd_loss(
    generator: Denoiser,
    fake: Denoiser,
    real: Denoiser,
    z: Tensor,
    rng: torch.Generator | None = None,
    high: float = 0.98,
) -> Tensor:
    """A loss () whose gradient is that of distribution matching: samples of the noise z (B, ...) times their `dmd_gradient`.

    Yin et al. 2024, Algorithm 2. Its value says nothing. Times come from `middle_times`, up to `high` T.
    """
    x = one_step(generator, z)
    for name, each in (("real", real), ("fake", fake)):
        validate.instance(name, each, Denoiser)
    t = middle_times(real.process, len(x), rng, high)
    x_t = real.process.add_noise(x.detach(), t, randn_like(x, rng))
    return (x * dmd_gradient(x.detach(), x_t, t, real, fake)).mean()
