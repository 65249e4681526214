"""One estimate of x_0 and eps at x_t = a x_0 + b eps, in five parameterisations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from course_lib import validate

# For each view: (x_0, eps), given x_t = x and the view's value y.
TO_X0_EPS = {
    "x0": lambda x, a, b, y: (y, (x - a * y) / b),
    "eps": lambda x, a, b, y: ((x - b * y) / a, y),
    "score": lambda x, a, b, y: ((x + b**2 * y) / a, -b * y),
    "v": lambda x, a, b, y: ((a * x - b * y) / (a**2 + b**2), (b * x + a * y) / (a**2 + b**2)),
    "flow": lambda x, a, b, y: ((x - b * y) / (a + b), (x + a * y) / (a + b)),
}
# For each view: its value, given x_0 and eps.
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
    """One estimate of x_0 and eps at x_t, in five parameterisations: `value` (B, ...) is the estimate in `view`.

    `x` is x_t (B, ...); `a` and `b` are its signal and noise, in a shape that broadcasts against it (`Process.coefficients`).

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
        for name in ("x", "a", "b"):
            validate.instance(name, getattr(self, name), Tensor)
        validate.same_shape("the network's output", self.value, "its input", self.x)

    def __repr__(self):
        return f"Prediction({self.view}, {tuple(self.x.shape)})"

    @cached_property
    def _x0_eps(self) -> tuple[Tensor, Tensor]:
        if self.view in ("eps", "score") and (self.a == 0).any():
            raise ValueError(f"view must be x0, v or flow to predict where no signal is left, got {self.view}")
        return TO_X0_EPS[self.view](self.x, self.a, self.b, self.value)

    def as_view(self, view: str) -> Tensor:
        """The estimate in `view`, one of VIEWS: (B, ...). Raises ValueError for another view."""
        validate.choice("view", view, VIEWS)
        return self.value if view == self.view else FROM_X0_EPS[view](self.a, self.b, *self._x0_eps)

    x0 = property(lambda self: self.as_view("x0"))
    eps = property(lambda self: self.as_view("eps"))
    score = property(lambda self: self.as_view("score"))
    v = property(lambda self: self.as_view("v"))
    flow = property(lambda self: self.as_view("flow"))

    def replace(self, **estimate: Tensor) -> Prediction:
        """Another estimate at the same x_t: `pred.replace(x0=clipped)`. Raises TypeError unless exactly one view is given."""
        if len(estimate) != 1:
            raise TypeError(f"replace() takes exactly one view of {', '.join(VIEWS)}, got {', '.join(estimate) or 'none'}")
        ((view, value),) = estimate.items()
        return Prediction(self.x, self.a, self.b, view, value)

    def lerp(self, other: Prediction, w: float | Tensor) -> Prediction:
        """self + w (other - self), in the view of `self`: a conversion would divide by a or b, which are 0 at the ends."""
        validate.instance("other", other, Prediction)
        if not isinstance(w, Tensor):
            validate.finite("w", w)
        mine, theirs = self.value, other.as_view(self.view)
        return self.replace(**{self.view: mine + w * (theirs - mine)})
