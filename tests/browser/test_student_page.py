"""The guided student in the page: the same digits as torch, at once, with the network off."""

import os

import pytest
import torch

from course_lib.process import seeded
from course_lib.samplers import consistency, result
from course_lib.widgets.student import student
from course_lib.zoo import checkpoints, models

ROOT = ".course-student"
SHIPPED, NETWORK = models.load("guided"), models.load("guided")
checkpoints.round_to(NETWORK.net, 8)  # as the page has it


@pytest.fixture
def page(open_page, tmp_path):
    page = open_page(student(NETWORK, w=2.0, seed=3).save(tmp_path / "student.html"))
    page.wait_for_selector(f"{ROOT}[data-drawn]")
    return page


def test_one_step_is_torchs(page):
    noise = torch.randn(10, 1, 16, 16, generator=seeded(3))
    for w, label in ((0.0, None), (2.0, None), (7.3, 4)):
        call = f"async (s) => {{ const {{ state, digits }} = document.querySelector('{ROOT}').student; Object.assign(state, s);"
        got = page.evaluate(call + " return (await digits()).map((x) => [...x]) }", {"w": w, "label": label})
        wanted = NETWORK.given(torch.arange(10) if label is None else torch.full((10,), label)).at(w)
        want = result(consistency(wanted, noise, NETWORK.process.times(1)))
        assert (torch.tensor(got).view_as(want) - want).abs().max() < 1e-4


def test_workers_draw(page):
    assert page.locator(ROOT).get_attribute("data-workers") == str(min(5, os.cpu_count() or 1))


BROKEN = "class { constructor() { setTimeout(() => this.onerror(new Event('error'))) } postMessage() {} terminate() {} }"


@pytest.mark.parametrize("worker", ["undefined", BROKEN])
def test_a_page_that_may_have_no_workers_draws_by_itself(page, open_page, tmp_path, worker):
    path = student(NETWORK, w=2.0, seed=3).save(tmp_path / "alone.html")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<script>", f"<script>Worker = {worker};</script><script>", 1), encoding="utf-8")
    alone = open_page(path)
    alone.wait_for_selector(f"{ROOT}[data-drawn][data-workers='0']")
    first = f"async () => [...(await document.querySelector('{ROOT}').student.digits())[0]]"
    assert alone.evaluate(first) == page.evaluate(first) and alone.errors == []


def test_eight_bits_are_enough():
    noise = torch.randn(100, 1, 16, 16, generator=seeded(3))
    label, evaluator = torch.arange(100) % 10, models.load("classifier")
    drawn = [result(consistency(net.given(label).at(2.0), noise, net.process.times(1))) for net in (SHIPPED, NETWORK)]
    assert 0 < (drawn[0] - drawn[1]).square().mean().sqrt() < 0.03
    assert (evaluator(drawn[0]).argmax(1) == evaluator(drawn[1]).argmax(1)).double().mean() >= 0.99


def test_each_jump_of_several_is_torchs(page):
    """With the fresh noise of the second jump set to 0.5 everywhere, in both."""
    call = f"() => {{ const {{ jump, noise }} = document.querySelector('{ROOT}').student;"
    got = torch.tensor(page.evaluate(call + " return [...jump(2, noise()[0], 7, 3, () => 0.5)] }"))
    noise = torch.randn(10, 1, 16, 16, generator=seeded(3))[:1]
    t, s, _ = NETWORK.process.times(2).tolist()
    wanted = NETWORK.given(7).at(3.0)
    with torch.no_grad():
        x0 = wanted(noise, t).x0
        want = wanted(NETWORK.process.add_noise(x0, s, torch.full_like(x0, 0.5)), s).x0
    assert (got.view_as(want) - want).abs().max() < 1e-4


def test_the_controls_answer_and_ask_nobody(page):
    page.locator(f"{ROOT} input[type=range]").fill("5.5")
    page.wait_for_selector(f'{ROOT}[data-drawn="5.5"]')
    assert "w = 5.5" in page.locator(f"{ROOT} output").inner_text()
    student = f"document.querySelector('{ROOT}').student"
    first = f"async () => [...(await {student}.digits())[0]]"
    before = page.evaluate(first)
    page.get_by_role("group", name="steps").get_by_role("button", name="4").click()
    page.get_by_role("group", name="digit").get_by_role("button", name="7").click()
    page.get_by_role("button", name="other noise").click()
    assert page.evaluate(f"{student}.state") == {"w": 5.5, "moves": 4, "label": 7, "seed": 1}
    assert page.evaluate(first) != before and page.errors == []
    page.wait_for_selector(f"{ROOT} [aria-pressed=true] >> nth=1")
    assert page.locator(f"{ROOT} [aria-pressed=true]").all_inner_texts() == ["4", "7"]  # and no preset of w


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: student(models.load("digits")), "network must be a guided student"),
        (lambda: student(models.load("ring")), "network must be a guided student"),
        (lambda: student(NETWORK, w=9.0), "w must lie in 0..8, got 9"),
        (lambda: student(NETWORK, w=float("nan")), "w must be finite"),
    ],
)
def test_what_it_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()
