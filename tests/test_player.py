"""The denoising player's data: what travels to the page is what the sampler made, in one size, the same bytes each time."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.prediction import Prediction
from course_lib.process import DDPM, RectifiedFlow, seeded
from course_lib.samplers import Step, ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.pixels import LEVELS, PALETTE
from course_lib.widgets.player import play

PROCESS = DDPM(cosine_beta(1000))


def film_of(fragment) -> dict:
    """The data inside a player's HTML."""
    return json.loads(re.search(r"^const data = (.*);$", fragment.html, re.M)[1])


def noise_film(moves: int, shape=(16, 1, 16, 16), process=PROCESS, smooth=False) -> list[Step]:
    """Steps with fresh noise in each: what compresses least. The guesses of x_0 are noise as well, or as digits are: smooth
    white shapes on black."""
    rng = seeded(0)
    x = torch.randn(shape, generator=rng)
    steps = []
    for t in process.times(moves).tolist()[:-1]:
        a, b = process.coefficients(t, x)
        eps = torch.randn(shape, generator=rng)
        x0 = torch.randn(shape, generator=rng)
        x0 = (8 * torch.nn.functional.avg_pool2d(x0, 5, 1, 2) - 1.5 if smooth else x0 / 2).clamp(-1, 1)
        steps.append(Step(t, x0 * a + eps * b, Prediction(x0 * a + eps * b, a, b, "x0", x0)))
    return [*steps, Step(0, steps[-1].x0)]


def ring_film(moves=10, n=40) -> tuple[ExactDenoiser, list[Step]]:
    denoiser = ExactDenoiser(points.ring(), PROCESS)
    x = torch.randn(n, 2, generator=seeded(0))
    return denoiser, list(ddim(denoiser, x, PROCESS.times(moves)))


def pictures_of(film: dict, panel: int) -> np.ndarray:
    """A panel's sheet cut back into pictures (frames, B, H, W, 3) of colours."""
    p = film["panels"][panel]
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(p["png"]))).convert("RGB"))
    cut = sheet.reshape(-1, p["height"], p["columns"], p["width"], 3).swapaxes(1, 2).reshape(-1, p["height"], p["width"], 3)
    count = len(film["t"]) * film["batch"]
    return cut[:count].reshape(-1, film["batch"], p["height"], p["width"], 3)


def points_of(film: dict, name: str, half_width: float) -> np.ndarray:
    unit = np.frombuffer(base64.b64decode(film[name]), "<u2").reshape(-1, film["batch"], 2)
    return (unit / 65535 * 4 - 2) * half_width


def test_the_same_steps_give_the_same_bytes_and_others_do_not():
    one, two, other = play(noise_film(4)), play(noise_film(4)), play(noise_film(5))
    assert one.html == two.html
    key = lambda made: re.search('data-widget="([0-9a-f]{12})"', made.html)[1]
    assert key(one) == key(two) != key(other)
    assert repr(one) == repr(two) and "object at" not in repr(one) and one._repr_html_() == one.html
    assert one._repr_mimebundle_() == two._repr_mimebundle_()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_back_from_the_sheets(channels):
    steps = noise_film(6, (5, channels, 8, 12))
    film = film_of(play(steps))
    assert film["t"] == PROCESS.times(6).tolist() and film["batch"] == 5 and film["predicted"] == [1] * 6 + [0]
    for panel, tensors in enumerate([[s.x for s in steps], [s.x0 for s in steps]]):
        truth = (torch.stack(tensors).clamp(-1, 1) * 0.5 + 0.5).expand(-1, -1, 3, -1, -1).permute(0, 1, 3, 4, 2) * 255
        shown = pictures_of(film, panel)
        assert shown.shape == truth.shape
        assert np.abs(shown - truth.numpy()).max() <= 255 / (LEVELS - 1) / 2 + 0.5


def test_the_noise_has_colours_by_its_sign():
    steps = noise_film(3, (2, 1, 8, 8))
    shown = pictures_of(film_of(play(steps)), 2)[0]
    eps = steps[0].pred.eps[:, 0].numpy()
    red, blue = shown[..., 0].astype(int), shown[..., 2].astype(int)
    assert (red > blue)[eps > 0.3].all() and (blue > red)[eps < -0.3].all()
    assert PALETTE.shape == (2 * LEVELS, 3) and PALETTE.min() >= 0 and PALETTE.max() <= 255


