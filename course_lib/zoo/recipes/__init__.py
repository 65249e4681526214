"""Recipes: how each model of the course is built, trained and measured. `course train NAME` follows one of them.

A `train_...` trains a copy and keeps the running average of its weights in the network that it was given, which can be used
after any step. With the same seed and no limit of `seconds`, the weights are the same on the same machine.
"""

from course_lib.zoo.recipes.cascades import BASE, CLASSIFIER32, UPSAMPLER
from course_lib.zoo.recipes.clip import CLIP_CLEAN, CLIP_NOISY
from course_lib.zoo.recipes.digits import CLASSIFIER, DIGITS, digits_figures, digits_network, train_digits
from course_lib.zoo.recipes.distillation import CONSISTENCY, CONSISTENCY_TRAINED, GUIDED, PROGRESSIVE
from course_lib.zoo.recipes.dit import DIT
from course_lib.zoo.recipes.gan_vae import (
    DIFFUSION,
    GAN_RECIPE,
    VAE_RECIPE,
    diffusion,
    gan,
    generator_figures,
    points_diffusion,
    points_gan,
    points_vae,
    some_points,
    train_diffusion,
    train_gan,
    train_vae,
    vae,
)
from course_lib.zoo.recipes.imagen import IMAGEN, IMAGEN_UPSAMPLER, LANGUAGE, PARAPHRASER_SMALL
from course_lib.zoo.recipes.latents import AUTOENCODER, LATENT2SHAPE, LATENT_STUDENT
from course_lib.zoo.recipes.noisy_classifier import NOISY_CLASSIFIER
from course_lib.zoo.recipes.one_step import FLOW, FLOW_STUDENTS
from course_lib.zoo.recipes.points import RING, ring_network, train_ring
from course_lib.zoo.recipes.recipe import Recipe
from course_lib.zoo.recipes.sd3 import SD3
from course_lib.zoo.recipes.sdxl import SDXL
from course_lib.zoo.recipes.shapes import DETECTOR, PARAPHRASER, TEXT2SHAPE
from course_lib.zoo.recipes.unclip import DECODER, PRIOR

__all__ = [
    "RECIPES",
    "Recipe",
    "diffusion",
    "points_diffusion",
    "digits_figures",
    "digits_network",
    "gan",
    "points_gan",
    "generator_figures",
    "ring_network",
    "some_points",
    "train_diffusion",
    "train_digits",
    "train_gan",
    "train_ring",
    "train_vae",
    "vae",
    "points_vae",
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
    "judge32": CLASSIFIER32,
    "base": BASE,
    "upsampler": UPSAMPLER,
    "reader": DETECTOR,
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
    "dit": DIT,
    "digits_flow": FLOW,
    **FLOW_STUDENTS,
}
"""Every shipped model, in an order in which they can be made: a model comes after those that train or evaluate it."""
