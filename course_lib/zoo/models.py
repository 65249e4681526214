"""The shipped models: trained by their recipes, stored as checkpoints, loaded, listed and sampled."""

from __future__ import annotations

import inspect
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from course_lib import parallel, plots, samplers, validate
from course_lib.denoisers import Network
from course_lib.files import must_be_writable, write_atomically
from course_lib.guidance import NoisyClassifier, classifier_free
from course_lib.process import seeded
from course_lib.training import pick_device, show_progress
from course_lib.zoo import checkpoints
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes import RECIPES, Recipe

SAMPLERS = {"ddim": samplers.ddim, "ddpm": samplers.ddpm, "consistency": samplers.consistency}


def _recipe(name: str) -> Recipe:
    return RECIPES[validate.choice("name", name, RECIPES)]


def _net(model: Network | NoisyClassifier | nn.Module) -> nn.Module:
    return getattr(model, "net", model)


def load(name: str, folder: Path = FOLDER) -> Network | NoisyClassifier | nn.Module:
    """The shipped model of that name: a Network, a NoisyClassifier, or, for all other kinds, the nn.Module itself.

    Raises ValueError for an unknown name or a damaged file, FileNotFoundError where it was never made.
    """
    model = _recipe(name).build()
    try:
        checkpoints.load_into(_net(model), checkpoints.shipped(name, folder))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} has not been made yet: `course train {name}` makes it") from None
    _net(model).eval().requires_grad_(False)
    return model


def records() -> dict[str, dict[str, Any] | None]:
    """The record of each recipe's checkpoint, by name; None where there is none yet."""
    return {
        name: checkpoints.read(checkpoints.shipped(name))[1] if checkpoints.shipped(name).is_file() else None
        for name in RECIPES
    }


def make(
    name: str,
    seed: int = 0,
    device: str = "auto",
    seconds: float | None = None,
    out: Path | None = None,
    every: float = 10.0,
    folder: Path = FOLDER,
) -> dict[str, Any]:
    """The record of a model that is trained by its recipe, measured, and written to `out` (by default its place in `folder`).

    Teachers and evaluators are read from `folder`. Every `every` seconds, and when stopped by hand, the weights so far are
    written to NAME.partial.safetensors in the same folder; the finished file replaces it. The record keeps a limit of
    `seconds`, and the tolerance of each figure. Raises KeyboardInterrupt, which names the partial file, when stopped.
    """
    recipe, out = _recipe(name), Path(out or checkpoints.shipped(name, folder))
    partial = out.with_name(f"{out.stem}.partial.safetensors")
    must_be_writable(out)
    model, device = recipe.build(seed), pick_device(device)
    record = {"recipe": name, "seed": seed, "device": device.type, "torch": torch.__version__.split("+")[0]}
    record["parameters"] = sum(p.numel() for p in _net(model).parameters())
    _net(model).to(device)

    def saving(training):
        saved = time.perf_counter()
        for progress in training:
            yield progress
            if parallel.rank() == 0 and time.perf_counter() - saved > every:
                checkpoints.write(partial, _net(model), record | {"steps": progress.step, "finished": False})
                saved = time.perf_counter()

    options = {} if seconds is None else {"seconds": seconds}
    record |= {} if seconds is None else {"limit": seconds}
    end = show_progress(saving(_in(folder, recipe.train)(model, seed=seed, **options)), name)
    record |= {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(end.elapsed, 1), "finished": end.done == 1}
    _net(model).to("cpu").eval()
    if parallel.rank() > 0:  # the first process alone measures and writes the model
        return record
    if not record["finished"]:
        checkpoints.write(partial, _net(model), record)
        raise KeyboardInterrupt(f"stopped: what {name} learned in {end.step:,} steps is in {partial}")
    checkpoints.round_to(_net(model), recipe.bits)  # so that the stored weights are measured
    figures = _in(folder, recipe.figures)(model)
    record["figures"] = {figure: float(f"{value:.4g}") for figure, value in figures.items()}
    record["tolerances"] = {figure: value.tolerance for figure, value in figures.items()}
    checkpoints.write(out, _net(model), record, bits=recipe.bits)
    partial.unlink(missing_ok=True)
    return record


def _in(folder: Path, function: Callable) -> Callable:
    """A recipe's function with its `folder` fixed, where it has such a parameter: where it needs another model."""
    return partial(function, folder=folder) if "folder" in inspect.signature(function).parameters else function


def sample(
    name: str,
    label: int | None = None,
    n: int = 16,
    w: float = 2.0,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """n samples x (n, ...) of a shipped model and their labels (n,), or None for a model without classes.

    With `label` None the classes take turns. `w` is the guidance (see guidance.py). `steps` and `sampler` are by default the
    recipe's. The noise depends on the seed alone.
    Raises ValueError for an unknown name, label or sampler, or a w that is not finite.
    """
    validate.at_least("n", n, 1)
    recipe = _recipe(name)
    method = SAMPLERS[validate.choice("sampler", recipe.sampler if sampler is None else sampler, SAMPLERS)]
    if not recipe.shape:
        raise ValueError(f"name must be a model that draws, got {name!r}")
    validate.finite("w", w)
    network, labels, rng = load(name), None, seeded(seed)
    denoiser = network
    if recipe.classes:
        labels = torch.arange(n) % recipe.classes if label is None else torch.full((n,), label)
        denoiser = classifier_free(network, labels, w)
    elif label is not None:
        raise ValueError(f"label must be left out for {name}, which has no classes, got {label}")
    if not isinstance(network, Network):  # a GAN or a VAE: one function evaluation, without guidance
        return network.sample(n, rng), None
    noise = torch.randn(n, *recipe.shape, generator=rng)
    steps = recipe.steps if steps is None else steps
    return samplers.sample(denoiser, noise, steps, method, batch=n, rng=rng), labels


def write_samples(path: Path, x: Tensor, label: Tensor | None) -> None:
    """Writes samples x (N, C, H, W) in [-1, 1] as one picture (.png) or as arrays (.npz: x float32, label int64).

    Points (N, 2) are plotted as a scatter. Raises ValueError for another ending, OSError where it cannot be written.
    """
    out = io.BytesIO()
    if path.suffix == ".npz":
        np.savez_compressed(
            out, x=x.clamp(-1, 1).numpy() if x.ndim == 4 else x.numpy(), **{} if label is None else {"label": label}
        )
    elif path.suffix == ".png" and x.ndim == 4:
        classes = 0 if label is None else len(label.unique())
        sheet = Image.fromarray((plots.grid(x, classes if classes > 1 else None) * 255).round().astype(np.uint8))
        sheet.resize((4 * sheet.width, 4 * sheet.height), Image.Resampling.NEAREST).save(out, format="png")
    elif path.suffix == ".png":
        plots.style()
        out.write(plots.png(plots.points(x, label, title=f"{len(x)} samples")))
    else:
        raise ValueError(f"path must end in .png or .npz, got {path}")
    write_atomically(path, out.getvalue())
