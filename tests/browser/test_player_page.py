"""The player as a reader meets it: a page from disk, the network off."""

import pytest
import torch

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim
from course_lib.schedules import cosine_beta
from course_lib.widgets.player import play

PROCESS = DDPM(cosine_beta(1000))
PLAYER = ".course-player"


def picture_film(moves=25, seed=0):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(8, 1, 3, padding=1))
    denoiser = Network(lambda x, time: net(x), PROCESS, "v")
    x = torch.randn(16, 1, 16, 16, generator=seeded(seed))
    return list(ddim(denoiser, x, PROCESS.times(moves)))


def point_film(moves=20):
    denoiser = ExactDenoiser(points.ring(), PROCESS)
    x = torch.randn(100, 2, generator=seeded(0))
    return play(list(ddim(denoiser, x, PROCESS.times(moves))), field=denoiser)


@pytest.fixture
def player(open_page, tmp_path):
    """player(fragment, **options): the page of it, once it has drawn."""

    def player(fragment, **options):
        page = open_page(fragment.save(tmp_path / "player.html"), **options)
        page.wait_for_selector(f"{PLAYER}[data-frame]")
        return page

    return player


def pixels(page, panel=0, player=0) -> str:
    return page.locator(PLAYER).nth(player).locator("figure canvas").nth(panel).evaluate("canvas => canvas.toDataURL()")


def frame(page, player=0) -> int:
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return int(page.locator(PLAYER).nth(player).get_attribute("data-frame"))


def words(page) -> str:
    return page.locator(f"{PLAYER} output").inner_text().replace("\xa0", " ")


def drag(page, locator, start: float, end: float):
    box = locator.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=8)
    page.mouse.up()


@pytest.mark.parametrize("film", [lambda: play(picture_film()), point_film], ids=["pictures", "points"])
def test_the_slider_changes_every_panel_and_nothing_fails(player, film):
    page = player(film())
    before = [pixels(page, k) for k in range(3)]
    drag(page, page.locator("input[type=range]"), 0.01, 0.6)
    last = page.evaluate("document.querySelector('.course-player').player.frames - 1")
    assert abs(frame(page) - 0.6 * last) <= 1
    assert all(pixels(page, k) != before[k] for k in range(3))
    assert page.errors == []


def test_the_words_say_where_it_is(player):
    page = player(play(picture_film(25)))
    assert words(page) == "t = 1000 of 1000, ᾱ = 0.00, step 0 of 25"
    page.locator("input[type=range]").focus()
    page.keyboard.press("End")
    frame(page)
    assert words(page) == "t = 0 of 1000, ᾱ = 1.00, step 25 of 25"
    slider = page.get_by_role("slider", name="Step of the sampler")
    assert slider.get_attribute("aria-valuetext") == words(page)
    assert page.get_by_role("img", name="predicted noise").count() == 1


def test_keys_move_it_and_stay_inside(player):
    page = player(play(picture_film(25)))
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key)) }")
    page.locator("input[type=range]").focus()
    seen = []
    for key in ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "PageDown", "Home"]:
        page.keyboard.press(key)
        seen.append(frame(page))
    assert seen == [1, 2, 1, 25, 22, 0]
    page.keyboard.press("a")
    assert page.evaluate("leaked") == ["a"]


def test_it_stays_still_until_asked_then_plays_and_pauses(player):
    page = player(play(picture_film(100)))
    page.wait_for_timeout(400)
    assert frame(page) == 0
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.course-player').dataset.frame > 3")
    page.get_by_role("button", name="Pause").click()
    stopped = frame(page)
    page.wait_for_timeout(300)
    assert frame(page) == stopped > 3
    page.locator("input[type=range]").focus()
    page.keyboard.press(" ")
    page.wait_for_function(f"document.querySelector('.course-player').dataset.frame > {stopped + 3}")
    page.keyboard.press("ArrowLeft")  # a reader's hand stops it
    assert page.get_by_role("button", name="Play").count() == 1


def test_it_plays_to_its_end_and_starts_again(player):
    page = player(play(picture_film(10)))
    page.get_by_label("Speed").select_option("speed 4")
    button = page.locator(".controls button")
    button.click()
    page.wait_for_function("document.querySelector('.course-player').dataset.frame === '10'")
    assert button.inner_text() == "▶ Play"
    button.click()
    page.wait_for_function("document.querySelector('.course-player').dataset.frame < 5")


def test_a_panel_and_the_curve_are_dragged_too(player):
    page = player(play(picture_film(20)))
    drag(page, page.locator("figure canvas").first, 0.2, 0.7)
    assert frame(page) == 10
    drag(page, page.locator("canvas.timeline"), 0.3, 0.9)
    assert frame(page) == 18


