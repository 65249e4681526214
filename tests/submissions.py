"""What a class may hand in: answers that are right or wrong, in other words than the library's, and attacks."""

import json
from importlib import import_module
from pathlib import Path

from course_lib.teaching.classroom.exercises import Exercise
from course_lib.teaching.classroom.fresh import fresh


def notebook(*cells):
    made = [{"cell_type": "code", "id": f"c{k}", "metadata": {}, "outputs": [], "source": c} for k, c in enumerate(cells)]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


def variants(exercise: Exercise) -> dict[str, list]:
    """The right answers and the wrong ones, each with words of its diagnosis, that tests/check_variants has for an exercise."""
    (module,) = [m for m in modules() if exercise.name in m.RIGHT]
    tried = [(k, word) for k, (word, _) in enumerate(module.TRIED[exercise.name]) if word]
    return {"module": module, "right": list(range(len(module.RIGHT[exercise.name]))), "wrong": tried}


def modules() -> list:
    home = Path(__file__).with_name("check_variants")
    return [import_module(f"{home.name}.{path.stem}") for path in sorted(home.glob("[a-z]*.py"))]


def answered(stored: Path, exercises: list[Exercise], k: int, right: bool) -> tuple[str, dict[str, str]]:
    """A lesson's notebook with the k-th right or wrong answer to each exercise at its end, and each one's words of diagnosis.

    The answers are the functions of tests/check_variants, whose whole source is a cell, called by a `def` of the exercise.
    """
    made, cells, words = json.loads(stored.read_text(encoding="utf-8")), [], {}
    for exercise in exercises:
        found = variants(exercise)
        which = found["right" if right else "wrong"]
        number, word = (which[k % len(which)], "") if right else which[k % len(which)]
        call = f'RIGHT["{exercise.name}"][{number}]' if right else f'TRIED["{exercise.name}"][{number}][1]'
        cells.append(Path(found["module"].__file__).read_text(encoding="utf-8"))
        cells.append(f"def my_{exercise.name}(*args, **kwargs):\n    return {call}(*args, **kwargs)")
        words[exercise.name] = word
    made["cells"] += json.loads(notebook(*cells))["cells"]
    return json.dumps(made), words


RIGHT = "def my_add_noise(process, x0, t, eps):\n    a, b = process.coefficients(t, x0)\n    return a * x0 + b * eps"
WRONG = RIGHT.replace("a, b =", "b, a =")
ZEROS = "def my_add_noise(process, x0, t, eps):\n    return 0 * x0"
SAID = b'[{"state": "right"}]'
FORGED = f"import os\ndef my_add_noise(*args):\n    for fd in range(1, 64):\n        try: os.write(fd, {SAID})\n"
HOSTILE = {
    "sleeps": "import time\ndef my_add_noise(*args):\n    time.sleep(600)",
    "spins": "def my_add_noise(*args):\n    while True: pass",
    "forks": "import os, time\ndef my_add_noise(*args):\n    for _ in range(20):\n        if not os.fork(): time.sleep(30)",
    "fills": "def my_add_noise(*args):\n    for k in range(9):\n        open(f'/tmp/{k}', 'wb').write(bytes(10 << 20))",
    "takes": "def my_add_noise(*args):\n    return bytes(3 << 30)",
    "reads": "OTHER = open('../ada/01.ipynb').read()\ndef my_add_noise(*args):\n    return OTHER",
    "kills": "import os\ndef my_add_noise(*args):\n    os.kill(os.getppid(), 9)\n    os.kill(-1, 9)",
    "exits": "import os\ndef my_add_noise(*args):\n    os._exit(0)",
    "forges": FORGED + "        except OSError: pass\n    os._exit(0)",
    "fakes": "import sys, types\nsys.modules['course_lib'] = types\n" + ZEROS.replace("    ", "    faked = sys\n    "),
    "patches": "import torch\nfrom course_lib.teaching.checks import check as c\n"
    "torch.equal = torch.allclose = lambda *a, **k: True\n"
    "c.difference = lambda *a: ''\nc.Check.judge = lambda self, *a: c.Verdict(self.name, 'right')\n"
    "def my_add_noise(process, x0, t, eps):\n    patched = torch, c\n    c.difference = lambda *a: ''\n    return 0 * x0",
    "raises": "def my_add_noise(*args):\n    raise SystemExit('=HYPERLINK(1)')",
    "nests": "def my_add_noise(*args):\n    return " + "(" * 5000 + ")" * 5000,
}
HONEST = {
    "ada": RIGHT,
    "bob": WRONG,
    "prints": RIGHT.replace("    a,", "    print('x' * 1_000_000)\n    a,"),
    "=cmd()": RIGHT,
    "..%2f..%2fx": RIGHT,
    "two\nlines": RIGHT,
    "library": "from course_lib.teaching import checks as check\n"
    "def my_add_noise(*args):\n    return check.add_noise.reference(*args)",
    "magic": "%matplotlib inline\n!ls\n" + RIGHT,
    "blank": "def my_add_noise(process, x0, t, eps):\n    ...",
}


def hard_coded():
    """A notebook that knows what a right answer gives in each case of the checks that are shipped."""
    check, given = fresh(0)["add_noise"], []
    for case in check.cases:
        case.run(lambda *args: given.append(check.reference(*args)) or given[-1])
    kept = [(list(x.shape), x.flatten().tolist()) for x in given]
    body = (
        "def my_add_noise(*args):\n    shape, x = GIVEN[len(SEEN)]\n    SEEN.append(1)\n    return torch.tensor(x).view(shape)"
    )
    return f"import torch\nGIVEN = {kept}\nSEEN = []\n{body}"
