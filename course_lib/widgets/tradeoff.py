"""The trade-off curve beside the guidance explorer: fidelity against diversity, measured once, with a mark at the current w."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import numpy as np

from course_lib import validate
from course_lib.plots import COLOURS
from course_lib.zoo import figures

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 460, 440, 76, 64, 44, 66  # pixels of the drawing
DASHES = ("", "9 6", "2 6")


@dataclass(frozen=True)
class Curve:
    """One guide's figures: `w` ascending, and at each `recall` (diversity) and `precision` (fidelity), in 0..1."""

    w: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]

    def __post_init__(self):
        for name, values in vars(self).items():
            if len(validate.filled(name, values)) != len(validate.filled("w", self.w)):
                raise ValueError(f"w and {name} must be as many, got {len(self.w)} and {len(values)}")
            for value in values:
                validate.finite(name, value, 0, math.inf if name == "w" else 1)
        if not (np.diff(self.w) > 0).all():
            raise ValueError(f"w must rise, got {self.w}")

    def at(self, w: float) -> tuple[float, float]:
        """(recall, precision) at any w, along straight lines between what was measured."""
        return float(np.interp(w, self.w, self.recall)), float(np.interp(w, self.w, self.precision))


@dataclass(frozen=True)
class TradeOff:
    """The curves of several guides, by the names of the explorer's models."""

    curves: dict[str, Curve]

    def __post_init__(self):
        if not validate.instance("curves", self.curves, dict):
            raise ValueError("curves must hold at least one, got none")
        for name, curve in self.curves.items():
            validate.instance(f"curves[{name!r}]", curve, Curve)

    def _scale(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The lower and upper ends of the recall axis and of the precision axis, in whole tenths."""
        spans = []
        for name in ("recall", "precision"):
            values = [v for curve in self.curves.values() for v in getattr(curve, name)]
            spans.append((np.floor(10 * min(values)) / 10, min(1.0, np.ceil(10 * max(values) + 0.2) / 10)))
        return tuple(spans)

    def place(self, recall: float, precision: float) -> tuple[float, float]:
        """The position of that point in the drawing, in pixels."""
        (left, right), (low, high) = self._scale()
        x = LEFT + (recall - left) / (right - left) * (WIDE - LEFT - RIGHT)
        y = HIGH - BOTTOM - (precision - low) / (high - low) * (HIGH - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    def mark(self, name: str, w: float) -> tuple[float, float] | None:
        """The position of that guide's mark at w; None for a guide that was not measured."""
        return self.place(*self.curves[name].at(w)) if name in self.curves else None

    def svg(self, name: str, w: float) -> str:
        """The drawing, in the page's text colour, with the mark of guide `name` at `w`."""
        (left, right), (low, high) = self._scale()
        values = "; ".join(f"{n}: recall {c.at(w)[0]:.2f}, precision {c.at(w)[1]:.2f}" for n, c in self.curves.items())
        parts = [
            f'<svg class="tradeoff" role="img" viewBox="0 0 {WIDE} {HIGH}" font-size="19" fill="currentColor">',
            f"<title>Precision against recall over w. At w = {w:g}, {html.escape(values)}</title>",
            '<text x="0" y="22" font-weight="600">fidelity (precision)</text>',
            f'<text x="{WIDE - RIGHT}" y="{HIGH - 10}" text-anchor="end" font-weight="600">diversity (recall)</text>',
        ]
        for v in np.arange(left, right + 0.01, 0.2 if right - left > 0.5 else 0.1):
            x, _ = self.place(v, low)
            parts.append(f'<text x="{x}" y="{HIGH - BOTTOM + 26}" text-anchor="middle">{v:.1f}</text>')
        for v in np.arange(low, high + 0.01, 0.1):
            _, y = self.place(left, v)
            parts.append(f'<text x="{LEFT - 12}" y="{y + 6}" text-anchor="end">{v:.1f}</text>')
            line = f'x1="{LEFT}" y1="{y}" x2="{WIDE - RIGHT}" y2="{y}"'
            parts.append(f'<line {line} stroke="currentColor" stroke-opacity=".25"/>')
        for i, (guide, curve) in enumerate(self.curves.items()):
            colour, points = COLOURS[i], [self.place(*at) for at in zip(curve.recall, curve.precision)]
            path = " ".join(f"{x},{y}" for x, y in points)
            look = f'stroke="{colour}" stroke-width="4" stroke-dasharray="{DASHES[i % 3]}" fill="none"'
            parts.append(f'<polyline points="{path}" {look}/>')
            for w_here, (x, y) in zip(curve.w, points):
                parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
                if w_here == curve.w[-1] or (w_here in (0, 1) and guide == name):
                    dx, dy, anchor = _beside(w_here, x)
                    parts.append(f'<text x="{x + dx}" y="{y + dy}" text-anchor="{anchor}">w = {w_here:g}</text>')
            y = HIGH - BOTTOM - 14 - 26 * i
            parts.append(f'<line x1="{LEFT + 12}" y1="{y - 6}" x2="{LEFT + 52}" y2="{y - 6}" {look}/>')
            parts.append(f'<text x="{LEFT + 62}" y="{y}">{html.escape(guide)}</text>')
        if at := self.mark(name, w):
            ring = f'r="12" fill="{COLOURS[list(self.curves).index(name)]}" stroke="currentColor" stroke-width="3"'
            parts.append(f'<circle class="mark" cx="{at[0]}" cy="{at[1]}" {ring}/>')
        return "".join(parts) + "</svg>"


def _beside(w: float, x: float) -> tuple[int, int, str]:
    """The place of a label beside the point of w at x, right and down of it in pixels, and its anchor: free of the curves."""
    if w == 0:
        return 10, -10, "start"
    return (14, 20, "start") if x < (LEFT + WIDE - RIGHT) / 2 else (-16, 12, "end")


def measured(guides: tuple[str, ...] = ("classifier-free", "classifier")) -> TradeOff:
    """The trade-off that tests/benchmarks/guidance_sweep.py measured on the shipped digits, mean of its seeds, 25 steps."""
    runs = figures.load("guidance_sweep")
    runs = figures.where(runs, steps=25, n=runs.attrs["n"])
    curves = {}
    for guide in validate.filled("guides", guides):
        validate.choice("guides", guide, runs["guide"].unique().tolist())
        w = sorted(figures.where(runs, guide=guide)["w"].unique().tolist())
        recall, precision = (figures.values(runs, name, guide=guide, w=w).mean(1) for name in ("recall", "precision"))
        curves[guide] = Curve(tuple(w), tuple(recall.tolist()), tuple(precision.tolist()))
    return TradeOff(curves)
