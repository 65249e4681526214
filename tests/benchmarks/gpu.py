"""The course on a GPU, in one command and at most ten minutes: device tests, a training, times beside the CPU's.

    python tests/benchmarks/gpu.py [--device auto] [--seconds 60]

It runs tests/test_devices.py on the device itself, trains the digits for the same `seconds` there and on the CPU, times a
training step, samples and the guidance explorer's slider on both, and tries `torch.compile` and CUDA graphs, each in float32
and in bfloat16, with how far the pictures then differ. A training step has its share of the peak, for each batch: that of a
product of two large matrices of the same number format. `course train --all` is projected: a few steps of as many recipes as
time permits, the costliest on a CPU first, times the steps in the records; what was not measured is scaled by the gain of what
was. The table is written to build/gpu.md, and all figures to build/gpu.json. Without a GPU (or with `--device pretend`, see
tests/pretend.py) everything is small: it then shows that the script works, and its times mean nothing. Median wall-clock times,
on a machine without other work.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from peak import conditions, milliseconds, peak, step_of
from rows import BUILD, load
from torch.utils.flop_counter import FlopCounterMode

from course_lib.denoisers import Network
from course_lib.files import ROOT, write_atomically
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.training import pick_device, show_progress
from course_lib.widgets import sheets
from course_lib.widgets.guided_models import Controls, ExplorerModel, by_classifier_free, by_student
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES
from course_lib.zoo.recipes.digits import digits_figures, digits_network, train_digits
from course_lib.zoo.recipes.shapes import text2shape_network

TESTS = Path(__file__).parents[1]
PRETEND = "pretend"
LIMIT, PROJECTION = 180, 120
"""Seconds for the device tests, and for the steps of the projection."""
BATCHES = (1, 64, 1024)


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


def ways(device: torch.device) -> dict[str, tuple[torch.dtype, Callable]]:
    """How a network can be run, a number format and a change: as it is, compiled and, on CUDA, in CUDA graphs."""
    as_it_is = lambda net: net
    if not is_gpu(device):
        eager = lambda net: torch.compile(net, backend="eager")
        return {"as it is": (torch.float32, as_it_is), "compiled (backend eager)": (torch.float32, eager)}
    changes: dict[str, Callable] = {"as it is": as_it_is, "compiled": torch.compile}
    if device.type == "cuda":
        changes["CUDA graphs"] = lambda net: torch.compile(net, mode="reduce-overhead")
    both = {"": torch.float32, ", bfloat16": torch.bfloat16}
    return {f"{way}{name}": (dtype, change) for name, dtype in both.items() for way, change in changes.items()}


def computing_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


def compiled(device: torch.device, small: bool, repeats: int) -> list[dict]:
    """Milliseconds of a training step and of a sampling, for each way, and how far its pictures are from those of the first.

    Where a way fails, the error in one line stands in the place of its figures.
    """
    rows, n, first = [], 4 if small else 64, None
    for way, (dtype, change) in ways(device).items():
        row = {"what": way}
        for what, run in (("training step", step_in), ("sampling in 25 steps", sampling_in)):
            try:
                begun, runs = time.perf_counter(), run(change, device, n, dtype)
                row[what] = float(f"{milliseconds(runs, device, repeats):.3g}")
                row[f"{what}, first"] = round(time.perf_counter() - begun, 1)
                if run is sampling_in:
                    made = runs().float().cpu()
                    first = made if first is None else first
                    row["difference"] = float((made - first).abs().max())
            except Exception as error:  # a compiler may be missing, or not know the device
                row[what] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
            torch._dynamo.reset()
        rows.append(row)
        print(row, flush=True)
    return rows


def changed(network: Network, change: Callable, device: torch.device) -> Network:
    network.net.to(device)
    return replace(network, net=change(network.net))


def step_in(change: Callable, device: torch.device, n: int, dtype: torch.dtype) -> Callable:
    network = changed(digits_network(), change, device)
    x = torch.randn(n, 1, 16, 16, generator=seeded(0)).to(device)
    return step_of(network, conditions("digits", n), x, dtype)


def sampling_in(change: Callable, device: torch.device, n: int, dtype: torch.dtype) -> Callable:
    network = changed(models.load("digits", device=device), change, device)
    guided, noise = classifier_free(network, torch.arange(n) % 10, 2.0), network.draw_noise(n, seeded(0))

    def run() -> torch.Tensor:
        with computing_in(dtype, device):
            return sample(guided, noise, 25)

    return run


def shares(device: torch.device, small: bool, repeats: int) -> list[dict]:
    """Milliseconds of a training step of the digits' network and its share of the peak, for each batch and number format."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16) if is_gpu(device) else (torch.float32,):
        most = peak(device, dtype, repeats)
        for n in (1, 4) if small else BATCHES:
            network, x = digits_network(), torch.randn(n, 1, 16, 16, generator=seeded(0))
            with FlopCounterMode(display=False) as counter:
                step_of(network, conditions("digits", n), x, torch.float32)()
            network.net.to(device)
            spent = milliseconds(step_of(network, conditions("digits", n), x.to(device), dtype), device, repeats)
            share = counter.get_total_flops() / spent / most
            rows.append({"format": str(dtype)[6:], "batch": n, "ms": float(f"{spent:.3g}"), "of the peak": round(share, 4)})
            print(rows[-1], flush=True)
    return rows


