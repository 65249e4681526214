"""Checks of the exercises: `check.add_noise(your_function)` says what is right, and what is not, by name.

from course_lib.teaching import checks as check

check.add_noise(my_add_noise)                          # a verdict, which never stops a notebook
check.add_noise(my_add_noise, strict=True)             # raises AssertionError unless it is right
add_noise = check.add_noise(my_add_noise).function     # your function once it is right; until then, one that is
check.solution("add_noise")                            # an answer to the exercise
"""

import difflib

from course_lib.process import own_defaults

with own_defaults():  # the data of the checks are tensors
    from course_lib.teaching.checks.adapters import low_rank, preserved_training, zero_convolution
    from course_lib.teaching.checks.applications import consistent, dps_sampler, repaint_sampler
    from course_lib.teaching.checks.cascades import augmented, cascade, upsampler_loss
    from course_lib.teaching.checks.check import Check, Source
    from course_lib.teaching.checks.classifier_free import classifier_free_sampling, dropout_training, identity_residual
    from course_lib.teaching.checks.clip import clip_guided_eps, contrastive_loss, train_clip
    from course_lib.teaching.checks.consistency import (
        consistency_distillation,
        consistency_function,
        consistency_sampling,
    )
    from course_lib.teaching.checks.ddim import ddim_inversion, ddim_sampler
    from course_lib.teaching.checks.distillation import halving, student_target, truncated_snr
    from course_lib.teaching.checks.dit import count_operations, dit_block, patchify
    from course_lib.teaching.checks.epsilon import from_v, sampling_loop, training_loop
    from course_lib.teaching.checks.ethics import detect_mark, mark_noise, memorisation_score
    from course_lib.teaching.checks.fast_solvers import dpm_multistep, karras_times, precondition
    from course_lib.teaching.checks.flow_matching import coupling, reflow, velocity_loss
    from course_lib.teaching.checks.forward import add_noise, cosine_beta, posterior, reverse_chain
    from course_lib.teaching.checks.gan_vae import adversarial_value, elbo, train_gan
    from course_lib.teaching.checks.guidance import classifier_loss, guided_sampling, guided_score
    from course_lib.teaching.checks.imagen import dynamic_threshold, hidden_words, text_to_image
    from course_lib.teaching.checks.latents import latent_diffusion, quantize
    from course_lib.teaching.checks.masked import confidence_decoding, masking, word_loss
    from course_lib.teaching.checks.one_step import distribution_matching, dmd_gradient, meanflow_target
    from course_lib.teaching.checks.pipelines import euler_scale, pipeline_by_hand, unet_denoiser
    from course_lib.teaching.checks.rewards import dpo_loss, interval_guidance, particle_sampler
    from course_lib.teaching.checks.score import annealed_langevin, score_from_eps
    from course_lib.teaching.checks.sd3 import flow_sampler, flow_training, joint_attention
    from course_lib.teaching.checks.sde import divergence, ode_likelihood, reverse_sde
    from course_lib.teaching.checks.sdxl import micro_embedding, micro_training, refiner_loss
    from course_lib.teaching.checks.text import attention_share, cross_attention
    from course_lib.teaching.checks.unclip import prior_loss, slerp, unclip_sampling
    from course_lib.teaching.checks.unet import residual_block, self_attention, sinusoidal, unet_forward

# fmt: off
__all__ = [
    "add_noise", "adversarial_value", "annealed_langevin", "attention_share", "augmented", "cascade",
    "classifier_free_sampling", "classifier_loss", "clip_guided_eps", "confidence_decoding",
    "consistency_distillation", "consistency_function", "consistency_sampling", "consistent", "contrastive_loss",
    "cosine_beta", "count_operations", "coupling", "cross_attention", "ddim_inversion", "ddim_sampler",
    "detect_mark", "distribution_matching", "dit_block", "divergence", "dmd_gradient", "dpm_multistep", "dpo_loss",
    "dps_sampler", "dropout_training", "dynamic_threshold", "elbo", "euler_scale", "flow_sampler", "flow_training",
    "from_v", "guided_sampling", "guided_score", "halving", "hidden_words", "identity_residual",
    "interval_guidance", "joint_attention", "karras_times", "latent_diffusion", "low_rank", "mark_noise", "masking",
    "meanflow_target", "memorisation_score", "micro_embedding", "micro_training", "ode_likelihood",
    "particle_sampler", "patchify", "pipeline_by_hand", "posterior", "precondition", "preserved_training",
    "prior_loss", "quantize", "refiner_loss", "reflow", "repaint_sampler", "residual_block", "reverse_chain",
    "reverse_sde", "sampling_loop", "score_from_eps", "self_attention", "sinusoidal", "slerp", "solution",
    "student_target", "text_to_image", "train_clip", "train_gan", "training_loop", "truncated_snr",
    "unclip_sampling", "unet_denoiser", "unet_forward", "upsampler_loss", "velocity_loss", "word_loss",
    "zero_convolution",
]
# fmt: on


def solution(name: str) -> Source:
    """The source of an answer to the exercise of this name. Raises ValueError for a name that no check has."""
    checks = {check.name: check for check in globals().values() if isinstance(check, Check)}
    if not isinstance(name, str) or name not in checks:
        near = difflib.get_close_matches(str(name), checks, n=3, cutoff=0.5) or list(checks)[:3]
        raise ValueError(f"name must be that of an exercise, such as {', '.join(near)}, got {name!r}")
    return checks[name].solution
