"""To add a sampler, a lesson, a check or a recipe, it is enough to edit the places that CONTRIBUTING.md lists.

Each is added to a copy of the course, by exactly those edits, and then used.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from course_lib.files import ROOT
from course_lib.teaching.course_map import LESSONS

NUMBER = f"{sum(map(len, LESSONS.values())):02}"
MOST = {"sampler": 3, "lesson": 5, "check": 3, "recipe": 2}
"""How many places each may take."""

SAMPLER = """

@torch.no_grad()
def tiny(denoiser, x, times, rng=None):
    for t, s in time_pairs(x, times):
        pred = denoiser(x, t)
        yield Step(t, x, pred)
        x = denoiser.process.add_noise(pred.x0, s, pred.eps)
    yield Step(s, x)
"""
SAMPLER_TEST = """

def test_tiny_is_ddim():
    from course_lib.samplers import tiny

    args = ExactDenoiser(three, process), start(), process.times(7)
    assert torch.allclose(result(tiny(*args)), result(ddim(*args)))
"""
LESSON = f"""# %% [markdown]
# # {NUMBER} Tiny
#
# **You will be able to** add a lesson.

# %%
from course_lib.teaching.course_map import course_map

course_map("{NUMBER}")
"""
CHECK = """from dataclasses import replace

from course_lib.teaching.checks.forward import add_noise

tiny = replace(add_noise, name="tiny")
"""
VARIANTS = """from check_variants import forward

RIGHT, WRONG = {"tiny": forward.RIGHT["add_noise"]}, {"tiny": forward.WRONG["add_noise"]}
"""
RECIPE = """from dataclasses import replace
from functools import partial

from course_lib.zoo.recipes.points import RING, train_ring

TINY = replace(RING, about="two steps", train=partial(train_ring, steps=2), figures=lambda network: {})
"""


def new(text):
    """The edit that makes a new file of this text."""
    return lambda before: text


def append(text):
    return lambda before: before + text


def after(pattern, text):
    """The edit that puts `text` after the one match of `pattern`."""

    def edit(before):
        edited, count = re.subn(f"({pattern})", lambda found: found[0] + text, before, flags=re.MULTILINE)
        assert count == 1, f"{pattern!r} matches {count} times"
        return edited

    return edit


def importing(line, edit=lambda before: before):
    """The edit that adds an import before the last one from the course, and then makes another edit."""

    def edit_both(before):
        head, last, rest = before.rpartition("\nfrom course_lib")
        assert last
        return edit(f"{head}\n{line}{last}{rest}")

    return edit_both


LAST_ROW = rf"^\| \[{int(NUMBER) - 1:02}\]\(notebooks/.*\n"
EDITS = {
    "sampler": {
        "course_lib/samplers.py": append(SAMPLER),
        "course_lib/zoo/models.py": importing(
            "from course_lib.samplers import tiny", after(r"^SAMPLERS\b.*= \{\n?", '"tiny": tiny, ')
        ),
        "tests/test_samplers.py": append(SAMPLER_TEST),
    },
    "lesson": {
        f"notebooks/src/{NUMBER}_tiny.py": new(LESSON),
        f"notebooks/{NUMBER}_tiny.ipynb": None,  # `course build` makes it
        "course_lib/teaching/course_map.py": after(
            r"^LESSONS\b.*= \{\n(?:    .*\n)+", f'    "More": {{"{NUMBER}": "Tiny"}},\n'
        ),
        "README.md": after(LAST_ROW, f"| [{NUMBER}](notebooks/{NUMBER}_tiny.ipynb) | Tiny | How is a lesson added? |\n"),
    },
    "check": {
        "course_lib/teaching/checks/tiny.py": new(CHECK),
        "course_lib/teaching/checks/__init__.py": importing("from course_lib.teaching.checks.tiny import tiny"),
        "tests/check_variants/tiny.py": new(VARIANTS),
    },
    "recipe": {
        "course_lib/zoo/recipes/tiny.py": new(RECIPE),
        "course_lib/zoo/recipes/__init__.py": importing(
            "from course_lib.zoo.recipes.tiny import TINY", after(r"^RECIPES\b.*= \{\n", '    "tiny": TINY,\n')
        ),
    },
}


@pytest.mark.parametrize("kind", EDITS)
def test_contributing_lists_these_places(kind):
    text = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| a {kind} \| (.*) \|$", text, re.MULTILINE)[1]
    listed = re.findall(r"`([\w./]+\.(?:py|ipynb|md))`", row.replace("NN_name", f"{NUMBER}_tiny").replace("NAME", "tiny"))
    assert sorted(listed) == sorted(EDITS[kind]) and len(listed) <= MOST[kind]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A function that runs Python in a copy of the course with all of EDITS, and returns what it prints."""
    root = tmp_path_factory.mktemp("course")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("the course is not a git repository here")
    (root / "data").symlink_to(ROOT / "data")
    for path in listed.stdout.splitlines():
        if path.startswith("data/") or not (ROOT / path).is_file():
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".ipynb"):  # not edited, and large
            (root / path).symlink_to(ROOT / path)
        else:
            shutil.copy(ROOT / path, root / path)
    for path, edit in [place for edits in EDITS.values() for place in edits.items() if place[1]]:
        before = (root / path).read_text(encoding="utf-8") if (root / path).exists() else ""
        (root / path).write_text(edit(before), encoding="utf-8")

    def python(*args):
        environment = os.environ | {"PYTHONPATH": str(root)}
        done = subprocess.run([sys.executable, *args], cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return python


def test_a_sampler(copy, tmp_path):
    out = tmp_path / "a.npz"
    copy("-m", "course_lib", "sample", "ring", "--sampler", "tiny", "--steps", "2", "-n", "2", "--out", str(out))
    assert out.exists()
    copy("-m", "pytest", "-o", "addopts=-q", "tests/test_samplers.py", "-k", "tiny")


def test_a_lesson(copy):
    copy("-m", "course_lib", "build", NUMBER)
    copy(
        "-m",
        "pytest",
        "-o",
        "addopts=-q",
        "tests/test_notebooks.py",
        "tests/test_claims.py",
        "-k",
        f"{NUMBER}_tiny or test_claims",
    )


def test_a_check(copy):
    copy("-m", "pytest", "-o", "addopts=-q", "tests/test_checks.py", "-k", "tiny")


def test_a_recipe(copy, tmp_path):
    commands = [["models"], ["train", "tiny", "--device", "cpu", "--out", str(tmp_path / "tiny.safetensors")]]
    shown = copy("-c", f"from course_lib.__main__ import main\nassert [main(line) for line in {commands}] == [0, 0]")
    assert re.search(r"^tiny +two steps$", shown, re.MULTILINE) and "not made yet: course train tiny --replace" in shown
    assert (tmp_path / "tiny.safetensors").exists()
