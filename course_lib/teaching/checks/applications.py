"""Lesson 19: applications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.denoisers import Denoiser
from course_lib.methods import editing
from course_lib.methods.editing import ddpm_move
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddpm, result
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.epsilon import Moves
from course_lib.teaching.checks.spy import CLOUD, DENOISER, PICTURES

X = torch.randn(3, 2, 4, 4, generator=seeded(1))


# repaint_sampler. Its noise may be drawn in any order, so that not the points are compared, but the moves (see Moves). With all
# known, each point is known * signal + noise; with nothing known, the moves are those of DDPM and of the way back up.
TIMES, PLACES, LEFT = [5, 3, 1, 0], CLOUD[8000:16000], torch.tensor([[1.0, 0.0]])


def _painted(f: Callable, keep: float, U: int) -> Moves:
    """The moves of the sampler where all (keep = 1) or nothing (keep = 0) is known."""
    return Moves(lambda denoiser, x, rng: f(denoiser, PLACES.clone(), torch.full((1, 2), keep), x, [*TIMES], U, rng))


def _of_known(f: Callable, U: int) -> Tensor:
    """The factor of the known points, and the standard deviation of the rest, at each evaluation but the first: (2, n)."""
    points, known = _painted(f, 1.0, U).points[1:-1].double(), (PLACES - PLACES.mean(0)).double()
    factor = ((points - points.mean(1, keepdim=True)) * known).sum((1, 2)) / known.square().sum()
    return torch.stack([factor, (points - factor[:, None, None] * PLACES).std((1, 2))])


def _filled(f: Callable, hole: float = 0.0, keep: Tensor = LEFT) -> Tensor:
    """The end where the first coordinate is known, and the known picture is `hole` where it is not."""
    known = torch.where(keep.bool(), PLACES[:500], hole)
    return torch.as_tensor(f(deepcopy(DENOISER), known, keep.clone(), CLOUD[:500].clone(), [40, 20, 0], 2, seeded(3)))


def _repaint_sampler(
    denoiser: Denoiser, known: Tensor, keep: Tensor, x: Tensor, times: Sequence[int], U: int, rng: torch.Generator
) -> Tensor:
    """x_0 with the known pixels where keep is 1, from noise x: Lugmayr et al. 2022, Algorithm 1."""
    process = denoiser.process
    for t, s in pairwise(times):
        rounds = U if s > 0 else 1
        for u in range(rounds):
            x = result(ddpm(denoiser, x, torch.tensor([t, s]), rng))
            noisy = process.add_noise(known, s, randn_like(x, rng))
            x = keep * noisy + (1 - keep) * x
            if u < rounds - 1:
                alpha = process.alpha_bar(t) / process.alpha_bar(s)
                x = alpha.sqrt() * x + (1 - alpha).sqrt() * randn_like(x, rng)
    return x


_MIX, _UP = "keep * noisy + (1 - keep) * x", "alpha.sqrt() * x + (1 - alpha).sqrt() * randn_like(x, rng)"
_NOISY = "process.add_noise(known, s, randn_like(x, rng))"

repaint_sampler = Check(
    "repaint_sampler",
    _repaint_sampler,
    cases=[
        Case("U = 3: three evaluations at each time, but one at the last", lambda f: _painted(f, 0.0, 3).t),
        Case("U = 1: one evaluation at each time", lambda f: _painted(f, 0.0, 1).t),
        Case("at the end the known pixels are the original", lambda f: _filled(f)[:, 0]),
        Case("where keep is 0, the known picture is not used", lambda f: torch.equal(_filled(f), _filled(f, 9.0))),
        Case("U = 1: known pixels have the signal and the noise of each time", lambda f: _of_known(f, 1), 0.03),
        Case("U = 3: so they have after the way back up", lambda f: _of_known(f, 3), 0.03),
        Case("nothing known, U = 1: x_t is multiplied as in DDPM", lambda f: _painted(f, 0.0, 1).a, 0.03),
        Case("nothing known, U = 1: the new noise is that of DDPM", lambda f: _painted(f, 0.0, 1).c, 0.03),
        Case("nothing known, U = 3: x_t is multiplied by the factors of both ways", lambda f: _painted(f, 0.0, 3).a, 0.03),
        Case("nothing known, U = 3: the predicted noise is subtracted and fades", lambda f: _painted(f, 0.0, 3).b, 0.03),
        Case("nothing known, U = 3: the new noise is that of both ways", lambda f: _painted(f, 0.0, 3).c, 0.03),
        Case("each move has noise of its own", lambda f: _painted(f, 0.0, 3).fresh),
        Case("the arguments are left as they were", after(DENOISER, X, (X > 0).float(), X.flip(0), [40, 20, 0], 2, seeded(3))),
    ],
    mistakes={
        "the mask is inverted: what should be kept is generated, and the rest is kept": {_MIX: "(1 - keep) * noisy + keep * x"},
        "the known picture goes in clean; it should have the noise of time s": {_NOISY: "known"},
        "the known picture has the noise of time t; after the move, x has that of time s": {"(known, s,": "(known, t,"},
        "the known picture fades, but has no noise": {_NOISY: "process.add_noise(known, s, 0 * x)"},
        "the known picture has noise, but does not fade": {_NOISY: "known + process.noise(s).float() * randn_like(x, rng)"},
        "the noise of the known part has the factor 1 - alpha_bar, as in the published algorithm; its square root is right": {
            _NOISY: "process.signal(s).float() * known + (1 - process.alpha_bar(s)).float() * randn_like(x, rng)"
        },
        "the known pixels are put in at the end alone": {_MIX: f"{_MIX} if s == 0 else x"},
        "the known pixels are put in only after the last of the rounds": {_MIX: f"{_MIX} if u == rounds - 1 else x"},
        "the known picture is added to x, where it should take its place": {_MIX: "keep * noisy + x"},
        "the generated part is lost: where `keep` is 0, x should stay": {_MIX: "keep * noisy"},
        "the last move is repeated, too: Algorithm 1 resamples only for t > 1": {"U if s > 0 else 1": "U"},
        "there is no resampling: each move is made once, or each round begins at the same x_t": [
            {"U if s > 0 else 1": "1"},
            {"for u in range(rounds):": "begin = x\n        for u in range(rounds):", _UP: "begin"},
        ],
        "one round too many: U counts all rounds, the first as well": {"U if s > 0 else 1": "U + 1 if s > 0 else 1"},
        "the way back up is missing: x_s is taken for x_t": {_UP: "x"},
        "x_s is treated as a clean picture on the way up: alpha_bar_t is not divided by alpha_bar_s": {
            " / process.alpha_bar(s)": ""
        },
        "one step's alpha_t is taken on the way up; there are t - s of them": {
            "process.alpha_bar(t) / process.alpha_bar(s)": "process.alpha(t)"
        },
        "x_s does not fade on the way up": {"alpha.sqrt() * x": "x"},
        "no noise is added on the way up: the forward chain fades x_s and adds noise": {
            _UP: "alpha.sqrt() * x + 0 * randn_like(x, rng)"
        },
        "the square roots are missing on the way up": {_UP: "alpha * x + (1 - alpha) * randn_like(x, rng)"},
        "the square root of 1 - alpha is missing on the way up": {"(1 - alpha).sqrt()": "(1 - alpha)"},
        "the noise on the way up is that of all t steps; s of them are in x_s already": {
            "(1 - alpha).sqrt()": "(1 - process.alpha_bar(t)).sqrt()"
        },
        "the way up is the predicted noise put back (an inversion); the forward chain adds new noise": {
            _UP: "process.add_noise(denoiser(x, s).x0, t, denoiser(x, s).eps)"
        },
    },
    hint="For each t, s and each of U rounds (one where s = 0): a DDPM move; the known picture, noised to s, where keep is 1; "
    "and, unless it is the last round, the way up: sqrt(alpha) x + sqrt(1 - alpha) noise, alpha = alpha_bar(t) / alpha_bar(s).",
    shown=(editing.repaint, editing.noised_further),
)


# consistent

HALF, SOFT = editing.shrunk(2), editing.blurred(1.0)
HALVED = on(X, torch.randn(3, 2, 2, 2, generator=seeded(4)), HALF.A, HALF.back)


def _consistent(x0, y, A, back):
    """x_0 with its measurement replaced by y (Wang et al. 2023, eq. 13)."""
    return back(y) + x0 - back(A(x0))


consistent = Check(
    "consistent",
    _consistent,
    cases=[
        Case("a picture, and what it should be when halved", HALVED),
        Case("its measurement is y", lambda fn: HALF.A(HALVED(fn))),
        Case("what A does not measure is left as it was", lambda fn: (new := HALVED(fn)) - HALF.back(HALF.A(new))),
        Case("a picture that measures y already is left alone", on(X, HALF.A(X), HALF.A, HALF.back)),
        Case("a blur", on(X, SOFT.A(X.flip(0)), SOFT.A, SOFT.back)),
        Case("x0 and y are left as they were", after(X, HALF.A(X.flip(0)), HALF.A, HALF.back)),
    ],
    mistakes={
        "the correction has the wrong sign: it leads away from y": {"back(y) + x0 - back(A(x0))": "x0 - back(y) + back(A(x0))"},
        "only A^+ y is left: what A does not measure is lost": {" + x0 - back(A(x0))": ""},
        "A^+ y is added to all of x_0: what A measures of x_0 must be removed first": {" - back(A(x0))": ""},
        "what A measures is removed, but y is not put in its place": {"back(y) + ": ""},
        "y itself is added; A^+ y, of x_0's own size, belongs there": {"back(y)": "y"},
        "A x_0 itself is subtracted; A^+ A x_0, of x_0's own size, belongs there": {"back(A(x0))": "A(x0)"},
        "the correction alone is returned; it should be added to x_0": {"+ x0 ": ""},
        "what A measures of x_0 is kept, and the rest is lost: it should be the other way round": {
            "x0 - back(A(x0))": "back(A(x0))"
        },
        "x_0 is left as it is: y is not used": {"back(y) + x0 - back(A(x0))": "x0"},
        "the correction is made by half": {"back(y) + x0 - back(A(x0))": "x0 + (back(y) - back(A(x0))) / 2"},
        "the correction is made twice": {"back(y) + x0 - back(A(x0))": "x0 + 2 * (back(y) - back(A(x0)))"},
        "A is applied where A^+ belongs": {"back(y)": "A(y)", "back(A(x0))": "A(A(x0))"},
        "the result is clipped to [-1, 1], and no longer measures y": {
            "back(y) + x0 - back(A(x0))": "(back(y) + x0 - back(A(x0))).clamp(-1, 1)"
        },
        "the mean of x_0 and of A^+ y is taken": {"back(y) + x0 - back(A(x0))": "(back(y) + x0) / 2"},
    },
    hint="x0 - back(A(x0) - y).",
    shown=(editing.Consistent,),
)


# dps_sampler. At s = 0 no noise is drawn, so that the ends of single moves are compared. Over several moves, the measurement is
# one number, far from y: its gradient does not depend on the noise.
FAR = torch.full((3, 1), 1000.0)
TOTAL = lambda x: x.flatten(1).sum(1, keepdim=True)


def _at_end(t: int, zeta: float) -> Callable[[Callable], Tensor]:
    """A case's `run`: the end of one move from t to 0, where the halved picture is measured."""
    y = torch.randn(3, 2, 2, 2, generator=seeded(4))
    return lambda f: f(deepcopy(DENOISER), HALF.A, y.clone(), X.clone(), [t, 0], zeta, seeded(3))


