"""The shipped models: trained by their recipes, stored as checkpoints, loaded, listed and sampled."""

from __future__ import annotations

import inspect
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from course_lib import parallel, plots, samplers, validate
from course_lib.denoisers import Network
from course_lib.files import WORK, must_be_writable, write_atomically
from course_lib.guidance import NoisyClassifier, classifier_free
from course_lib.methods.one_step import jump_sampler
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.process import own_defaults, seeded_each
from course_lib.training import TrainingState, pick_device, show_progress
from course_lib.zoo import checkpoints, figures
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes import RECIPES, Recipe

SAMPLERS = {
    "ddim": samplers.ddim,
    "ddpm": samplers.ddpm,
    "consistency": samplers.consistency,
    "rectified_flow": samplers.rectified_flow,
    "dpm_solver": dpm_solver,
    "unipc": unipc,
    "jumps": jump_sampler,
}
BUILD = WORK / "build/checkpoints"
"""Where `course train` puts a model, so that no shipped one is overwritten."""


def _recipe(name: str) -> Recipe:
    return RECIPES[validate.choice("name", name, RECIPES)]


def _net(model: Network | NoisyClassifier | nn.Module) -> nn.Module:
    return getattr(model, "net", model)


def load(name: str, folder: Path = FOLDER, device: str | torch.device = "auto") -> Network | NoisyClassifier | nn.Module:
    """The shipped model of that name: a Network, a NoisyClassifier, or, for all other kinds, the nn.Module itself.

    It is on the GPU where there is one, or on `device` (see `pick_device`); what it is given may be anywhere.
    Raises ValueError for an unknown name or device or a damaged file, FileNotFoundError where it was never made.
    """
    device = pick_device(device)
    model = build(name)
    try:
        checkpoints.load_into(_net(model), checkpoints.shipped(name, folder))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} has not been made yet: `course train {name} --replace` makes it") from None
    with torch.inference_mode(False):
        _net(model).eval().requires_grad_(False).to(device)
    return model


def build(name: str, seed: int = 0) -> Network | NoisyClassifier | nn.Module:
    """The untrained model of that name, on the CPU, in float32, whatever torch's defaults are.

    Raises ValueError for an unknown name.
    """
    with own_defaults():  # weights made in inference could never require a gradient
        return _recipe(name).build(seed)


def records() -> dict[str, dict[str, Any] | None]:
    """The record of each recipe's checkpoint, by name, on one clock (see `on_one_clock`); None where there is none yet."""
    return {
        name: on_one_clock(checkpoints.read(checkpoints.shipped(name))[1]) if checkpoints.shipped(name).is_file() else None
        for name in RECIPES
    }


def on_one_clock(record: dict[str, Any]) -> dict[str, Any]:
    """The record with `processor_seconds`, the seconds of one processor core that its training cost, and without `seconds`.

    Trainings since have their own. Older records have wall seconds, of machines with other work, which are left out: there it
    is the steps times what a step of the recipe costs on one thread, the fastest of the rounds that
    tests/benchmarks/recipe_costs.py measured; None for a recipe that is not in its figures.
    """
    record = {key: value for key, value in record.items() if key != "seconds"}
    if "processor_seconds" not in record:
        cost = _costs().get(record["recipe"])
        record["processor_seconds"] = None if cost is None else round(record["steps"] * min(cost) / 1000, 1)
    return record


@cache
def _costs() -> dict[str, list[float]]:
    """Processor milliseconds of a step of each recipe, in each of several rounds."""
    return figures.raw("recipe_costs")["milliseconds"]


