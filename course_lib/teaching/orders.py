"""What a quiz asks to put in order: arms of runs in the files of data/figures, and the figure that orders them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from course_lib.zoo import figures


@dataclass(frozen=True)
class Order:
    """Arms by their names, each with the keys of its rows in `table` of a file of figures; `figure` is the column.

    `by` says what they are ordered by.
    """

    lesson: str
    by: str
    file: str
    figure: str
    arms: dict[str, dict]
    table: str = "runs"

    def values(self) -> dict[str, np.ndarray]:
        """The figure of each arm's runs, (runs,), in the order of their seeds, for those seeds that all arms have."""
        rows = _drawbench() if self.file == "drawbench" else figures.load(self.file, self.table)
        rows.attrs.clear()  # the rest of the file, which pandas would copy with each column
        if "seed" in rows:
            seeds = [set(figures.where(rows, **keys).seed) for keys in self.arms.values()]
            rows = rows[rows.seed.isin(set.intersection(*seeds))]
        return {name: figures.values(rows, self.figure, **keys) for name, keys in self.arms.items()}


def _drawbench() -> pd.DataFrame:
    """The scores of each system, a row a seed."""
    scores = figures.raw("drawbench")["scores"]
    return pd.DataFrame([{"system": system, **row} for system, rows in scores.items() for row in rows])


def _each(text: str, key: str, values: tuple, **keys) -> dict[str, dict]:
    """Arms that differ in one key, whose value stands in their names."""
    return {text.format(value): {key: value, **keys} for value in values}


FRECHET = "Frechet distance to real digits"
RIGHT = "share of pictures with all of the caption right"

# fmt: off
COLLAPSE = _each("{}", "change", ("momentum 0.9", "the recipe", "half the rate", "minimax loss", "R1"))
LEVELS = _each("s = {}", "s", (0, 100, 200, 400, 600), upsampler="with", truncated=False, given="class")
CAPTIONS = {
    "one object new": {"kind": "new objects", "w": 3.0},
    "two to four equal objects": {"kind": "numbers", "w": 3.0},
    "left of a square that is blue is a red disc": {"kind": "inverted, that is, first", "w": 3.0},
    "left of a blue square is a disc that is red": {"kind": "inverted, that is, second", "w": 3.0},
}
WEIGHTS = _each("w = {:g}", "w", (0.0, 0.5, 1.0, 2.0, 3.0, 8.0), steps=25, n=500)
CLIP = (_each("noise-aware CLIP, w = {:g}", "w", (100.0, 300.0, 1000.0, 3000.0), clip="noisy_clip")
        | _each("CLIP of clean pictures, w = {:g}", "w", (100.0, 300.0, 3000.0), clip="clip"))
LATENT = (_each("{} steps, w = 3", "steps", (2, 4, 8), model="latent2shape", w=3.0)
          | _each("25 steps, w = {:g}", "w", (1.0, 3.0, 5.0), model="latent2shape", steps=25))
THRESHOLDS = (_each("{} threshold", "within", ("static", "dynamic"), black=-1, w=10.0)
              | _each("{} threshold, black at 0", "within", ("static", "dynamic"), black=0, w=10.0)
              | {"no threshold": {"within": "none", "black": -1, "w": 10.0}})
SYSTEMS = _each(
    "{}", "system", ("text to pixels", "DALL-E 2", "latent diffusion", "Imagen", "SDXL", "Stable Diffusion 3")
)
DDIM = (_each("DDIM, {} steps", "steps", (5, 10, 20), eta=0.0)
        | _each("DDPM, {} steps", "steps", (5, 10, 20), eta=1.0))
FOUND = {
    "conditioned on size and crop": {"kind": "conditioned", "asked": "whole"},
    "not conditioned": {"kind": "not conditioned", "asked": "whole"},
    "conditioned, asked for a crop": {"kind": "conditioned", "asked": "cut"},
}
TEACHER = _each("DDIM, {} steps", "steps", (2, 4, 16), arm="DDIM")
STUDENT = _each("student, {} NFE", "steps", (1, 2, 4, 16), arm="student")
CONSISTENCY = (_each("consistency distillation, {} NFE", "steps", (1, 2), model="consistency")
               | _each("consistency training, {} NFE", "steps", (1, 2, 4), model="consistency_trained")
               | _each("DDIM, {} NFE", "steps", (1, 2, 4), model="digits", w=1.0))
