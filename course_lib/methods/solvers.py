"""Fast solvers of the probability-flow ODE: DPM-Solver++, DEIS, UniPC and PLMS.

All but PLMS integrate exactly what is linear in x. With lambda = log(a / b), the solution from time o to time s is
x_s = b_s / b_o x_o + b_s int e^lambda x0(lambda) dlambda (Lu et al. 2022, DPM-Solver++); a polynomial in lambda stands
for the predicted x_0. One move takes one evaluation of the denoiser, unless a function says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.process import DDPM, Process
from course_lib.samplers import Step, as_times, at_both_ends, moves

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the newest slope and those before it, for 1 to 4 slopes at equal distances."""


def _table(process: Process, times: Tensor, view: str = "x0") -> list[tuple[float, float, float]]:
    """For each time: the factor of what is not predicted, the factor of what is, and the log of their ratio."""
    at = as_times(times)
    a, b = process.signal(at), process.noise(at)
    rest, own = (b, a) if view == "x0" else (a, b)
    return list(zip(rest.tolist(), own.tolist(), (own.log() - rest.log()).tolist()))


def _weights(nodes: Sequence[float], h: float, exact: bool) -> list[float]:
    """The weight of each node's value in int_0^h e^(u - h) P(u) du, where P interpolates the values at the nodes.

    Of two nodes, unless `exact`, P is taken at h / 2, as in DPM-Solver++(2M).
    """
    integrals = [-math.expm1(-h)]
    for k in range(1, len(nodes)):
        integrals.append(h**k - k * integrals[-1])  # by parts
    if len(nodes) == 2 and not exact:
        integrals[1] = h / 2 * integrals[0]
    if len(nodes) == 1:
        return integrals
    powers = torch.tensor([[(u / h) ** k for u in nodes] for k in range(len(nodes))], dtype=torch.float64, device="cpu")
    scaled = torch.tensor([[v / h**k] for k, v in enumerate(integrals)], dtype=torch.float64, device="cpu")
    return torch.linalg.solve(powers, scaled).flatten().tolist()


def _move(x: Tensor, start: tuple, end: tuple, known: Sequence[tuple[float, Tensor]], exact: bool) -> Tensor:
    """x moved from `start` to `end`, rows of `_table`, with the predictions `known`, each (lambda, value)."""
    known = [(at, value) for at, value in known if math.isfinite(at)] or list(known[:1])
    nodes = [0.0] if len(known) == 1 else [at - start[2] for at, _ in known]
    weights = _weights(nodes, end[2] - start[2], exact)
    x = end[0] / start[0] * x
    for weight, (_, value) in zip(weights, known):
        x = torch.add(x, value, alpha=end[1] * weight)
    return x


def _orders(n: int, order: int, to_zero: bool) -> list[int]:
    """The order of each of n multistep moves: no more than the points known, and at the end, if at t = 0, the moves left."""
    return [min(order, i + 1, n - i if to_zero else order) for i in range(n)]


