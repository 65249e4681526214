"""The pictures: what is drawn is what was given, and nobody is left without words."""

import base64
import io
import os
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from course_lib import plots
from course_lib.datasets.points import ring
from course_lib.denoisers import ExactDenoiser
from course_lib.files import ROOT
from course_lib.process import DDPM
from course_lib.schedules import linear_beta
from course_lib.widgets.paths import paths


@pytest.fixture(autouse=True)
def styled():
    with plt.rc_context():
        plots.style()
        yield
    plt.close("all")


RC = """
image.origin: lower
image.cmap: gray
image.aspect: auto
image.interpolation: bicubic
text.usetex: True
savefig.bbox: tight
savefig.transparent: True
savefig.dpi: 50
figure.figsize: 2, 2
figure.autolayout: True
axes.grid: True
axes.facecolor: black
axes.unicode_minus: False
axes.formatter.use_locale: True
font.family: monospace
lines.marker: o
xtick.direction: in
path.sketch: 1, 100, 2
"""
DRAW = """
import hashlib, io
import numpy as np
import torch
from PIL import Image
from course_lib import plots

light_above = torch.linspace(1, -1, 64).view(1, 1, 8, 8).expand(4, 1, 8, 8)

def upright():
    figure = plots.pictures(light_above[:1], scale=0.5)
    pixels = np.asarray(Image.open(io.BytesIO(plots.png(figure))).convert("L"))
    above, below = pixels[[len(pixels) // 4, 3 * len(pixels) // 4], pixels.shape[1] // 2]
    return 150 < above < 250 and 10 < below < 100

def digests():
    plots.style()
    figure, (left, right) = plots.plt.subplots(1, 2)
    left.imshow(np.arange(12).reshape(3, 4))
    right.plot([-1.5, 2], label="$x_1$")
    right.legend()
    rows = plots.pictures(light_above, columns=2, title="x, 50 %", rows=["a", "b"])
    shown = [figure, rows, plots.points(torch.eye(2), torch.arange(2))]
    return [hashlib.sha256(plots.png(each)).hexdigest() for each in shown]
"""


def test_the_readers_matplotlibrc_changes_no_byte_and_turns_nothing_upside_down(tmp_path):
    (tmp_path / "matplotlibrc").write_text(RC, encoding="utf-8")
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    code = DRAW + "plots.plt.rcParams['text.usetex'] = False  # here only: there is no LaTeX\nprint(upright())\n"
    code += "plots.plt.rcParams['text.usetex'] = True\nprint(*digests())\n"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    exec(DRAW, here := {})
    assert here["upright"]() and done.stdout.split() == ["True", *here["digests"]()], done.stderr


def test_a_widget_leaves_the_readers_settings_as_they_were():
    plt.rcParams["lines.linewidth"] = 7.5
    paths(ExactDenoiser(ring(), DDPM(linear_beta(1000))))
    assert plt.rcParams["lines.linewidth"] == 7.5


def test_a_figure_is_shown_with_its_words_and_closed():
    figure, _ = plt.subplots(figsize=(5, 3))
    shown = plots.show(figure, alt='a "line" & more')
    data, about = shown._repr_mimebundle_()
    page = data["text/html"]
    assert data["image/png"] in page and about["image/png"]["alt"] == shown.alt and data["text/plain"] == repr(shown)
    assert 'alt="a &quot;line&quot; &amp; more"' in page and repr(shown) == '[picture: a "line" & more]'
    image = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', page)[1])))
    assert image.size == (500, 300) and not plt.fignum_exists(figure.number)


def test_few_colours_are_enough_for_every_line_and_shade():
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    axes[0].imshow(np.linspace(0, 1, 400).reshape(20, 20))
    for i, colour in enumerate(plots.COLOURS):
        axes[1].plot([0, 1], [i, i], color=colour)
    figure.canvas.draw()  # the layout settles at the first draw
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=100)
    small = plots.png(figure)
    before, after = (np.asarray(Image.open(io.BytesIO(b)).convert("RGB"), int) for b in (whole.getvalue(), small))
    assert np.abs(before - after).max() <= 24 and np.abs(before - after).mean() < 0.5
    assert len(small) < 0.6 * len(whole.getvalue())