def _shift(f: Callable) -> Tensor:
    """What the gradients of three moves change at the end."""
    end = lambda zeta: torch.as_tensor(
        f(deepcopy(DENOISER), TOTAL, FAR.clone(), PICTURES.clone(), [50, 30, 10, 0], zeta, seeded(3))
    )
    return end(0.5) - end(0.0)


def _unguided(f: Callable) -> Moves:
    """The moves with zeta = 0."""
    return Moves(lambda denoiser, x, rng: f(denoiser, TOTAL, torch.zeros(len(x), 1), x, [*TIMES], 0.0, rng))


def _dps_sampler(
    denoiser: Denoiser,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    zeta: float,
    rng: torch.Generator,
) -> Tensor:
    """x_0 that measures about y, from noise x: Chung et al. 2023, Algorithm 1, with the step zeta' / norm of the residual."""
    for t, s in pairwise(times):
        x = x.detach().requires_grad_()
        pred = denoiser(x, t)
        residual = y - A(pred.x0)
        distance = residual.flatten(1).norm(dim=1).sum()
        (gradient,) = torch.autograd.grad(distance, x)
        z = randn_like(x, rng)
        x = ddpm_move(denoiser.process, pred, t, s, z) - zeta * gradient
    return x.detach()


dps_sampler = Check(
    "dps_sampler",
    _dps_sampler,
    cases=[
        Case("one evaluation at each time but the last", lambda f: _unguided(f).t),
        Case("one move from t = 40 to 0: predicted x_0, less zeta times the gradient", _at_end(40, 0.5)),
        Case("the same from t = 10, with another zeta", _at_end(10, 0.1)),
        Case("zeta = 0: the predicted x_0 itself", _at_end(40, 0.0)),
        Case("three moves: the shift by all gradients", _shift),
        Case("zeta = 0: x_t is multiplied as in DDPM", lambda f: _unguided(f).a, 0.03),
        Case("zeta = 0: the new noise is that of DDPM", lambda f: _unguided(f).c, 0.03),
        Case("each move has noise of its own", lambda f: _unguided(f).fresh),
        Case("the result has no graph", lambda f: _at_end(40, 0.5)(f).requires_grad),
        Case("the arguments are left as they were", after(DENOISER, TOTAL, FAR, PICTURES, [40, 20, 0], 0.5, seeded(3))),
    ],
    mistakes={
        "the sign is wrong: x should move against the gradient of the distance": {"- zeta * gradient": "+ zeta * gradient"},
        "the gradient is that of the squared norm; Chung et al. divide it by the norm": {
            "residual.flatten(1).norm(dim=1).sum()": "residual.square().sum()"
        },
        "the gradient of the squared norm is divided by the norm, and is twice that of the norm": {
            "- zeta * gradient": "- 2 * zeta * gradient"
        },
        "half the gradient is taken; zeta multiplies the gradient of the norm": {
            "- zeta * gradient": "- 0.5 * zeta * gradient"
        },
        "the gradient is taken with respect to the predicted x_0; it should be taken through the denoiser, to x_t": {
            "(distance, x)": "(distance, pred.x0)",
            "residual = y - A(pred.x0)": "pred = pred.replace(x0=pred.x0)\n        residual = y - A(pred.x0)",
        },
        "A is applied to x_t; it should be applied to the predicted x_0": {"A(pred.x0)": "A(0 * pred.x0 + x)"},
        "one norm is taken over the whole batch: each picture has its own": {
            "residual.flatten(1).norm(dim=1).sum()": "residual.norm()"
        },
        "the norms are averaged over the batch: the step of a picture should not depend on how many there are": {
            "norm(dim=1).sum()": "norm(dim=1).mean()"
        },
        "the absolute values are added up; the norm is the root of the sum of squares": {
            "residual.flatten(1).norm(dim=1).sum()": "residual.abs().sum()"
        },
        "the gradient is divided by its own norm; the step is zeta over the norm of the residual": {
            "- zeta * gradient": "- zeta * gradient / gradient.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))"
        },
        "zeta is forgotten": {"- zeta * gradient": "- gradient"},
        "y is not used": {"residual = y - ": "residual = 0 * y - "},
        "no new noise is added in the moves": {"s, z)": "s, 0 * z)"},
        "the gradient is not used": {"- zeta * gradient": "- 0 * gradient"},
        "the result still has a graph: detach it": {"return x.detach()": "return x"},
        "the last move is left out of the guidance": {"- zeta * gradient": "- (s > 0) * zeta * gradient"},
    },
    hint="x.requires_grad_(); pred = denoiser(x, t); the norm of y - A(pred.x0) of each picture, summed; "
    "torch.autograd.grad(it, x); then ddpm_move(...) - zeta * gradient.",
    shown=(editing.dps,),
)
