"""Lesson 02: the epsilon loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib import training
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Denoiser, Network
from course_lib.process import DDPM, randn_like
from course_lib.samplers import ddpm
from course_lib.schedules import cosine_beta, linear_beta

PROCESS = DDPM(linear_beta(50, end=0.005))  # a gentle chain: what is left of x_0 at T still counts
POINTS = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, -0.5])
PICTURES = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))  # no two sizes of a picture are alike
Z = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(2))
T_EACH = torch.tensor([1, 20, 50])


class _Answer(nn.Module):
    """A network that remembers what it was shown, x (B, ...) and time (B,), and what it said."""

    def __init__(self):
        super().__init__()
        self.weight, self.shown = nn.Parameter(torch.tensor(1.5)), None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        said = self.weight * x + time.view(-1, *[1] * (x.ndim - 1)) - 0.3
        self.shown = x.detach(), time, said
        return said


# denoising_loss. A right answer may draw t and the noise in any order, so that losses are not compared but what they are made
# of: the network tells what it was shown, and x_0 is known, hence the noise in what it was shown is known too.


class _Heard:
    """What a student's loss came out as, `value`, and what its network was shown: t (B,), the noise in it, and its answer."""

    def __init__(self, loss: Callable, x0: Tensor, seed: int = 7):
        net = _Answer()
        self.weight, self.x0 = net.weight, x0.clone()
        self.value = torch.as_tensor(loss(Network(net, PROCESS), self.x0, torch.Generator().manual_seed(seed)))
        if net.shown is None:
            raise ValueError("the denoiser is never asked: denoiser(x_t, t).eps is its answer")
        x_t, time, said = net.shown
        self.t = (time * PROCESS.T).round().long()
        a, b = PROCESS.coefficients(self.t, x_t)
        noisy = self.t > 0  # at t = 0 there is no noise to be seen
        self.of_t = self.t[noisy]
        self.eps, self.clean = ((x_t - a * x0) / b)[noisy], x0[noisy]
        self.mean_square = (said[noisy] - self.eps).square().mean()


def _mean_square(x0: Tensor) -> Callable:
    def run(loss):
        heard = _Heard(loss, x0)
        return heard.value / heard.mean_square

    return run


def _slope(loss: Callable) -> Tensor:
    heard = _Heard(loss, POINTS)
    (mine,), (right,) = (torch.autograd.grad(v, heard.weight, retain_graph=True) for v in (heard.value, heard.mean_square))
    return mine / right


def _out_of_range(loss: Callable) -> Tensor:
    t = _Heard(loss, POINTS).t
    return ((t < 1) | (t > PROCESS.T)).any()


def _counts(loss: Callable) -> Tensor:
    """How often each t is drawn, beside how often it should be, from the rarest to the most frequent: all about 1."""
    t = _Heard(loss, POINTS).of_t
    return torch.bincount(t, minlength=PROCESS.T + 1)[1:].sort().values * PROCESS.T / len(POINTS)


def _noise(loss: Callable) -> Tensor:
    """Mean, standard deviation over the batch, and how much of x_0 there is in what should be noise: 0, 1, 0."""
    heard = _Heard(loss, POINTS)
    of_x0 = (heard.eps * (heard.clean - heard.clean.mean(0))).mean()
    return torch.stack([heard.eps.mean(), heard.eps.std(0).mean(), of_x0])


def _same_twice(loss: Callable) -> Tensor:
    return torch.equal(_Heard(loss, PICTURES).value, _Heard(loss, PICTURES).value)


def _loss_with(
    draw_t=lambda process, x0, rng: process.sample_t(len(x0), rng),
    draw_eps=randn_like,
    add_noise=lambda process, x0, t, eps: process.add_noise(x0, t, eps),
    compare=lambda pred, x0, eps, rng: pred.eps - eps,
    reduce=lambda off: off.square().mean(),
) -> Callable:
    """denoising_loss with another way to draw t or the noise, to make x_t, to compare, or to make one number of it."""

    def denoising_loss(denoiser, x0, rng):
        t = draw_t(denoiser.process, x0, rng)
        eps = draw_eps(x0, rng)
        pred = denoiser(add_noise(denoiser.process, x0, t, eps), t)
        return reduce(compare(pred, x0, eps, rng))

    return denoising_loss


def _factors(a, b) -> Callable:
    """add_noise with other factors, each made of the table that belongs there."""

    def add_noise(process, x0, t, eps):
        shape = (-1, *[1] * (x0.ndim - 1))
        return (a(process, t).view(shape) * x0 + b(process, t).view(shape) * eps).to(x0.dtype)

    return add_noise


