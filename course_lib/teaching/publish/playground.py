"""The playground: the widgets that compute in the page itself, on one page, without a kernel."""

from __future__ import annotations

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.widgets.guided import guided_plane
from course_lib.widgets.paths import paths
from course_lib.widgets.student import student
from course_lib.zoo import models

THREE = GaussianMixture([0.4, 0.3, 0.3], [[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]], [0.45, 0.4, 0.4], [0, 1, 2])


def playground() -> str:
    """The HTML of three widgets with a heading and a sentence each."""
    parts = (
        (
            "Guide ten digits",
            "The student network of lesson 18 samples them in one step, in your browser. The noise stays fixed; only the "
            "guidance weight w changes.",
            student(models.load("guided")),
        ),
        (
            "Drag a starting point, and see its path",
            "The same noise under three samplers, by the exact score of a ring of eight Gaussians (lessons 03 and 14).",
            paths(ExactDenoiser(ring(), DDPM(linear_beta(1000))), models.load("ring")),
        ),
        (
            "Exact guidance",
            "Two scores, their difference, where guided points end, and the tilted density often claimed (lesson 08).",
            guided_plane(THREE, DDPM(cosine_beta(1000))),
        ),
    )
    return "\n".join(f"<h2>{title}</h2>\n<p>{words}</p>\n{widget.html}" for title, words, widget in parts)
