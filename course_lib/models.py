"""The shipped models: made by their recipes, kept as checkpoints, loaded, listed and sampled."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from course_lib import checkpoints, parallel, plots, validate
from course_lib.denoisers import NULL, Denoiser, Network, takes_guidance
from course_lib.guidance import ClassifierFree, NoiseAware
from course_lib.recipes import RECIPES, Recipe
from course_lib.samplers import consistency, ddim, ddpm, result
from course_lib.training import pick_device, show_progress

SAMPLERS = {"ddim": ddim, "ddpm": ddpm, "consistency": consistency}


def _recipe(name: str) -> Recipe:
    return RECIPES[validate.choice("name", name, RECIPES)]


def _net(model: Network | NoiseAware | nn.Module) -> nn.Module:
    return getattr(model, "net", model)


def load(name: str) -> Network | NoiseAware | nn.Module:
    """The shipped model of that name, ready to use: a Network, a NoiseAware classifier, or for a clean classifier, a GAN or a
    VAE the nn.Module itself.

    Raises ValueError for an unknown name or a damaged file, FileNotFoundError where it was never made.
    """
    model = _recipe(name).build()
    try:
        checkpoints.load_into(_net(model), checkpoints.shipped(name))
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
) -> dict[str, Any]:
    """Trains a model by its recipe, measures it, and writes it to `out` (its shipped place by default). Returns the record.

    Every `every` seconds, and when it is stopped by hand, what was learned so far goes to a neighbour,
    NAME.partial.safetensors; the finished file replaces it. The record keeps a limit of `seconds`. Raises
    KeyboardInterrupt, which names that file, when stopped.
    """
    recipe, out = _recipe(name), Path(out or checkpoints.shipped(name))
    partial = out.with_name(f"{out.stem}.partial.safetensors")
    checkpoints.must_be_writable(out)
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
    end = show_progress(saving(recipe.train(model, seed=seed, **options)), name)
    record |= {"steps": end.step, "loss": round(end.loss, 4), "seconds": round(end.elapsed, 1), "finished": end.done == 1}
    _net(model).to("cpu").eval()
    if parallel.rank() > 0:  # the first measures and writes what all have learned
        return record
    if not record["finished"]:
        checkpoints.write(partial, _net(model), record)
        raise KeyboardInterrupt(f"stopped: what {name} learned in {end.step:,} steps is in {partial}")
    checkpoints.round_to(_net(model), recipe.bits)  # what is measured is what is kept
    record["figures"] = {figure: float(f"{value:.4g}") for figure, value in recipe.figures(model).items()}
    checkpoints.write(out, _net(model), record, bits=recipe.bits)
    partial.unlink(missing_ok=True)
    return record


def guided(network: Network, labels: Any, w: float) -> Denoiser:
    """The network asked for these labels at guidance w: told w where it takes it as an input, else asked twice and mixed."""
    if takes_guidance(network.net):
        return network.given(labels).at(validate.finite("w", w))
    return ClassifierFree(network.given(labels), network.given(NULL), w)


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

    `label` None takes all classes in turn; `w` guides (see guidance.py); `steps` and `sampler` are by default what the model's
    recipe says. The same seed gives the same noise whatever the rest.
    Raises ValueError for an unknown name, label or sampler, or a w that is not finite.
    """
    validate.at_least("n", n, 1)
    recipe = _recipe(name)
    draw = SAMPLERS[validate.choice("sampler", recipe.sampler if sampler is None else sampler, SAMPLERS)]
    if not recipe.shape:
        raise ValueError(f"name must be a model that draws, got {name!r}")
    validate.finite("w", w)
    network, labels = load(name), None
    rng = torch.Generator().manual_seed(seed)
    denoiser = network
    if recipe.classes:
        labels = torch.arange(n) % recipe.classes if label is None else torch.full((n,), label)
        denoiser = guided(network, labels, w)
    elif label is not None:
        raise ValueError(f"label must be left out for {name}, which has no classes, got {label}")
    if not isinstance(network, Network):  # a GAN or a VAE: one pass, neither steps nor guidance
        return network.sample(n, rng), None
    x = torch.randn(n, *recipe.shape, generator=rng)
    times = network.process.times(recipe.steps if steps is None else steps)
    return result(draw(denoiser, x, times, rng=rng)), labels


def write_samples(path: Path, x: Tensor, label: Tensor | None) -> None:
    """Writes samples x (N, C, H, W) in [-1, 1] as one picture (.png) or as arrays (.npz: x float32, label int64).

    Points (N, 2) are drawn as a scatter. Raises ValueError for another ending, OSError where it cannot be written.
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
    checkpoints.write_atomically(path, out.getvalue())