_rootless = _factors(lambda p, t: p.alpha_bar(t), lambda p, t: 1 - p.alpha_bar(t))
_barless = _factors(lambda p, t: p.alpha(t).sqrt(), lambda p, t: (1 - p.alpha(t)).sqrt())
_one_t = lambda process, x0, rng: process.sample_t(1, rng).expand(len(x0))
_from_0 = lambda process, x0, rng: torch.randint(0, process.T, (len(x0),), generator=rng)

denoising_loss = Check(
    "denoising_loss",
    training.denoising_loss,
    cases=[
        Case("the loss is the mean square of what is missed of the noise, for points (B, 2)", _mean_square(POINTS), 0.08),
        Case("the same for pictures (B, C, H, W)", _mean_square(PICTURES.repeat(2000, 1, 1, 1)), 0.15),
        Case("no t is drawn but 1 .. T", _out_of_range),
        Case("each of the batch has its own t, and every t is as likely as any other", _counts, 0.2),
        Case("beside sqrt(alpha_bar_t) x_0 there is standard normal noise in x_t, as much as its t says", _noise, 0.04),
        Case("the slope of the loss reaches the network", _slope, 0.08),
        Case("the same rng gives the same loss", _same_twice),
        Case("x0 is left as it was", lambda loss: _Heard(loss, PICTURES).x0),
    ],
    mistakes=[
        ("one t is drawn for the whole batch; line 3 of Algorithm 1 draws one for each picture", _loss_with(draw_t=_one_t)),
        ("t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T", _loss_with(draw_t=_from_0)),
        (
            "the squares are summed, not averaged: the loss grows with the batch",
            _loss_with(reduce=lambda off: off.square().sum()),
        ),
        (
            "the squares are summed over each picture, as the norm of Algorithm 1 says; right, but take the mean, so that "
            "losses of pictures of any size can be compared",
            _loss_with(reduce=lambda off: off.square().flatten(1).sum(1).mean()),
        ),
        ("the root of the mean square is taken", _loss_with(reduce=lambda off: off.square().mean().sqrt())),
        ("absolute values are averaged, not squares", _loss_with(reduce=lambda off: off.abs().mean())),
        ("the difference is averaged, not its square", _loss_with(reduce=lambda off: off.mean())),
        (
            "the network's guess of x_0 is compared with x_0; Algorithm 1 compares noises",
            _loss_with(compare=lambda pred, x0, eps, rng: pred.x0 - x0),
        ),
        (
            "the network's noise is compared with the clean picture x_0, not with the noise",
            _loss_with(compare=lambda pred, x0, eps, rng: pred.eps - x0),
        ),
        (
            "the network's noise is compared with the noisy picture x_t, not with the noise",
            _loss_with(compare=lambda pred, x0, eps, rng: pred.eps - pred.x),
        ),
        (
            "the noise is drawn anew for the comparison; it must be the very noise that went into x_t",
            _loss_with(compare=lambda pred, x0, eps, rng: pred.eps - randn_like(x0, rng)),
        ),
        ("the network is shown the clean picture x_0, not x_t", _loss_with(add_noise=lambda process, x0, t, eps: x0)),
        ("the square roots are missing from x_t: alpha_bar and 1 - alpha_bar are variances", _loss_with(add_noise=_rootless)),
        ("alpha_t stands where alpha_bar_t belongs: x_t has the noise of a single step", _loss_with(add_noise=_barless)),
        (
            "the noise is uniform (torch.rand), not normal (torch.randn)",
            _loss_with(draw_eps=lambda x0, rng: torch.rand(x0.shape, generator=rng)),
        ),
        (
            "all of the batch gets the same noise",
            _loss_with(draw_eps=lambda x0, rng: randn_like(x0[:1], rng).expand_as(x0)),
        ),
        (
            "the loss is cut off from the network (.detach(), .item() or no_grad)",
            _loss_with(reduce=lambda off: float(off.detach().square().mean())),
        ),
        ("the noise is not drawn from rng: pass generator=rng", _loss_with(draw_eps=lambda x0, rng: torch.randn_like(x0))),
    ],
    hint="Draw t with process.sample_t(len(x0), rng) and eps, standard normal, of x0's shape; make x_t of them; return the "
    "mean of (eps - denoiser(x_t, t).eps) squared.",
)


# ddpm_step


def _reference_step(denoiser: Denoiser, x_t: Tensor, t: int, z: Tensor) -> Tensor:
    """One step of Algorithm 2 of Ho et al. 2020: the posterior of x_(t-1), with the network's guess for x_0."""
    mean, variance = denoiser.process.posterior(x_t, denoiser(x_t, t).x0, t)
    return mean + variance.sqrt() * z


DENOISER = Network(_Answer().requires_grad_(False), PROCESS)


