"""Matrix products in the page: WebAssembly with SIMD, and JavaScript where there is none, beside NumPy."""

import numpy as np
import pytest
import torch

from course_lib.process import seeded
from course_lib.samplers import consistency, result
from course_lib.widgets import matmul
from course_lib.widgets.page import PAGE, bundle
from course_lib.widgets.student import student
from course_lib.zoo import checkpoints, models

SHAPES = [(4, 1, 8), (1, 9, 16), (5, 32, 8), (64, 288, 64), (192, 64, 16), (16, 144, 256)]
"""Rows, depth and positions."""
CALL = """({ layers, inputs, plain, again }) => {
    const { products } = (() => {BUNDLE})();
    const { multiply, simd } = products(layers, 40000, plain);
    const all = () => inputs.map(([x, positions], i) => [...multiply(i, positions, (into) => into.set(x))]);
    if (again) all();
    return { simd, made: all() } }"""


@pytest.fixture
def multiplied(open_page, tmp_path):
    """multiplied(layers, inputs, plain): what the page's products are."""
    path = tmp_path / "empty.html"
    path.write_text(PAGE.format(title="", html=""), encoding="utf-8")
    page = open_page(path)
    call = CALL.replace("BUNDLE", bundle("matmul"))
    return lambda layers, inputs, plain: page.evaluate(
        call, {"layers": layers, "inputs": inputs, "plain": plain, "again": True}
    )


@pytest.mark.parametrize("plain, error", [(False, 1e-5), (True, 1e-6)])
def test_products_are_numpys(multiplied, plain, error):
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((rows, depth)) / depth**0.5 for rows, depth, _ in SHAPES]
    biases = [rng.standard_normal(rows) for rows, _, _ in SHAPES]
    columns = [rng.standard_normal((depth, positions)) for _, depth, positions in SHAPES]
    layers = [[w.ravel().tolist(), b.tolist()] for w, b in zip(weights, biases)]
    inputs = [[x.ravel().tolist(), x.shape[1]] for x in columns]
    found = multiplied(layers, inputs, plain)
    assert found["simd"] is not plain
    for w, b, x, made in zip(weights, biases, columns, found["made"]):
        assert np.abs(np.reshape(made, (len(b), -1)) - (w @ x + b[:, None])).max() < error


def test_the_bytes_that_ship_are_those_of_the_program_in_words():
    assert matmul.PLACE.read_text(encoding="utf-8") == matmul.script()


def test_a_page_that_may_have_no_webassembly_draws_the_same_digits(open_page, tmp_path):
    network = models.load("guided")
    checkpoints.round_to(network.net, 8)
    path = student(network, w=2.0, seed=3).save(tmp_path / "student.html")
    text = path.read_text(encoding="utf-8")
    forbidden = '<meta http-equiv="Content-Security-Policy" content="script-src \'unsafe-inline\' blob:">'
    path.write_text(text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{forbidden}'), encoding="utf-8")
    page = open_page(path)
    page.wait_for_selector(".course-student[data-drawn]")
    assert page.evaluate(
        "() => { try { new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])) } catch { return 'refused' } }"
    )
    got = page.evaluate("async () => (await document.querySelector('.course-student').student.digits()).map((x) => [...x])")
    noise = torch.randn(10, 1, 16, 16, generator=seeded(3))
    want = result(consistency(network.given(torch.arange(10)).at(2.0), noise, network.process.times(1)))
    assert (torch.tensor(got).view_as(want) - want).abs().max() < 1e-4
