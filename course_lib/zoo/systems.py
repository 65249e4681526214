"""The large-scale systems in miniature, side by side: each a function from captions to the predicted pictures, step by step.

film = systems.latent_diffusion()
*_, pictures = film(["a red circle left of a blue square"], 0)    # (1, 3, 32, 32), the last of STEPS + 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from course_lib.denoisers import Network
from course_lib.guidance import StaticThreshold, classifier_free
from course_lib.methods.cascades import cascade
from course_lib.methods.unclip import UnCLIP
from course_lib.process import seeded
from course_lib.samplers import ddim, rectified_flow
from course_lib.zoo import models
from course_lib.zoo.recipes.imagen import NOISE, upsample_bilinear

STEPS = 25
Film = Callable[[list[str], int], Iterator[Tensor]]
"""(captions, seed) -> the predicted pictures (N, 3, 32, 32) in [-1, 1] at each of STEPS steps, and the finished ones.

The noise depends on the seed and the number of captions alone."""


def text_to_pixels() -> Film:
    """Lesson 09: one network from captions to pixels, as GLIDE has it. Nichol et al. 2022."""
    return _film(models.load("text2shape"))


def dalle2() -> Film:
    """Lesson 11: a prior from captions to CLIP image embeddings, and a decoder of those. Ramesh et al. 2022."""
    method = UnCLIP(*(models.load(name) for name in ("clip", "prior", "decoder")))

    def film(prompts: list[str], seed: int) -> Iterator[Tensor]:
        rng = seeded(seed)
        decoder = classifier_free(method.decoder, method.sample_prior(prompts, rng=rng), 2.0)
        for step in ddim(decoder, method.decoder.draw_noise(len(prompts), rng), decoder.process.times(STEPS)):
            yield step.x0.clamp(-1, 1)

    return film


def latent_diffusion() -> Film:
    """Lesson 12: a network from captions to an autoencoder's latents. Rombach et al. 2022."""
    return _film(models.load("latent2shape"), models.load("autoencoder").decode)


def imagen() -> Film:
    """Lesson 13: a base of 16 x 16, conditioned on a frozen text encoder, and an upsampler; each has half of the steps.

    Saharia et al. 2022.
    """
    base, upsampler = models.load("imagen"), models.load("imagen_upsampler")

    def film(prompts: list[str], seed: int) -> Iterator[Tensor]:
        rng, times = seeded(seed), base.process.times(STEPS // 2)
        noises = tuple(network.draw_noise(len(prompts), rng) for network in (base, upsampler))
        guided = StaticThreshold(classifier_free(base, prompts, 2.0))
        for step in cascade(guided, upsampler, noises, times, NOISE, rng=rng):
            yield (step.x0 if step.x0.shape[-1] == noises[1].shape[-1] else upsample_bilinear(step.x0)).clamp(-1, 1)

    return film


def sdxl() -> Film:
    """Lesson 15: latents again, conditioned on size and crop: those of large whole pictures. Podell et al. 2023."""
    return _film(models.load("sdxl"), models.load("autoencoder").decode)


def stable_diffusion_3() -> Film:
    """Lesson 16: an MM-DiT on a rectified flow, in latents. Esser et al. 2024."""
    return _film(models.load("sd3"), models.load("autoencoder").decode, rectified_flow)


SYSTEMS = {
    "text to pixels": text_to_pixels,
    "DALL-E 2": dalle2,
    "latent diffusion": latent_diffusion,
    "Imagen": imagen,
    "SDXL": sdxl,
    "Stable Diffusion 3": stable_diffusion_3,
}
"""The function that loads each system, by its name. It raises FileNotFoundError where one of its models is missing."""


def _film(network: Network, decode: Callable[[Tensor], Tensor] = lambda x: x, sampler: Callable = ddim) -> Film:
    """The film of one network, guided at w = 3, each prediction decoded."""

    def film(prompts: list[str], seed: int) -> Iterator[Tensor]:
        noise = network.draw_noise(len(prompts), seeded(seed))
        for step in sampler(classifier_free(network, prompts, 3.0), noise, network.process.times(STEPS)):
            yield decode(step.x0).clamp(-1, 1)

    return film
