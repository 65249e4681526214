"""A cell that is run again leaves nothing of its old widget behind: no worker, no listener, no frame."""

import pytest
import torch

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser
from course_lib.methods.masked import WordStep
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, seeded
from course_lib.samplers import Step, ddim
from course_lib.schedules import cosine_beta
from course_lib.teaching.answer import answer
from course_lib.widgets.dial import dial
from course_lib.widgets.draw import draw
from course_lib.widgets.guess import guesses, predict
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided import guided_plane
from course_lib.widgets.paths import paths
from course_lib.widgets.player import play
from course_lib.widgets.sentences import sentences
from course_lib.widgets.sketch import sketch
from course_lib.widgets.student import student
from course_lib.zoo import models

PROCESS = DDPM(cosine_beta(1000))
EXACT = ExactDenoiser(points.ring(), PROCESS)
PICTURES = [torch.rand(4, 1, 8, 8, generator=seeded(i)) for i in range(3)]

# Counts what a widget can leave behind. A cleared timer, a cancelled frame and a removed listener no longer count.
COUNT = """
window.live = { workers: 0, listeners: new Map(), frames: new Set(), observers: new Map() };
{
  const counted = (name, start, end) => {
    window[name] = class extends window[name] {
      constructor(...rest) { super(...rest); if (start === null) live.workers++; }
    };
    const made = window[name].prototype;
    for (const method of [].concat(start ?? [])) {
      const before = made[method];
      made[method] = function (...rest) { live.observers.set(this, name); return before.apply(this, rest); };
    }
    const before = made[end];
    made[end] = function (...rest) {
      if (start === null) live.workers--;
      live.observers.delete(this);
      return before.apply(this, rest);
    };
  };
  counted("Worker", null, "terminate");
  for (const name of ["ResizeObserver", "MutationObserver", "IntersectionObserver"]) counted(name, "observe", "disconnect");
  const outside = (target) => target === window || target === document || target instanceof MediaQueryList;
  const [add, remove] = [EventTarget.prototype.addEventListener, EventTarget.prototype.removeEventListener];
  const names = new Map();
  const key = (target, type, listener) => {
    for (const thing of [target, listener]) if (!names.has(thing)) names.set(thing, names.size);
    return `${names.get(target)} ${type} ${names.get(listener)}`;
  };
  EventTarget.prototype.addEventListener = function (type, listener, options) {
    const target = this ?? window;
    if (outside(target)) {
      live.listeners.set(key(target, type, listener), type);
      options?.signal?.addEventListener("abort", () => live.listeners.delete(key(target, type, listener)));
    }
    return add.call(target, type, listener, options);
  };
  EventTarget.prototype.removeEventListener = function (type, listener, options) {
    live.listeners.delete(key(this ?? window, type, listener));
    return remove.call(this ?? window, type, listener, options);
  };
  const [request, cancel] = [window.requestAnimationFrame, window.cancelAnimationFrame];
  window.requestAnimationFrame = (run) => {
    const id = request((time) => { live.frames.delete(id); run(time); });
    live.frames.add(id);
    return id;
  };
  window.cancelAnimationFrame = (id) => { live.frames.delete(id); cancel(id); };
}
"""

# What a notebook does when a cell is run again: new output in place of the old one, and its scripts run.
RUN = """async (html) => {
  const cell = document.getElementById("cell");
  cell.replaceChildren(document.createRange().createContextualFragment(html));
}"""

LIVE = """() => {
  const { workers, listeners, frames, observers } = live;
  return { workers, listeners: listeners.size, frames: frames.size, observers: observers.size };
}"""


def model(labels, w, noise, steps, sampler):
    yield Step(0, (noise / (1 + w)).clamp(-1, 1))


WORD_STEPS = [WordStep(1 - k, torch.full((1, 2), 2 - k), torch.full((1, 2), float(k))) for k in (0, 1)]
WIDGETS = {
    "player": lambda: play(list(ddim(EXACT, torch.randn(50, 2, generator=seeded(0)), PROCESS.times(100)))),
    "paths": lambda: paths(EXACT, steps=5, n=2),
    "student": lambda: student(models.load("guided")),
    "draw": draw,
    "guided": lambda: guided_plane(
        GaussianMixture([0.5, 0.5], torch.tensor([[-1.0, 0], [1.0, 0]]), [0.3, 0.4], torch.tensor([0, 1])), PROCESS, 20
    ),
    "guidance": lambda: guidance_explorer({"it": model}).page,
    "guess": lambda: predict("a.b", "?", low=0, high=1),
    "sentences": lambda: sentences({"it": WORD_STEPS}, ("a", "b"), 2),
    "dial": lambda: dial("t", [0, 1, 2], {"edit": PICTURES}, {"realism": [0.1, 0.5, 0.9]}),
    "sketch": lambda: sketch("... .#. ...").page,
}


