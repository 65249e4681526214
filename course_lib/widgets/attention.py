"""Cross-attention by word: each word's map over the picture, step by step. `attention.js` is its other half."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets import captions
from course_lib.datasets.scenes import COLOURS
from course_lib.denoisers import Network
from course_lib.nets.hooks import cross_attention_maps
from course_lib.samplers import Step
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment
from course_lib.widgets.player import checked


def attention_player(
    network: Network,
    caption: str,
    steps: Iterable[Step],
    side: int = 16,
    decode: Callable[[Tensor], Tensor] = lambda x: x,
) -> Fragment:
    """The caption as a row of words to click, with the attention weights that the picture gives to the chosen one.

    `steps` are a sampler's, of pictures (B, 3, H, W) or of what `decode` makes them of; the first of the batch goes through
    `network`, given the caption, again at each of them that has a prediction. A map is the mean over heads and layers on maps
    of `side`; each word's is divided by its own maximum over all steps. The words are those of the captions of shapes, or of
    the net's own `words(caption)`. Raises ValueError where there is no such step or H is not a multiple of `side`, and what
    `cross_attention_maps` raises.
    """
    validate.instance("network", network, Network)
    validate.instance("caption", caption, str)
    validate.function("decode", decode)
    steps = [step for step in checked(steps) if step.pred is not None]
    ends = _ends(steps, decode) if steps else {}
    if not steps or ends["x̂₀"].ndim != 4 or ends["x̂₀"].shape[1] != 3:
        raise ValueError("steps must hold a prediction of pictures (B, 3, H, W), got " + (f"{steps[0]}" if steps else "none"))
    for length in ends["x̂₀"].shape[2:]:
        validate.divides("side", side, "the side of the pictures", length)
    conditioned = network.given(caption)
    own = getattr(network.net, "words", None)
    words = own(caption) if own else captions.words(captions.tokens(caption)[0])
    if not words:
        raise ValueError("caption must have at least one word, got none")
    weights = torch.cat([cross_attention_maps(conditioned, step.x[:1], step.t, side) for step in steps])[:, 1 : len(words) + 1]
    shown = 2 * weights / weights.amax((0, 2, 3), keepdim=True) - 1  # (steps, words, side, side)
    tall, wide = (n // side for n in ends["x̂₀"].shape[2:])
    larger = shown.repeat_interleave(tall, 2).repeat_interleave(wide, 3)
    data = {
        "t": [step.t for step in steps],
        "words": words,
        "ends": [_panel(title, x) for title, x in ends.items()],
        "weights": _panel("attention", larger.flatten(0, 1)[:, None]),
    }
    half = len(steps) // 2
    return fragment("attention", data, _strip(words, weights[half], ends["x̂₀"][half : half + 1]))


def _ends(steps: list[Step], decode: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {
        "xₜ": torch.cat([decode(step.x[:1]) for step in steps]),
        "x̂₀": torch.cat([decode(step.x0[:1]) for step in steps]),
    }


def _panel(title: str, x: Tensor) -> dict:
    """Pictures (N, C, H, W) in [-1, 1] as one sheet for panels.js."""
    return pixels.panel(title, pixels.shades(x, signed=False))


def _strip(words: list[str], weights: Tensor, x0: Tensor) -> str:
    """The predicted picture and the maps of colours and nouns half way, where no script runs; of all words without these."""
    told = {*COLOURS, *(noun for nouns in captions.NOUNS.values() for noun in nouns)}
    maps = 2 * (weights / weights.amax((1, 2), keepdim=True))[:, None] - 1
    chosen = [i for i, word in enumerate(words) if word in told] or range(len(words))
    shown = {"predicted x̂₀, half way": pixels.shades(x0, signed=False)[0]}
    shown |= {f"attention to “{words[i]}”": pixels.shades(maps[i : i + 1], signed=False)[0] for i in chosen}
    figures = []
    for name, picture in shown.items():
        alt = html.escape(name, quote=True)
        img = f'<img style="width:96px;image-rendering:pixelated" alt="{alt}" src="data:image/png;base64,'
        img += f'{pixels.text(pixels.png(picture))}">'
        figures.append(f'<figure style="display:inline-block;margin:4px">{img}<figcaption>{alt}</figcaption></figure>')
    return f'<div class="strip">{"".join(figures)}</div>'
