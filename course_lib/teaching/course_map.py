"""The map of the course: every lesson in its order, with the present one marked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from course_lib.files import MY, NOTEBOOKS

LESSONS = {
    "Basics": {
        "00": "Start here",
        "01": "Forward process",
        "02": "The epsilon loss",
        "03": "Score and Langevin",
        "04": "U-Net",
        "05": "GAN, VAE, diffusion",
        "06": "Cascades",
    },
    "Conditions": {
        "07": "Classifier guidance",
        "08": "Classifier-free guidance",
        "09": "Text and cross-attention",
        "10": "CLIP",
    },
    "Large systems": {"11": "DALL-E 2", "12": "Latent diffusion", "13": "Imagen"},
    "Recent advances": {
        "14": "DDIM",
        "15": "SDXL",
        "16": "Stable Diffusion 3",
        "17": "Progressive distillation",
        "18": "Consistency and LCM",
    },
    "Use": {"19": "Applications", "20": "Ethics"},
    "After the lecture": {
        "21": "SDEs and probability flow",
        "22": "EDM and fast solvers",
        "23": "Flow matching",
        "24": "One step, six ways",
        "25": "Diffusion transformers",
        "26": "Masked diffusion of words",
        "27": "Fine-tuning and adapters",
        "28": "Guidance, search and reward",
        "29": "Diffusers and real checkpoints",
    },
}
"""Each part's lessons: number to title. The only list of lessons; the README's table is tested against it."""


def written() -> dict[str, str]:
    """The stored notebooks: lesson number to file name."""
    return {path.name[:2]: path.name for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}


def link(file: str, folder: Path = NOTEBOOKS) -> str:
    """The address of a file of notebooks/ for a notebook in `folder`: of the copy there, or else of the file itself."""
    return quote(file if (folder / file).exists() else Path(os.path.relpath(NOTEBOOKS / file, folder)).as_posix())


@dataclass(frozen=True)
class CourseMap:
    """Shows as a strip of all lessons with `here` marked; lessons without a notebook are dashed."""

    here: str

    def __repr__(self):
        title = next(lessons[self.here] for lessons in LESSONS.values() if self.here in lessons)
        return f"You are at lesson {self.here}, {title}, of {sum(map(len, LESSONS.values()))}."

    def _repr_html_(self):
        files = written()
        parts = []
        for part, lessons in LESSONS.items():
            boxes = "".join(self._box(number, title, files) for number, title in lessons.items())
            parts.append(f'<div><div style="font-weight:600;margin-bottom:.2em">{part}</div>{boxes}</div>')
        return (
            f'<div role="navigation" aria-label="{self!r}" style="display:flex;flex-wrap:wrap;gap:1em;font-size:15px;'
            f'line-height:1.35">{"".join(parts)}</div>'
        )

    def _box(self, number: str, title: str, files: dict[str, str]) -> str:
        style = "display:block;margin:.15em 0;padding:.2em .6em;border-radius:.4em;border:2px "
        label = f"{number} {title}"
        if number == self.here:
            return f'<span style="{style}solid #0072B2;background:#0072B2;color:#fff;font-weight:600">{label} ◀ here</span>'
        if number in files:
            style += "solid #0072B2;color:inherit;text-decoration:none"
            here = MY if Path.cwd() == MY else NOTEBOOKS  # a kernel runs in its notebook's folder
            return f'<a href="{link(files[number], here)}" style="{style}">{label}</a>'
        return f'<span style="{style}dashed #888;opacity:.75" title="not written yet">{label}</span>'


def course_map(here: str) -> CourseMap:
    """The map with lesson `here`, such as "07", marked. Raises ValueError for a lesson that is not in LESSONS."""
    numbers = [number for lessons in LESSONS.values() for number in lessons]
    if here not in numbers:
        raise ValueError(f'here must be a lesson from "{numbers[0]}" to "{numbers[-1]}", got {here!r}')
    return CourseMap(here)
