"""Pipelines of diffusers' own classes with a few thousand random weights each: they draw nothing, and need no download.

They show and test, in seconds, how `from_diffusers` treats a real checkpoint of the same class.
"""

from __future__ import annotations

import string
from typing import Any

import torch

from course_lib import validate
from course_lib.process import own_defaults

TOKENS = 16
"""The tokens of a prompt for CLIP's encoders, with those of start and end; Stable Diffusion has 77."""
SIDE = 8
"""The side of the latents; pictures have twice as much."""


def tiny(name: str, seed: int = 0) -> Any:
    """A random pipeline of the class `name`, one of PIPELINES, on the CPU, in float32.

    Raises ValueError for another name, ImportError in one line without the optional packages.
    """
    kind = PIPELINES[validate.choice("name", name, tuple(PIPELINES))]
    validate.at_least("seed", seed, 0)
    with own_defaults(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            pipeline = kind()
        except ImportError as error:
            raise ImportError(f'{error.name} is not installed: pip install "diffusion-course[real]"') from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


SIGNS = [*string.ascii_lowercase, *string.digits, *",.!?'-"]
"""The letters, digits and signs that are a token each."""


def _tokenizer() -> Any:
    """A tokenizer of CLIP's kind."""
    from transformers import CLIPTokenizer

    vocab = [*SIGNS, *(f"{sign}</w>" for sign in SIGNS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({token: i for i, token in enumerate(vocab)}, [], model_max_length=TOKENS)


def _text_encoder(width: int, tokenizer: Any, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    eos = tokenizer.eos_token_id
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=eos - 1,
        eos_token_id=eos,
        pad_token_id=eos,
        **sizes,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def _t5(width: int) -> tuple[Any, Any]:
    """An encoder of T5's kind (Raffel et al. 2020) and its tokenizer."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, **dict.fromkeys(["\u2581", *SIGNS], -1.0)}  # with log-probabilities
    tokenizer = T5Tokenizer(vocab=list(words.items()), extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval(), tokenizer


def _vae(channels: int = 4, shift: float | None = None) -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return AutoencoderKL(
        block_out_channels=[16, 16],
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=2 * SIDE,
        shift_factor=shift,
        **blocks,
    ).eval()


def _unet(width: int, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    down, up = ["DownBlock2D", "CrossAttnDownBlock2D"], ["CrossAttnUpBlock2D", "UpBlock2D"]
    sizes = {"block_out_channels": [16, 32], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": SIDE}
    return UNet2DConditionModel(
        down_block_types=down, up_block_types=up, attention_head_dim=4, cross_attention_dim=width, **sizes, **more
    ).eval()


def _chain(**more: Any) -> dict[str, Any]:
    """The noise schedule of Stable Diffusion 1: Rombach et al. 2022's code."""
    return {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", **more}


def _ddpm() -> Any:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = UNet2DModel(16, block_out_channels=[16, 32], layers_per_block=1, norm_num_groups=4, **blocks).eval()
    return DDPMPipeline(unet, DDPMScheduler(clip_sample=False))


def _stable_diffusion() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = _tokenizer()
    scheduler = DDIMScheduler(**_chain(clip_sample=False, set_alpha_to_one=False, steps_offset=1))
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(_vae(), _text_encoder(32, tokenizer), tokenizer, _unet(32), scheduler, **parts)


def _latent_consistency() -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    tokenizer, unet = _tokenizer(), _unet(32, time_cond_proj_dim=32)
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return LatentConsistencyModelPipeline(
        _vae(), _text_encoder(32, tokenizer), tokenizer, unet, LCMScheduler(**_chain()), **parts
    )


def _sdxl_unet(width: int, numbers: int) -> Any:
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return _unet(width, projection_class_embeddings_input_dim=32 + 8 * numbers, **added)


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = _tokenizer()
    encoders = _text_encoder(32, tokenizer), _text_encoder(32, tokenizer, projected=True)
    scheduler = EulerDiscreteScheduler(**_chain(timestep_spacing="leading", steps_offset=1))
    return StableDiffusionXLPipeline(
        _vae(), *encoders, tokenizer, tokenizer, _sdxl_unet(64, 6), scheduler, add_watermarker=False
    )


def _refiner() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline

    tokenizer = _tokenizer()
    encoder = _text_encoder(32, tokenizer, projected=True)
    scheduler = EulerDiscreteScheduler(**_chain(timestep_spacing="leading", steps_offset=1))
    options = {"requires_aesthetics_score": True, "add_watermarker": False, "force_zeros_for_empty_prompt": False}
    return StableDiffusionXLImg2ImgPipeline(_vae(), None, encoder, None, tokenizer, _sdxl_unet(32, 5), scheduler, **options)


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    tokenizer = _tokenizer()
    sizes = {"num_layers": 2, "num_attention_heads": 4, "attention_head_dim": 8, "caption_projection_dim": 32}
    text = {"joint_attention_dim": 64, "pooled_projection_dim": 64}
    transformer = SD3Transformer2DModel(sample_size=SIDE, patch_size=2, in_channels=16, out_channels=16, **sizes, **text).eval()
    encoders = [part for _ in range(2) for part in (_text_encoder(32, tokenizer, projected=True), tokenizer)]
    return StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        _vae(16, 0.06),
        *encoders,
        *_t5(64),
    )


PIPELINES = {
    "DDPMPipeline": _ddpm,
    "StableDiffusionPipeline": _stable_diffusion,
    "LatentConsistencyModelPipeline": _latent_consistency,
    "StableDiffusionXLPipeline": _sdxl,
    "StableDiffusionXLImg2ImgPipeline": _refiner,
    "StableDiffusion3Pipeline": _sd3,
}
"""The classes that `tiny` makes, by name."""
