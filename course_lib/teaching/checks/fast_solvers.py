"""Lesson 22: EDM and fast solvers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.denoisers import Denoiser, ExactDenoiser
from course_lib.methods import edm, solvers
from course_lib.mixtures import GaussianMixture
from course_lib.process import RectifiedFlow, seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, POINTS, normal

SIGMAS = torch.tensor([[0.05], [0.6], [7.0]])


def _net(x: Tensor, time: Tensor) -> Tensor:
    """A network of points: neither linear in x nor independent of time (B,)."""
    return torch.sin(2 * x) + time.view(-1, 1) ** 2 - 0.3


def _wide(x: Tensor, time: Tensor) -> Tensor:
    """One that is linear in its input, so that the input's scale shows."""
    return 0.7 * x + time.view(-1, 1)


def _precondition(net: Callable, x: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """x_0 (B, D) from points x with noise of standard deviation sigma (B, 1): Karras et al. 2022, eq. 7 and Table 1."""
    total = (sigma**2 + sigma_data**2).sqrt()
    c_skip, c_out = sigma_data**2 / total**2, sigma * sigma_data / total
    c_in, c_noise = 1 / total, sigma.log() / 4
    return c_skip * x + c_out * net(c_in * x, c_noise.flatten())


def _at(net: Callable, sigma_data: float, sigmas: Tensor = SIGMAS, x: Tensor = POINTS) -> Callable[[Callable], Tensor]:
    return on(net, x * (1 + sigmas), sigmas, sigma_data)


precondition = Check(
    "precondition",
    _precondition,
    cases=[
        Case("the skip: a net that puts out 0", _at(lambda x, time: 0 * x, 0.5)),
        Case("the output: a net that puts out 1, at x = 0", on(lambda x, time: torch.ones_like(x), 0 * POINTS, SIGMAS, 0.5)),
        Case("the input of the net", _at(_wide, 0.5)),
        Case("a net of points, three noise levels", _at(_net, 0.5)),
        Case("data with a standard deviation of 2", _at(_net, 2.0)),
        Case("no noise to speak of: x_0 is x", _at(_net, 0.5, torch.full((3, 1), 1e-6))),
        Case("x is left as it was", after(_net, POINTS, SIGMAS, 0.5)),
    ],
    mistakes={
        "c_skip is sigma^2 over the total: it should be 1 without noise, and 0 with much": {
            "sigma_data**2 / total**2": "sigma**2 / total**2"
        },
        "the net's input is not scaled: it should be c_in x": {"c_in * x, c_noise": "x, c_noise"},
        "the net's input is divided by the variance: c_in has a root": {"1 / total,": "1 / total**2,"},
        "c_out is sigma alone: that is eps-prediction, with c_skip for another target": {"sigma * sigma_data / total": "sigma"},
        "c_out has no root: it is sigma sigma_data over the root of the total": {
            "sigma * sigma_data / total": "sigma * sigma_data / total**2"
        },
        "c_skip has a root too many: it is a ratio of variances": {"sigma_data**2 / total**2": "sigma_data / total"},
        "the skip is missing: the net has to predict x_0 itself": {"c_skip * x + ": ""},
        "the net is given sigma, not its logarithm over 4": {"sigma.log() / 4": "sigma"},
        "the logarithm of sigma is not divided by 4": {"sigma.log() / 4": "sigma.log()"},
        "sigma_data is forgotten: it is taken to be 1": {
            "total = (sigma**2": "sigma_data = 1.0\n    total = (sigma**2",
        },
        "the sign of the net's output is turned: that is v, which is minus EDM's": {"+ c_out": "- c_out"},
        "the skip is scaled like the net's input": {"c_skip * x": "c_skip * c_in * x"},
    },
    hint="With total = sqrt(sigma^2 + sigma_data^2): c_skip = sigma_data^2 / total^2, c_out = sigma sigma_data / total, "
    "c_in = 1 / total, c_noise = ln(sigma) / 4; x_0 = c_skip x + c_out net(c_in x, c_noise).",
    shown=(edm.Preconditioned,),
)


def _karras_times(n: int, low: float, high: float, rho: float) -> Tensor:
    """n + 1 noise levels (n + 1,): n from high down to low, and 0. Karras et al. 2022, eq. 5."""
    i = torch.arange(n, dtype=torch.float64) / (n - 1)
    sigma = (high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([sigma, torch.zeros(1, dtype=torch.float64)])


LOW, MORE, RHO = (1 + torch.rand(3, generator=seeded(20), dtype=torch.float64)).tolist()

karras_times = Check(
    "karras_times",
    _karras_times,
    cases=[
        Case("18 moves from 80 to 0.002, rho = 7", on(18, 0.002, 80.0, 7.0)),
        Case("rho = 1: equal steps", on(5, 1.0, 9.0, 1.0)),
        Case("two moves", on(2, 0.1, 10.0, 3.0)),
        Case("any other levels and rho", on(6, LOW / 20, LOW + 9 * MORE, 1 + 2 * RHO)),
    ],
    mistakes={
        "the levels rise: they should fall from high to low": {
            "high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))": (
                "low ** (1 / rho) + i * (high ** (1 / rho) - low ** (1 / rho))"
            )
        },
        "the last level, 0, is missing": {"torch.cat([sigma, torch.zeros(1, dtype=torch.float64)])": "sigma"},
        "the steps are equal in sigma^rho: equal steps in sigma^(1 / rho) are asked for": {
            "high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))) ** rho": (
                "high**rho + i * (low**rho - high**rho)) ** (1 / rho)"
            )
        },
        "low is not among the levels: divide by n - 1": {"/ (n - 1)": "/ n"},
        "the power of rho at the end is missing": {")) ** rho\n": "))\n"},
        "the levels go to 0 by rho: they should end at low, with 0 added after them": {
            "/ (n - 1)": "/ n",
            "low ** (1 / rho)": "0.0",
        },
        "0 stands first, and the levels rise after it": {
            "torch.cat([sigma, torch.zeros(1, dtype=torch.float64)])": "torch.cat([torch.zeros(1), sigma.flip(0)])"
        },
        "rho is not used: the steps are equal in sigma": {"    i = ": "    rho = 1.0\n    i = "},
        "the steps are equal in ln sigma, the limit of a large rho": {"    i = ": "    rho = 1e5\n    i = "},
    },
    hint="sigma_i = (high^(1/rho) + i / (n - 1) (low^(1/rho) - high^(1/rho)))^rho for i = 0 .. n - 1, and then 0.",
    shown=(edm.karras_sigmas,),
)


def _dpm_multistep(denoiser: Denoiser, x: Tensor, times: Sequence) -> Tensor:
    """x (B, ...) at the last of the falling times: Lu et al. 2022, DPM-Solver++(2M), Algorithm 2."""
    a, b = denoiser.process.signal, denoiser.process.noise
    before, h_before = None, None
    for t, s in pairwise(times):
        x0 = denoiser(x, t).x0
        h = (a(s) / b(s)).log() - (a(t) / b(t)).log()
        if before is None or b(s) == 0:
            D = x0
        else:
            D = x0 + h / (2 * h_before) * (x0 - before)
        x = b(s) / b(t) * x - a(s) * torch.expm1(-h) * D
        before, h_before = x0, h
    return x


MIXTURE = GaussianMixture([0.4, 0.6], torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), [0.4, 0.3])
FLOW = ExactDenoiser(MIXTURE, RectifiedFlow())
UNEVEN, TO_ZERO = [0.9, 0.75, 0.7, 0.4, 0.3], [50, 35, 22, 10, 3, 0]


def _calls(times: list) -> Callable[[Callable], Tensor]:
    """The times at which a sampler asks for a prediction."""

    def run(f: Callable) -> Tensor:
        asked, denoiser = [], deepcopy(DENOISER)

        class Asked:
            process = denoiser.process

            def __call__(self, x, t):
                asked.append(float(t))
                return denoiser(x, t)

        f(Asked(), POINTS.clone(), [*times])
        return torch.tensor(asked)

    return run


dpm_multistep = Check(
    "dpm_multistep",
    _dpm_multistep,
    cases=[
        Case("one evaluation a move, at the move's start", _calls(TO_ZERO)),
        Case("one move: DDIM", on(DENOISER, PICTURES, [40, 20])),
        Case("one move to t = 0: the predicted x_0", on(DENOISER, PICTURES, [40, 0])),
        Case("two moves", on(DENOISER, PICTURES, [40, 20, 5])),
        Case("unequal moves of a rectified flow, with the exact denoiser", on(FLOW, normal(6, 2, seed=5).double(), UNEVEN)),
        Case("five moves to t = 0, the last of order 1", on(DENOISER, PICTURES, TO_ZERO)),
        Case("points (B, 2), as well as pictures", on(DENOISER, POINTS, TO_ZERO)),
        Case("x is left as it was", after(DENOISER, PICTURES, TO_ZERO)),
    ],
    mistakes={
        "all moves have order 1: that is DDIM": {"D = x0 + h / (2 * h_before) * (x0 - before)": "D = x0"},
        "the ratio of the steps is turned over: it is h / (2 h_before)": {"h / (2 * h_before)": "h_before / (2 * h)"},
        "all moves are taken to be equally long: the slope is divided by the step before": {"h / (2 * h_before)": "0.5"},
        "the slope's half is missing": {"h / (2 * h_before)": "h / h_before"},
        "the line is followed backwards: x_0 now less x_0 before is asked for": {"x0 - before)": "before - x0)"},
        "the factor of x is a_s / a_t: that is for eps; with x_0 it is b_s / b_t": {"b(s) / b(t) * x": "a(s) / a(t) * x"},
        "the factor of D has the opposite sign: e^(-h) - 1 is negative": {"- a(s) * torch.expm1": "+ a(s) * torch.expm1"},
        "the factor of D has a_t: it should be the signal at the end, a_s": {"- a(s) * torch": "- a(t) * torch"},
        "h has the opposite sign: lambda rises from t to s": {
            "(a(s) / b(s)).log() - (a(t) / b(t)).log()": ("(a(t) / b(t)).log() - (a(s) / b(s)).log()")
        },
        "the last prediction is never replaced: keep x_0 and h after each move": {
            "before, h_before = x0, h\n": "before, h_before = (x0, h) if before is None else (before, h_before)\n"
        },
        "the last move, to noise 0, is of order 2: h is infinite there, use x_0 alone": {
            "before is None or b(s) == 0": "before is None"
        },
        "lambda is the logarithm of a alone": {"(a(s) / b(s)).log() - (a(t) / b(t)).log()": "a(s).log() - a(t).log()"},
        "the times run upwards": {"pairwise(times)": "pairwise(sorted(times))"},
        "the last move is missing": {"pairwise(times)": "pairwise(times[:-1])"},
    },
    hint="lambda = ln(a / b); h = lambda_s - lambda_t. First move, and move to noise 0: D = x_0. Else "
    "D = x_0 + h / (2 h_before) (x_0 - x_0 before). Then x = b_s / b_t x - a_s (e^(-h) - 1) D.",
    shown=(solvers.dpm_solver,),
)
