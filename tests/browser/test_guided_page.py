"""Guidance in the plane as a reader meets it: a page from disk, the network off, and the same figures as in Python."""

import pytest
import torch

from course_lib.denoisers import ExactDenoiser
from course_lib.guidance import ExactClassifier
from course_lib.methods import tilted_density
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, seeded
from course_lib.schedules import cosine_beta
from course_lib.widgets.guided import COARSE, guided_plane

PROCESS = DDPM(cosine_beta(1000))
MEANS = torch.tensor([[0.0, 0.9], [-0.8, -0.45], [0.8, -0.45], [0.9, 0.6]])
MIXTURE = GaussianMixture([0.3, 0.3, 0.2, 0.2], MEANS, [0.45, 0.4, 0.3, 0.5], torch.tensor([2, 4, 7, 4]))
STEPS = 30
ROOT = ".course-guided"


@pytest.fixture
def plane(open_page, tmp_path):
    """plane(**options): the page of the widget, once it has drawn."""

    def plane(**options):
        page = open_page(guided_plane(MIXTURE, PROCESS, STEPS).save(tmp_path / "plane.html"), **options)
        page.wait_for_selector(f"{ROOT}[data-distance]")
        return page

    return plane


def update(page, **change):
    return page.evaluate(
        f"(change) => {{ const root = document.querySelector('{ROOT}'); root.guided.update(change); root.guided.draw();"
        " return +root.dataset.distance }",
        change,
    )


def test_the_pages_mathematics_is_the_librarys(plane):
    page = plane()
    x = 1.5 * torch.randn(40, 2, generator=seeded(1), dtype=torch.float64)
    call = f"""(args) => {{ const {{ scores, guidedPoint, data }} = document.querySelector('{ROOT}').guided;
        return args.x.map(([x, y]) => args.land ? guidedPoint(data.mixture, args.label, args.w, data.levels, x, y)
        : (({{ uncond, cond, logP, logQ }}) =>
            [uncond.x, uncond.y, cond.x, cond.y, uncond.xx, uncond.xy, uncond.yy, logP, logQ])(
            scores(data.mixture, args.label, x, y, args.a, args.b))) }}"""
    for t, label in ((1, 0), (300, 1), (900, 2)):
        a, b = float(PROCESS.signal(t)), float(PROCESS.noise(t))
        got = torch.tensor(page.evaluate(call, {"x": x.tolist(), "label": label, "a": a, "b": b}), dtype=torch.float64)
        exact = ExactDenoiser(MIXTURE, PROCESS)
        slope = MIXTURE.score_slope(x, PROCESS.signal(t), PROCESS.noise(t))
        log_q = MIXTURE.log_prob(x, PROCESS.signal(t), PROCESS.noise(t))
        log_p = ExactClassifier(MIXTURE, PROCESS)(x, t)[:, label]
        cond = exact.given((2, 4, 7)[label])(x, t).score
        parts = [exact(x, t).score, cond, slope[:, 0], slope[:, 1, 1:], log_p[:, None], log_q[:, None]]
        want = torch.cat(parts, 1)
        assert ((got - want).abs() <= 1e-6 * want.abs().clamp(min=1)).all()
    for w in (0.0, 1.0, 3.0):
        got = page.evaluate(call, {"x": x.tolist(), "label": 1, "w": w, "land": True})
        mine = tilted_density.guided_points(MIXTURE, 4, w, PROCESS, PROCESS.times(STEPS), x)
        assert (torch.tensor(got, dtype=torch.float64) - torch.cat([mine[0], mine[1][:, None]], 1)).abs().max() < 1e-6


def test_the_pages_distance_is_the_librarys_and_moves_with_w(plane):
    page = plane()
    seen = []
    for label, w in ((0, 1.0), (0, 3.0), (1, 3.0), (2, 0.5)):
        seen.append(update(page, label=label, w=w))
        want = tilted_density.distance(MIXTURE, (2, 4, 7)[label], w, PROCESS, PROCESS.times(STEPS), *COARSE)
        assert abs(seen[-1] - want) < 1e-6
        assert f"w = {w:.1f}: distance {want:.2f}" in page.locator(f"{ROOT} output").nth(1).inner_text()
    assert seen[0] < 0.1 < seen[1]


def pixels(page) -> list[str]:
    return page.evaluate(f"[...document.querySelectorAll('{ROOT} canvas')].map((canvas) => canvas.toDataURL())")


def test_keys_and_buttons_move_it_and_stay_inside(plane):
    page = plane()
    page.wait_for_timeout(2500)  # until its curve is whole
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    before = pixels(page)
    page.get_by_role("slider", name="Guidance w").focus()
    page.keyboard.press("End")
    page.wait_for_selector(f"{ROOT}[data-w='8']")
    after = pixels(page)
    changed = [a != b for a, b in zip(before, after)]
    assert changed == [False, False, False, True, True, True]  # the scores are those of the class, whatever w
    page.get_by_role("slider", name="Noise").focus()
    page.keyboard.press("Home")
    page.wait_for_function(f"document.querySelector('{ROOT}').dataset.level === '{STEPS - 1}'")
    assert [a != b for a, b in zip(after, pixels(page))] == [True, True, True, False, False, False]
    page.get_by_role("button", name="w = 1", exact=True).click()
    page.wait_for_selector(f"{ROOT}[data-w='1']")
    page.get_by_role("button", name="class 7").click()
    page.wait_for_selector(f"{ROOT}[data-label='2']")
    assert page.get_by_role("button", name="class 7").get_attribute("aria-pressed") == "true"
    assert page.evaluate("leaked") == [] and page.errors == []


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_is_readable(plane, width, theme):
    page = plane(viewport={"width": width, "height": 800}, color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.evaluate(
        f"[...document.querySelectorAll('{ROOT} :is(figcaption, button, output)')]"
        ".map((element) => parseFloat(getComputedStyle(element).fontSize))"
    )
    assert min(sizes) >= 16 and page.locator(f"{ROOT} canvas").first.bounding_box()["width"] > 100
    assert page.locator(ROOT).evaluate("root => root.classList.contains('dark')") == (theme == "dark")


def test_without_scripts_a_picture_stands(open_page, tmp_path):
    page = open_page(guided_plane(MIXTURE, PROCESS, STEPS).save(tmp_path / "still.html"), java_script_enabled=False)
    image = page.locator(".strip img")
    assert image.is_visible() and "the distance between the two is 0." in image.get_attribute("alt")
    assert page.locator("canvas").count() == 0


def test_what_is_not_of_the_plane_is_refused():
    with pytest.raises(ValueError, match="mixture must be of points in the plane"):
        guided_plane(GaussianMixture([1.0], torch.zeros(1, 3), [1.0]), PROCESS)
    with pytest.raises(ValueError, match="label must be one of 2, 4, 7, got 5"):
        guided_plane(MIXTURE, PROCESS, label=5)
