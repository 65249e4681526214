"""The network explorer: the output of every block of a U-Net or a DiT, step by step. `explorer.js` is its other half."""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from course_lib import validate
from course_lib.denoisers import Network
from course_lib.nets.dit import DiTBlock
from course_lib.nets.hooks import record_activations
from course_lib.nets.unet import Attention, Block
from course_lib.samplers import Step
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment
from course_lib.widgets.player import checked

MAPS = 16
"""Feature maps shown of each block: those that vary most."""


@torch.no_grad()
def explore(network: Network, steps: Iterable[Step]) -> Fragment:
    """The network as a map to click: each block's shape, its feature maps and, where it has attention, the attention weights of
    each position. The tokens of a DiT are shown as maps, a pixel for each patch.

    `steps` are a sampler's, of pictures (B, 1 or 3, H, W); the first of the batch goes through `network` again at each of them,
    as far as it has a prediction. Maps are shown over their block's own spread, blue below 0 and orange above.
    Raises ValueError where there is no such step, or where the network has no blocks to record (see nets/hooks.py).
    """
    validate.instance("network", network, Network)
    steps = [step for step in checked(steps) if step.pred is not None]
    if not steps or steps[0].x.ndim != 4:
        raise ValueError(
            "steps must hold a prediction of pictures (B, 1 or 3, H, W), got " + (f"{steps[0]}" if steps else "none")
        )
    seen = [_inside(network, step) for step in steps]
    if not seen[0][0]:
        raise ValueError(f"network must be made of blocks, as UNet and DiT are, got {network}")
    blocks, attention = ({name: torch.cat([here[name] for here in part]) for name in part[0]} for part in zip(*seen))
    shades = {name: _shades(maps) for name, maps in blocks.items()}
    nodes = [_node(name, blocks[name], shown) for name, shown in shades.items()]
    data = {
        "t": [step.t for step in steps],
        "nodes": nodes,
        "maps": MAPS,
        "ends": [
            pixels.panel(title, pixels.shades(torch.cat([x[:1] for x in xs]), signed=False))
            for title, xs in _ends(steps).items()
        ],
        "attention": {name: _attention(weights) for name, weights in attention.items()},
    }
    return fragment("explorer", data, _words(blocks, shades, attention, steps[len(steps) // 2].t))


def _inside(network: Network, step: Step) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The feature maps (1, C, H, W) and the attention weights (1, heads, H * W, H * W) of each block, by the block's name."""
    with (
        record_activations(network.net, (Block, DiTBlock), outputs=True) as outputs,
        record_activations(network.net, (Attention, DiTBlock)) as weights,
    ):
        network(step.x[:1], step.t)
    return {_name(at): _as_maps(out) for at, out in outputs.items()}, {_name(at): each for at, each in weights.items()}


def _name(at: str) -> str:
    """What the block at a place in the network is called: its own name in a U-Net, block.1, block.2, .. in a DiT."""
    side, _, block = at.removesuffix(".attention").partition(".")
    return f"block.{int(block) + 1}" if side == "blocks" else f"{side}.{block}"


def _as_maps(out: Tensor) -> Tensor:
    """Feature maps (1, C, H, W) as they are; tokens (1, N, C) as maps (1, C, rows, rows)."""
    return out if out.ndim == 4 else out.mT.unflatten(2, (isqrt(out.shape[1]), -1))


def _ends(steps: list[Step]) -> dict[str, list[Tensor]]:
    return {"in: xₜ": [step.x for step in steps], "out, as x̂₀": [step.x0 for step in steps]}


def _shades(maps: Tensor) -> np.ndarray:
    """Of a block's maps (steps, C, H, W) the MAPS that vary most, in their own order: (steps * MAPS, H, W)."""
    few = maps.std((0, 2, 3)).topk(min(MAPS, maps.shape[1])).indices.sort().values
    shown = (maps[:, few] / maps.std().clamp(min=1e-6)).reshape(-1, 1, *maps.shape[2:])
    missing = MAPS - len(few)
    if missing:
        shown = torch.nn.functional.pad(shown.view(len(maps), len(few), *maps.shape[2:]), (0, 0, 0, 0, 0, missing))
        shown = shown.reshape(-1, 1, *maps.shape[2:])
    return pixels.shades(shown, signed=True)


def _node(name: str, maps: Tensor, shades: np.ndarray) -> dict:
    """What the page is told of a block: its name and shape, and `shades` as one sheet, each step's maps in a row."""
    side, _, block = name.partition(".")
    panel = pixels.panel(block, shades)
    return {"name": name, "side": side, "block": block, "shape": list(maps.shape[1:]), **panel}


def _attention(weights: Tensor) -> dict:
    """Attention weights (steps, heads, H * W, H * W), each position's divided by its maximum, as maps."""
    _, heads, positions, _ = weights.shape
    return {"heads": heads, "positions": positions, **pixels.panel("attention", _relative(weights, isqrt(positions)))}


def _words(blocks: dict[str, Tensor], shades: dict[str, np.ndarray], attention: dict[str, Tensor], t: float) -> str:
    """What stands where no script runs: half way, at time t, the maps of each block, with its shape; where each has attention,
    also the weights of the position in the middle."""
    pictures = {}
    for name, maps in blocks.items():
        half = len(maps) // 2 * MAPS
        shown = {
            f"{MAPS} of each block's feature maps (channels × height × width), at t = {t:g}": pixels.frame(
                shades[name][half : half + MAPS]
            )
        }
        if len(attention) == len(blocks):
            weights, (rows, columns) = attention[name][len(maps) // 2], maps.shape[2:]
            row, column = rows // 2, columns // 2
            title = f"each head's attention weights of the position in row {row + 1}, column {column + 1}, the largest white"
            shown[title] = pixels.frame(_relative(weights[:, row * columns + column], rows))
        pictures[f"{name}: {' × '.join(map(str, maps.shape[1:]))}"] = shown
    return pixels.strip(pictures)


def _relative(weights: Tensor, rows: int) -> np.ndarray:
    """Weights (..., H * W), each divided by its maximum, as maps."""
    shown = 2 * weights / weights.amax(-1, keepdim=True) - 1
    return pixels.shades(shown.reshape(-1, 1, rows, weights.shape[-1] // rows), signed=False)
