"""Networks for the average velocity u(z, r, t) of a flow, which jump from time t to time r: MeanFlow and shortcut models.

z_r = z_t - (t - r) u(z_t, r, t), with t from 0 (data) to 1 (noise). At r = t, u is the flow's velocity v(z, t) itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_lib import parallel, validate
from course_lib.denoisers import Denoiser, Network, run_on_device_of
from course_lib.guidance import ClassifierFree
from course_lib.process import RectifiedFlow, expand_like, rand, randint
from course_lib.samplers import Step, as_times, time_pairs

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function u(z, r, t): z (B, ...), r and t (B,) with 0 <= r <= t <= 1, to the average velocity (B, ...)."""


@dataclass(frozen=True, eq=False)
class AverageVelocity:
    """u(z, r, t) of a network `net(z, times, cond)`, where times (B, 2) holds t and t - r (see `nets.embeddings.TwoTimes`).

    Geng et al. 2025, Table 1c, embed the same pair. `cond` is `net.as_condition` of the argument of `given`, or None.
    """

    net: nn.Module
    cond: Any = None

    def __post_init__(self):
        validate.function("net", self.net)

    def given(self, cond: Any) -> AverageVelocity:
        """The same with its condition fixed. Raises TypeError if the net takes no condition."""
        as_condition = getattr(self.net, "as_condition", None)
        if as_condition is None:
            raise TypeError(f"{type(self.net).__name__} takes no condition, got {cond!r}")
        return AverageVelocity(self.net, as_condition(cond))

    def __call__(self, z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        validate.floating("z", z)
        cond = () if self.cond is None else (self.cond.expand(len(z)),) if len(self.cond) == 1 else (self.cond,)
        return run_on_device_of(self.net, self.net, z, torch.stack([t, t - r], 1).to(z.dtype), *cond)


def meanflow_target(u: Velocity, z: Tensor, r: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """v - (t - r) du/dt (B, ...), without a gradient, at points z (B, ...) with velocities v (B, ...), r and t (B,).

    Geng et al. 2025, eq. 10 and 11. du/dt is the derivative along the path, where z moves by v, t by 1, and r stays: one
    Jacobian-vector product with the tangent (v, 0, 1) (their eq. 8).
    """
    _check(u, z, r, t)
    validate.like("v", v, "z", z)
    with torch.no_grad(), parallel.sharing(False):  # several processes compute it each: their exchange has no derivative
        du_dt = torch.func.jvp(u, (z, r, t), (v, torch.zeros_like(r), torch.ones_like(t)))[1]
    return v - expand_like(z, t - r) * du_dt


def shortcut_target(u: Velocity, z: Tensor, r: Tensor, t: Tensor, finest: float = 1 / 128) -> Tensor:
    """The mean (B, ...) of two steps of half the size, from t to the middle and on to r, without a gradient.

    Frans et al. 2025 (their time runs from noise to data, and their d is t - r). A half step of `finest` or less
    uses u(z, t, t), the velocity. Raises ValueError where r and t differ in shape.
    """
    _check(u, z, r, t)
    validate.positive("finest", finest)
    half = (t - r) / 2
    small = half <= finest
    with torch.no_grad():
        first = u(z, torch.where(small, t, t - half), t)
        second = u(z - expand_like(z, half) * first, torch.where(small, t - half, r), t - half)
    return (first + second) / 2


def average_velocity_loss(u: Velocity, x0: Tensor, eps: Tensor, r: Tensor, t: Tensor, target: Callable[..., Tensor]) -> Tensor:
    """The mean squared error () of u on pairs x0 and eps (B, ...), at times r and t (B,), r <= t.

    Where r = t the target is the velocity of the pair, eps - x0 (flow matching). For the others it is
    `target(u, z, r, t, v)`: `meanflow_target`, or a function that calls `shortcut_target`. The errors have equal weight (p = 0
    in Geng et al. 2025, Table 1e; they use p = 1).
    """
    validate.like("eps", eps, "x0", validate.batch("x0", x0))
    validate.function("target", target)
    z, v = RectifiedFlow().add_noise(x0, t, eps), eps - x0
    _check(u, z, r, t)
    apart, goal = (t > r).nonzero()[:, 0].cpu(), v.clone()  # numbers, not a mask: times and data may be on two devices
    if len(apart):
        of = lambda value: value[apart.to(value.device)]
        goal[apart.to(z.device)] = target(_part(u, apart), of(z), of(r), of(t), of(v)).to(z.dtype)
    return (u(z, r, t) - goal).square().mean()


def meanflow_times(batch: int, share: float = 0.25, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """r and t (batch,), uniform: of a `share` of them r is the smaller of two, of the others r = t. Geng et al. 2025, 4.3."""
    t, r = rand(validate.at_least("batch", batch, 1), rng=rng), rand(batch, rng=rng)
    t, r = torch.maximum(t, r), torch.minimum(t, r)
    equal = torch.arange(batch, device="cpu", dtype=torch.long) >= _count(batch, share)
    return torch.where(equal, t, r), t


def shortcut_times(
    batch: int, share: float = 0.25, finest: float = 1 / 128, rng: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """r and t (batch,): of a `share`, t - r is 1, 1/2, .. 2 `finest`, and t a multiple of it; of the others r = t, uniform.

    Frans et al. 2025; in their code, `targets_shortcut.py`, the share is an eighth by default, the finest step 1/128.
    """
    n = _count(validate.at_least("batch", batch, 1), share)
    levels = round(-math.log2(validate.finite("finest", finest, 1e-6, 0.5)))
    parts = 2 ** randint(0, levels, n, rng=rng)
    t = (1 + (rand(n, rng=rng) * parts).floor()) / parts
    same = rand(batch - n, rng=rng)
    return torch.cat([t - 1 / parts, same]), torch.cat([t, same])


@torch.no_grad()
def jumps(u: Velocity, x: Tensor, times: Tensor) -> Iterator[Step]:
    """Yields the steps of z_r = z_t - (t - r) u(z_t, r, t) from noise x (B, ...): Geng et al. 2025, eq. 12 and Algorithm 2.

    One evaluation a move. `times` (n + 1,) falls, such as `RectifiedFlow().times(n)`. A Step has no prediction.
    """
    validate.function("u", u)
    validate.time("times", as_times(times), 0, 1)
    for t, r in time_pairs(x, times):
        yield Step(t, x)
        start, end = (torch.full((len(x),), time, dtype=x.dtype, device=x.device) for time in (t, r))
        x = x - (t - r) * u(x, end, start)
    yield Step(r, x)


def jump_sampler(denoiser: Denoiser, x: Tensor, times: Tensor) -> Iterator[Step]:
    """`jumps` of a Network whose net takes two times, as a sampler; also with classifier-free guidance, of average velocities.

    Raises TypeError for another denoiser.
    """
    return jumps(_velocity_of(denoiser), x, times)


def _velocity_of(denoiser: Denoiser) -> Velocity:
    if not isinstance(denoiser, ClassifierFree):
        network = cast(Network, validate.instance("denoiser", denoiser, Network))
        return AverageVelocity(network.net, network.cond)
    cond, uncond = _velocity_of(denoiser.cond), _velocity_of(denoiser.uncond)
    return cond if denoiser.w == 1 else lambda z, r, t: uncond(z, r, t).lerp(cond(z, r, t), denoiser.w)


def _count(batch: int, share: float) -> int:
    return round(batch * validate.finite("share", share, 0, 1))


def _part(u: Velocity, which: Tensor) -> Velocity:
    """u for those members of a batch, by their numbers (n,): with their own conditions, where it has some."""
    cond = getattr(u, "cond", None)
    if not isinstance(u, AverageVelocity) or cond is None or len(cond) == 1:
        return u
    return AverageVelocity(u.net, cond[which.to(cond.device)])


def _check(u: Velocity, z: Tensor, r: Tensor, t: Tensor) -> None:
    validate.function("u", u)
    for name, time in (("r", r), ("t", t)):
        if validate.shape(name, time).shape != validate.batch("z", z).shape[:1]:
            raise ValueError(f"{name} must be one time for each of z, ({len(z)},), got shape {tuple(time.shape)}")
        validate.time(name, time, 0, 1)
    if (r > t).any():
        raise ValueError("r must be at most t in each member, got larger ones")
