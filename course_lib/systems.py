"""The large-scale systems in miniature, side by side: each a function from captions to the pictures that it believes in.

film = systems.latent_diffusion()
*_, pictures = film(["a red circle left of a blue square"], seed=0)    # (1, 3, 32, 32), the last of STEPS + 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib import models
from course_lib.cascades import cascade
from course_lib.denoisers import Denoiser, Network
from course_lib.guidance import StaticThreshold
from course_lib.recipes.imagen import NOISE, smooth
from course_lib.samplers import ddim, rectified_flow
from course_lib.unclip import UnCLIP

STEPS = 25
Film = Callable[[list[str], int], Iterator[Tensor]]
"""(captions, seed) -> the pictures (N, 3, 32, 32) in [-1, 1] that it believes in at each of STEPS moves, and the finished ones.

The noise depends on the seed and the number of captions alone."""


def text_to_pixels() -> Film:
    """Lesson 09: one network from captions to pixels, as GLIDE has it. Nichol et al. 2022."""
    network = models.load("text2shape")
    return lambda said, seed: _film(models.guided(network, said, 3.0), network, len(said), _rng(seed))


def dalle2() -> Film:
    """Lesson 11: a prior from captions to CLIP's vectors of pictures, and a decoder of those. Ramesh et al. 2022."""
    method = UnCLIP(*(models.load(name) for name in ("clip", "prior", "decoder")))

    def film(said: list[str], seed: int) -> Iterator[Tensor]:
        rng = _rng(seed)
        decoder = models.guided(method.decoder, method.imagined(said, rng=rng), 2.0)
        yield from _film(decoder, method.decoder, len(said), rng)

    return film


def latent_diffusion() -> Film:
    """Lesson 12: a network from captions to an autoencoder's latents. Rombach et al. 2022."""
    network, through = models.load("latent2shape"), models.load("autoencoder")
    return lambda said, seed: _film(models.guided(network, said, 3.0), network, len(said), _rng(seed), through.decode)


def imagen() -> Film:
    """Lesson 13: a base of 16 x 16, which hears a frozen encoder of text alone, and an upsampler; each has half of the moves.
    Saharia et al. 2022."""
    base, upsampler = models.load("imagen"), models.load("imagen_upsampler")

    def film(said: list[str], seed: int) -> Iterator[Tensor]:
        rng, times = _rng(seed), base.process.times(STEPS // 2)
        noises = tuple(torch.randn(len(said), *network.net.shape, generator=rng) for network in (base, upsampler))
        for step in cascade(StaticThreshold(models.guided(base, said, 2.0)), upsampler, noises, times, NOISE, rng=rng):
            yield (step.x0 if step.x0.shape[-1] == noises[1].shape[-1] else smooth(step.x0)).clamp(-1, 1)

    return film


def sdxl() -> Film:
    """Lesson 15: latents again, and told how its pictures came about: asked for large and whole ones. Podell et al. 2023."""
    network, through = models.load("sdxl"), models.load("autoencoder")
    return lambda said, seed: _film(models.guided(network, said, 3.0), network, len(said), _rng(seed), through.decode)


def stable_diffusion_3() -> Film:
    """Lesson 16: an MM-DiT on a rectified flow, in latents. Esser et al. 2024."""
    network, through = models.load("sd3"), models.load("autoencoder")
    return lambda said, seed: _film(
        models.guided(network, said, 3.0), network, len(said), _rng(seed), through.decode, rectified_flow
    )


SYSTEMS = {
    "text to pixels": text_to_pixels,
    "DALL-E 2": dalle2,
    "latent diffusion": latent_diffusion,
    "Imagen": imagen,
    "SDXL": sdxl,
    "Stable Diffusion 3": stable_diffusion_3,
}
"""What loads each system, by its name. Raises FileNotFoundError where one of its models has not been made yet."""


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _film(
    denoiser: Denoiser,
    network: Network,
    n: int,
    rng: torch.Generator,
    draw: Callable[[Tensor], Tensor] = lambda x: x,
    sampler: Callable = ddim,
) -> Iterator[Tensor]:
    """What the denoiser, made of the network, believes in at each step, drawn."""
    for step in sampler(denoiser, torch.randn(n, *network.net.shape, generator=rng), denoiser.process.times(STEPS)):
        yield draw(step.x0).clamp(-1, 1)
