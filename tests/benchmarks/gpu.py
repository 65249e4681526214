"""The course on a GPU, in one command and at most ten minutes: device tests, times beside the CPU's, bfloat16, a projection.

    python tests/benchmarks/gpu.py [--device auto] [--minutes 9.5] [--seconds 40]

The parts, in this order:

- tests: tests/test_devices.py on the device itself.
- training: the digits, for the same `seconds` on the device and on the CPU.
- times: a training step, samples and the guidance explorer's slider, on both.
- formats: float32 and bfloat16, three batches, the share of the device's peak (gpu_formats.py).
- projection: how long `course train --all` would take on the device (gpu_projection.py).
- ways: `torch.compile` and CUDA graphs, in float32 and in bfloat16 by autocast.

Each part may take its share of the minutes that are left (see SHARES), so that what one does not use is the next ones'. It runs
in a process of its own, which is ended when its time is over; what it measured until then is kept, and the table says that it
was cut. `--part NAME` runs one part alone, without a limit. The table is written to build/gpu.md, and all figures to
build/gpu.json. Without a GPU (or with `--device pretend`, see tests/pretend.py) everything is small: it then shows that the
script works, and its times mean nothing. Median wall-clock times, on a machine without other work.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import gpu_formats
import gpu_projection
import torch
from gpu_formats import SHOWN, attempt
from peak import conditions, milliseconds, step_of
from rows import BUILD

from course_lib.denoisers import Network
from course_lib.files import ROOT, write_atomically
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.training import pick_device, show_progress
from course_lib.widgets import sheets
from course_lib.widgets.guided_models import Controls, ExplorerModel, by_classifier_free, by_student
from course_lib.zoo import models
from course_lib.zoo.recipes.digits import digits_figures, digits_network, train_digits
from course_lib.zoo.recipes.shapes import text2shape_network

TESTS = Path(__file__).parents[1]
PRETEND = "pretend"
SHARES = {"tests": 3.0, "training": 2.4, "times": 1.2, "formats": 1.2, "projection": 1.6, "ways": 2.2}
"""How the minutes are divided among the parts: a part may take its share of what is left for it and those after it."""


def allowed(left: float, part: str) -> float:
    """The seconds that a part may take, where so many are left for it and those after it."""
    after = list(SHARES)[list(SHARES).index(part) :]
    return max(left, 0.0) * SHARES[part] / sum(SHARES[name] for name in after)


def pretend():
    """The module with the pretended device, imported only where it is used: it changes what torch knows of devices."""
    sys.path.append(str(TESTS))
    import pretend

    return pretend


def is_gpu(device: torch.device) -> bool:
    return device.type in ("cuda", "mps")


def device_tests(device: torch.device, limit: float) -> dict:
    """The outcome of tests/test_devices.py on the device: its last line, the names of tests that failed, and its seconds."""
    environment = os.environ | {"COURSE_TEST_DEVICE": "" if device.type == PRETEND else device.type}
    few = [] if is_gpu(device) else ["-k", "samplers or losses or players"]
    options = ["-q", "-o", "addopts=", "-m", "not thorough", str(TESTS / "test_devices.py"), *few]
    begun, end = time.perf_counter(), ""
    try:
        command = [sys.executable, "-m", "pytest", *options]
        out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit).stdout
    except subprocess.TimeoutExpired as stopped:
        out, end = (stopped.stdout or b"").decode(), f"was cut after {limit:.0f} s"
    dots = "".join(re.findall(r"^([.FEsxX]+)(?: +\[ *\d+%\])?$", out, re.MULTILINE))
    so_far = f"{dots.count('.')} passed, {dots.count('F') + dots.count('E')} failed, then it was cut"
    last = so_far if end else (out.strip().splitlines() or ["no output"])[-1].strip("= ")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", out, re.MULTILINE)
    return {"rows": [{"last": last, "failed": failed}], "seconds": round(time.perf_counter() - begun, 1), "end": end}


def run_part(command: list[str], out: Path, limit: float) -> dict:
    """What a command wrote to `out`, a row in JSON a line, before it ended or was ended after `limit` seconds."""
    out.unlink(missing_ok=True)
    begun = time.perf_counter()
    try:
        code = subprocess.run(command, cwd=ROOT, timeout=limit).returncode
        end = "" if code == 0 else f"ended with {code}"
    except subprocess.TimeoutExpired:
        end = f"was cut after {limit:.0f} s"
    text = out.read_text(encoding="utf-8") if out.is_file() else ""
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]  # the last may be half written
    return {"rows": [json.loads(line) for line in lines], "seconds": round(time.perf_counter() - begun, 1), "end": end}


def training(device: torch.device, small: bool, seconds: float) -> Iterator[dict]:
    """Steps, loss and figures of the digits' recipe after so many seconds, and how far samples of both places lie apart."""
    keys = ("class accuracy, guided (w = 2)", "Frechet distance, plain (w = 1)")
    for place, where in (("device", device), ("cpu", torch.device("cpu"))):
        network = digits_network(seed=0)
        network.net.to(where)
        end = show_progress(train_digits(network, seconds=seconds), f"digits on {where.type}")
        figures = digits_figures(network, n=40 if small else 500)
        row = {"steps": end.step, "loss": round(end.loss, 4)} | {key: round(float(figures[key]), 3) for key in keys}
        yield {"place": place, "figures": row}
        if place == "device":
            yield {"difference": difference(device)}