def test_a_grid_holds_every_picture_in_reading_order():
    x = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 1, 2, 3)
    sheet = plots.grid(x, columns=3)
    assert sheet.shape == (2 * 2 + 1, 3 * 3 + 2, 3)
    assert [float(sheet[3 * r, 4 * c, 0]) for r in range(2) for c in range(3)][:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert np.unique(sheet[2]).tolist() == [0.35]  # the gap
    colours = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 2, 2)
    assert plots.grid(colours)[0, 0].tolist() == [1.0, 0.5, 0.0]


def test_points_are_distinguished_by_colour_and_by_shape():
    axis = plots.points(torch.randn(90, 2), torch.arange(90) % 9).axes[0]
    styles = {(tuple(c.get_facecolor()[0][:3]), c.get_paths()[0].vertices.tobytes()) for c in axis.collections}
    assert len(axis.collections) == 9 and len(styles) == 8 and to_rgb(plots.COLOURS[0]) in {colour for colour, _ in styles}


def test_a_sketch_draws_a_curve_over_bars():
    line = torch.linspace(0, 1, 800)
    made = plots.sketch(line, torch.tensor([0.0, 1.0]), 0, 1, torch.tensor([0.5, 2.0]), size=(40, 60))
    assert made.shape == (1, 3, 40, 60) and made.min() >= -1 and made.max() <= 1
    unit = (made[0] + 1) / 2
    assert unit[0, 20, 50].item() == pytest.approx(0.8) and unit[0, 5, 10] == 1  # bars on the right alone
    assert (unit[:, 0, 59] - torch.tensor(to_rgb(plots.COLOURS[0]))).abs().max() < 1e-6  # the curve ends at the top
    assert (unit[0, 34:, 30] > 0.8).all() and (unit[2, 34:, 30] == 0).all()  # a mark in the middle, and none outside


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: plots.show(plt.figure(), alt=" "), "alt must say what the figure shows, got nothing"),
        (lambda: plots.show(plt.figure(figsize=(14, 3)), alt="a"), "fig must be at most 12 inches wide, got 14"),
        (lambda: plots.pictures(torch.zeros(2, 16, 16)), "x must be pictures (N, 1 or 3, H, W), got shape (2, 16, 16)"),
        (lambda: plots.pictures(torch.zeros(0, 1, 16, 16)), "x must be a non-empty batch (B, ...), got shape (0, 1, 16, 16)"),
        (lambda: plots.pictures(torch.zeros(6, 1, 8, 8), 3, rows=["a"]), "rows must name each of 2 rows, got 1 names"),
        (lambda: plots.points(torch.zeros(3, 3)), "x must be (B, 2), got shape (3, 3)"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_rows_of_pictures_are_named_at_their_middle():
    fig = plots.pictures(torch.zeros(5, 1, 8, 8), columns=3, rows=["first", "second"])
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.get_yticks().tolist() == [3.5, 12.5] and ax.axison  # rows of 8 pixels from 0 and from 9 on
    assert not plots.pictures(torch.zeros(5, 1, 8, 8)).axes[0].axison


def test_columns_of_pictures_are_named_above_their_middle():
    ax = plots.pictures(torch.zeros(6, 1, 8, 6), columns=["t = 0", "t = 5", 1000], rows=["a", "b"], title="A digit").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["t = 0", "t = 5", "1000"]
    assert ax.get_xticks().tolist() == [2.5, 9.5, 16.5]  # columns of 6 pixels from 0, from 7 and from 14 on
    tick = ax.xaxis.get_major_ticks()[0]
    assert tick.label2.get_visible() and not tick.label1.get_visible()
