"""The playground: the widgets that compute in the page itself, on one page, without a kernel."""

from __future__ import annotations

from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta, linear_beta
from course_lib.widgets.draw import draw
from course_lib.widgets.guided import guided_plane
from course_lib.widgets.paths import paths
from course_lib.widgets.student import student
from course_lib.zoo import models

THREE = GaussianMixture([0.4, 0.3, 0.3], [[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45]], [0.45, 0.4, 0.4], [0, 1, 2])

DRAW = """Draw points, train a small network on them in this page, then drop a point and follow it back. Orange: the path with
the network. Dashed: the path with the exact denoiser, which ends on one of the drawn points. Blue: 300 new points."""
WHY = """<ul>
<li>Noise is added to a drawn point: x<sub>t</sub> = a x<sub>0</sub> + b ε. The larger t is, the larger is b
(<a href="01_forward_process.ipynb">lesson 01</a>). Points at time t are shown divided by their standard deviation there.</li>
<li>The network is trained to predict ε from x<sub>t</sub> and t. No network has a smaller mean squared error than the exact
denoiser of the drawn points: the dashed floor (<a href="02_epsilon_loss.ipynb">lesson 02</a>).</li>
<li>−ε/b is the score, which points to more likely places. A sampler follows it from noise to the drawing, step by step
(<a href="03_score_and_langevin.ipynb">lesson 03</a>).</li>
</ul>"""


def playground() -> str:
    """The HTML of four widgets with a heading and a few sentences each."""
    parts = (
        ("Draw, train, follow", DRAW, draw(), WHY),
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
    return "\n".join(
        f"<h2>{title}</h2>\n<p>{words}</p>\n{widget.html}\n{''.join(after)}" for title, words, widget, *after in parts
    )
