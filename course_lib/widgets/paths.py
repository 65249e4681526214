"""Where does x_T go? Drag it in the plane, and see its path under DDPM, DDIM and annealed Langevin at once.

The page computes all of it from the exact score of a Gaussian mixture; a learned network can be laid over it. `paths.js` is the
other half, mixture.js the exact score, mlp.js the network. Each of the three samplers is one line there,

    x <- keep x + eps eps(x, t) + z z,    z standard normal,

and they differ only in the three numbers of each move, which are computed here.
"""

from __future__ import annotations

import html

import numpy as np
import torch
from torch import Tensor

from course_lib import plots, validate
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, Process, randn_like, seeded
from course_lib.samplers import at_both_ends
from course_lib.schedules import geometric_sigma
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

REACH = 2.2  # the square that is shown is -REACH .. REACH
PARTICLES = 500


def ddim_rule(process: Process, times: Tensor) -> dict[str, Tensor]:
    """DDIM's numbers at eta = 0 (Song et al. 2021, eq. 12) for each move along `times` (n + 1,): t, keep, eps, z, each (n,)."""
    (a, a_s), (b, b_s) = at_both_ends(process.signal, times), at_both_ends(process.noise, times)
    return {"t": times[:-1], "keep": a_s / a, "eps": b_s - a_s * b / a, "z": torch.zeros_like(a)}


def ddpm_rule(process: Process, times: Tensor) -> dict[str, Tensor]:
    """The numbers of Algorithm 2 of Ho et al. 2020 for each move, as in `samplers.ddpm`."""
    alpha_bar, before = at_both_ends(process.alpha_bar, times)
    alpha = alpha_bar / before
    sigma = ((1 - before) / (1 - alpha_bar) * (1 - alpha)).sqrt()
    return {"t": times[:-1], "keep": alpha**-0.5, "eps": -(1 - alpha) / ((1 - alpha_bar) * alpha).sqrt(), "z": sigma}


def probability_flow_rule(process: Process, times: Tensor) -> dict[str, Tensor]:
    """The numbers of Song et al. 2021 (score-based modelling by SDEs), eq. 44, as in `samplers.probability_flow`."""
    alpha_bar, before = at_both_ends(process.alpha_bar, times)
    beta = 1 - alpha_bar / before
    size = -beta / (2 * process.noise(times[:-1]))
    return {"t": times[:-1], "keep": 2 - (1 - beta).sqrt(), "eps": size, "z": torch.zeros_like(size)}


def langevin_rule(process: Process, times: Tensor, n: int, eta: float) -> dict[str, Tensor]:
    """The numbers of Algorithm 1 of Song and Ermon 2019, n steps at each level of `times` but its last."""
    sigma = process.noise(times[:-1])
    size = eta * (sigma / sigma[-1]) ** 2
    rule = {"t": times[:-1], "keep": torch.ones_like(size), "eps": -size / (2 * sigma), "z": size.sqrt()}
    return {name: value.repeat_interleave(n) for name, value in rule.items()}


def paths(
    exact: ExactDenoiser,
    network: Network | None = None,
    levels: Tensor | None = None,
    steps: int = 30,
    n: int = 4,
    eta: float = 1e-3,
    x_T: tuple[float, float] = (0.9, 0.55),
) -> Fragment:
    """Three panels, DDPM, DDIM and annealed Langevin, in which the same x_T is dragged: its path, and where 500 others go.

    `exact` is the denoiser of a mixture in the plane over a DDPM. `network`, an MLP without classes over the same process, adds
    its own paths and arrows. DDPM and DDIM take `steps` moves, Langevin n steps of size `eta` at each of the falling times
    `levels` but the last (see `samplers.annealed_langevin`), by default at 20 from noise(T) down to noise 0.05, a factor apart.
    The 500 start around x_T, with a spread that the reader sets.
    Raises ValueError where the mixture is not in the plane, or the network is of another kind or process.
    """
    mixture, process = validate.instance("exact", exact, ExactDenoiser).mixture, exact.process
    if not isinstance(process, DDPM):
        raise ValueError(f"exact must be a denoiser over a DDPM, got {process}")
    if network is not None:
        validate.instance("network", network, Network)
    validate.moves("steps", steps, process)
    validate.positive("eta", eta)
    if len(validate.instance("x_T", x_T, tuple, list)) != 2:
        raise ValueError(f"x_T must be two numbers, got {len(x_T)}")
    for coordinate in x_T:
        validate.finite("x_T", coordinate)
    if mixture.dim != 2:
        raise ValueError(f"exact must be the denoiser of a mixture in the plane, got {mixture}")
    start = torch.tensor([x_T], device="cpu", dtype=torch.float64)
    levels = geometric_levels(process) if levels is None else levels
    _falling(levels, process.T)
    times = process.times(steps)
    rules = {
        "DDPM": ddpm_rule(process, times),
        "DDIM": ddim_rule(process, times),
        "Langevin": langevin_rule(process, levels, validate.at_least("n", n, 1), eta),
    }
    data = {
        "mixture": {name: getattr(mixture, name).tolist() for name in ("weights", "means", "stds")},
        "samplers": [sampler_numbers(name, rule, process) for name, rule in rules.items()],
        "network": network and _network(network, process),
        "start": [float(v) for v in x_T],
        "reach": REACH,
        "particles": PARTICLES,
    }
    return fragment("paths", data, _strip(exact, rules, start))


