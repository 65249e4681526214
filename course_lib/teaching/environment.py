"""What the course needs beside what is there: a table for the first cell of the first lesson, and a report for an issue."""

from __future__ import annotations

import html
import os
import platform
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from course_lib.datasets import digits
from course_lib.files import CHECKOUT, PYPROJECT
from course_lib.training import pick_device
from course_lib.zoo import checkpoints


@dataclass(frozen=True)
class Report:
    """Rows of (package, versions that the course needs, version found, whether it is one of them)."""

    rows: tuple[tuple[str, str, str, bool], ...]

    @property
    def ready(self) -> bool:
        return all(row[3] for row in self.rows)

    def __str__(self):
        verdict = (
            "All is ready." if self.ready else "Something is missing: pip install -e . in the course's folder puts it right."
        )
        machine = f"{os.cpu_count()} CPU cores, training on {pick_device().type}."
        return "\n".join(
            [*(f"{'ok ' if ok else 'NO '} {n} {need}: {found}" for n, need, found, ok in self.rows), machine, verdict]
        )

    __repr__ = __str__

    def _repr_html_(self):
        rows = "".join(
            f"<tr><td>{'✓' if ok else '✗'}</td>{''.join(f'<td>{html.escape(str(text))}</td>' for text in texts)}</tr>"
            for *texts, ok in self.rows
        )
        *_, machine, verdict = str(self).split("\n")
        return (
            f'<p style="font-size:1.15em"><b>{verdict}</b> {machine}</p>'
            f"<details><summary>what was looked at</summary><table>"
            "<tr><th></th><th>package</th><th>needed</th><th>found</th></tr>"
            f"{rows}</table></details>"
        )


def environment() -> Report:
    """The requirements in pyproject.toml, each beside the version that is installed."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    python, need = platform.python_version(), Requirement("python" + project["requires-python"])
    rows = [("Python", str(need.specifier), python, python in need.specifier)]
    for line in project["dependencies"]:
        need = Requirement(line)
        try:
            found = metadata.version(need.name)
            rows.append((need.name, str(need.specifier), found, need.specifier.contains(found, prereleases=True)))
        except metadata.PackageNotFoundError:
            rows.append((need.name, str(need.specifier), "not installed", False))
    return Report(tuple(rows))


def doctor(models: Path = checkpoints.FOLDER) -> tuple[str, bool]:
    """A report of a screen, and whether all is well: packages, Python, machine, device, and each file that ships."""
    found, wrong = environment(), []
    files = sorted(models.glob("*.safetensors"))
    for path in files:
        try:
            checkpoints.read(path)
        except (ValueError, OSError) as error:
            wrong.append(f"NO  {error}")
    if not files:
        wrong.append(f"NO  there is no model in {models}")
    try:
        digits.load("held_out")
    except (ValueError, OSError) as error:
        wrong.append(f"NO  {error}")
    version = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
    lines = [
        f"course {version}, {'its repository' if CHECKOUT else 'an installed package'}",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
        str(found),
        f"{len(files)} models and the digits were read" + (": as shipped." if not wrong else ", and these are not as shipped:"),
    ]
    return "\n".join([*lines, *wrong]), found.ready and not wrong
