"""One belief about x_t = a x_0 + b eps, in the five forms that papers write it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from course_lib import validate

# Each row: what (x_0, eps) are, given x_t = x and the view's value y. The first column is exact where the view itself is.
TO_X0_EPS = {
    "x0": lambda x, a, b, y: (y, (x - a * y) / b),
    "eps": lambda x, a, b, y: ((x - b * y) / a, y),
    "score": lambda x, a, b, y: ((x + b**2 * y) / a, -b * y),
    "v": lambda x, a, b, y: ((a * x - b * y) / (a**2 + b**2), (b * x + a * y) / (a**2 + b**2)),
    "flow": lambda x, a, b, y: ((x - b * y) / (a + b), (x + a * y) / (a + b)),
}
# And back: what the view's value is, given x_0 and eps.
FROM_X0_EPS = {
    "x0": lambda a, b, x0, eps: x0,
    "eps": lambda a, b, x0, eps: eps,
    "score": lambda a, b, x0, eps: -eps / b,
    "v": lambda a, b, x0, eps: a * eps - b * x0,
    "flow": lambda a, b, x0, eps: eps - x0,
}
VIEWS = tuple(TO_X0_EPS)


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a denoiser believes about `x` (B, ...): `value`, said in one `view`, readable in all five.

    `a` and `b` are the signal and the noise of x, in a shape that multiplies it (`Process.coefficients`).

    - `.x0`    the clean picture                          (Ho et al. 2020, eq. 15)
    - `.eps`   the noise                                  (Ho et al. 2020, eq. 12)
    - `.score` the gradient of log q(x_t), -eps / b       (Song and Ermon 2019)
    - `.v`     a eps - b x0                               (Salimans and Ho 2022, appendix D)
    - `.flow`  eps - x0, the velocity of a straight path  (Liu et al. 2023)
    """

    x: Tensor
    a: Tensor
    b: Tensor
    view: str
    value: Tensor

    def __post_init__(self):
        validate.choice("view", self.view, VIEWS)
        validate.same_shape("the network's output", self.value, "its input", self.x)

    def __repr__(self):
        return f"Prediction({self.view}, {tuple(self.x.shape)})"

    @cached_property
    def _x0_eps(self) -> tuple[Tensor, Tensor]:
        return TO_X0_EPS[self.view](self.x, self.a, self.b, self.value)

    def seen_as(self, view: str) -> Tensor:
        """The belief's value in `view`, one of VIEWS, (B, ...)."""
        validate.choice("view", view, VIEWS)
        return self.value if view == self.view else FROM_X0_EPS[view](self.a, self.b, *self._x0_eps)

    x0 = property(lambda self: self.seen_as("x0"))
    eps = property(lambda self: self.seen_as("eps"))
    score = property(lambda self: self.seen_as("score"))
    v = property(lambda self: self.seen_as("v"))
    flow = property(lambda self: self.seen_as("flow"))

    def but(self, **said: Tensor) -> Prediction:
        """The same point believed differently: `pred.but(x0=clipped)`. Takes exactly one view."""
        if len(said) != 1:
            raise TypeError(f"but() takes exactly one view of {', '.join(VIEWS)}, got {', '.join(said) or 'none'}")
        ((view, value),) = said.items()
        return Prediction(self.x, self.a, self.b, view, value)

    def lerp(self, other: Prediction, w: float) -> Prediction:
        """self + w (other - self), mixed in the view of `self`: dividing by a or b first would lose the ends of time."""
        mine, theirs = self.value, other.seen_as(self.view)
        return self.but(**{self.view: mine + w * (theirs - mine)})
