"""CLIP guidance: a picture that no caption was given to is steered to where CLIP finds it like the caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser, share_of_T
from course_lib.guidance import steered, uphill
from course_lib.nets.clip import CLIP
from course_lib.prediction import Prediction
from course_lib.process import Process, Time


@dataclass(frozen=True, eq=False)
class ClipGuided:
    """Steers `denoiser` to where `clip` finds the picture like `caption`: score + w grad a likeness(x_t, caption).

    Nichol et al. 2022 (GLIDE), eq. 7, with our w = their s. The likeness is the cosine between picture and caption over CLIP's
    temperature; it is multiplied by the signal a(t), as a noise-aware classifier's log-odds are (`guidance.NoiseAware`).
    `knows_noise` False is for a CLIP of clean pictures only, which is told that x_t is one. Raises ValueError where w is not
    finite, and what `clip.as_condition` raises for a caption.
    """

    denoiser: Denoiser
    clip: CLIP
    caption: Any
    w: float = 1.0
    knows_noise: bool = True

    def __post_init__(self):
        validate.finite("w", self.w)
        object.__setattr__(self, "caption", self.clip.as_condition(self.caption))

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def likeness(self, x_t: Tensor, t: Time) -> Tensor:
        """a(t) cosine(x_t, caption) / temperature, (B,)."""
        a, _ = self.process.coefficients(t, x_t)
        seen = self.clip.picture(x_t, share_of_T(t, self.process, x_t) if self.knows_noise else None)
        said = self.clip.caption(self.caption.to(x_t.device))
        return a.flatten() * self.clip.scale * (seen * said).sum(1)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        if self.w == 0:
            return pred
        return steered(pred, self.w * uphill(lambda x: self.likeness(x, t), x_t))