def _x_t_after(step: Callable) -> Tensor:
    x_t = PICTURES.clone()
    step(DENOISER, x_t, 25, Z.clone())
    return x_t


def _share_of_z(step: Callable) -> Tensor:
    return on(DENOISER, PICTURES, 25, Z)(step) - on(DENOISER, PICTURES, 25, 0 * Z)(step)


def _tilde(process: DDPM, t: int) -> Tensor:
    return (1 - process.alpha_bar(t - 1)) / (1 - process.alpha_bar(t)) * process.beta(t)


def _step_with(
    outside=lambda alpha, alpha_bar: 1 / alpha.sqrt(),
    of_eps=lambda alpha, alpha_bar: (1 - alpha) / (1 - alpha_bar).sqrt(),
    sigma=lambda process, t: _tilde(process, t).sqrt(),
    says=lambda pred: pred.eps,
    z_inside=False,
    at=lambda t: t,
) -> Callable:
    """ddpm_step with another factor before the bracket or before the noise, another sigma, another view, or read elsewhere."""

    def ddpm_step(denoiser, x_t, t, z):
        process, s = denoiser.process, at(t)
        alpha, alpha_bar = process.alpha(s), process.alpha_bar(s)
        mean = x_t - of_eps(alpha, alpha_bar) * says(denoiser(x_t, t))
        noise = sigma(process, t) * z
        return outside(alpha, alpha_bar) * (mean + noise) if z_inside else outside(alpha, alpha_bar) * mean + noise

    return ddpm_step


ddpm_step = Check(
    "ddpm_step",
    _reference_step,
    cases=[
        Case("without noise (z = 0), amid the chain", on(DENOISER, PICTURES, 25, 0 * Z)),
        Case("without noise, at t = T", on(DENOISER, PICTURES, 50, 0 * Z)),
        Case("without noise, at t = 1", on(DENOISER, PICTURES, 1, 0 * Z)),
        Case("what z adds is sigma_t z", _share_of_z),
        Case("the last step, t = 1, adds no noise", on(DENOISER, PICTURES, 1, Z)),
        Case("the step before it does", on(DENOISER, PICTURES, 2, Z)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS[:5], 25, POINTS[5:10])),
        Case("x_t is left as it was", _x_t_after),
    ],
    mistakes=[
        (
            "the bar is lost: sqrt(1 - alpha_t) stands where sqrt(1 - alpha_bar_t) belongs, as on one of the slides",
            _step_with(of_eps=lambda alpha, alpha_bar: (1 - alpha) / (1 - alpha).sqrt()),
        ),
        (
            "the square root is missing below: 1 - alpha_bar_t stands where sqrt(1 - alpha_bar_t) belongs",
            _step_with(of_eps=lambda alpha, alpha_bar: (1 - alpha) / (1 - alpha_bar)),
        ),
        (
            "there is a bar too many: 1 - alpha_bar_t stands where 1 - alpha_t belongs, which takes all of the noise at once",
            _step_with(of_eps=lambda alpha, alpha_bar: (1 - alpha_bar).sqrt()),
        ),
        (
            "sqrt(1 - alpha_t) stands where 1 - alpha_t belongs",
            _step_with(of_eps=lambda alpha, alpha_bar: (1 - alpha).sqrt() / (1 - alpha_bar).sqrt()),
        ),
        (
            "alpha_t stands where 1 - alpha_t belongs before the noise",
            _step_with(of_eps=lambda alpha, alpha_bar: alpha / (1 - alpha_bar).sqrt()),
        ),
        ("the factor 1 / sqrt(alpha_t) is missing", _step_with(outside=lambda alpha, alpha_bar: 1)),
        ("1 / alpha_t stands where 1 / sqrt(alpha_t) belongs", _step_with(outside=lambda alpha, alpha_bar: 1 / alpha)),
        ("sqrt(alpha_t) multiplies where it must divide", _step_with(outside=lambda alpha, alpha_bar: alpha.sqrt())),
        (
            "there is a bar too many: 1 / sqrt(alpha_bar_t) stands where 1 / sqrt(alpha_t) belongs",
            _step_with(outside=lambda alpha, alpha_bar: 1 / alpha_bar.sqrt()),
        ),
        (
            "the predicted noise is added, not taken away",
            _step_with(of_eps=lambda alpha, alpha_bar: -(1 - alpha) / (1 - alpha_bar).sqrt()),
        ),
        (
            "the predicted x_0 is taken away, not the predicted noise: .eps is what you want",
            _step_with(says=lambda pred: pred.x0),
        ),
        (
            "noise is added at the last step too, with sigma_t^2 = beta_t: line 3 of Algorithm 2 has z = 0 at t = 1",
            _step_with(sigma=lambda process, t: process.beta(t).sqrt()),
        ),
        (
            "sigma_t^2 is beta_t; that is allowed by Ho et al., but this exercise asks for the posterior's variance (eq. 7)",
            _step_with(sigma=lambda process, t: process.beta(t).sqrt() * (t > 1)),
        ),
        (
            "noise is added at the last step too: line 3 of Algorithm 2 has z = 0 at t = 1",
            _step_with(sigma=lambda process, t: _tilde(process, max(t, 2)).sqrt()),
        ),
        ("the variance sigma_t^2 multiplies z; it should be sigma_t, its root", _step_with(sigma=_tilde)),
        ("the noise z is forgotten", _step_with(sigma=lambda process, t: 0)),
        ("z stands inside the bracket, so that 1 / sqrt(alpha_t) multiplies it too", _step_with(z_inside=True)),
        (
            "alpha and alpha_bar are read one step too early: here alpha_bar(t) is that of x_t, and alpha_bar(0) = 1",
            _step_with(at=lambda t: t - 1),
        ),
    ],
    hint="x_(t-1) = (x_t - (1 - alpha_t) / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t) + sigma_t z, "
    "with eps = denoiser(x_t, t).eps and sigma_t the root of the posterior's variance, which is 0 at t = 1.",
    shown=(ddpm,),
)