def make(
    name: str,
    seed: int = 0,
    device: str | torch.device = "auto",
    seconds: float | None = None,
    out: Path | None = None,
    every: float = 10.0,
    folder: Path = FOLDER,
) -> dict[str, Any]:
    """The record of a model that is trained by its recipe, measured, and written to `out`, by default BUILD/NAME.safetensors.

    Teachers and evaluators are read from `folder`. Every `every` seconds, and when it is stopped by hand or by a loss that is
    not finite, the weights so far are written to NAME.partial.safetensors beside `out`; the finished file replaces it. A full
    disk does not end the training. The record keeps a limit of `seconds`, the tolerance of each figure, and the processor
    seconds of the training, of all threads: time in which the machine did other work does not count.

    Raises, before training, ValueError for an unknown name or device, seconds that are not positive, or an `out` that is not
    NAME.safetensors or is a shipped model; OSError where it cannot be written. Raises KeyboardInterrupt, which names the
    partial file, when stopped by hand, and ValueError, which names it, for a loss that is not finite.
    """
    validate.at_least("seed", seed, 0)
    validate.finite("every", every, 0)
    recipe, out, device = _recipe(name), Path(checkpoints.shipped(name, BUILD) if out is None else out), pick_device(device)
    if seconds is not None:
        validate.positive("seconds", seconds)
    if out.suffix != ".safetensors" or out.is_dir():
        raise ValueError(f"out must be a file that ends in .safetensors, got {out}")
    if out.resolve().parent == FOLDER.resolve():
        raise ValueError(f"out must not be a shipped model, got {out}: `course train {name} --replace` puts a new one there")
    partial = out.with_name(f"{out.stem}.partial.safetensors")
    must_be_writable(out)
    model = build(name, seed)
    record = {"recipe": name, "seed": seed, "device": device.type, "torch": torch.__version__.split("+")[0]}
    record["parameters"] = sum(p.numel() for p in _net(model).parameters())
    _net(model).to(device)

    def keep(progress: TrainingState) -> None:
        """Writes the weights so far; a failure, such as a full disk, is only reported."""
        if parallel.rank() == 0:
            so_far = {"steps": progress.step, "loss": round(progress.loss, 4), "finished": False}
            try:
                checkpoints.write(partial, _net(model), record | so_far)
            except OSError as error:
                print(f"{name}: what it learned in {progress.step:,} steps is not kept: {error}", file=sys.stderr)

    def keeping(training: Iterator[TrainingState]) -> Iterator[TrainingState]:
        saved, progress = time.perf_counter(), None
        try:
            for progress in training:
                yield progress
                if time.perf_counter() - saved > every:
                    keep(progress)
                    saved = time.perf_counter()
        except ValueError as error:
            if progress is None:
                raise
            keep(progress)
            raise ValueError(f"{error}; what {name} learned in {progress.step:,} steps is in {partial}") from None

    options = {} if seconds is None else {"seconds": seconds}
    record |= {} if seconds is None else {"limit": seconds}
    begun = time.process_time()
    end = show_progress(keeping(_in(folder, recipe.train)(model, seed=seed, **options)), name)
    spent = round(time.process_time() - begun, 1)
    record |= {"steps": end.step, "loss": round(end.loss, 4), "processor_seconds": spent, "finished": end.done == 1}
    _net(model).eval()
    if not record["finished"]:
        keep(end)
        raise KeyboardInterrupt(f"stopped: what {name} learned in {end.step:,} steps is in {partial}")
    if parallel.rank() > 0:  # the first process alone measures and writes the model
        return record
    checkpoints.round_to(_net(model), recipe.bits)  # so that the stored weights are measured
    found = _in(folder, recipe.figures)(model)
    measured = lambda value: float(f"{value:.4g}") if math.isfinite(value) else None  # such as a share of no pictures
    record["figures"] = {figure: measured(value) for figure, value in found.items()}
    record["tolerances"] = {figure: value.tolerance for figure, value in found.items()}
    try:
        checkpoints.write(out, _net(model), record, bits=recipe.bits)
    except OSError as error:  # the disk has filled up since the training began: what was learned is not lost
        rescued = Path(tempfile.mkdtemp()) / out.name
        checkpoints.write(rescued, _net(model), record, bits=recipe.bits)
        raise OSError(f"{error}; the finished model is in {rescued}") from None
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
    captions: Sequence[str] = (),
    folder: Path = FOLDER,
    device: str | torch.device = "auto",
) -> tuple[Tensor, Tensor | None]:
    """n samples x (n, ...), on the CPU, of a shipped model and their labels (n,), or None for a model without classes.

    With `label` None the classes take turns, as `captions` do for a model that draws from captions. `w` is the guidance (see
    guidance.py). `steps` and `sampler` are by default the recipe's. The noise of each sample depends on the seed and on its
    place alone: the first four are the same for n = 4 and n = 16.
    Raises ValueError for an unknown name, label, sampler or word, a w that is not finite or for which the samples are not, and
    steps outside of 1..T.
    """
    validate.at_least("n", n, 1)
    recipe = _recipe(name)
    method = SAMPLERS[validate.choice("sampler", recipe.sampler if sampler is None else sampler, SAMPLERS)]
    if not recipe.shape:
        raise ValueError(f"name must be a model that draws, got {name!r}")
    if captions and not recipe.captions:
        raise ValueError(f"caption must be left out for {name}, which is not conditioned on text, got {captions[0]!r}")
    if recipe.captions and not captions:
        raise ValueError(f"caption must be given to {name}, got none: such as --caption 'a red circle'")
    if recipe.classes and label is not None and not 0 <= validate.at_least("label", label, 0) < recipe.classes:
        raise ValueError(f"label must lie in 0..{recipe.classes - 1}, got {label}")
    if not recipe.classes and label is not None:
        raise ValueError(f"label must be left out for {name}, which has no classes, got {label}")
    validate.finite("w", w)
    network, labels, rng = load(name, folder, device), None, seeded_each(seed, n)
    if not isinstance(network, Network):  # a GAN or a VAE: one function evaluation, without guidance
        return network.sample(n, rng).cpu(), None
    steps = validate.at_least("steps", recipe.steps if steps is None else steps, 1)
    if network.process.T > 1 and steps > network.process.T:
        raise ValueError(f"steps must lie in 1..{network.process.T}, got {steps}")
    denoiser = network
    if recipe.classes:
        labels = torch.arange(n, dtype=torch.long, device="cpu") % recipe.classes
        if label is not None:
            labels = torch.full_like(labels, label)
        denoiser = classifier_free(network, labels, w)
    elif recipe.captions:
        denoiser = classifier_free(network, [captions[i % len(captions)] for i in range(n)], w)

    def shown(*args, **options) -> Iterator[samplers.Step]:
        options |= {"rng": rng} if "rng" in inspect.signature(method).parameters else {}
        return tqdm(method(*args, **options), name, steps + 1, leave=False, delay=1, disable=None)

    x = samplers.sample(denoiser, network.draw_noise(n, rng), steps, shown, batch=n)
    if recipe.decoder:
        x = load(recipe.decoder, folder, device).decode(x)
    if not x.isfinite().all():
        raise ValueError(f"w must be smaller, got {w:g}, for which samples hold NaN or infinity")
    return x, labels