def test_points_come_back_and_paths_are_in_place():
    denoiser, steps = ring_film()
    film = film_of(play(steps, field=denoiser))
    half = 1.1 * max(
        np.quantile(torch.stack([step.x for step in steps]).abs(), 0.985), float(steps[-1].x.abs().max())
    )  # as the player chooses it
    for name, tensors in [("x", [s.x for s in steps]), ("x0", [s.x0 for s in steps])]:
        truth = torch.stack(tensors).numpy()
        inside = np.abs(truth) < 2 * half
        assert np.abs(points_of(film, name, half) - truth)[inside].max() < 4 * half / 65535


def test_arrows_are_the_score_on_a_grid_of_the_field():
    denoiser, steps = ring_film()
    film = film_of(play(steps, field=denoiser))
    unpack = lambda name, half: (np.frombuffer(base64.b64decode(film[name]), "<u2") / 65535 * 4 - 2) * half
    half = 1.1 * max(np.quantile(torch.stack([step.x for step in steps]).abs(), 0.985), float(steps[-1].x.abs().max()))
    at = torch.tensor(unpack("at", half)).view(-1, 2)
    assert len(at) == film["grid"] == 15 * 15
    arrows = torch.tensor(unpack("arrows", 2.0)).view(len(steps), -1, 2)
    pred = denoiser(at, steps[4].t)
    expected = (pred.score * pred.b).clamp(-4, 4)
    assert (arrows[4] - expected).abs().max() < 1e-3
    assert arrows[-1].abs().max() < 1e-3  # the end of sampling predicts nothing


def test_points_on_the_line_are_drawn_over_time():
    denoiser = ExactDenoiser(points.pair(), PROCESS)
    steps = list(ddim(denoiser, torch.randn(7, 1, generator=seeded(0)), PROCESS.times(5)))
    film = film_of(play(steps))
    x = points_of(film, "x", 1.0)
    assert film["overTime"] and len(film["panels"]) == 2
    assert (np.diff(x[:, :, 0], axis=0) > 0).all() and np.ptp(x[:, :, 0], axis=1).max() == 0


def test_a_thousand_frames_of_sixteen_digits_are_under_8_mb():
    steps = noise_film(1000, smooth=True)
    made = play(steps, max_mb=8)
    film = film_of(made)
    assert len(film["t"]) == 1001 and film["note"] == ""
    assert 4e6 < len(made.html.encode()) < 8e6


def test_a_common_film_is_small():
    assert len(play(noise_film(50)).html.encode()) < 0.75e6
    denoiser, steps = ring_film(50, 500)
    assert len(play(steps, field=denoiser).html.encode()) < 0.75e6


def test_what_is_too_large_is_thinned_evenly_with_both_ends_and_says_so():
    made = play(noise_film(400), max_mb=1.5)
    film = film_of(made)
    kept = np.array(film["step"])
    assert 1.2e6 < len(made.html.encode()) <= 1.5e6
    assert kept[0] == 0 and kept[-1] == film["moves"] == 400 and np.ptp(np.diff(kept)) <= 1
    assert film["note"] == f"{len(kept)} of 401 frames are kept, to stay under 1.5 MB."
    assert len(film["t"]) == len(film["share"]) == len(film["predicted"]) == len(kept)
    truth = noise_film(400)[kept[3]].x.clamp(-1, 1)[:, 0] * 127.5 + 127.5
    assert np.abs(pictures_of(film, 0)[3, ..., 0] - truth.numpy()).max() < 5  # the frame kept is the frame named


def test_the_share_of_signal_is_alpha_bar_or_its_like():
    film = film_of(play(noise_film(5)))
    assert film["shareName"] == "ᾱ" and film["share"] == pytest.approx(PROCESS.alpha_bar(PROCESS.times(5)).tolist(), abs=1e-5)
    flow = film_of(play(noise_film(4, process=RectifiedFlow())))
    assert flow["shareName"] == "a²/(a²+b²)" and flow["share"] == pytest.approx([0, 0.1, 0.5, 0.9, 1]) and flow["T"] == 1
    assert film_of(play([Step(3, torch.zeros(2, 1, 4, 4)), Step(2, torch.ones(2, 1, 4, 4))]))["share"] is None


