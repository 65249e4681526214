"""Who looks at which word: each word's map over the picture, step by step. `attention.js` is its other half."""

from __future__ import annotations

import html
from collections.abc import Iterable

import torch
from torch import Tensor

from course_lib.datasets import captions
from course_lib.denoisers import Network
from course_lib.nets.hooks import looks_at_words
from course_lib.samplers import Step
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment


def look_at_words(network: Network, caption: str, steps: Iterable[Step], side: int = 16) -> Fragment:
    """The caption as a row of words to click, and how strongly each place of the picture looks at the chosen one.

    `steps` are a sampler's, of pictures (B, 3, H, W); the first of the batch goes through `network`, given the caption, again
    at each of them that has a prediction. A map is the mean over heads and layers on maps of `side`; each word's is shown over
    its own strongest look in all steps. Raises ValueError where there is no such step, and what `looks_at_words` raises.
    """
    steps = [step for step in steps if step.pred is not None]
    if not steps or steps[0].x.ndim != 4 or steps[0].x.shape[1] != 3:
        raise ValueError("steps must hold a prediction of pictures (B, 3, H, W), got " + (f"{steps[0]}" if steps else "none"))
    asked = network.given(caption)
    words = captions.words(captions.tokens(caption)[0])
    if not words:
        raise ValueError("caption must have at least one word, got none")
    looks = torch.cat([looks_at_words(asked, step.x[:1], step.t, side) for step in steps])[:, 1 : len(words) + 1]
    shown = 2 * looks / looks.amax((0, 2, 3), keepdim=True) - 1  # (steps, words, side, side)
    larger = shown.repeat_interleave(steps[0].x.shape[2] // side, 2).repeat_interleave(steps[0].x.shape[3] // side, 3)
    data = {
        "t": [step.t for step in steps],
        "words": words,
        "ends": [_panel(title, x) for title, x in _ends(steps).items()],
        "looks": _panel("looks", larger.flatten(0, 1)[:, None]),
    }
    return fragment("attention", data, _strip(words, looks[len(steps) // 2]), "painters.js")


def _ends(steps: list[Step]) -> dict[str, Tensor]:
    return {"xₜ": torch.cat([step.x[:1] for step in steps]), "x̂₀": torch.cat([step.x0[:1] for step in steps])}


def _panel(title: str, x: Tensor) -> dict:
    """Pictures (N, C, H, W) in [-1, 1] as one sheet for painters.js."""
    sheet, columns = pixels.sheet(pixels.shades(x, signed=False))
    panel = {"title": title, "columns": columns, "png": pixels.text(pixels.png(sheet))}
    return panel | dict(zip(("height", "width"), x.shape[2:]))


def _strip(words: list[str], looks: Tensor) -> str:
    """Each word with its map half way, where no script runs."""
    shown = pixels.shades(2 * (looks / looks.amax((1, 2), keepdim=True))[:, None] - 1, signed=False)
    style = "width:96px;image-rendering:pixelated"
    figures = []
    for word, picture in zip(words, shown):
        alt = html.escape(f"Where the picture looks at the word {word}, half way", quote=True)
        img = f'<img style="{style}" alt="{alt}" src="data:image/png;base64,{pixels.text(pixels.png(picture))}">'
        figures.append(
            f'<figure style="display:inline-block;margin:4px">{img}<figcaption>{html.escape(word)}</figcaption></figure>'
        )
    return f'<div class="strip">{"".join(figures)}</div>'
