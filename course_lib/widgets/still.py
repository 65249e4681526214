"""A still picture of a widget, for what shows neither scripts nor HTML: made of the pictures of its fallback."""

from __future__ import annotations

import base64
import io
import textwrap
from dataclasses import dataclass
from html.parser import HTMLParser

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

COLUMNS, SIDE, WIDEST, TALLEST, FONT, GAP = 4, 128, 660, 900, 13, 6
"""At most so many columns; about the width of a small picture, the most of a still, the height of
letters, and the room between, in pixels."""


class _Figures(HTMLParser):
    """The columns of pictures of a fallback, (pictures, caption, alt text) each: a figure, or a picture in no figure."""

    def __init__(self):
        super().__init__()
        self.columns: list[tuple[list[bytes], str, str]] = []
        self.inside: list[str] = []
        self.note = ""

    def handle_starttag(self, tag, attrs):
        self.inside.append(tag)
        if tag == "figure":
            self.columns.append(([], "", ""))
        source = dict(attrs).get("src", "")
        if tag == "img" and source.startswith("data:image/png;base64,"):
            if "figure" not in self.inside:
                self.columns.append(([], "", ""))
            pictures, caption, alt = self.columns[-1]
            picture = base64.b64decode(source.partition(",")[2])
            self.columns[-1] = [*pictures, picture], caption, alt or dict(attrs).get("alt", "")

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data):
        if "figcaption" in self.inside:
            pictures, caption, alt = self.columns[-1]
            self.columns[-1] = pictures, " ".join(f"{caption} {data}".split()), alt
        elif "p" in self.inside:
            self.note = " ".join(f"{self.note} {data}".split())


@dataclass(frozen=True)
class Still:
    """A PNG as base64, its alt text, and its width in pixels."""

    text: str
    alt: str
    width: int


def still(page: str) -> Still | None:
    """The pictures in a widget's HTML, outside of its script, as one; None where there are none.

    Figures stand side by side, the pictures of each under each other above its caption: at most COLUMNS of them, evenly spread,
    the first and the last among them. A paragraph that speaks of all stands below.
    """
    parser = _Figures()
    parser.feed(page)
    columns = [column for column in parser.columns if column[0]]
    if not columns:
        return None
    last, count = len(columns) - 1, min(COLUMNS, len(columns))
    chosen = [columns[round(i * last / max(1, count - 1))] for i in range(count)]
    drawn = [_column([Image.open(io.BytesIO(data)).convert("RGB") for data in pictures], text) for pictures, text, _ in chosen]
    row = Image.new("RGB", (sum(c.width + GAP for c in drawn) - GAP, max(c.height for c in drawn)), "white")
    for i, column in enumerate(drawn):
        row.paste(column, (sum(c.width + GAP for c in drawn[:i]), 0))
    row.thumbnail((WIDEST, TALLEST), Image.Resampling.LANCZOS)
    sheet, out = _column([row], parser.note), io.BytesIO()
    sheet.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    said = [caption or alt for _, caption, alt in chosen] + [parser.note]
    alt = "; ".join(text for text in said if text)
    return Still(base64.b64encode(out.getvalue()).decode(), alt, sheet.width)


def _column(pictures: list[Image.Image], caption: str) -> Image.Image:
    """Pictures under each other, small ones enlarged by a whole number, and the caption below."""
    scaled = []
    for picture in pictures:
        times = max(1, round(SIDE / picture.width))
        scaled.append(picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST))
    width = max(picture.width for picture in scaled)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), FONT)
    lines = textwrap.wrap(caption, max(1, width * 5 // (3 * FONT)))
    column = Image.new("RGB", (width, sum(p.height + GAP for p in scaled) + len(lines) * (FONT + GAP)), "white")
    y = 0
    for picture in scaled:
        column.paste(picture, (0, y))
        y += picture.height + GAP
    for line in lines:
        ImageDraw.Draw(column).text((0, y), line, fill="black", font=font)
        y += FONT + GAP
    return column
