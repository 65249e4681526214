"""The course on a GPU, in one command and at most ten minutes: device tests, a training, times beside the CPU's.

    python tests/benchmarks/gpu.py [--device auto] [--seconds 60]

It runs tests/test_devices.py on the device itself, trains the digits for the same `seconds` there and on the CPU, times a
training step, samples and the guidance explorer's slider on both, and tries `torch.compile` and CUDA graphs. The table is
written to build/gpu.md, and all figures to build/gpu.json. Without a GPU (or with `--device pretend`, see tests/pretend.py)
everything is small: it then shows that the script works, and its times mean nothing. Median wall-clock times, on a machine
without other work.
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
from pathlib import Path

import torch
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
LIMIT = 240
"""Seconds for the device tests."""


def pretend():
    """The module with the pretended device, imported only where it is used: it changes what torch knows of devices."""
    sys.path.append(str(TESTS))
    import pretend

    return pretend


def is_gpu(device: torch.device) -> bool:
    return device.type in ("cuda", "mps")


def device_tests(device: torch.device) -> dict:
    """The outcome of tests/test_devices.py on the device: how many passed and failed, and the names of those that failed."""
    environment = os.environ | {"COURSE_TEST_DEVICE": "" if device.type == PRETEND else device.type}
    few = [] if is_gpu(device) else ["-k", "samplers or losses or players"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-m",
        "not thorough",
        str(TESTS / "test_devices.py"),
        *few,
    ]
    begun = time.perf_counter()
    try:
        out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT).stdout
    except subprocess.TimeoutExpired as stopped:
        out = f"{(stopped.stdout or b'').decode()}\nstopped after {LIMIT} s"
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", out)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", out, re.MULTILINE)
    return {**counts, "names": failed, "last": out.strip().splitlines()[-1], "seconds": round(time.perf_counter() - begun, 1)}


def training(device: torch.device, seconds: float, n: int) -> dict:
    """Steps, loss and figures of the digits' recipe after so many seconds on the device, with the figures of n samples."""
    network = digits_network(seed=0)
    network.net.to(device)
    end = show_progress(train_digits(network, seconds=seconds), f"digits on {device.type}")
    figures = digits_figures(network, n=n)
    keys = ("class accuracy, guided (w = 2)", "Frechet distance, plain (w = 1)")
    return {"steps": end.step, "loss": round(end.loss, 4)} | {key: round(float(figures[key]), 3) for key in keys}


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


def compared(device: torch.device, small: bool, repeats: int) -> list[dict]:
    """Milliseconds of each thing to time on the CPU and on the device."""
    rows = []
    for (what, here), (_, there) in zip(to_time(torch.device("cpu"), small), to_time(device, small), strict=True):
        found = {"cpu": milliseconds(here, torch.device("cpu"), repeats), "device": milliseconds(there, device, repeats)}
        rows.append({"what": what, **{place: float(f"{ms:.3g}") for place, ms in found.items()}})
        print(rows[-1], flush=True)
    return rows


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


def compiled(device: torch.device, small: bool, repeats: int) -> list[dict]:
    """Milliseconds of a training step and of a sampling, for each way; or the error in one line."""
    rows, n = [], 4 if small else 64
    for way, change in ways(device).items():
        row = {"what": way}
        for what, run in (("training step", step_in), ("sampling in 25 steps", sampling_in)):
            try:
                begun = time.perf_counter()
                row[what] = float(f"{milliseconds(run(change, device, n), device, repeats):.3g}")
                row[f"{what}, first"] = round(time.perf_counter() - begun, 1)
            except Exception as error:  # a compiler may be missing, or not know the device
                row[what] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
            torch._dynamo.reset()
        rows.append(row)
        print(row, flush=True)
    return rows


def changed(network: Network, change: Callable, device: torch.device) -> Network:
    network.net.to(device)
    return replace(network, net=change(network.net))


def step_in(change: Callable, device: torch.device, n: int) -> Callable:
    network = changed(digits_network(), change, device)
    x = torch.randn(n, 1, 16, 16, generator=seeded(0)).to(device)
    return step_of(network, conditions("digits", n), x, torch.float32)


def sampling_in(change: Callable, device: torch.device, n: int) -> Callable:
    network = changed(digits_network(), change, device)
    network.net.eval().requires_grad_(False)
    guided = classifier_free(network, torch.arange(n) % 10, 2.0)
    return lambda: sample(guided, network.draw_noise(n, seeded(0)), 25)


def table(found: dict) -> str:
    """All figures in Markdown."""
    tests, trained = found["tests"], found["training"]
    lines = [f"# The course on {found['device']}", "", found["note"], "", f"Device tests: {tests['last'].strip('= ')}."]
    lines += [f"- failed: `{name}`" for name in tests["names"]]
    lines += ["", f"| digits, {found['seconds']:g} s | cpu | device |", "|---|---|---|"]
    lines += [f"| {key} | {trained['cpu'][key]:,} | {trained['device'][key]:,} |" for key in trained["cpu"]]
    lines += [f"| largest difference of the same samples | 0 | {found['difference']:.1e} |"]
    lines += ["", "| ms | cpu | device | times as fast |", "|---|---|---|---|"]
    lines += [f"| {r['what']} | {r['cpu']:g} | {r['device']:g} | {r['cpu'] / r['device']:.2g} |" for r in found["times"]]
    lines += ["", "| ms on the device | training step | sampling in 25 steps |", "|---|---|---|"]
    lines += [f"| {row['what']} | {row['training step']} | {row['sampling in 25 steps']} |" for row in found["ways"]]
    return "\n".join([*lines, "", f"{found['minutes']:.1f} minutes in all, torch {torch.__version__}."]) + "\n"


def measure(device: torch.device, seconds: float) -> dict:
    """Everything, in at most ten minutes on a GPU."""
    begun, cpu, gpu = time.perf_counter(), torch.device("cpu"), is_gpu(device)
    small, repeats, n = not gpu, 20 if gpu else 1, 500 if gpu else 40
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    note = "" if gpu else f"No GPU: this ran on {name}, and everything was small. It shows that the script works, no more."
    found = {"device": name, "note": note, "seconds": seconds, "tests": device_tests(device)}
    print(found["tests"]["last"], flush=True)
    with pretend().rules("cuda") if device.type == PRETEND else nullcontext():
        found["training"] = {place: training(where, seconds, n) for place, where in (("cpu", cpu), ("device", device))}
        found["difference"] = difference(device)
        found["times"] = compared(device, small, repeats)
        found["ways"] = compiled(device, small, repeats)
    return found | {"minutes": round((time.perf_counter() - begun) / 60, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, cpu, or pretend for the device of tests/pretend.py")
    parser.add_argument("--seconds", type=float, help="of each training of digits; by default 60, without a GPU 2")
    args = parser.parse_args()
    device = pretend().DEVICE if args.device == PRETEND else pick_device(args.device)
    found = measure(device, args.seconds or (60 if is_gpu(device) else 2))
    text = table(found)
    write_atomically(BUILD / "gpu.json", json.dumps(found, indent=1) + "\n")
    write_atomically(BUILD / "gpu.md", text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
