"""Pipelines of the library diffusers as denoisers of this course: its checkpoints under our samplers, guidance and widgets.

Their timestep of a chain is our t - 1, since our t = 0 is data; that of a flow is 1,000 t. Their latents are our x.
Needs the optional packages: `pip install "diffusion-course[real]"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import NULL, Network, runs_on_its_device
from course_lib.process import DDPM, Noise, Process, RectifiedFlow, randn_like
from course_lib.training import pick_device

NO_DIFFUSERS = 'diffusers is not installed: pip install "diffusion-course[real]"'
VIEWS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""Their `prediction_type` of a chain, and our view."""
SMALLEST = 2.0**-24
"""The largest alpha_bar that stands for one of 0, as in diffusers' schedulers, at the end of a chain in noise alone."""


class PipelineNet(nn.Module):
    """net(x, time) of an unconditional pipeline, for pictures or latents x (B, C, H, W) and time (B,), t / T."""

    def __init__(self, pipeline: Any, negative: str | None = None):
        super().__init__()
        self.pipeline, self.negative = pipeline, negative
        self.model = getattr(pipeline, "unet", None) or pipeline.transformer
        side = self.model.config.sample_size
        self.shape = (self.model.config.in_channels, *((side, side) if isinstance(side, int) else side))

    def timestep(self, time: Tensor) -> Tensor:
        """Their timestep (B,) of a chain at the share `time` (B,) of its length."""
        return (time * self.pipeline.scheduler.config.num_train_timesteps).round() - 1

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.model(x, self.timestep(time), return_dict=False)[0]


