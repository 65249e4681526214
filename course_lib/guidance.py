"""Guidance: denoisers in, one denoiser out.

One convention everywhere, the lecture's: uncond + w (cond - uncond). So w = 0 ignores the condition, w = 1 is the plain
conditional model, w > 1 extrapolates. Ho and Salimans 2022 write 1 + w for our w; Imagen and Stable Diffusion write ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser
from course_lib.prediction import Prediction
from course_lib.process import Process, Time


@dataclass(frozen=True, eq=False)
class ClassifierFree:
    """Steers away from `uncond`, towards `cond`, w times as far as the condition alone would.

    Ho and Salimans 2022, eq. 6, with our w = their 1 + w. Mixed in the network's own view; for one x_t all views are
    linear in each other, so that it does not matter which, except where signal or noise is 0.
    Raises ValueError where w is not finite.
    """

    cond: Denoiser
    uncond: Denoiser
    w: float = 1.0

    def __post_init__(self):
        validate.finite("w", self.w)

    @property
    def process(self) -> Process:
        return self.cond.process

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        if self.w == 1:
            return self.cond(x_t, t)  # half the cost, the same answer
        if self.w == 0:
            return self.uncond(x_t, t)
        return self.uncond(x_t, t).lerp(self.cond(x_t, t), self.w)
