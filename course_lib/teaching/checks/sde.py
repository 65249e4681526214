"""Lesson 21: SDEs and the probability flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.denoisers import Denoiser
from course_lib.methods import sde
from course_lib.methods.sde import drift_diffusion
from course_lib.prediction import Prediction
from course_lib.process import Time, randn_like, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import CLOUD, DENOISER, PICTURES, POINTS, PROCESS, normal

# reverse_sde. At lam = 0 the points are compared. With noise, which may be drawn in any order, what it does to a cloud whose
# score is the same everywhere: the mean of a move is its drift, and what varies is its noise.
TIMES, LONG, PULL = [50, 35, 20, 5], [50, 10], 0.7
WALKERS, SHEET = CLOUD[:6000], normal(1500, 1, 2, 2, seed=1)


class _Recorder:
    """A denoiser that records where it is called. Its score is PULL everywhere."""

    def __init__(self):
        self.process, self.t = deepcopy(PROCESS), []

    def __call__(self, x: Tensor, t: Time) -> Prediction:
        self.t.append(int(torch.as_tensor(t).flatten()[0]))
        return Prediction(x, *PROCESS.coefficients(t, x), "score", torch.full_like(x, PULL))


class _Walk:
    """What a sampler did with x: the times `t` of its calls, the points at each time, and the noise of each move."""

    def __init__(self, sampler: Callable, lam: float, x: Tensor = WALKERS, times: Sequence[int] = TIMES):
        recorder, self.x = _Recorder(), x.clone()
        self.points = torch.as_tensor(sampler(recorder, self.x, [*times], lam, seeded(3)))
        if not recorder.t:
            raise Refused("the denoiser is never called: denoiser(x, t).score is the score")
        if len(self.points) != len(times) or self.points.shape[1:] != x.shape:
            want = (len(times), *x.shape)
            raise Refused(f"the result must be the points at all times, {want}, got {tuple(self.points.shape)}")
        self.t = torch.tensor(list(dict.fromkeys(recorder.t)))
        moves = self.points.double().diff(dim=0)
        rates = torch.tensor([float(drift_diffusion(PROCESS, t)[0]) * (s - t) for t, s in pairwise(times)])
        moves = moves - rates.view(-1, *[1] * x.ndim) * self.points[:-1].double()
        self.mean, self.noise = moves.flatten(1).mean(1), moves - moves.mean(1, keepdim=True)

    @property
    def spread(self) -> Tensor:
        """The standard deviation of the noise of each move."""
        return self.noise.std(1).flatten(1).mean(1)

    @property
    def fresh(self) -> Tensor:
        """Whether the noise of a move is uncorrelated with that of the next."""
        flat = self.noise.flatten(1)
        return (torch.cosine_similarity(flat[1:], flat[:-1], dim=1).abs() < 0.1).all()


def _reverse_sde(denoiser: Denoiser, x: Tensor, times: Sequence[float], lam: float, rng: torch.Generator | None) -> Tensor:
    """The points at all times (n + 1, B, ...), by Euler-Maruyama steps of the reverse SDE: Song et al. 2021, eq. 6 and 13."""
    points = [x]
    for t, s in pairwise(times):
        f, g2 = (float(v) for v in drift_diffusion(denoiser.process, t))
        score = denoiser(x, t).score
        drift = f * x - (1 + lam**2) / 2 * g2 * score
        z = randn_like(x, rng)
        x = x + drift * (s - t) + lam * (g2 * (t - s)) ** 0.5 * z
        points.append(x)
    return torch.stack(points)


def _at_0(x: Tensor, times: list[int]) -> Callable[[Callable], Tensor]:
    return lambda f: f(deepcopy(DENOISER), x.clone(), [*times], 0.0, seeded(3))


_walk = lambda part, lam, x=WALKERS, times=TIMES: lambda f: getattr(_Walk(f, lam, x, times), part)

reverse_sde = Check(
    "reverse_sde",
    _reverse_sde,
    cases=[
        Case("one score at each of the times but the last", _walk("t", 1.0)),
        Case("lam = 0, points (B, 2): the probability-flow ODE", _at_0(POINTS, TIMES)),
        Case("lam = 0, one long move of pictures (B, C, H, W)", _at_0(PICTURES, LONG)),
        Case("lam = 1: the drift of the reverse SDE", _walk("mean", 1.0), 0.03),
        Case("lam = 1/2: the drift", _walk("mean", 0.5), 0.03),
        Case("lam = 1: each move's noise has standard deviation g sqrt(t - s)", _walk("spread", 1.0), 0.04),
        Case("lam = 1/2: half of that", _walk("spread", 0.5), 0.04),
        Case("the same for pictures", _walk("spread", 1.0, SHEET), 0.05),
        Case("each move has noise of its own", _walk("fresh", 1.0)),
        Case("the same rng gives the same points", lambda f: torch.equal(*(_Walk(f, 1.0).points for _ in range(2)))),
        Case("x is left as it was", _walk("x", 1.0)),
    ],
    mistakes={
        "the score is not doubled: the drift is that of the ODE, whatever lam; with noise the marginals then widen": {
            "(1 + lam**2) / 2": "1 / 2"
        },
        "the half is missing: the score has the factor (1 + lam^2) / 2": {"(1 + lam**2) / 2": "(1 + lam**2)"},
        "lam is not squared in the drift": {"lam**2": "lam"},
        "the drift is always that of the reverse SDE: at lam = 0 half of the score is right": {"(1 + lam**2) / 2": "1"},
        "the drift has the wrong sign: s - t is negative": {"drift * (s - t)": "drift * (t - s)"},
        "the sign of the score is turned": {"f * x - (1": "f * x + (1"},
        "f is left out: the drift is f x - ...": {"f * x - (1": "-(1"},
        "g stands where g^2 belongs": {"/ 2 * g2 * score": "/ 2 * g2**0.5 * score"},
        "the noise is forgotten": {"+ lam * (g2": "+ 0 * (g2"},
        "the noise lacks its root: its variance is g^2 (t - s)": {"(g2 * (t - s)) ** 0.5": "(g2 * (t - s))"},
        "the noise grows with the step, not with its root": {"(g2 * (t - s)) ** 0.5": "g2**0.5 * (t - s)"},
        "the noise does not depend on the step: sqrt(t - s) is missing": {"(g2 * (t - s)) ** 0.5": "g2**0.5"},
        "lam does not multiply the noise": {"lam * (g2": "(g2"},
        "lam^2 multiplies the noise": {"+ lam * (g2": "+ lam**2 * (g2"},
        "the predicted noise stands where the score belongs": {"(x, t).score": "(x, t).eps"},
        "f and g are taken at s; the move starts at t": {"process, t)": "process, s)"},
        "all moves have the same noise: draw a new z in each": {"randn_like(x, rng)": "randn_like(x, seeded(5))"},
        "the noise is not drawn from rng": {"randn_like(x, rng)": "torch.randn_like(x)"},
        "all of the batch gets the same noise": {"randn_like(x, rng)": "randn_like(x[:1], rng).expand_as(x)"},
        "each move starts from the first x": {"x = x + drift": "x = points[0] + drift"},
        "only the last points are returned: the exercise asks for those at all times": {"torch.stack(points)": "points[-1]"},
    },
    hint="For each pair t, s: f, g2 = drift_diffusion(denoiser.process, t); drift = f x - (1 + lam^2) / 2 g2 score; "
    "x = x + drift (s - t) + lam sqrt(g2 (t - s)) z. Keep every x, and stack them at the end.",
    shown=(sde.reverse_sde,),
)


# divergence
ROWS, PROBES = normal(5, 3, seed=5), normal(4, 5, 3, seed=6).sign()
SQUARES, SIGNS = normal(4, 1, 2, 3, seed=7), normal(2, 4, 1, 2, 3, seed=8).sign()
MATRIX = normal(6, 6, seed=9)


def _bent(x: Tensor) -> Tensor:
    """A field whose Jacobian is neither diagonal nor symmetric, and differs from point to point."""
    flat = x.flatten(1)
    D = flat.shape[1]
    return ((flat @ MATRIX[:D, :D].T.to(flat)).tanh() * (1 + flat.sum(1, keepdim=True))).view_as(x)


def _divergence(field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor) -> Tensor:
    """Hutchinson's estimate of the divergence of `field` (B,) at x (B, ...), the mean of e^T J e over probes (K, B, ...)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x)
        total = 0
        for e in probes:
            (gradient,) = torch.autograd.grad((value * e).sum(), x, retain_graph=True)
            total = total + (gradient * e).flatten(1).sum(1)
    return (total / len(probes)).detach()