@torch.no_grad()
def dpm_solver(denoiser: Denoiser, x: Tensor, times: Tensor, order: int = 2, singlestep: bool = False) -> Iterator[Step]:
    """Yields the steps of DPM-Solver++ of order 1 to 3, from x (B, ...), by data prediction. Lu et al. 2022 (++).

    Multistep: their Algorithm 2 at order 2. The predictions of the last `order` times are used, and there are fewer at the
    start, so that order 3 converges with order 2. `singlestep`: blocks of `order` moves, each of which starts at its block's
    first x. Order 1 is DDIM. Order 3 integrates the parabola through three predictions exactly. The move to t = 0 has order 1,
    since lambda is infinite there. Raises ValueError for another order.
    """
    validate.choice("order", order, (1, 2, 3))
    pairs, table = moves("dpm_solver", denoiser, x, times), _table(denoiser.process, times)
    to_zero = table[-1][0] == 0
    orders = _orders(len(pairs), order, to_zero)
    if singlestep:
        orders = [1 if to_zero and i == len(pairs) - 1 else i % order + 1 for i in range(len(pairs))]
    known: list[tuple[float, Tensor]] = []
    for i, ((t, _), k) in enumerate(zip(pairs, orders)):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        known = [(table[i][2], pred.x0), *known][:order]
        if k == 1 or not singlestep:
            origin, begin = i, x
        x = _move(begin, table[origin], table[i + 1], known[:k], exact=order == 3)
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def deis(denoiser: Denoiser, x: Tensor, times: Tensor, order: int = 3) -> Iterator[Step]:
    """Yields the steps of DEIS in log rho, of order 1 to 3, from x (B, ...). Zhang and Chen 2023.

    The multistep method of `dpm_solver` with eps in the place of x_0; rho is b / a. Raises ValueError for another order.
    """
    validate.choice("order", order, (1, 2, 3))
    pairs, table = moves("deis", denoiser, x, times, DDPM), _table(denoiser.process, times, "eps")
    known: list[tuple[float, Tensor]] = []
    for i, ((t, s), k) in enumerate(zip(pairs, _orders(len(pairs), order, table[-1][1] == 0))):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        known = [(table[i][2], pred.eps), *known][:order]
        if table[i + 1][1] > 0:
            x = _move(x, table[i], table[i + 1], known[:k], exact=True)
        else:
            x = denoiser.process.add_noise(pred.x0, s, pred.eps)
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def unipc(denoiser: Denoiser, x: Tensor, times: Tensor, order: int = 2) -> Iterator[Step]:
    """Yields the steps of UniPC of order 1 to 3, from x (B, ...), by data prediction. Zhao et al. 2023.

    Each prediction serves twice: it corrects the move that led to its time, and it predicts the next. With their B_2(h). At
    order 2 it predicts as DPM-Solver++(2M) does. Raises ValueError for another order.
    """
    validate.choice("order", order, (1, 2, 3))
    pairs, table = moves("unipc", denoiser, x, times), _table(denoiser.process, times)
    known: list[tuple[float, Tensor]] = []
    k, before = 0, x
    for i, ((t, _), k_next) in enumerate(zip(pairs, _orders(len(pairs), order, table[-1][0] == 0))):
        pred = denoiser(x, t)
        new = (table[i][2], pred.x0)
        if i:
            x = _move(before, table[i - 1], table[i], [*known[:k], new], exact=False)
        yield Step(t, x, pred)
        known, k, before = [new, *known][:order], k_next, x
        x = _move(x, table[i], table[i + 1], known[:k], exact=False)
    yield Step(pairs[-1][1], x)


@torch.no_grad()
def plms(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Yields the steps of PLMS, pseudo linear multistep, from x (B, ...). Liu et al. 2022 (PNDM), for a DDPM process.

    DDIM's move with the Adams-Bashforth mean of the last four eps. The first move takes two evaluations, as Heun's method does.
    The weights are those for equal steps in the variable of the integral, b / a, which equal steps in t are not.
    """
    pairs = moves("plms", denoiser, x, times, DDPM)
    (a, a_end), (b, b_end) = (at_both_ends(f, times) for f in (denoiser.process.signal, denoiser.process.noise))
    slopes: list[Tensor] = []
    for (t, s), of_x, of_eps in zip(pairs, (a_end / a).tolist(), (b_end - b * a_end / a).tolist()):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        slopes = [pred.eps, *slopes][:4]
        if len(slopes) == 1 and len(pairs) > 1:
            eps = (pred.eps + denoiser(of_x * x + of_eps * pred.eps, s).eps) / 2
        else:
            eps = sum(w * slope for w, slope in zip(ADAMS_BASHFORTH[len(slopes) - 1], slopes))
        x = of_x * x + of_eps * eps
    yield Step(pairs[-1][1], x)
