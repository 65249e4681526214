"""Draw, train, follow: a network that is trained in the page, on points that the reader draws, with no kernel at all.

`draw.js` is its page, practice.js what is drawn, trained and followed there, trainer.js the training, which runs in a worker,
mlp.js the network of nets/mlp.py, mlp_training.js its gradient, mixture.js the exact denoiser of the drawn points. The numbers
of the samplers come from paths.py.
"""

from __future__ import annotations

from course_lib.process import DDPM
from course_lib.schedules import linear_beta
from course_lib.widgets.page import Fragment, fragment
from course_lib.widgets.paths import ddim_rule, ddpm_rule, probability_flow_rule, sampler_numbers

SIZE = {"width": 32, "depth": 3}
"""Of the network, a nets.mlp.MLP."""
SCALE = 3.0
"""A drawing is enlarged so much, so that its lines are far apart against noise of standard deviation 1."""
STEPS = (5, 10, 20, 50)
RULES = {"DDIM": ddim_rule, "DDPM": ddpm_rule, "ODE": probability_flow_rule}


def draw() -> Fragment:
    """A board to draw points on, a small network that trains on them, and the paths of a dropped point back to the drawing.

    The loss is shown beside its floor, that of the exact denoiser of the drawn points. "ODE" is the probability-flow ODE.
    """
    process = DDPM(linear_beta(1000))
    data = {
        "size": SIZE,
        "scale": SCALE,
        "alphaBar": [float(f"{process.alpha_bar(t).item():.12g}") for t in range(process.T + 1)],
        "rules": {
            name: {str(n): sampler_numbers(name, rule(process, process.times(n)), process) for n in STEPS}
            for name, rule in RULES.items()
        },
    }
    return fragment("draw", data, '<p class="strip">Drawing and training need JavaScript, which is off in this page.</p>')