def geometric_levels(process: Process, count: int = 20, min_noise: float = 0.05) -> Tensor:
    """`count` falling times of a chain, whose noises are as nearly one factor apart as it has them, and 0 (count + 1,)."""
    if not isinstance(process, DDPM):
        raise TypeError(f"process must be a DDPM, got {process}")
    validate.at_least("count", count, 2)
    if validate.positive("min_noise", min_noise) >= float(process.noise(process.T)):
        raise ValueError(f"min_noise must be less than that of {process}, {process.noise(process.T):.3g}, got {min_noise}")
    noise = process.noise(torch.arange(1, process.T + 1, device="cpu", dtype=torch.long))
    wanted = geometric_sigma(count, min_noise, float(noise[-1])) * (1 - 1e-9)
    return torch.cat([torch.searchsorted(noise, wanted).flip(0) + 1, torch.zeros(1, device="cpu", dtype=torch.long)])


def _falling(levels: Tensor, T: int) -> None:
    """Raises TypeError or ValueError unless `levels` are two or more falling times of a chain, T at most."""
    if len(validate.indices("levels", levels)) < 2 or not (levels.diff() < 0).all() or levels[-1] < 0 or levels[0] > T:
        raise ValueError(f"levels must be two or more falling times in 0..{T}, got {levels.tolist()}")


def sampler_numbers(name: str, rule: dict[str, Tensor], process: Process) -> dict:
    """A sampler's numbers with each move's signal and noise; all that the page needs of the process."""
    numbers = {**rule, "a": process.signal(rule["t"]), "b": process.noise(rule["t"])}
    return {
        "name": name,
        "T": process.T,
        **{key: [float(f"{v:.9g}") for v in value.tolist()] for key, value in numbers.items()},
    }


def _network(network: Network, process: Process) -> dict:
    """The weights of an MLP in 16-bit floats, by name, with its size."""
    net = getattr(network.net, "_orig_mod", network.net)  # that of torch.compile
    if not isinstance(net, MLP) or hasattr(net, "label") or network.view != "eps":
        raise ValueError(f"network must be an MLP without classes that predicts eps, got {network}")
    if network.process.T != process.T or not torch.allclose(network.process.noise(process.T), process.noise(process.T)):
        raise ValueError(f"network must be over the process of the exact denoiser, {process}, got {network.process}")
    weights = {name: w.detach().cpu().float().numpy() for name, w in net.state_dict().items()}
    halves = {name: pixels.text(w.astype("<f2").tobytes()) for name, w in weights.items()}
    return {"depth": len(net.blocks), "width": net.inward.out_features, "weights": halves}


def follow(denoiser, rule: dict[str, Tensor], x: Tensor, rng: torch.Generator) -> Tensor:
    """The trajectories (n + 1, B, 2) of the points x (B, 2) under the numbers of a rule."""
    trajectory = [x]
    for t, keep, eps, z in zip(*(rule[name].tolist() for name in ("t", "keep", "eps", "z"))):
        noise = randn_like(x, rng)
        x = keep * x + eps * denoiser(x, t).eps + z * noise
        trajectory.append(x)
    return torch.stack(trajectory)


@plots.plt.rc_context()
def _strip(exact: ExactDenoiser, rules: dict, start: Tensor) -> str:
    """The three panels as one picture, for a page without scripts."""
    plots.style()
    fig, axes = plots.plt.subplots(1, len(rules), figsize=(11.5, 4.4), sharey=True, layout="constrained")
    reach = 3.0  # a path leaves the square of the page
    line = torch.linspace(-reach, reach, 160, device="cpu", dtype=torch.float64)
    density = exact.mixture.log_prob(torch.cartesian_prod(line, line)).exp().view(160, 160).T
    for ax, (name, rule) in zip(axes, rules.items()):
        x = start + 0.1 * randn_like(start.expand(60, 2), seeded(1))
        trajectory = follow(exact, rule, torch.cat([start, x]), seeded(0)).numpy()
        ax.contourf(line, line, density, levels=np.linspace(0, float(density.max()), 9), cmap="Blues", alpha=0.6)
        ax.plot(*trajectory[-1, 1:].T, "o", ms=5, alpha=0.6, color=plots.COLOURS[0])
        ax.plot(*trajectory[:, 0].T, color=plots.COLOURS[3])
        ax.plot(*trajectory[0, 0], "o", ms=11, mfc="white", mew=3, color=plots.COLOURS[3])
        ax.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="$x_1$")
    axes[0].set_ylabel("$x_2$")
    position = f"({start[0, 0]:.1f}, {start[0, 1]:.1f})"
    alt = html.escape(f"From one x_T, at {position}, the path and the ends of 60 neighbours under {', '.join(rules)}")
    png = pixels.text(plots.png(fig))
    return f'<div class="strip"><img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{png}"></div>'
