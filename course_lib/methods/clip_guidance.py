"""CLIP guidance: a caption guides an unconditional model through the similarity that CLIP gives to a noisy picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Denoiser, relative_time
from course_lib.guidance import grad_log_p, shift_score
from course_lib.nets.clip import CLIP
from course_lib.prediction import Prediction
from course_lib.process import Process, Time


@dataclass(frozen=True, eq=False)
class ClipGuided:
    """`denoiser` with the score moved by w a(t) grad cosine(x_t, caption). Nichol et al. 2022 (GLIDE), eq. 7: s = our w a(t).

    With the signal a(t), as in `guidance.NoisyClassifier`, the predicted picture moves by w b(t)^2 grad cosine, also at the
    highest noise. Set `knows_noise` to False for a CLIP that was trained on clean pictures only: it is given time 0. Raises
    ValueError if w is not finite, and what `clip.as_condition` raises for the caption.
    """

    denoiser: Denoiser
    clip: CLIP
    caption: Any
    w: float = 1.0
    knows_noise: bool = True

    def __post_init__(self):
        validate.finite("w", self.w)
        validate.instance("denoiser", self.denoiser, Denoiser)
        validate.instance("clip", self.clip, CLIP)
        object.__setattr__(self, "caption", self.clip.as_condition(self.caption))

    @property
    def process(self) -> Process:
        return self.denoiser.process

    def likeness(self, x_t: Tensor, t: Time) -> Tensor:
        """a(t) cosine(x_t, caption), (B,)."""
        a, _ = self.process.coefficients(t, x_t)
        image = self.clip.encode_image(x_t, relative_time(t, self.process, x_t) if self.knows_noise else None)
        text = self.clip.encode_text(self.caption.to(x_t.device))
        return a.flatten() * (image * text).sum(1)

    def __call__(self, x_t: Tensor, t: Time) -> Prediction:
        pred = self.denoiser(x_t, t)
        if self.w == 0:
            return pred
        return shift_score(pred, self.w * grad_log_p(lambda x: self.likeness(x, t), x_t))
