"""Matrix products in the page: WebAssembly with SIMD, and JavaScript where there is none, beside NumPy."""

import json
import re

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
CALL = """({ layers, inputs, plain }) => {
    const { products } = (() => {BUNDLE})();
    const matrices = Object.fromEntries(layers.map(([whole, scales, bias], i) => [i, {
        whole: Int8Array.from(whole), scales: Float32Array.from(scales), bias: Float32Array.from(bias),
        positions: inputs[i][1] }]));
    const { multiply, simd } = products(matrices, plain);
    const all = () => inputs.map(([x, positions], i) => [...multiply(`${i}`, positions, (into) => into.set(x))]);
    all();
    return { simd, made: all() } }"""
KEEP = """([data, plain]) => {
    const { Memory } = WebAssembly;
    window.bytes = 0;
    WebAssembly.Memory = class extends Memory { constructor(size) { super(size); window.bytes += 65536 * size.initial } };
    const { unet } = (() => {BUNDLE})();
    window.kept = unet(data, plain);
    return window.bytes }"""


@pytest.fixture
def empty(open_page, tmp_path):
    path = tmp_path / "empty.html"
    path.write_text(PAGE.format(title="", html=""), encoding="utf-8")
    return open_page(path)


@pytest.mark.parametrize("plain, error", [(False, 1e-5), (True, 1e-6)])
def test_products_are_numpys(empty, plain, error):
    rng = np.random.default_rng(0)
    wholes = [rng.integers(-127, 128, (rows, depth)) for rows, depth, _ in SHAPES]
    scales = [np.float32((1 + rng.random(rows)) / 127 / depth**0.5) for rows, depth, _ in SHAPES]
    biases = [np.float32(rng.standard_normal(rows)) for rows, _, _ in SHAPES]
    columns = [np.float32(rng.standard_normal((depth, positions))) for _, depth, positions in SHAPES]
    layers = [[w.ravel().tolist(), s.tolist(), b.tolist()] for w, s, b in zip(wholes, scales, biases)]
    inputs = [[x.ravel().tolist(), x.shape[1]] for x in columns]
    found = empty.evaluate(CALL.replace("BUNDLE", bundle("matmul")), {"layers": layers, "inputs": inputs, "plain": plain})
    assert found["simd"] is not plain
    for w, s, b, x, made in zip(wholes, scales, biases, columns, found["made"]):
        want = (s[:, None].astype(float) * w) @ x + b[:, None]
        assert np.abs(np.reshape(made, (len(b), -1)) - want).max() < error


@pytest.mark.parametrize("plain, most", [(False, 2), (True, 4)])
def test_the_page_keeps_its_weights_in_8_bits(empty, plain, most):
    """Bytes of all arrays that live once the network is built, for each of its weights: 4 in 32 bits, 8 in 64."""
    network = models.load("guided")
    data = json.loads(re.search(r"^const data = (.*);$", student(network).html, re.MULTILINE)[1])["net"]
    client = empty.context.new_cdp_session(empty)

    def arrays() -> int:
        client.send("HeapProfiler.collectGarbage")
        return client.send("Runtime.getHeapUsage")["backingStorageSize"]

    before = arrays()
    program = empty.evaluate(KEEP.replace("BUNDLE", bundle("unet")), [data, plain])  # arrays() is without its memory
    weights = sum(w.numel() for w in network.net.parameters())
    kept = (program + arrays() - before) / weights
    assert 0.9 < kept < most


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