def write_samples(path: Path, x: Tensor, label: Tensor | None) -> None:
    """Writes samples x (N, C, H, W) in [-1, 1] as one picture (.png) or as arrays (.npz: x float32, label int64).

    Points (N, 2) are plotted as a scatter. Raises ValueError for another ending, OSError where it cannot be written.
    """
    out, ending = io.BytesIO(), Path(validate.instance("path", path, Path, str)).suffix.lower()
    x = validate.batch("x", x).detach().cpu().float()
    if label is not None:
        label = validate.one_each("label", label, "x", x).cpu()
    if ending == ".npz":
        x = x.clamp(-1, 1) if x.ndim == 4 else x
        np.savez_compressed(out, x=x.numpy(), **{} if label is None else {"label": label})
    elif ending == ".png" and x.ndim == 4:
        classes = 0 if label is None else len(label.unique())
        sheet = Image.fromarray((plots.grid(x, classes if classes > 1 else None) * 255).round().astype(np.uint8))
        sheet.resize((4 * sheet.width, 4 * sheet.height), Image.Resampling.NEAREST).save(out, format="png")
    elif ending == ".png":
        plots.style()
        out.write(plots.png(plots.points(x, label, title=f"{len(x)} samples")))
    else:
        raise ValueError(f"path must end in .png or .npz, got {path}")
    write_atomically(path, out.getvalue())