LATENT_STUDENT = (_each("latent teacher, {} guided steps", "steps", (2, 4, 25), model="latent2shape", w=3.0)
                  | _each("its consistency student, {} NFE", "steps", (1,), model="latent_student", w=3.0))
STARTS = _each("t0 = {}", "at", (0, 200, 400, 600, 1000), what="edit")
COPIES = (_each("{} training steps, w = 1", "step", (150, 300), w=1.0, noises=0)
          | _each("600 training steps, w = {:g}", "w", (0.0, 1.0, 3.0), step=600, noises=0))
EDITS = _each(
    "{}", "edit", ("nothing", "mirror", "turn by 90°", "JPEG 75", "blur 0.5", "noise 0.1", "shift 1", "regenerate 200"),
    pattern="rings",
)
SPACED = _each("{} times", "spacing", ("trailing", "linspace", "leading"), steps=5)
KEPT = _each("{}", "arm", ("bfloat16", "bfloat16, x too", *(f"weights of {k} digits" for k in (5, 3, 2, 1))))

ORDERS = (
    Order("05", "modes covered by a GAN of 25 Gaussians, with one change", "three_generators", "modes covered, of 25", COLLAPSE,
          "collapse"),
    Order("05", "share of its samples outside all modes, with one change", "three_generators", "share out of any mode",
          COLLAPSE, "collapse"),
    Order("06", f"{FRECHET} of a cascade with a finished base, at noise level s", "cascade", "Frechet distance",
          {s: keys | {"base": "base"} for s, keys in LEVELS.items()}),
    Order("06", f"{FRECHET} of real halves enlarged, at noise level s", "cascade", "Frechet distance",
          {s: keys | {"base": "real"} for s, keys in LEVELS.items()}),
    *(Order(lesson, f"{by} under {guide} guidance", "guidance_sweep", figure,
            {w: keys | {"guide": guide} for w, keys in WEIGHTS.items()})
      for lesson, guide, by, figure in (
          ("07", "classifier", FRECHET, "Frechet distance"),
          ("07", "classifier", "class accuracy", "class accuracy"),
          ("08", "classifier-free", FRECHET, "Frechet distance"),
          ("08", "classifier-free", "class accuracy", "class accuracy"),
          ("08", "classifier-free", "recall of real digits", "recall"))),
    Order("09", f"{RIGHT}, by the kind of caption, at w = 3", "text_guidance", "right: all", CAPTIONS),
    Order("10", "share of pictures with the object that was asked for", "clip_guidance", "right: all", CLIP),
    Order("12", f"{RIGHT}, by the latent model", "distillation", "all", LATENT, "latents"),
    Order("12", "share of pictures with the binding right, by the latent model", "distillation", "binding", LATENT, "latents"),
    Order("13", f"{RIGHT}, at w = 10", "imagen", "all", THRESHOLDS, "thresholds"),
    *(Order("13", f"share of hard captions with {what} right", "drawbench", figure, SYSTEMS)
      for what, figure in (("the count", "count"), ("everything", "all"))),
    Order("14", FRECHET, "ddim_steps", "Frechet distance", DDIM),
    Order("15", f"{FRECHET} of a network of digits as they are found", "sdxl", "Frechet distance",
          FOUND | {"large digits only": {"kind": "large only", "asked": "whole"}}, "digits"),
    Order("15", "share of digits that touch the border", "sdxl", "border", FOUND, "digits"),
    Order("17", FRECHET, "progressive", "Frechet distance", TEACHER | STUDENT, "digits"),
    Order("17", "difference per pixel from the teacher's picture of the same noise", "progressive", "error",
          TEACHER | STUDENT, "digits"),
    Order("18", FRECHET, "distillation", "Frechet distance", CONSISTENCY),
    Order("18", f"{RIGHT}, at w = 3", "distillation", "all", LATENT_STUDENT, "latents"),
    Order("19", f"{FRECHET} of an edit from the noise of t0", "applications", "Frechet distance", STARTS),
    Order("19", "root mean square change by an edit from the noise of t0", "applications", "moved", STARTS),
    Order("20", "share of copies among the samples", "memorisation", "all copies", COPIES),
    Order("20", "share of edited pictures in which a ring mark is detected", "provenance", "detected", EDITS),
    Order("29", f"{FRECHET}, in 5 steps of DDIM", "bridge", "Frechet distance", SPACED, "spacing"),
    Order("29", "difference per pixel from the digits in float32", "bridge", "error", KEPT, "precision"),
)
# fmt: on