def to_time(device: torch.device, small: bool) -> Iterator[tuple[str, Callable]]:
    """What is timed on the device, by its name."""
    for name, build, n in (("digits", digits_network, 64), ("text2shape", text2shape_network, 32)):
        network, n = build(), 4 if small else n
        network.net.to(device)
        x = torch.randn(n, *network.net.shape, generator=seeded(0)).to(device)
        yield f"training step, {n} of {name}", step_of(network, conditions(name, n), x, torch.float32)
    digits, student = (models.load(name, device=device) for name in ("digits", "guided"))
    for n, steps in ((4, 3),) if small else ((16, 25), (1000, 25)):
        guided, noise = classifier_free(digits, torch.arange(n) % 10, 2.0), digits.draw_noise(n, seeded(0))
        yield (
            f"{n} guided digits in {steps} steps",
            lambda guided=guided, noise=noise, steps=steps: sample(guided, noise, steps),
        )
    free, quick = {"digits": by_classifier_free(digits)}, {"digits": by_student(student)}
    explorer = ExplorerModel(free, (1, 16, 16), tuple(range(10)), quick=quick)
    state = Controls(steps=3 if small else 20, model="digits")
    yield "slider, preview by the student", lambda: sheets.png(sheets.sheet(explorer.sample(state, sketch=True)))
    yield f"slider, picture in {state.steps} steps", lambda: explorer.render(state)


def compared(device: torch.device, small: bool) -> Iterator[dict]:
    """Milliseconds of each thing to time on the CPU and on the device."""
    cpu, (repeats, limit) = torch.device("cpu"), (1, 1.0) if small else (20, 2.0)
    for (what, here), (_, there) in zip(to_time(cpu, small), to_time(device, small), strict=True):
        found = {
            place: milliseconds(run, where, repeats, limit)
            for place, run, where in (("cpu", here, cpu), ("device", there, device))
        }
        yield {"what": what, **{place: float(f"{ms:.3g}") for place, ms in found.items()}}


def difference(device: torch.device) -> float:
    """The largest difference between four digits that were sampled from the same noise on the device and on the CPU."""
    made = []
    for place in ("cpu", device):
        network = models.load("digits", device=place)
        made.append(sample(classifier_free(network, torch.arange(4), 2.0), network.draw_noise(4, seeded(0)), 10))
    return float((made[0] - made[1]).abs().max())


