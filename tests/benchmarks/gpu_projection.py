"""How long `course train --all` would take on a device, from a few steps of each recipe. A part of gpu.py.

The recipes take turns, those first whose training costs the most. A training is the seconds to the end of its first step (data
and teachers are loaded, kernels are chosen) and its record's steps times the median milliseconds of a step. Recipes that were
not reached are scaled: their seconds on one processor core, as `course models` shows them, times device seconds by processor
seconds of all that were measured. Their range is from the smallest to the largest such quotient of one recipe. What `course
train` measures at the end of a training is not counted.
"""

import time
from collections.abc import Iterator

import torch
from gpu_formats import attempt
from peak import milliseconds

from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES


def shipped() -> dict[str, dict]:
    """The record of each shipped model by name, the most expensive training first."""
    records = {name: record for name, record in models.records().items() if record and record["processor_seconds"]}
    return dict(sorted(records.items(), key=lambda item: -item[1]["processor_seconds"]))


def measured(device: torch.device, small: bool, without: tuple[str, ...] = ()) -> Iterator[dict]:
    """For each recipe the seconds to the end of its first step, and the milliseconds of a step on the device."""
    repeats, limit = (1, 1.0) if small else (20, 3.0)

    def steps(name: str) -> dict:
        begun, model = time.perf_counter(), models.build(name)
        models._net(model).to(device)
        training = models._in(checkpoints.FOLDER, RECIPES[name].train)(model, seed=0)
        next(training)  # ends with the loss on the CPU, so that the device has finished the step
        start = time.perf_counter() - begun
        return {"start": round(start, 2), "ms": float(f"{milliseconds(lambda: next(training), device, repeats, limit):.3g}")}

    for name in shipped():
        if name not in without:
            yield {"name": name} | attempt(lambda name=name: steps(name))


def projected(rows: list[dict], records: dict[str, dict]) -> dict:
    """Seconds on the device: of each that was `measured`, and of all that are `scaled`: the least, as typical, and the most.

    `rows` are those of `measured`, and `records` have the `steps` and `processor_seconds` of each model. Raises ValueError
    where no recipe was measured.
    """
    times = {row["name"]: row for row in rows if "ms" in row}
    if not times:
        raise ValueError("rows must have the milliseconds of one recipe at least, got none")
    core = {name: record["processor_seconds"] for name, record in records.items()}
    stepping = {name: records[name]["steps"] * row["ms"] / 1000 for name, row in times.items()}
    quotients = [seconds / core[name] for name, seconds in stepping.items()]
    typical = sum(stepping.values()) / sum(core[name] for name in times)
    scaled = [name for name in records if name not in times]
    starts = len(scaled) * sum(row["start"] for row in times.values()) / len(times)
    rest = [starts + quotient * sum(core[name] for name in scaled) for quotient in (min(quotients), typical, max(quotients))]
    return {"measured": {name: times[name]["start"] + stepping[name] for name in times}, "scaled": scaled, "seconds": rest}


def table(rows: list[dict], records: dict[str, dict]) -> list[str]:
    """Lines in Markdown: each recipe that was measured, those that were scaled, and the sum."""
    if not any("ms" in row for row in rows):
        return ["No recipe was measured."] + [f"- `{row['name']}`: {row['error']}" for row in rows]
    found = projected(rows, records)
    lines = [
        "| model | steps | start, s | ms a step | minutes on the device | minutes of one core |",
        "|---|---|---|---|---|---|",
    ]
    minutes = lambda names: sum(records[name]["processor_seconds"] for name in names) / 60
    for row in rows:
        name, about = row["name"], f"| `{row['name']}` | {records[row['name']]['steps']:,} |"
        if "ms" in row:
            cells = f"{row['start']:g} | {row['ms']:g} | {found['measured'][name] / 60:.2f}"
        else:
            cells = f" | {row['error']} | scaled"
        lines.append(f"{about} {cells} | {minutes([name]):.1f} |")
    exact, (least, rest, most) = sum(found["measured"].values()) / 60, (seconds / 60 for seconds in found["seconds"])
    lines.append(f"| {len(found['measured'])} measured | | | | {exact:.1f} | {minutes(found['measured']):.1f} |")
    if found["scaled"]:
        lines.append(f"| {len(found['scaled'])} scaled | | | | {rest:.1f} | {minutes(found['scaled']):.1f} |")
    lines.append(f"| all {len(records)}, projected | | | | {exact + rest:.1f} | {minutes(records):.1f} |")
    if found["scaled"]:
        names = ", ".join(f"`{name}`" for name in found["scaled"])
        lines += ["", f"Between {exact + least:.1f} and {exact + most:.1f} minutes in all. Scaled, not measured: {names}."]
    return lines
