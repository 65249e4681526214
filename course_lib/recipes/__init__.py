"""Recipes: how each model of the course is built, trained and measured. `course train NAME` follows one of them.

A `train_...` works on a copy and keeps the running average of its weights in the network that it was given, which therefore is
good to use after any step. With the same seed and no limit of `seconds` it gives the same weights on the same machine.
"""

from course_lib.recipes.cascades import (
    BASE,
    JUDGE32,
    UPSAMPLER,
    judge32_figures,
    train_base,
    train_judge32,
    train_upsampler,
    upsampler_figures,
    upsampler_network,
)
from course_lib.recipes.clip import CLIP_CLEAN, CLIP_NOISY
from course_lib.recipes.digits import (
    CLASSIFIER,
    DIGITS,
    classifier,
    classifier_figures,
    digits_figures,
    digits_network,
    train_classifier,
    train_digits,
)
from course_lib.recipes.distillation import (
    CONSISTENCY,
    CONSISTENCY_TRAINED,
    GUIDED,
    PROGRESSIVE,
    guided_network,
    train_consistency,
    train_guided,
    train_progressive,
)
from course_lib.recipes.guides import (
    NOISY_CLASSIFIER,
    noisy_classifier,
    noisy_classifier_figures,
    train_noisy_classifier,
)
from course_lib.recipes.imagen import IMAGEN, IMAGEN_UPSAMPLER, LANGUAGE, PARAPHRASER_SMALL
from course_lib.recipes.latents import AUTOENCODER, LATENT2SHAPE, LATENT_STUDENT
from course_lib.recipes.points import RING, ring_figures, ring_network, train_ring
from course_lib.recipes.recipe import Recipe
from course_lib.recipes.rivals import (
    DIFFUSION,
    GAN_RECIPE,
    VAE_RECIPE,
    diffusion,
    diffusion_of_points,
    drawn,
    gan,
    gan_of_points,
    rival_figures,
    rival_points_figures,
    some_digits,
    some_points,
    train_diffusion,
    train_gan,
    train_vae,
    vae,
    vae_of_points,
)
from course_lib.recipes.sd3 import SD3
from course_lib.recipes.sdxl import SDXL
from course_lib.recipes.shapes import PARAPHRASER, READER, TEXT2SHAPE
from course_lib.recipes.unclip import DECODER, PRIOR

__all__ = [
    "RECIPES",
    "Recipe",
    "classifier",
    "classifier_figures",
    "diffusion",
    "diffusion_of_points",
    "digits_figures",
    "digits_network",
    "drawn",
    "gan",
    "gan_of_points",
    "guided_network",
    "judge32_figures",
    "noisy_classifier",
    "noisy_classifier_figures",
    "ring_figures",
    "ring_network",
    "rival_figures",
    "rival_points_figures",
    "some_digits",
    "some_points",
    "train_base",
    "train_classifier",
    "train_consistency",
    "train_diffusion",
    "train_digits",
    "train_gan",
    "train_guided",
    "train_judge32",
    "train_noisy_classifier",
    "train_progressive",
    "train_ring",
    "train_upsampler",
    "train_vae",
    "upsampler_figures",
    "upsampler_network",
    "vae",
    "vae_of_points",
]

RECIPES = {
    "ring": RING,
    "classifier": CLASSIFIER,
    "digits": DIGITS,
    "noisy_classifier": NOISY_CLASSIFIER,
    **PROGRESSIVE,
    "diffusion": DIFFUSION,
    "vae": VAE_RECIPE,
    "gan": GAN_RECIPE,
    "judge32": JUDGE32,
    "base": BASE,
    "upsampler": UPSAMPLER,
    "reader": READER,
    "paraphraser": PARAPHRASER,
    "text2shape": TEXT2SHAPE,
    "clip": CLIP_CLEAN,
    "noisy_clip": CLIP_NOISY,
    "prior": PRIOR,
    "decoder": DECODER,
    "consistency": CONSISTENCY,
    "consistency_trained": CONSISTENCY_TRAINED,
    "guided": GUIDED,
    "language": LANGUAGE,
    "paraphraser_small": PARAPHRASER_SMALL,
    "imagen": IMAGEN,
    "imagen_upsampler": IMAGEN_UPSAMPLER,
    "autoencoder": AUTOENCODER,
    "latent2shape": LATENT2SHAPE,
    "sdxl": SDXL,
    "latent_student": LATENT_STUDENT,
    "sd3": SD3,
}
"""Every model that ships, in the order in which they can be made: the digits are measured by the classifier."""
