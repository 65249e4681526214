"""Shipped models as pipelines of the library diffusers: the same network, on a scheduler made from our process.

Our networks are not of diffusers' architectures, so a folder that `to_diffusers` writes is loaded with this course installed.
Needs the optional packages: `pip install "diffusion-course[real]"`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from course_lib import validate
from course_lib.denoisers import NULL, Network, takes_guidance
from course_lib.files import must_be_writable, write_atomically
from course_lib.process import DDPM, Process, RectifiedFlow
from course_lib.zoo import models
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.diffusers import VIEWS
from course_lib.zoo.recipes import RECIPES


class CourseNetwork(ModelMixin, ConfigMixin):
    """The network of a recipe of this course as a model of diffusers: model(x, timestep, cond).sample.

    Their timestep of a chain is our t - 1; that of a flow is 1,000 t. `cond` is what `as_condition` makes of labels or texts.
    """

    @register_to_config
    def __init__(self, recipe: str):
        super().__init__()
        network = models.build(recipe)
        self.net, self.process = network.net, network.process

    def as_condition(self, cond: Any) -> Tensor | None:
        """The condition (B, ...) of labels, captions or NULL; None for a network that takes none."""
        made = getattr(self.net, "as_condition", None)
        return None if made is None else made(cond)

    def forward(self, sample: Tensor, timestep: Tensor | float, cond: Tensor | None = None) -> UNet2DOutput:
        k = torch.as_tensor(timestep, dtype=torch.float64, device="cpu")
        time = k / 1000 if isinstance(self.process, RectifiedFlow) else (k + 1) / self.process.T
        inputs = time.float().expand(len(sample)).to(sample.device), *([] if cond is None else [cond])
        return UNet2DOutput(sample=self.net(sample, *inputs))


class CourseAutoencoder(ModelMixin, ConfigMixin):
    """The course's autoencoder as a model of diffusers: latents are multiplied by `scaling_factor` for the network."""

    @register_to_config
    def __init__(self, recipe: str, scaling_factor: float):
        super().__init__()
        self.net = models.build(recipe)

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] of latents z (B, C, H / f, W / f) before scaling."""
        return self.net.paint(z).clamp(-1, 1)


class CoursePipeline(DiffusionPipeline):
    """Pictures of a shipped model, by diffusers' loop: classifier-free guidance, and whichever scheduler is set."""

    model_cpu_offload_seq = "network->vae"
    _optional_components = ["vae"]

    def __init__(self, network: CourseNetwork, scheduler: Any, vae: CourseAutoencoder | None = None):
        super().__init__()
        self.register_modules(network=network, scheduler=scheduler, vae=vae)
        self.image_processor = VaeImageProcessor()

    @torch.no_grad()
    def __call__(
        self,
        prompt: Sequence[int] | Sequence[str],
        num_inference_steps: int = 25,
        guidance_scale: float = 2.0,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """One picture for each label or caption in `prompt`. `guidance_scale` is our w. `output_type` "pt", "np", "pil" or
        "latent", which is x before it is decoded, as `latents`, (B, C, H, W), the noise to start from, is."""
        net, B = self.network, len(prompt)
        where, dtype = self._execution_device, net.dtype
        cond, null = (net.as_condition(c) for c in (prompt, NULL))
        x = latents if latents is not None else randn_tensor((B, *net.net.shape), generator, where, dtype)
        flow = isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler)
        if flow:  # even times from 1, of which the last is 0
            self.scheduler.set_timesteps(sigmas=[1 - i / num_inference_steps for i in range(num_inference_steps)])
        else:
            self.scheduler.set_timesteps(num_inference_steps)
        x = x.to(where, dtype) * getattr(self.scheduler, "init_noise_sigma", 1.0)
        for k in self.progress_bar(self.scheduler.timesteps):
            scaled = x if flow else self.scheduler.scale_model_input(x, k)
            out = net(scaled, k, cond.to(where)).sample
            if guidance_scale != 1:
                without = net(scaled, k, null.expand(B, *null.shape[1:]).to(where)).sample
                out = without + guidance_scale * (out - without)
            x = self.scheduler.step(out, k, x, **self._noise(generator)).prev_sample
        if output_type == "latent":
            return ImagePipelineOutput(images=x)
        pictures = x if self.vae is None else self.vae.decode(x / self.vae.config.scaling_factor)
        return ImagePipelineOutput(images=self.image_processor.postprocess(pictures, output_type))

    def _noise(self, generator: torch.Generator | None) -> dict[str, Any]:
        """The generator, for schedulers that draw noise of their own."""
        takes = "generator" in self.scheduler.step.__code__.co_varnames
        return {"generator": generator} if takes else {}


def scheduler_of(process: Process, view: str) -> Any:
    """A scheduler of diffusers for a network that predicts `view` on a process of ours: DDIM's of a chain, Euler's of a flow.

    Others are made from its config: `DDPMScheduler.from_config(scheduler.config)`. Raises TypeError for a process and a view
    that diffusers has no scheduler for.
    """
    if isinstance(process, RectifiedFlow) and view == "flow":
        return FlowMatchEulerDiscreteScheduler(shift=1.0)
    named = {ours: theirs for theirs, ours in VIEWS.items()}
    if not isinstance(process, DDPM) or view not in named:
        raise TypeError(f"process must be a DDPM or, with view flow, a RectifiedFlow, got {process!r} with view {view}")
    return DDIMScheduler(
        num_train_timesteps=process.T,
        trained_betas=process.betas.tolist(),
        prediction_type=named[view],
        timestep_spacing="trailing",  # as `process.times` has it: the first time is T
        clip_sample=False,
    )


def pipeline_of(name: str, folder: Path = FOLDER) -> CoursePipeline:
    """The shipped model of that name as a pipeline of diffusers, on the CPU.

    Raises ValueError for an unknown name, or one that is not a conditional network without w as an input.
    """
    network = models.load(name, folder, "cpu")
    if not _draws_under_guidance(network):
        others = ", ".join(other for other in RECIPES if _draws_under_guidance(models.build(other)))
        raise ValueError(f"name must be a model that draws from labels or captions under guidance: {others}; got {name!r}")
    theirs, vae = CourseNetwork(name), None
    _fill(theirs, network.net)
    if decoder := RECIPES[name].decoder:
        net = models.load(decoder, folder, "cpu")
        vae = CourseAutoencoder(decoder, float(net.scale))
        _fill(vae, net)
    return CoursePipeline(theirs, scheduler_of(network.process, network.view), vae)


def _draws_under_guidance(network: Any) -> bool:
    return isinstance(network, Network) and hasattr(network.net, "as_condition") and not takes_guidance(network.net)


def _fill(theirs: Any, net: nn.Module) -> None:
    theirs.net.load_state_dict(net.state_dict())
    theirs.eval().requires_grad_(False)


def to_diffusers(name: str, folder: Path | str, checkpoints: Path = FOLDER) -> Path:
    """Writes a shipped model as a folder for diffusers, and returns it: weights as safetensors, configs, and a scheduler.

        DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)

    The code to be trusted is one line of pipeline.py, which imports this module: diffusers has no pipeline for our networks.
    Raises ValueError for a folder that is not empty, and what `pipeline_of` raises.
    """
    folder = Path(validate.instance("folder", folder, Path, str))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder must be new or empty, got {folder}")
    pipeline = pipeline_of(name, checkpoints)
    must_be_writable(folder / "model_index.json")
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = ["pipeline", "CoursePipeline"]
    write_atomically(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
    write_atomically(folder / "pipeline.py", f"from {__name__} import CoursePipeline  # noqa: F401\n")
    return folder