class PromptedNet(PipelineNet):
    """net(x, time, cond) of a pipeline with text and an autoencoder. `cond` (B, N) holds all numbers of a prompt in one row.

    NULL is the empty prompt, or the `negative` one. `words` names the tokens, `encode` and `decode` are the autoencoder's.
    """

    in_one_batch = True
    """Guidance makes one call of twice the batch, as the pipelines' own loops do."""
    vectors: int
    """The width of the vector of a token."""

    def __init__(self, pipeline: Any, negative: str | None = None):
        super().__init__(pipeline, negative)
        self.vae = pipeline.vae

    def as_condition(self, cond: Any) -> Tensor:
        """The numbers (B, N) of a prompt, of a list of prompts or of NULL; a row of them (B, N) stays. Raises TypeError for
        another kind of condition, ValueError where the pipeline has no tokenizer to read a prompt with."""
        if isinstance(cond, Tensor):
            return validate.floats("prompts", cond, "B", "N")
        prompts = [self.negative or ""] if cond is NULL else [cond] if isinstance(cond, str) else cond
        if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not all(isinstance(p, str) for p in prompts):
            raise TypeError(f"prompts must be a prompt, a list of prompts or NULL, got {cond!r}")
        if all(getattr(self.pipeline, part, None) is None for part in ("tokenizer", "tokenizer_2")):
            raise ValueError("pipeline must have a tokenizer to be given a prompt, got none")
        with torch.no_grad():
            rows = self.encode_prompts(list(validate.filled("prompts", prompts)), cond is NULL)
        return torch.cat([row.flatten(1) for row in rows], 1)

    def encode_prompts(self, prompts: list[str], null: bool) -> list[Tensor]:
        """All that the network is given of the prompts, (B, ...) each; with `null` that is the negative or the empty one."""
        raise NotImplementedError

    def _asked(self, prompts: list[str]) -> dict[str, Any]:
        negative = None if self.negative is None else [self.negative] * len(prompts)
        where = next(self.model.parameters()).device
        return {"prompt": prompts, "negative_prompt": negative, "device": where, "num_images_per_prompt": 1}

    @runs_on_its_device
    def encode(self, x: Tensor, rng: Noise = None) -> Tensor:
        """Latents (B, C, H / f, W / f) of pictures x (B, 3, H, W) in [-1, 1], drawn from the autoencoder's Gaussian."""
        q, scale, shift = self.vae.encode(x.to(self.vae.dtype)).latent_dist, *self._scale()
        return (q.mean + q.std * randn_like(q.mean, rng) - shift) * scale

    @runs_on_its_device
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] of latents z (B, C, H / f, W / f)."""
        scale, shift = self._scale()
        with torch.no_grad():
            return self.vae.decode((z / scale + shift).to(self.vae.dtype), return_dict=False)[0].clamp(-1, 1)

    def _scale(self) -> tuple[float, float]:
        return self.vae.config.scaling_factor, self.vae.config.get("shift_factor") or 0.0

    @contextmanager
    def record_attention(self) -> Iterator[dict[str, Tensor]]:
        """A context with a dict of the cross-attention weights (B, heads, H W, L) by layer, which a call inside it fills."""
        weights: dict[str, Tensor] = {}

        def recorder(name: str):
            def hook(layer: Any, args: tuple, kwargs: dict, out: Tensor) -> None:
                h, text = args[0] if args else kwargs["hidden_states"], kwargs["encoder_hidden_states"]
                q, k = (layer.head_to_batch_dim(to(of)) for to, of in ((layer.to_q, h), (layer.to_k, text)))
                weights[name] = layer.get_attention_scores(q, k).unflatten(0, (len(h), -1)).detach()

            return hook

        handles = [
            layer.register_forward_hook(recorder(name), with_kwargs=True)
            for name, layer in self.model.named_modules()
            if name.endswith("attn2")  # what diffusers calls the cross-attention of a block
        ]
        try:
            yield weights
        finally:
            for handle in handles:
                handle.remove()

    def words(self, prompt: str) -> list[str]:
        """The tokens of a prompt, as the first tokenizer cuts it, without those that mark its start and end."""
        tokenizer = self.pipeline.tokenizer
        return [token.removesuffix("</w>") for token in tokenizer.tokenize(validate.instance("prompt", prompt, str))]


class StableDiffusionNet(PromptedNet):
    """Stable Diffusion 1 and 2 (Rombach et al. 2022), and latent consistency models (Luo et al. 2023), which take w."""

    def __init__(self, pipeline: Any, negative: str | None = None):
        super().__init__(pipeline, negative)
        self.vectors = self.model.config.cross_attention_dim
        self.guidance = pipeline.get_guidance_scale_embedding if self.model.config.time_cond_proj_dim else None

    def encode_prompts(self, prompts: list[str], null: bool) -> list[Tensor]:
        positive, _ = self.pipeline.encode_prompt(**self._asked(prompts), do_classifier_free_guidance=False)
        return [positive]

    def inputs(self, cond: Tensor) -> dict[str, Any]:
        """What their network is given for rows `cond` (B, N)."""
        return {"encoder_hidden_states": cond.unflatten(1, (-1, self.vectors))}

    def forward(self, x: Tensor, time: Tensor, cond: Tensor, w: Tensor | None = None) -> Tensor:
        inputs = self.inputs(cond)
        if self.guidance is not None:
            width = self.model.config.time_cond_proj_dim
            inputs["timestep_cond"] = self.guidance(cast(Tensor, w).cpu() - 1, embedding_dim=width).to(x)
        out = self.model(x, self.timestep(time), return_dict=False, **inputs)[0]
        return self.of_consistency(x, time, out) if _is_consistency(self.pipeline.scheduler) else out

    def of_consistency(self, x: Tensor, time: Tensor, eps: Tensor) -> Tensor:
        """The consistency function c_skip x + c_out x_0 of their prediction of eps, all (B, C, H, W)."""
        k, scheduler = self.timestep(time).cpu().long(), self.pipeline.scheduler
        alpha_bar = scheduler.alphas_cumprod[k].view(-1, 1, 1, 1).to(x)
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition_discrete(k.view(-1, 1, 1, 1).double())
        return c_skip.to(x) * x + c_out.to(x) * (x - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


class SDXLNet(StableDiffusionNet):
    """SDXL, base and refiner: Podell et al. 2023. The size is the pipeline's own and the crop is at (0, 0).

    The refiner takes an aesthetic score in the place of the target size: 6, and 2.5 for NULL, as in its pipeline.
    """

    def __init__(self, pipeline: Any, negative: str | None = None):
        super().__init__(pipeline, negative)
        self.scored = bool(pipeline.config.get("requires_aesthetics_score"))
        numbers = 5 if self.scored else 6
        of_time = numbers * self.model.config.addition_time_embed_dim
        self.sections = [self.model.add_embedding.linear_1.in_features - of_time, numbers]

    def encode_prompts(self, prompts: list[str], null: bool) -> list[Tensor]:
        positive, negative, pooled, negative_pooled = self.pipeline.encode_prompt(
            **self._asked(prompts), do_classifier_free_guidance=null
        )
        size = [side * self.pipeline.vae_scale_factor for side in self.shape[1:]]
        numbers = [*size, 0, 0, *([2.5 if null else 6.0] if self.scored else size)]
        row = torch.tensor(numbers, dtype=torch.float32, device="cpu").to(positive).expand(len(prompts), -1)
        return [negative, negative_pooled, row] if null else [positive, pooled, row]

    def inputs(self, cond: Tensor) -> dict[str, Any]:
        tokens, pooled, numbers = cond.split([cond.shape[1] - sum(self.sections), *self.sections], 1)
        return super().inputs(tokens) | {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": numbers}}


class SD3Net(PromptedNet):
    """Stable Diffusion 3: Esser et al. 2024."""

    def __init__(self, pipeline: Any, negative: str | None = None):
        super().__init__(pipeline, negative)
        self.vectors, self.pooled = self.model.config.joint_attention_dim, self.model.config.pooled_projection_dim

    def encode_prompts(self, prompts: list[str], null: bool) -> list[Tensor]:
        others = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False}
        positive, _, pooled, _ = self.pipeline.encode_prompt(**self._asked(prompts), **others)
        return [positive, pooled]

    def timestep(self, time: Tensor) -> Tensor:
        return time * self.pipeline.scheduler.config.num_train_timesteps

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        tokens, pooled = cond.split([cond.shape[1] - self.pooled, self.pooled], 1)
        text = {"encoder_hidden_states": tokens.unflatten(1, (-1, self.vectors)), "pooled_projections": pooled}
        return self.model(hidden_states=x, timestep=self.timestep(time), return_dict=False, **text)[0]


NETS: dict[str, type[PipelineNet]] = {
    "DDPMPipeline": PipelineNet,
    "DDIMPipeline": PipelineNet,
    "StableDiffusionPipeline": StableDiffusionNet,
    "LatentConsistencyModelPipeline": StableDiffusionNet,
    "StableDiffusionXLPipeline": SDXLNet,
    "StableDiffusionXLImg2ImgPipeline": SDXLNet,
    "StableDiffusion3Pipeline": SD3Net,
}
"""The pipelines that are known, by the name of their class."""


def from_diffusers(pipeline: Any, negative: str | None = None) -> Network:
    """A pipeline of diffusers as a Network of ours, on the pipeline's device and in its dtype.

    `.given(prompt)` gives it a prompt or a list of them, `.given(NULL)` the empty prompt, or `negative`. `network.net.encode`
    and `.decode` are the autoencoder's, from pictures in [-1, 1] to x and back. Raises TypeError for a pipeline that is not in
    NETS or a scheduler that is neither a chain nor a rectified flow.
    """
    kind = NETS.get(type(pipeline).__name__)
    if kind is None:
        raise TypeError(f"pipeline must be one of {', '.join(NETS)}, got {type(pipeline).__name__}")
    if negative is not None:
        validate.instance("negative", negative, str)
    process, view = process_of(pipeline.scheduler)
    return Network(kind(pipeline, negative).eval().requires_grad_(False), process, view)


def _is_consistency(scheduler: Any) -> bool:
    return hasattr(scheduler, "get_scalings_for_boundary_condition_discrete")


def process_of(scheduler: Any) -> tuple[Process, str]:
    """The process of a scheduler, and the view of the network that it is made for. Raises TypeError for other schedulers."""
    config = getattr(scheduler, "config", {})
    if hasattr(scheduler, "alphas_cumprod") and config.get("prediction_type") in VIEWS:
        alpha_bar = scheduler.alphas_cumprod.cpu().double()
        if alpha_bar[-1] == 0:  # a chain that ends in noise alone, which the quotients below cannot express
            alpha_bar[-1] = alpha_bar[-2].clamp(max=2 * SMALLEST) / 2
        before = torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), alpha_bar[:-1]])
        view = "x0" if _is_consistency(scheduler) else VIEWS[config["prediction_type"]]
        return DDPM(1 - alpha_bar / before), view
    if type(scheduler).__name__.startswith("FlowMatch"):
        return RectifiedFlow(), "flow"
    raise TypeError(f"scheduler must be of a chain or a rectified flow, got {type(scheduler).__name__}")


def scheduler_times(scheduler: Any, n: int) -> Tensor:
    """The times (n + 1,) of ours, falling, at which a scheduler of diffusers evaluates in n steps, and where it ends.

    A chain ends at 0, or at 1 where the scheduler is configured to (`set_alpha_to_one`, `final_sigmas_type`). Raises TypeError
    for another scheduler, ValueError unless n is a whole number from 1.
    """
    process, _ = process_of(scheduler)
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(validate.at_least("n", n, 1))
    if isinstance(process, RectifiedFlow):
        return own.sigmas.cpu().double()
    config = own.config
    to_data = config.get("set_alpha_to_one", True) and config.get("final_sigmas_type", "zero") == "zero"
    times = own.timesteps.cpu().double().round().long().unique().flip(0) + 1  # some are evaluated twice
    return torch.cat([times, torch.tensor([0 if to_data else 1], dtype=torch.long, device="cpu")])


def pretrained(name: str, download: bool = False, device: str | torch.device = "auto", dtype: torch.dtype | None = None) -> Any:
    """The pipeline of a checkpoint: a folder, or the name of a repository, which is read from this machine's cache.

    With `download` it is fetched where it is not there: gigabytes, for most. `dtype` is that of the weights, by default float16
    on a GPU and float32 elsewhere. Only safetensors are read. Raises ImportError in one line without the optional packages,
    FileNotFoundError in one line where the checkpoint is not on this machine.
    """
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise ImportError(NO_DIFFUSERS) from None
    device = pick_device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
    validate.instance("dtype", dtype, torch.dtype)
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            validate.instance("name", name, str), torch_dtype=dtype, local_files_only=not download, use_safetensors=True
        )
    except OSError as error:
        what = "could not be downloaded" if download else "is not on this machine, and download is False"
        raise FileNotFoundError(f"{name} {what}: {str(error).splitlines()[0]}") from None
    return pipeline.to(device)