divergence = Check(
    "divergence",
    _divergence,
    cases=[
        Case("one probe", on(_bent, ROWS, PROBES[:1])),
        Case("four probes: their mean", on(_bent, ROWS, PROBES)),
        Case("pictures (B, C, H, W)", on(_bent, SQUARES, SIGNS)),
        Case("numbers in float64", on(_bent, ROWS.double(), PROBES.double())),
        Case("unit vectors as probes, D times: the exact trace over D", on(_bent, ROWS, torch.eye(3)[:, None].expand(3, 5, 3))),
        Case("a field without bend, whose trace is the same everywhere", on(lambda x: 2 * x, ROWS, PROBES)),
        Case("it has no gradient", lambda f: torch.tensor(f(_bent, ROWS.clone(), PROBES).requires_grad)),
        Case("it works where gradients are switched off", lambda f: torch.no_grad()(f)(_bent, ROWS.clone(), PROBES)),
        Case("x is left as it was", after(_bent, ROWS, PROBES)),
    ],
    mistakes={
        "the product is not multiplied by e again: e^T J is a vector, e^T J e a number": {"(gradient * e)": "gradient"},
        "the sum over probes is returned; it should be the mean": {"total / len(probes)": "total"},
        "only the last probe counts": {
            "total = total + (gradient": "total = (gradient",
            "total / len(probes)": "total",
        },
        "it is summed over the batch: the divergence is one number for each member": {
            ".flatten(1).sum(1)": ".sum().expand(len(x))"
        },
        "it is averaged over the numbers of a member; the trace is a sum": {".flatten(1).sum(1)": ".flatten(1).mean(1)"},
        "e is left out of the product before the derivative": {"(value * e).sum()": "value.sum()"},
        "the squares of the gradient are added": {"(gradient * e)": "(gradient * gradient)"},
        "the result requires a gradient: detach it": {
            "(total / len(probes)).detach()": "(total / len(probes)).requires_grad_()"
        },
        "only the first coordinate is summed": {".flatten(1).sum(1)": ".flatten(1)[:, 0]"},
        "x itself now requires a gradient: take x.detach()": {"x.detach().requires_grad_()": "x.requires_grad_()"},
    },
    hint="With x = x.detach().requires_grad_() and value = field(x), torch.autograd.grad((value * e).sum(), x, "
    "retain_graph=True)[0] is J^T e; its product with e, summed over all but the batch, is e^T J e. Take the mean over probes.",
    shown=(sde.divergence,),
)


