"""unCLIP, the method of DALL-E 2: a prior imagines CLIP's vector of a picture, a decoder draws a picture of that vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.datasets.captions import Caption
from course_lib.denoisers import NULL, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.clip import CLIP
from course_lib.samplers import ddim, result


def seen(clip: CLIP, x: Tensor) -> Tensor:
    """CLIP's vectors z (B, dim) of clean pictures x (B, 3, H, W), stretched to length sqrt(dim), so that a component's mean
    square is 1, as a process expects of its data."""
    z = clip.picture(x)
    return z.shape[1] ** 0.5 * z


@dataclass(frozen=True, eq=False)
class UnCLIP:
    """P(x | y) = P(x | z) P(z | y), of pictures x, captions y and CLIP's vectors z. Ramesh et al. 2022, eq. 1.

    `prior`, given a caption, is a denoiser of z (B, dim); `decoder`, given z, one of x (B, 3, 32, 32).
    """

    clip: CLIP
    prior: Network
    decoder: Network

    @torch.no_grad()
    def seen(self, x: Tensor) -> Tensor:
        """The vectors z (B, dim) of clean pictures x (B, 3, 32, 32)."""
        return seen(self.clip, x)

    @torch.no_grad()
    def read(self, captions: Caption) -> Tensor:
        """CLIP's vectors of captions (B, dim), as long as those of pictures."""
        y = self.clip.caption(self.clip.as_condition(captions))
        return y.shape[1] ** 0.5 * y

    def imagined(self, captions: Caption, w: float = 1.0, steps: int = 25, rng: torch.Generator | None = None) -> Tensor:
        """Vectors z (B, dim) of pictures that the captions may mean: of two for each, the one that CLIP finds more alike.

        Ramesh et al. 2022, section 2.2. `w` guides the prior.
        """
        said = self.read(captions)
        prior = ClassifierFree(self.prior.given(captions), self.prior.given(NULL), w)
        start = torch.randn(2, *said.shape, generator=rng)
        z = torch.stack([result(ddim(prior, z_T, self.prior.process.times(steps))) for z_T in start])
        best = (z * said).sum(2).argmax(0)
        return z[best, torch.arange(len(said))]

    def film(self, z: Tensor, x_T: Tensor, w: float = 2.0, steps: int = 25) -> list:
        """The decoder's steps from noise x_T (B, 3, 32, 32) to pictures of z, (B, dim) or (1, dim) for all, guided by w."""
        decoder = ClassifierFree(self.decoder.given(z), self.decoder.given(NULL), w)
        return list(ddim(decoder, x_T, self.decoder.process.times(steps)))

    def drawn(self, z: Tensor, w: float = 2.0, steps: int = 25, rng: torch.Generator | None = None) -> Tensor:
        """A picture (B, 3, 32, 32) of each vector z (B, dim). Two of one picture's vector are its variations."""
        return self.film(z, torch.randn(len(z), 3, 32, 32, generator=rng), w, steps)[-1].x.clamp(-1, 1)