def test_a_click_shows_one_picture_large_and_another_all(player):
    page = player(play(picture_film(20)))
    whole = [pixels(page, k) for k in range(3)]
    canvas = page.locator("figure canvas").nth(1)
    canvas.click(position={"x": 20, "y": 20})
    assert all(pixels(page, k) != whole[k] for k in range(3))
    canvas.click(position={"x": 20, "y": 20})
    assert [pixels(page, k) for k in range(3)] == whole


def test_what_is_drawn_is_what_was_sampled(player):
    steps = picture_film(5)
    page = player(play(steps))
    page.evaluate("document.querySelector('.course-player').player.seek(3)")
    frame(page)
    got = page.locator("figure canvas").first.evaluate(
        """canvas => { const cell = canvas.width / 4, pen = canvas.getContext("2d");
        const size = 16 * Math.floor((cell - 2) / 16), at = (n) => Math.floor((cell - size) / 2 + (n + 0.5) * size / 16);
        const grey = (b, row, column) => pen.getImageData(
            Math.floor(b % 4 * cell) + at(column), Math.floor(Math.floor(b / 4) * cell) + at(row), 1, 1).data[0];
        return Array.from({ length: 4096 }, (_, n) => grey(n >> 8, n >> 4 & 15, n & 15)) }"""
    )
    truth = (steps[3].x.clamp(-1, 1) * 127.5 + 127.5).flatten()
    assert (torch.tensor(got) - truth).abs().max() < 5


def test_the_last_frame_predicts_no_noise(player):
    page = player(play(picture_film(5)))
    inked = """canvas => { const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, n) => n % 4 === 3 && value > 0).length / (data.length / 4) }"""
    noise = page.locator("figure canvas").nth(2)
    assert noise.evaluate(inked) > 0.8
    page.evaluate("document.querySelector('.course-player').player.seek(5)")
    frame(page)
    assert 0.001 < noise.evaluate(inked) < 0.1  # a few words on an empty panel
    assert pixels(page, 0) == pixels(page, 1) and page.errors == []


def test_two_players_and_the_same_one_twice(open_page, tmp_path):
    one, other = play(picture_film(10)), play(picture_film(10, seed=1))
    path = tmp_path / "three.html"
    path.write_text("<!doctype html><meta charset=utf-8>" + one.html + other.html + one.html, encoding="utf-8")
    page = open_page(path)
    page.wait_for_function("document.querySelectorAll('.course-player[data-frame]').length === 3")
    assert pixels(page, player=0) == pixels(page, player=2) != pixels(page, player=1)
    page.locator("input[type=range]").nth(2).focus()
    page.keyboard.press("End")
    assert [frame(page, k) for k in range(3)] == [0, 0, 10]
    assert page.locator("figure canvas").count() == 9 and page.errors == []


def test_without_scripts_the_strip_stands(open_page, tmp_path):
    page = open_page(play(picture_film()).save(tmp_path / "still.html"), java_script_enabled=False)
    images = page.locator(".strip img")
    assert images.count() == 18 and page.locator("canvas").count() == 0
    for k in range(18):
        assert images.nth(k).is_visible() and images.nth(k).bounding_box()["height"] > 60
        assert " at t = " in images.nth(k).get_attribute("alt")


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_is_readable(player, width, theme):
    page = player(play(picture_film(10)), viewport={"width": width, "height": 800}, color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.evaluate(
        """[...document.querySelectorAll(".course-player :is(figcaption, button, select, output, p)")]
        .map((element) => parseFloat(getComputedStyle(element).fontSize))"""
    )
    assert min(sizes) >= 16 and page.locator("figure canvas").first.bounding_box()["width"] > 100
    assert page.locator(PLAYER).evaluate("root => root.classList.contains('dark')") == (theme == "dark")


def test_a_thousand_frames_scrub_at_the_rate_of_the_screen(player):
    page = player(play(picture_film(1000), max_mb=8))
    result = page.evaluate(
        """async () => {
        const root = document.querySelector(".course-player"), { seek, draw, frames } = root.player;
        const panels = [...root.querySelectorAll("canvas")], seen = new Set();
        let spent = 0;
        for (let i = 0; i < 200; i++) {
          const start = performance.now();
          seek(i * 37 % frames);
          draw();
          for (const panel of panels) panel.getContext("2d").getImageData(0, 0, 1, 1);  // waits until it is drawn
          spent += performance.now() - start;
          seen.add(root.dataset.frame);
        }
        return { frames, seen: seen.size, each: spent / 200 }; }"""
    )
    assert result["frames"] > 800 and result["seen"] == 200
    assert result["each"] < 16, f"one frame took {result['each']:.1f} ms"
