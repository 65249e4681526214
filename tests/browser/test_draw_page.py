"""Draw, train, follow: the gradients are torch's, the floor is the exact denoiser's, and all of it works without a kernel."""

import pytest
import torch

from course_lib.denoisers import Network
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim
from course_lib.schedules import linear_beta
from course_lib.widgets.draw import SCALE, SIZE, draw

ROOT = ".course-draw"
PROCESS = DDPM(linear_beta(1000))
WIDGET = f"document.querySelector('{ROOT}').draw"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return draw().save(tmp_path_factory.mktemp("draw") / "draw.html")


@pytest.fixture
def page(open_page, path):
    page = open_page(path)
    page.wait_for_selector(f"{ROOT}[data-points]")
    return page


def train(page, drawing="moons", steps=1):
    page.get_by_role("button", name=drawing).click()
    page.get_by_role("button", name="Train", exact=True).click()
    fewer = "".join(f":not([data-steps='{n}'])" for n in range(steps))
    page.wait_for_selector(f"{ROOT}[data-steps]{fewer}", timeout=90_000)  # a policy may forbid what wait_for_function does


def test_loss_and_gradients_are_torchs(page):
    torch.manual_seed(0)
    net = MLP(**SIZE).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))  # also of the norm, whose weights begin as 1 and 0
    times = torch.rand(20, dtype=torch.float64, generator=seeded(0))
    x, eps = torch.randn(2, 60, 2, dtype=torch.float64, generator=seeded(1))
    squares = (net(x, times.repeat_interleave(3)) - eps).square()
    squares.mean().backward()

    code = f"""([weights, times, x, eps]) => {{
        const {{ network, parameters }} = {WIDGET}, size = {SIZE};
        const p = parameters(size), g = parameters(size);
        for (const name in p.named) p.named[name].set(weights[name]);
        const losses = network(size, p.named).loss({{ times, x: Float64Array.from(x) }}, Float64Array.from(eps), g.named);
        return [[...losses], Object.fromEntries(Object.entries(g.named).map(([name, v]) => [name, [...v]]))];
    }}"""
    weights = {name: p.flatten().tolist() for name, p in net.named_parameters()}
    losses, gradients = page.evaluate(code, [weights, *(v.flatten().tolist() for v in (times, x, eps))])
    assert (torch.tensor(losses, dtype=torch.float64) - squares.view(20, 6).mean(1)).abs().max() < 1e-5
    assert gradients.keys() == weights.keys()
    for name, p in net.named_parameters():
        got = torch.tensor(gradients[name], dtype=torch.float64).view_as(p)
        assert p.grad.abs().max() > 1e-4 and (got - p.grad).abs().max() < 1e-5, name


def test_the_floor_is_the_loss_of_the_exact_denoiser(page):
    """By 40,000 samples of each of four times, in torch; the page's is of its own points, evenly spread."""
    points = 2 * torch.randn(40, 2, dtype=torch.float64, generator=seeded(2))
    alpha_bar = torch.full((1001,), 1.0, dtype=torch.float64)
    for t in (20, 200, 400, 700):
        a, b = float(PROCESS.signal(t)), float(PROCESS.noise(t))
        alpha_bar[:] = a * a
        code = f"([alphaBar, points]) => {WIDGET}.floor({{ alphaBar, points }})[0]"
        got = page.evaluate(code, [alpha_bar.tolist(), points.flatten().tolist()])
        eps = torch.randn(40_000, 2, dtype=torch.float64, generator=seeded(t))
        x = a * points.repeat(1000, 1) + b * eps
        posterior = (-torch.cdist(x, a * points).square() / (2 * b * b)).softmax(1)
        squares = ((x - a * posterior @ points) / b - eps).square().mean(1)
        assert got == pytest.approx(float(squares.mean()), rel=0.02, abs=4 * float(squares.std()) / 200)


