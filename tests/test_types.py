"""The types of the core and of the methods are consistent."""

import subprocess
import sys

from course_lib.files import ROOT


def test_mypy_finds_no_error():
    """What is checked, and how strictly, stands in pyproject.toml."""
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