def ways(device: torch.device) -> dict[str, Callable]:
    """How a network can be run: as it is, compiled and, on CUDA, in CUDA graphs."""
    if not is_gpu(device):
        return {"as it is": lambda net: net, "compiled (backend eager)": lambda net: torch.compile(net, backend="eager")}
    found = {"as it is": lambda net: net, "compiled": torch.compile}
    if device.type == "cuda":
        found["CUDA graphs"] = lambda net: torch.compile(net, mode="reduce-overhead")
    return found


def compiled(device: torch.device, small: bool) -> Iterator[dict]:
    """Milliseconds of a training step and of a sampling, and seconds of the first, for each way and format; or the error."""
    n, steps, repeats, limit = (4, 3, 1, 1.0) if small else (64, 25, 20, 2.0)
    for way, change in ways(device).items():
        for name, dtype in (("float32", torch.float32), ("autocast", torch.bfloat16)):
            for what, make in (("training step", step_in), (f"sampling in {steps} steps", partial(sampling_in, steps=steps))):

                def timed(make=make, change=change, dtype=dtype) -> dict:
                    run, begun = make(change, device, n, dtype), time.perf_counter()
                    run()
                    first = time.perf_counter() - begun
                    return {"first": round(first, 1), "ms": float(f"{milliseconds(run, device, repeats, limit):.3g}")}

                yield {"what": what, "way": way, "format": name} | attempt(timed)
                torch._dynamo.reset()


def changed(network: Network, change: Callable, device: torch.device) -> Network:
    network.net.to(device)
    return replace(network, net=change(network.net))


def step_in(change: Callable, device: torch.device, n: int, dtype: torch.dtype) -> Callable:
    network = changed(digits_network(), change, device)
    x = torch.randn(n, 1, 16, 16, generator=seeded(0)).to(device)
    return step_of(network, conditions("digits", n), x, dtype)


def sampling_in(change: Callable, device: torch.device, n: int, dtype: torch.dtype, steps: int) -> Callable:
    network = changed(digits_network(), change, device)
    network.net.eval().requires_grad_(False)
    draw = gpu_formats.drawn(network, n, steps)

    def run() -> None:
        with gpu_formats.in_format("float32" if dtype is torch.float32 else "autocast", device):
            draw()

    return run


def projection(device: torch.device, small: bool) -> Iterator[dict]:
    """The rows of gpu_projection.py. A jvp ends the process on the pretended device."""
    return gpu_projection.measured(device, small, ("flow_meanflow",) if device.type == PRETEND else ())


def work(part: str, device: torch.device, seconds: float) -> None:
    """Measures one part here, and adds each row to its file at once."""
    parts = {"times": compared, "formats": gpu_formats.measured, "ways": compiled, "projection": projection}
    rows = partial(training, seconds=seconds) if part == "training" else parts[part]
    file_of(part).parent.mkdir(exist_ok=True)
    with file_of(part).open("w", encoding="utf-8") as out, pretended(device):
        for row in rows(device, not is_gpu(device)):
            out.write(json.dumps(row) + "\n")
            out.flush()
            print(row, flush=True)


def pretended(device: torch.device):
    return pretend().rules("cuda") if device.type == PRETEND else nullcontext()


def file_of(part: str) -> Path:
    return BUILD / f"gpu_{part}.jsonl"


def table(found: dict) -> str:
    """All figures in Markdown; of each part what it measured before it ended or was cut."""
    lines = [f"# The course on {found['device']}"] + (["", found["note"]] if found["note"] else [])
    for name, part in found["parts"].items():
        lines += ["", f"## {name.capitalize()}", "", *SECTIONS[name](part["rows"])]
        if part["end"]:
            lines += ["", f"**Not all of this part was measured: it {part['end']}.**"]
    spent = ", ".join(f"{name} {part['seconds']:.0f} of {part['allowed']:.0f}" for name, part in found["parts"].items())
    lines += ["", f"Seconds used and allowed: {spent}. {found['minutes']:.1f} minutes in all, torch {found['torch']}."]
    return "\n".join(lines) + "\n"


