"""The guided student of lesson 18 in the page: a slider for w that samples digits with no kernel at all.

`student.js` is its other half, unet.js the network. Weights are stored in 8 bits (checkpoints.quantize), small enough for a
lesson, and stay so in the page (quantized.js). Of the embedding of time the page has its values at the times of the jumps.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from torch import Tensor
from torch.func import functional_call

from course_lib import plots, validate
from course_lib.denoisers import Network, takes_guidance
from course_lib.guidance import classifier_free
from course_lib.nets.unet import Block, UNet
from course_lib.process import randn, seeded
from course_lib.samplers import consistency, sample
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment
from course_lib.zoo.checkpoints import dequantize, quantize

COUNT, MAX_W, MOVES = 10, 8.0, (1, 2, 4)


def student(network: Network, w: float = 2.0, seed: int = 0) -> Fragment:
    """Ten digits that a guided student samples in 1, 2 or 4 steps, at the w of a slider; the noise stays while w moves.

    Multistep consistency sampling, Song et al. 2023, Algorithm 1, with w as an input, Luo et al. 2023. Raises ValueError for a
    network that is not such a student (a UNet of one channel and patches of 1, with classes, that predicts v and takes w), or a
    w out of 0..8.
    """
    net = validate.instance("network", network, Network).net
    net = getattr(net, "_orig_mod", net)  # that of torch.compile
    right = isinstance(net, UNet) and takes_guidance(net) and net.shape[0] == 1 and net.patch == 1 and network.view == "v"
    if not right or not all(block.adaptive for block in net.modules() if isinstance(block, Block)):
        raise ValueError(f"network must be a guided student of pictures of one channel, got {network}")
    if not 0 <= validate.finite("w", w) <= MAX_W:
        raise ValueError(f"w must lie in 0..{MAX_W:g}, got {w}")
    noise = randn(COUNT, *net.shape, rng=seeded(seed))
    process, weights = network.process, {name: v.cpu().float() for name, v in net.state_dict().items()}
    quantized = quantize(weights, 8)
    stored: dict[str, list[str]] = {}  # for each layer its weight, the scales of its rows and its bias, if any
    for name, values in quantized.items():
        if not name.startswith("time."):  # the page uses its output at fixed times alone
            layer = re.sub(r"\.(weight|bias).*", "", name)
            stored.setdefault(layer, []).append(pixels.text(values.numpy().tobytes()))
    time = {name.removeprefix("time."): w.float() for name, w in dequantize(quantized).items() if name.startswith("time.")}
    embed = lambda times: functional_call(net.time, time, times)
    data = {
        "net": {
            "side": net.shape[1],
            "dim": net.time.dim,
            "encoder": _layers(net.encoder),
            "decoder": _layers(net.decoder),
            "weights": stored,
        },
        # for each number of moves: the embedding of time, the signal and the noise, at all times but the last
        "levels": {n: _levels(process, n, embed) for n in MOVES},
        "noise": pixels.text(noise.numpy().tobytes()),
        "w": float(w),
        "mostW": MAX_W,
    }
    digits = sample(classifier_free(network, list(range(COUNT)), w), noise, 1, consistency)
    return fragment("student", data, _strip(digits, w))


def _layers(layers) -> list[tuple[str, int]]:
    """Names in their order, each with the number of heads of its attention, 0 without."""
    return [(name, getattr(getattr(layer, "attention", None), "heads", 0)) for name, layer in layers.items()]


def _levels(process, n: int, embed: Callable[[Tensor], Tensor]) -> list[tuple[str, float, float]]:
    times = process.times(n)[:-1].cpu()
    embeddings = [pixels.text(row.detach().numpy().tobytes()) for row in embed(times.float() / process.T)]
    return list(zip(embeddings, process.signal(times).tolist(), process.noise(times).tolist()))


def _strip(digits: Tensor, w: float) -> str:
    """The HTML that stands where no script runs."""
    with plots.plt.rc_context():
        plots.style()
        png = plots.png(plots.pictures(digits.clamp(-1, 1), columns=5, title=f"one step, w = {w:g}"))
    alt = f"The digits 0 to 9, each sampled in one step at w = {w:g}"
    return f'<div class="strip"><img alt="{html.escape(alt)}" src="data:image/png;base64,{pixels.text(png)}"></div>'
