"""The playground: what computes in the page itself, on one page, with no kernel."""

from __future__ import annotations

import torch

from course_lib import models
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.widgets.guided import guided_plane
from course_lib.widgets.paths import paths
from course_lib.widgets.student import student

THREE = GaussianMixture(
    [0.4, 0.3, 0.3], torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]]), [0.45, 0.4, 0.4], torch.tensor([0, 1, 2])
)


def playground() -> str:
    """The HTML of three widgets with a heading and a sentence each."""
    parts = (
        (
            "Guide ten digits",
            "A student network of lesson 18 draws them in one step, here, in your browser. The noise stays: only guidance w "
            "moves.",
            student(models.load("guided")),
        ),
        (
            "Drag a start, and see its path",
            "The same noise under three samplers, by the exact score of a ring of eight Gaussians (lessons 03 and 14).",
            paths(ExactDenoiser(ring(), DDPM(linear_beta(1000))), models.load("ring")),
        ),
        (
            "Guidance, exactly",
            "Two scores, their difference, where guided points go, and the density that they are said to go to (lesson 08).",
            guided_plane(THREE, DDPM(cosine_beta(1000))),
        ),
    )
    return "\n".join(f"<h2>{title}</h2>\n<p>{words}</p>\n{widget.html}" for title, words, widget in parts)