# posterior_variance


def _reference_variance(process: DDPM, t: int | Tensor) -> Tensor:
    """The variance of q(x_(t-1) | x_t, x_0), whatever these two are. Ho et al. 2020, eq. 7."""
    anything = torch.zeros(torch.as_tensor(t).numel(), 1, dtype=torch.float64)
    return process.posterior(anything, anything, t)[1].reshape(torch.as_tensor(t).shape)


def _variance_with(formula: Callable) -> Callable:
    """posterior_variance with another formula of beta_t, alpha_bar_t and alpha_bar_(t-1)."""
    return lambda process, t: formula(process.beta(t), process.alpha_bar(t), process.alpha_bar(t - 1))


posterior_variance = Check(
    "posterior_variance",
    _reference_variance,
    cases=[
        Case("at t = 1 nothing is left to chance", on(PROCESS, 1)),
        Case("amid the chain", on(PROCESS, 25)),
        Case("at t = T", on(PROCESS, 50)),
        Case("as a share of beta_t, at t = 2", lambda f: torch.as_tensor(f(PROCESS, 2)) / PROCESS.beta(2)),
        Case("for a batch of times, a variance each", on(PROCESS, T_EACH)),
        Case("another schedule", on(DDPM(cosine_beta(10)), torch.arange(1, 11))),
    ],
    mistakes=[
        (
            "it is beta_t, the variance of a step forward; a step back, with x_0 known, varies less: beta_t times "
            "(1 - alpha_bar_(t-1)) / (1 - alpha_bar_t)",
            lambda process, t: process.beta(t),
        ),
        ("the standard deviation is returned, not the variance", lambda process, t: _reference_variance(process, t).sqrt()),
        ("the logarithm of the variance is returned", lambda process, t: _reference_variance(process, t).log()),
        ("the factor beta_t is missing", _variance_with(lambda beta, bar, before: (1 - before) / (1 - bar))),
        (
            "alpha_t stands where beta_t belongs",
            _variance_with(lambda beta, bar, before: (1 - before) / (1 - bar) * (1 - beta)),
        ),
        (
            "it is upside down: 1 - alpha_bar_(t-1) belongs above the line, 1 - alpha_bar_t below",
            _variance_with(lambda beta, bar, before: (1 - bar) / (1 - before) * beta),
        ),
        (
            "there are square roots over 1 - alpha_bar; in a variance there are none",
            _variance_with(lambda beta, bar, before: ((1 - before) / (1 - bar)).sqrt() * beta),
        ),
        (
            "alpha_bar stands where 1 - alpha_bar belongs",
            _variance_with(lambda beta, bar, before: before / bar * beta),
        ),
        (
            "the bars are lost: alpha stands where alpha_bar belongs",
            lambda process, t: (1 - process.alpha(t - 1)) / (1 - process.alpha(t)) * process.beta(t),
        ),
        (
            "the line below is missing: divide by 1 - alpha_bar_t",
            _variance_with(lambda beta, bar, before: (1 - before) * beta),
        ),
        ("it works for one t, not for a batch of them", lambda process, t: _reference_variance(process, int(t))),
    ],
    hint="beta_tilde_t = (1 - alpha_bar_(t-1)) / (1 - alpha_bar_t) beta_t; process.alpha_bar(t - 1) is right for t = 1 too.",
    shown=(DDPM.posterior,),
)