def steps_of_recipes(device: torch.device, limit: float, steps: int) -> dict[str, float]:
    """Milliseconds of a training step of recipes, the costliest on a CPU first, until `limit` seconds are over."""
    found, begun, cost = {}, time.perf_counter(), cpu_minutes()
    for name in sorted(cost, key=lambda name: -cost[name]):
        if time.perf_counter() - begun > limit:
            break
        recipe = RECIPES[name]
        model = recipe.build(0)
        models._net(model).to(device)
        training = models._in(checkpoints.FOLDER, recipe.train)(model, seed=0)
        found[name] = float(f"{milliseconds(lambda training=training: next(training), device, steps):.3g}")
        print(f"{name}: {found[name]} ms a step", flush=True)
    return found


def cpu_minutes() -> dict[str, float]:
    """Minutes of one core of each shipped model's training.

    The steps of its record times the fastest round (recipe_costs.py); of a newer model the record's processor seconds.
    """
    rounds, minutes = load("recipe_costs")["milliseconds"], {}
    for name in RECIPES:
        if name in rounds:
            minutes[name] = recorded_steps(name) * min(rounds[name]) / 60_000
        else:
            minutes[name] = checkpoints.read(checkpoints.shipped(name))[1]["processor_seconds"] / 60
    return minutes


def recorded_steps(name: str) -> int:
    return checkpoints.read(checkpoints.shipped(name))[1]["steps"]


def projected(spent: dict[str, float], cpu: dict[str, float], steps: Callable[[str], int] = recorded_steps) -> dict:
    """Minutes of `course train --all` on the device, from milliseconds a step of some models and the CPU's minutes of all.

    A model that was not measured takes its CPU's minutes, divided by the gain of those that were, all together.
    """
    measured = {name: steps(name) * ms / 60_000 for name, ms in spent.items()}
    gain = sum(cpu[name] for name in measured) / sum(measured.values())
    scaled = sum(minutes for name, minutes in cpu.items() if name not in measured) / gain
    return {
        "models measured": len(measured),
        "models": len(cpu),
        "minutes measured": round(sum(measured.values()), 2),
        "minutes scaled": round(scaled, 2),
        "minutes of one CPU core": round(sum(cpu.values()), 1),
    }


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
    lines += ["", "| ms on the device | training step | sampling in 25 steps | largest difference |", "|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['training step']} | {row['sampling in 25 steps']} | {row.get('difference', math.nan):.1e} |"
        for row in found["ways"]
    ]
    lines += ["", "| training step | batch | ms | of the peak |", "|---|---|---|---|"]
    lines += [f"| {r['format']} | {r['batch']:,} | {r['ms']:g} | {r['of the peak']:.1%} |" for r in found["shares"]]
    its = found["projection"]
    lines += [
        "",
        "| `course train --all`, projected | |",
        "|---|---|",
        *(f"| {key} | {value:g} |" for key, value in its.items()),
    ]
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
        found["shares"] = shares(device, small, repeats)
        limit, steps = (PROJECTION, 10) if gpu else (2, 1)
        found["projection"] = projected(steps_of_recipes(device, limit, steps), cpu_minutes())
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
