"""The player of words: the sentence after each step of a decoder, which words are new, and how probable each was.

`sentences.js` is its other half. The player shows pictures; this one shows words, as text. It needs no kernel.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib import validate
from course_lib.methods.masked import WordStep
from course_lib.widgets import pixels
from course_lib.widgets.page import Fragment, fragment

MASKED, FONT, LINE, WIDE = "▢", 13, 20, 640
"""How a masked word is shown; and of the still, the height of letters and lines, and its width, in pixels."""


def sentences(
    runs: dict[str, Iterable[WordStep]], words: Sequence[str], mask: int, pictures: Tensor | None = None, padding: int = -1
) -> Fragment:
    """The states of one or more decoders, by their titles, under one slider: sentences as rows of words.

    All runs have the same number of states and sentences (B, L), B at most 6. `words` are the words by number; `mask` and
    `padding` are the numbers that are shown as an empty box and as a dot. `pictures` (B, 1 or 3, H, W) in [-1, 1] stand before
    their sentences. Raises TypeError or ValueError for what is no list of like WordSteps, or does not fit.
    """
    films = {title: _film(title, steps) for title, steps in validate.instance("runs", runs, dict).items()}
    if not films:
        raise ValueError("runs must hold at least one, got none")
    validate.filled("words", words, str)
    validate.at_least("mask", mask, 0)
    validate.at_least("padding", padding, -1)
    first = next(iter(films.values()))
    for title, film in films.items():
        if len(film) != len(first) or film[0].z.shape != first[0].z.shape or len(film[0].z) > 6:
            shape = tuple(first[0].z.shape)
            raise ValueError(f"runs[{title!r}] must be {len(first)} states of {shape}, at most 6 rows, got {len(film)}")
        for step in film:
            if step.z.min() < 0 or (step.z[step.z != mask] >= len(words)).any():
                raise ValueError(
                    f"runs[{title!r}] must hold numbers of {len(words)} words, or the mask {mask}, got {int(step.z.max())}"
                )
    if pictures is not None and len(validate.batch("pictures", pictures, "C", "H", "W")) != len(first[0].z):
        raise ValueError(f"pictures must be {len(first[0].z)}, one for each sentence, got {len(pictures)}")
    name = lambda i: MASKED if i == mask else "·" if i == padding else words[i]
    shown = {title: [[[name(i) for i in row] for row in step.z.tolist()] for step in film] for title, film in films.items()}
    table = sorted({word for film in shown.values() for step in film for row in step for word in row})
    number = {word: i for i, word in enumerate(table)}
    data: dict = {"words": table, "masked": number.get(MASKED, -1), "runs": []}
    for title, film in films.items():
        z = [[[number[word] for word in row] for row in step] for step in shown[title]]
        p = [(100 * step.probability).round().int().tolist() for step in film]
        data["runs"].append({"title": title, "z": z, "p": p})
    images = [] if pictures is None else list(pixels.shades(pictures, signed=False))
    data["pictures"] = [pixels.text(pixels.png(image)) for image in images]
    return fragment("sentences", data, _strip(shown))


def _film(title: str, steps: Iterable[WordStep]) -> list[WordStep]:
    film = list(validate.instance(f"runs[{title!r}]", steps, Iterable))
    if len(film) < 2 or not all(isinstance(step, WordStep) and step.z.shape == film[0].z.shape for step in film):
        raise ValueError(f"runs[{title!r}] must be two or more WordSteps of one shape, got a list of {len(film)}")
    return film


def _strip(shown: dict[str, list[list[list[str]]]]) -> str:
    """The first sentence of each run after a few of its steps, as one picture of text: where no script runs."""
    lines = []
    for title, film in shown.items():
        lines.append(title)
        lines += [f"   step {i}: {' '.join(film[i][0])}" for i in pixels.moments(len(film))]
    image = Image.new("RGB", (WIDE, LINE * len(lines) + 8), "white")
    font = ImageFont.truetype(_font(), FONT)
    for k, line in enumerate(lines):
        ImageDraw.Draw(image).text((4, 4 + LINE * k), line, fill="black", font=font)
    alt = html.escape("; ".join(f"{title}, at the end: {' '.join(film[-1][0])}" for title, film in shown.items()), quote=True)
    png = pixels.text(pixels.png(image.convert("L").point(lambda v: v * (pixels.LEVELS - 1) // 255)))
    caption = "The first sentence, after some of the steps. An empty box is a masked word."
    figure = f'<figure style="margin:4px"><img src="data:image/png;base64,{png}" alt="{alt}">'
    return f'<div class="strip">{figure}<figcaption>{caption}</figcaption></figure></div>'


def _font() -> str:
    from matplotlib import font_manager

    return font_manager.findfont("DejaVu Sans")