def test_a_drawing_is_learned_and_a_dropped_point_is_followed(page):
    train(page, steps=60)
    page.wait_for_selector(f'{ROOT}[data-cloud="21"]')
    page.get_by_role("button", name="Pause").click()
    said = page.locator(f"{ROOT} [role=status]", has_text="exact floor").inner_text()
    loss, floor = (float(words.split()[-1]) for words in said.rstrip(".").replace("exact floor", "").split(": ")[1].split(","))
    assert 0.2 < floor < loss < 0.8  # an untrained network has 1 or more

    box = page.locator(f"{ROOT} .board").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    page.mouse.up()
    page.locator(f"{ROOT} output", has_text="Start (1.10, 1.10)").wait_for()
    page.keyboard.press("ArrowLeft")  # the board has the keys
    page.locator(f"{ROOT} output", has_text="Start (1.05, 1.10)").wait_for()
    page.get_by_label("How far back along the path").press("Home")
    page.locator(f"{ROOT} output", has_text="Step 0 of 20, t = 1000").wait_for()

    # the path is the library's DDIM with the network's weights as they are now, that of the exact denoiser ends on a point
    code = f"() => [{WIDGET}.paths().learned, {WIDGET}.paths().exact, [{WIDGET}.state.progress.weights]]"
    learned, exact, (weights,) = page.evaluate(f"() => ({code})().map((all) => all.map((v) => [...v]))")
    net, at = MLP(**SIZE).double(), 0
    with torch.no_grad():
        for p in net.parameters():  # in the order of the page's one array
            p.copy_(torch.tensor(weights[at : at + p.numel()], dtype=torch.float64).view_as(p))
            at += p.numel()
    assert at == len(weights)
    path = torch.tensor(learned, dtype=torch.float64)
    steps = ddim(Network(net, PROCESS), path[:1], PROCESS.times(20))
    assert (path - torch.cat([step.x for step in steps])).abs().max() < 1e-3
    moons = page.evaluate(f"() => {WIDGET}.state.points")
    assert (torch.tensor(exact[-1]) / SCALE - torch.tensor(moons)).norm(dim=1).min() < 0.02
    assert not page.errors


def test_undo_clear_and_keys(page):
    board, points = page.locator(f"{ROOT} .board"), lambda n: page.wait_for_selector(f'{ROOT}[data-points="{n}"]')
    box = board.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 50, steps=5)
    page.mouse.up()
    assert int(page.locator(ROOT).get_attribute("data-points")) > 20
    page.get_by_role("button", name="Clear").click()
    points(0)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()  # one stroke is undone as a whole
    points(0)
    for _ in range(2):
        board.press("ArrowRight")
        board.press("Space")
    points(2)
    board.press("Control+z")
    points(1)
    page.get_by_role("button", name="Train").click()
    page.get_by_text("Draw at least two points first.").wait_for()
    for name in ("moons", "spiral", "letter A"):
        page.get_by_role("button", name=name).click()
        page.wait_for_function(f"Number(document.querySelector('{ROOT}').dataset.points) >= 200")
    assert not page.errors


def test_a_line_says_how_it_works_and_reset_puts_all_back_but_loses_no_drawing(page):
    tip = page.locator(f"{ROOT} .tip")
    assert all(word in tip.inner_text() for word in ("follow", "orange", "dashed", "arrow keys", "space"))
    first = page.locator(f"{ROOT} output").inner_text()
    page.get_by_role("button", name="moons").click()
    page.get_by_role("button", name="50", exact=True).click()
    page.get_by_label("How far back along the path").press("Home")
    tip.get_by_role("button", name="Reset").click()
    page.wait_for_selector(f"{ROOT}[data-points='0']")
    assert page.locator(f"{ROOT} output").inner_text() == first
    assert page.get_by_role("button", name="20", exact=True).get_attribute("aria-pressed") == "true"
    assert page.get_by_label("How far back along the path").input_value() == "100"
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(f"{ROOT}[data-points='240']")
    assert not page.errors


BROKEN = "class { constructor() { setTimeout(() => this.onerror(new Event('error'))) } postMessage() {} terminate() {} }"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize(
    "head", [f"<script>Worker = {BROKEN};</script>", f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">']
)
def test_a_page_that_may_have_no_worker_trains_by_itself(path, open_page, tmp_path, head):
    alone = tmp_path / "alone.html"
    alone.write_text(path.read_text(encoding="utf-8").replace("<title>", f"{head}<title>", 1), encoding="utf-8")
    page = open_page(alone)
    train(page, steps=60)
    assert all("worker" in error.lower() for error in page.errors)


def test_a_drag_is_drawn_within_a_frame(page):
    """Both paths of 20 steps and the whole board; the quickest tenth, since other processes share the cores."""
    train(page)
    page.wait_for_selector(f'{ROOT}[data-cloud="21"]')
    page.get_by_role("button", name="Pause").click()
    code = f"""() => Array.from({{ length: 40 }}, (_, i) => {{
        const begun = performance.now();
        {WIDGET}.moveTo([Math.sin(i), Math.cos(i)]);
        {WIDGET}.draw();
        return performance.now() - begun;
    }}).sort((a, b) => a - b)"""
    assert page.evaluate(code)[4] < 1000 / 60


def test_a_phone_needs_no_sideways_scrolling(path, open_page):
    page = open_page(path, viewport={"width": 390, "height": 800})
    page.wait_for_selector(f"{ROOT}[data-points]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not page.errors
