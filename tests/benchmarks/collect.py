"""The time that `course class collect` takes for 100 notebooks, and whether it judges them: right, wrong and hostile ones.

    python tests/benchmarks/collect.py [--store]

Each notebook is a lesson as it is stored, 0.2 to 1.5 MB, with answers to all its exercises below: 58 with right answers written
in other words than the library's, 28 with wrong ones whose mistakes are known by name (both from tests/check_variants), and the
14 attacks of tests/submissions.py. They are collected by the command, and once more without the attacks, from the same seed.

Required, else the exit code is 1: 10 minutes of two cores, that is 1,200 processor seconds; its points for every right answer,
its diagnosis for every wrong one, one row without points for every attack; the other rows and the submitted files the same with
and without the attacks; and no process left. Processor time includes that of all processes. The time on the clock is that of a
machine which may do other work.
`--store` puts the table into tests/benchmarks/README.md.
"""

import argparse
import csv
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

from course_lib.files import ROOT

sys.path.append(str(ROOT / "tests"))

import rows
from submissions import HOSTILE, answered, hard_coded, notebook

from course_lib.teaching.classroom.exercises import exercises, lessons

N, WRONG, MINUTES, SEED = 100, 28, 10, 71
ATTACKS = HOSTILE | {"hardcodes": hard_coded()}


def submit(folder: Path) -> dict[str, dict[str, str]]:
    """Writes what honest students hand in, and gives the words of each exercise's diagnosis by student; '' for right ones."""
    stored = {path.name[:2]: path for path in lessons()}
    each = [(stored[lesson], list(found)) for lesson, found in groupby(exercises(), lambda e: e.lesson)]
    words = {}
    for k in range(N - len(ATTACKS)):
        path, wanted = each[k % len(each)]
        name = f"{'wrong' if k < WRONG else 'right'}_{k:02d}"
        text, words[name] = answered(path, wanted, k, k >= WRONG)
        (folder / name).mkdir(parents=True)
        (folder / name / path.name).write_text(text, encoding="utf-8")
    return words


def attack(folder: Path) -> None:
    for name, code in ATTACKS.items():
        (folder / name).mkdir()
        (folder / name / "01.ipynb").write_text(notebook(code), encoding="utf-8")


def collected(folder: Path, out: Path) -> dict:
    """One collection by the command: its rows by name, its seconds, and what became of the machine."""
    before, used, begun = listing(folder), processor_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "course_lib", "class", "collect", str(folder), "--csv", str(out), "--seed", str(SEED)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    found = {"seconds": time.perf_counter() - begun, "processor": processor_seconds() - used}
    with open(out, encoding="utf-8", newline="") as file:
        found["rows"] = {row["name"]: row for row in csv.DictReader(file)}
    return found | {"same files": listing(folder) == before, "left": processes(str(out))}


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def listing(folder: Path) -> list[tuple]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def processes(word: str) -> int:
    """How many processes have this word in their command."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += word.encode() in path.read_bytes()
        except OSError:
            continue
    return found


def faults(all_: dict, honest: dict, words: dict[str, dict[str, str]]) -> list[str]:
    """What is not as required, in words."""
    found, points = [], {e.name: (e.label, str(e.points)) for e in exercises()}
    for name, of in words.items():
        row = all_["rows"][name]
        for exercise, word in of.items():
            label, worth = points[exercise]
            if row[label] != ("0" if word else worth):
                found.append(f"{name}: {row[label]} points for {exercise}")
            said = re.split(r"; (?=\w+: wrong: )", row["feedback"])
            if word and not any(word in each for each in said if each.startswith(f"{exercise}: ")):
                found.append(f"{name}: {exercise} without {word!r}")
        if row != honest["rows"][name]:
            found.append(f"{name} has another row without the attacks")
    found += [f"{name} has points" for name in ATTACKS if all_["rows"][name]["points"] != "0"]
    found += [f"{len(run['rows'])} rows" for run, n in ((all_, N), (honest, N - len(ATTACKS))) if len(run["rows"]) != n]
    found += ["a submitted file was changed"] * (not (all_["same files"] and honest["same files"]))
    found += [f"{all_['left']} processes are left"] * (all_["left"] > 0)
    return found + ["it takes more than 10 minutes of two cores"] * (all_["processor"] > 2 * 60 * MINUTES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    store = parser.parse_args().store
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "in")
        words = submit(folder)
        honest = collected(folder, Path(home, "honest.csv"))
        attack(folder)
        all_ = collected(folder, Path(home, "all.csv"))
    answers = [word for of in words.values() for word in of.values()]
    lines = [
        f"| handed in, on {os.cpu_count()} cores | notebooks | answers | processor seconds | seconds on the clock |",
        "|---|---|---|---|---|",
    ]
    for what, run, n, known in (("without attacks", honest, N - len(ATTACKS), 0), ("with attacks", all_, N, len(ATTACKS))):
        lines.append(f"| {what} | {n} | {len(answers) + known} | {run['processor']:.0f} | {run['seconds']:.0f} |")
    print(*lines, *(wrong := faults(all_, honest, words)), sep="\n")
    if store:
        rows.store("collect", "\n".join(lines))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