def test_draw_makes_pictures_of_what_is_not_one():
    denoiser, steps = ring_film(5, 4)
    decode = lambda z: z[:, :1, None, None].expand(-1, 3, 6, 6)
    film = film_of(play(steps, draw=lambda step: decode(step.x0)))
    assert [panel["title"] for panel in film["panels"]] == ["x̂₀: predicted x₀"] and pictures_of(film, 0).shape == (
        6,
        4,
        6,
        6,
        3,
    )
    two = film_of(play(steps, draw=lambda step: {"now": decode(step.x), "</script>": decode(step.x0)}))
    assert [panel["title"] for panel in two["panels"]] == ["now", "</script>"]


def test_without_scripts_a_strip_of_pictures_with_words_remains():
    for steps in (noise_film(25), ring_film(25)[1]):
        images = re.findall(r'<img src="data:image/png;base64,([^"]+)"[^>]* alt="([^"]+)"', play(steps).html)
        assert {alt.split(" at ")[1] for _, alt in images} == {f"t = {t}" for t in (1000, 800, 600, 400, 200, 0)}
        assert all(np.ptp(np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("L"))) > 0 for png, _ in images)


def test_a_whole_time_is_a_whole_number_whatever_its_type():
    steps = [Step(t, torch.rand(4, 1, 4, 4)) for t in (1000.0, 333.25, 0.0)]
    assert re.findall(r' at (t = [^"]+)"', play(steps).html) == ["t = 1000"] * 3 + ["t = 333"] * 3 + ["t = 0"] * 3


def test_no_address_and_no_early_end_of_the_script():
    html = play(noise_film(2), draw=lambda step: {"</script><b>": step.x}).html
    assert not re.search(r"(src|href)=\"(?!data:)|https?:|@import|url\(", html)
    assert html.count("</script>") == 1


def test_save_writes_a_page_of_its_own(tmp_path):
    made = play(noise_film(2))
    path = made.save(tmp_path / "film.html", title="Digits")
    text = path.read_text(encoding="utf-8")
    assert made.html in text and text.startswith("<!doctype html>") and "<title>Digits</title>" in text


def test_a_network_and_one_step_alone():
    net = torch.nn.Conv2d(1, 1, 3, padding=1)
    steps = list(ddim(Network(lambda x, time: net(x), PROCESS, "v"), torch.randn(3, 1, 8, 8), PROCESS.times(2)))
    assert len(film_of(play(iter(steps)))["t"]) == 3
    assert len(film_of(play(steps[:1]))["t"]) == 1


X = torch.zeros(2, 1, 4, 4)


@pytest.mark.parametrize(
    "steps, options, error, message",
    [
        ([], {}, ValueError, "steps must hold at least one Step, got none"),
        (3, {}, TypeError, "steps must be a list of Step, got int"),
        (Step(0, X), {}, TypeError, "steps must be a list of Step, got Step"),
        ([Step(0, X), X], {}, TypeError, r"steps\[1\] must be a Step, got Tensor"),
        ([Step(1, X), Step(0, X[:1])], {}, ValueError, r"steps\[1\].x must have the shape of steps\[0\].x"),
        ([Step(0, X * torch.nan)], {}, ValueError, r"steps\[0\].x must be finite"),
        ([Step(0, X.expand(2, 2, 4, 4))], {}, ValueError, r"steps must be pictures \(B, 1 or 3, H, W\)"),
        ([Step(0, torch.zeros(2, 5))], {}, ValueError, r"steps must be pictures .* got \(2, 5\)"),
        ([Step(0, X)], {"draw": lambda step: step.t}, ValueError, "what draw returns must be pictures .* got int"),
        ([Step(0, X)], {"draw": lambda step: step.x[:1]}, ValueError, "what draw returns must be pictures"),
        ([Step(0, X)], {"max_mb": 0}, ValueError, "max_mb must be positive, got 0"),
        ([Step(0, X)], {"max_mb": 0.001}, ValueError, "max_mb must be at least 0.0. for two frames of these steps, got 0.001"),
    ],
)
def test_bad_input_is_one_line(steps, options, error, message):
    with pytest.raises(error, match=message) as caught:
        play(steps, **options)
    assert "\n" not in str(caught.value)
