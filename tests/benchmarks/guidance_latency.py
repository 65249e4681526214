"""The latency of the guidance explorer in JupyterLab: from the slider's event to the new picture.

    python tests/benchmarks/guidance_latency.py

Needs playwright and Chromium, and a machine without other work. Sixteen digits in 20 steps, with a student's preview, and
sixteen pictures by lesson 18's latent student, in one step and decoded. A key is pressed 20 times; then w is dragged for 15
seconds without a pause, and again in 30 jerks, between which the full picture is started. All times are measured in the page.
Prints a table.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from pages import chromium, open_page

from course_lib.datasets.points import triangle
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.teaching.publish import execute
from course_lib.widgets.guided import guided_plane

from lab import lab  # isort: skip  # in tests/browser, as pages has put it on the path
from test_guidance_lab import CELL, box_of, drag_back_and_forth, run  # isort: skip

LATENTS = """from course_lib.zoo import models
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_student

jumper, through = models.load("latent_student"), models.load("autoencoder")
captions = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("circle", "square", "triangle", "star")]
guidance_explorer({"latent student": by_student(jumper, through.decode)}, (4, 8, 8), captions, steps=1)"""

# The slider's readout shows when w was set, and the line above the pictures when they were drawn for it.
WATCH = """() => { const slider = document.querySelector(".jp-OutputArea .course-guidance .widget-slider");
    const root = slider.closest(".course-guidance");
    const readout = root.querySelector(".widget-readout"), set = {}; window.waits = { coarse: [], full: [] };
    let shown = "";
    new MutationObserver(() => { set[Number(readout.textContent).toFixed(1)] = performance.now() })
        .observe(readout, { childList: true, characterData: true, subtree: true });
    new MutationObserver(() => { const p = root.querySelector("p[role=status]");
        if (!p || p.textContent === shown) return;
        shown = p.textContent;
        const w = shown.match(/w = ([\\d.]+)/)[1];
        if (w in set) waits[/ of /.test(shown) ? "coarse" : "full"].push(performance.now() - set[w]);
    }).observe(root, { childList: true, subtree: true }) }"""
PLANE = """async () => { const root = document.querySelector(".course-guided"), waits = [];
    for (let i = 0; i < 60; i++) { const begun = performance.now();
        root.guided.update({ w: (i * 37 % 80) / 10 }); root.guided.draw();
        waits.push(performance.now() - begun); await new Promise(requestAnimationFrame) }
    return waits }"""


def row(name: str, waits: list[float], wanted: str) -> str:
    """p50 and p95 in milliseconds, and how many there were."""
    ranked = sorted(waits)
    return (
        f"| {name} | {statistics.median(ranked):.0f} | {ranked[int(0.95 * (len(ranked) - 1))]:.0f} | {len(ranked)} | {wanted} |"
    )


def drag_without_a_pause(page, seconds: float) -> None:
    """Drags w's handle to and fro for `seconds`, 40 moves per second, and releases it."""
    track, handle = box_of(page).locator(".noUi-target").first.bounding_box(), box_of(page).locator(".noUi-handle").first
    at = handle.bounding_box()
    y, begun = at["y"] + at["height"] / 2, time.monotonic()
    page.mouse.move(at["x"] + at["width"] / 2, y)
    page.mouse.down()
    for i in range(round(40 * seconds)):
        page.mouse.move(track["x"] + track["width"] * (0.5 + 0.5 * math.sin(i / 12)), y)
        time.sleep(max(0, begun + (i + 1) / 40 - time.monotonic()))
    page.mouse.up()


def explored(browser, cell: str, kinds: dict[str, tuple[str, str]]) -> list[str]:
    """The rows of one explorer, the last line of `cell`, in a JupyterLab of its own. `kinds` of pictures, coarse, full or both,
    have a name and the required time; w is dragged for the first."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(new_notebook(cells=[new_code_cell(cell)], metadata=execute.METADATA), Path(folder) / "one.ipynb")
        with lab(Path(folder)) as address:
            page = browser.new_page(viewport={"width": 1400, "height": 1600})
            page.goto(f"{address}/lab/tree/one.ipynb")
            page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
            page.get_by_text("(ipykernel) | Idle").wait_for(timeout=60_000)
            run(page, 0)
            box = box_of(page)
            box.locator("img").first.wait_for(timeout=120_000)
            time.sleep(3)
            page.evaluate(WATCH)
            box.locator(".noUi-handle").first.focus()
            for i in range(20):
                page.keyboard.press("ArrowRight" if i % 2 else "ArrowLeft")
                time.sleep(1.3)
            waits = page.evaluate("waits")
            lines += [row(f"one key, {name}", waits[kind], wanted) for kind, (name, wanted) in kinds.items()]
            page.evaluate("() => { waits.coarse.length = waits.full.length = 0 }")
            jerk = lambda page, seconds: drag_back_and_forth(page, 30, seconds)
            first, (name, wanted) = next(iter(kinds.items()))
            for how, drag in (("without a pause", drag_without_a_pause), ("in jerks", jerk)):
                drag(page, 15.0)
                time.sleep(2)
                lines.append(row(f"w dragged {how}, {name}", page.evaluate("waits")[first], wanted))
                page.evaluate("() => { waits.coarse.length = waits.full.length = 0 }")
    return lines


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = ["| from the slider's event to the picture | p50, ms | p95, ms | pictures | required |", "|---|---|---|---|---|"]
    with chromium() as browser:
        kinds = {"coarse": ("the student's preview", "150"), "full": ("full picture (20 steps)", "1,000")}
        lines += explored(browser, CELL, kinds)
        lines += explored(browser, LATENTS, {"full": ("the latent student, full picture (1 step)", "100")})
        page = open_page(browser, guided_plane(triangle(), DDPM(cosine_beta(1000))), ".course-guided")
        time.sleep(3)
        lines.append(row("in the plane, no kernel: all panels and the distance", page.evaluate(PLANE), "150"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