def of_tests(rows: list[dict]) -> list[str]:
    return [f"Device tests: {row['last']}." for row in rows] + [f"- failed: `{name}`" for row in rows for name in row["failed"]]


def of_training(rows: list[dict]) -> list[str]:
    figures = {row["place"]: row["figures"] for row in rows if "place" in row}
    lines = ["| digits | cpu | device |", "|---|---|---|"]
    for key in next(iter(figures.values()), {}):
        cells = (f"{figures[place][key]:,}" if place in figures else "" for place in ("cpu", "device"))
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return lines + [
        f"| largest difference of the same samples | 0 | {r['difference']:.1e} |" for r in rows if "difference" in r
    ]


def of_times(rows: list[dict]) -> list[str]:
    lines = ["| ms | cpu | device | times as fast |", "|---|---|---|---|"]
    return lines + [f"| {r['what']} | {r['cpu']:g} | {r['device']:g} | {r['cpu'] / r['device']:.2g} |" for r in rows]


def of_ways(rows: list[dict]) -> list[str]:
    lines = ["| digits on the device | way | format | ms | first, s |", "|---|---|---|---|---|"]
    for r in rows:
        end = f"{r['ms']:g} | {r['first']:g}" if "ms" in r else f"{r['error']} | "
        lines.append(f"| {r['what']} | {r['way']} | {SHOWN.get(r['format'], r['format'])} | {end} |")
    return lines


SECTIONS: dict[str, Callable[[list[dict]], list[str]]] = {
    "tests": of_tests,
    "training": of_training,
    "times": of_times,
    "formats": gpu_formats.table,
    "projection": lambda rows: gpu_projection.table(rows, gpu_projection.shipped()),
    "ways": of_ways,
}
"""The lines of each part's rows in the table."""


def measure(device: torch.device, named: str, minutes: float, seconds: float) -> dict:
    """All parts, in at most so many minutes, with a few seconds for what is between them."""
    begun = time.perf_counter()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    small = f"No GPU: this ran on {name}, and everything was small. It shows that the script works, no more."
    found = {"device": name, "note": "" if is_gpu(device) else small, "torch": torch.__version__, "parts": {}}
    for part in SHARES:
        limit = allowed(60 * minutes - (time.perf_counter() - begun), part)
        command = [sys.executable, __file__, "--part", part, "--device", named, "--seconds", f"{seconds:g}"]
        done = device_tests(device, limit) if part == "tests" else run_part(command, file_of(part), limit)
        found["parts"][part] = done | {"allowed": round(limit, 1)}
        print(f"{part}: {done['seconds']:.0f} s of {limit:.0f} s {done['end']}", flush=True)
    return found | {"minutes": round((time.perf_counter() - begun) / 60, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, cpu, or pretend for the device of tests/pretend.py")
    parser.add_argument("--minutes", type=float, help="of everything; by default 9.5, without a GPU 4")
    parser.add_argument("--seconds", type=float, help="of each training of digits; by default 40, without a GPU 2")
    parser.add_argument("--part", choices=list(SHARES)[1:], help="measure this part alone, without a limit")
    args = parser.parse_args()
    device = pretend().DEVICE if args.device == PRETEND else pick_device(args.device)
    seconds = args.seconds or (40 if is_gpu(device) else 2)
    if args.part:
        work(args.part, device, seconds)
        return
    found = measure(device, args.device, args.minutes or (9.5 if is_gpu(device) else 4), seconds)
    text = table(found)
    write_atomically(BUILD / "gpu.json", json.dumps(found, indent=1) + "\n")
    write_atomically(BUILD / "gpu.md", text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
