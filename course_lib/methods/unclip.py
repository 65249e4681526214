"""unCLIP, the method of DALL-E 2: a prior from captions to CLIP image embeddings, a decoder from these to pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets.captions import Caption
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.clip import CLIP
from course_lib.process import randn
from course_lib.samplers import Step, ddim, sample


def image_embedding(clip: CLIP, x: Tensor) -> Tensor:
    """CLIP's embeddings z (B, dim) of clean pictures x (B, 3, H, W), scaled to length sqrt(dim).

    The mean square of a component is then 1, as for other data of a diffusion process.
    """
    z = validate.instance("clip", clip, CLIP).encode_image(validate.batch("x", x))
    return z.shape[1] ** 0.5 * z


@dataclass(frozen=True, eq=False)
class UnCLIP:
    """P(x | y) = P(x | z) P(z | y), of pictures x, captions y and CLIP's image embeddings z. Ramesh et al. 2022, eq. 1.

    `prior`, given a caption, is a denoiser of z (B, dim); `decoder`, given z, is a denoiser of x (B, 3, 32, 32).
    """

    clip: CLIP
    prior: Network
    decoder: Network

    def __post_init__(self):
        validate.instance("clip", self.clip, CLIP)
        validate.instance("prior", self.prior, Network)
        validate.instance("decoder", self.decoder, Network)

    @torch.no_grad()
    def embed_images(self, x: Tensor) -> Tensor:
        """The embeddings z (B, dim) of clean pictures x (B, 3, 32, 32)."""
        return image_embedding(self.clip, x)

    @torch.no_grad()
    def embed_captions(self, captions: Caption) -> Tensor:
        """CLIP's embeddings of captions (B, dim), scaled to the length of those of pictures."""
        y = self.clip.encode_text(self.clip.as_condition(captions))
        return y.shape[1] ** 0.5 * y

    def sample_prior(self, captions: Caption, w: float = 1.0, steps: int = 25, rng: torch.Generator | None = None) -> Tensor:
        """Image embeddings z (B, dim) for captions: of two samples each, the one more similar to CLIP's text embedding.

        Ramesh et al. 2022, section 2.2. The prior is guided by w.
        """
        validate.moves("steps", steps, self.prior.process)
        text, prior = self.embed_captions(captions), classifier_free(self.prior, captions, w)
        one, other = (sample(prior, z_T, steps) for z_T in randn(2, *text.shape, rng=rng))
        return torch.where(((other - one) * text).sum(1, keepdim=True) > 0, other, one)

    def film(self, z: Tensor, x_T: Tensor, w: float = 2.0, steps: int = 25) -> list[Step]:
        """The decoder's steps from noise x_T (B, 3, 32, 32), given z, (B, dim) or (1, dim) for all, and guided by w."""
        validate.batch("x_T", x_T, 3, 32, 32)
        times = self.decoder.process.times(validate.moves("steps", steps, self.decoder.process))
        return list(ddim(classifier_free(self.decoder, z, w), x_T, times))

    def sample(self, z: Tensor, w: float = 2.0, steps: int = 25, rng: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, 32, 32) from embeddings z (B, dim), guided by w. Samples from one picture's z are its variations."""
        validate.moves("steps", steps, self.decoder.process)
        validate.generator("rng", rng)
        noise = self.decoder.draw_noise(len(validate.batch("z", z)), rng)
        return sample(classifier_free(self.decoder, z, w), noise, steps).clamp(-1, 1)