@pytest.fixture
def page(open_page, tmp_path):
    (tmp_path / "cell.html").write_text(f"<!doctype html><meta charset=utf-8><script>{COUNT}</script><div id=cell></div>")
    page = open_page(tmp_path / "cell.html")
    page.wait_for_selector("#cell", state="attached")  # what the browser's driver itself adds is there from now on
    return page


def run(page, html: str, kind: str) -> None:
    """Runs the cell, waits for its widget, and moves it, or sees it move."""
    page.evaluate(RUN, html)
    drawn = {"player": "frame", "paths": "share", "student": "drawn", "guided": "distance", "dial": "at", "guess": "state"}
    drawn = (drawn | {"draw": "points", "sentences": "at", "sketch": "drawing"}).get(kind)
    page.wait_for_selector(f"#cell .course-{kind}" + (f"[data-{drawn}]" if drawn else " canvas"))
    if kind == "draw":
        page.get_by_role("button", name="moons").click()
        page.get_by_role("button", name="Train").click()  # by a worker
    play_button = page.locator("#cell button", has_text="Play")
    if play_button.count():
        play_button.click()


@pytest.mark.parametrize("kind", WIDGETS)
def test_ten_runs_of_a_cell_leave_no_more_than_one(page, kind):
    html, none = WIDGETS[kind]().html, page.evaluate(LIVE)
    run(page, html, kind)
    first = page.evaluate(LIVE)
    for _ in range(9):
        run(page, html, kind)
    last = page.evaluate(LIVE)
    assert all(last[name] <= first[name] + (name == "frames") for name in first), (first, last)
    page.evaluate("document.getElementById('cell').replaceChildren()")
    page.wait_for_timeout(300)
    assert page.evaluate(LIVE) == none
    assert page.errors == []


def test_each_widget_says_how_it_is_moved_and_a_button_puts_it_back(page):
    for kind in sorted(WIDGETS.keys() - {"guess", "draw", "sketch"}):
        page.evaluate(RUN, WIDGETS[kind]().html)
        slider = page.locator("#cell input[type=range]").first
        slider.wait_for()
        before = slider.input_value()
        slider.press("Home" if slider.evaluate("e => e.value === e.max") else "End")
        page.wait_for_function("before => document.querySelector('#cell input').value !== before", arg=before)
        assert len(page.locator("#cell .tip").inner_text()) > 50
        page.get_by_role("button", name="Reset").click()
        page.wait_for_function("before => document.querySelector('#cell input').value === before", arg=before)
        touch = "all => all.every((canvas) => getComputedStyle(canvas).touchAction === 'pan-y pinch-zoom')"
        assert page.locator("#cell canvas").evaluate_all(touch) and page.locator(".unrun").count() == 0, kind
    assert page.errors == []


def test_an_answer_leaves_nothing_and_one_that_is_put_back_goes_on(page):
    none = page.evaluate(LIVE)
    parts = [predict("a.b", "?", low=0, high=1).html, answer("a", {"b": ("0.3", 0.3)}, "yes"), guesses("a.b").html]
    for _ in range(3):
        page.evaluate(RUN, "\n".join(parts))
    page.wait_for_selector(".course-guess[data-state=empty]", state="attached")
    page.evaluate("() => { window.kept = [...document.getElementById('cell').children]; kept.forEach((e) => e.remove()) }")
    page.wait_for_timeout(300)
    assert page.evaluate(LIVE) == none
    page.evaluate("() => document.getElementById('cell').append(...kept)")
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("Enter")
    page.get_by_text("You guessed 1.00. Measured: 0.3, off by 0.70. The claim holds.").wait_for()
    page.wait_for_selector(".course-guess[data-state=filled]")
    assert page.errors == []


def test_a_widget_that_is_taken_out_and_put_back_goes_on(page):
    """As a notebook does with a cell that is out of sight for a while."""
    run(page, WIDGETS["student"]().html, "student")
    out = "() => { window.kept = document.querySelector('#cell > div'); kept.remove(); return live.workers }"
    assert page.evaluate(out) == 0
    page.evaluate("() => document.getElementById('cell').append(kept)")
    page.locator(".course-student input[type=range]").fill("5.5")
    page.wait_for_selector(".course-student[data-drawn='5.5']")
    assert page.evaluate("live.workers") >= 1
    page.add_style_tag(content="#cell { color: white }")
    page.emulate_media(color_scheme="dark")  # one change: two of them between two frames would be none
    page.wait_for_selector(".course-student.dark")
    assert page.errors == []