# ode_likelihood. The field is linear in x, so that closed forms are near; nothing is compared with them but the reference.
RISING = [0.1, 0.2, 0.5, 1.0]


def _velocity(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """A velocity and its divergence (B,), which depends on x and t."""
    flat = x.flatten(1)
    D = flat.shape[1]
    return (flat.sin() * (1 + t) - 0.3 * t).view_as(x), (flat.cos() * (1 + t)).sum(1) + 0.1 * D * t


def _log_prior(x: Tensor) -> Tensor:
    return -(x.flatten(1) ** 2).sum(1) / 2 - 0.9 * x[0].numel()


def _ode_likelihood(velocity: Callable, log_prior: Callable, x: Tensor, times: Sequence[float]) -> Tensor:
    """log p(x) (B,) by Heun's method along rising times; velocity(x, t) gives the velocity (B, ...) and divergence (B,)."""
    change = 0
    for s, t in pairwise(times):
        v, div = velocity(x, s)
        v_end, div_end = velocity(x + (t - s) * v, t)
        x = x + (t - s) / 2 * (v + v_end)
        change = change + (t - s) / 2 * (div + div_end)
    return log_prior(x) + change


def _times_asked(f: Callable) -> Tensor:
    """The times at which the velocity is asked for."""
    asked = []

    def velocity(x, t):
        asked.append(float(t))
        return _velocity(x, t)

    f(velocity, _log_prior, ROWS.clone(), [*RISING])
    return torch.tensor(asked)


ode_likelihood = Check(
    "ode_likelihood",
    _ode_likelihood,
    cases=[
        Case("two velocities a move, at both ends", _times_asked),
        Case("one move", on(_velocity, _log_prior, ROWS, RISING[:2])),
        Case("three moves of different lengths", on(_velocity, _log_prior, ROWS, RISING)),
        Case("pictures (B, C, H, W)", on(_velocity, _log_prior, SQUARES, RISING)),
        Case("numbers in float64", on(_velocity, _log_prior, ROWS.double(), RISING)),
        Case("x is left as it was", after(_velocity, _log_prior, ROWS, RISING)),
    ],
    mistakes={
        "the divergence is subtracted: from the data up to the noise it is added": {
            "log_prior(x) + change": "log_prior(x) - change"
        },
        "the divergence is left out: log p would be that of the noise": {"log_prior(x) + change": "log_prior(x)"},
        "the prior is left out": {"log_prior(x) + change": "change"},
        "this is Euler's method for both, not Heun's": {
            "(t - s) / 2 * (v + v_end)": "(t - s) * v",
            "(t - s) / 2 * (div + div_end)": "(t - s) * div",
        },
        "the divergence is Euler's: it takes the mean of both ends, too": {"(t - s) / 2 * (div + div_end)": "(t - s) * div"},
        "the velocity is Euler's: x moves with the mean of both ends": {"(t - s) / 2 * (v + v_end)": "(t - s) * v"},
        "the half is missing: Heun's method takes the mean of both ends": {
            "(t - s) / 2 * (v + v_end)": "(t - s) * (v + v_end)",
            "(t - s) / 2 * (div + div_end)": "(t - s) * (div + div_end)",
        },
        "the second velocity is taken at x; it belongs to the end of the Euler step": {"(x + (t - s) * v, t)": "(x, t)"},
        "the second velocity is taken at the first time": {"(t - s) * v, t)": "(t - s) * v, s)"},
        "the steps have a length of 1: multiply by t - s": {
            "(t - s) / 2 * (v + v_end)": "(v + v_end) / 2",
            "(t - s) / 2 * (div + div_end)": "(div + div_end) / 2",
        },
        "the prior is taken at the data, not at the noise": {
            "change = 0": "change, start = 0, x",
            "log_prior(x) + change": "log_prior(start) + change",
        },
        "only the last move's divergence counts": {"change = change + (t": "change = (t"},
        "the last move is missing": {"pairwise(times)": "pairwise(times[:-1])"},
    },
    hint="For each pair s, t of rising times: v, div = velocity(x, s); v_end, div_end = velocity(x + (t - s) v, t); x moves by "
    "(t - s) / 2 (v + v_end), and log p collects (t - s) / 2 (div + div_end). At the end add log_prior(x).",
    shown=(sde.log_likelihood, sde.heun_move),
)
