"""What the benchmarks reckon with, without running them: their figures depend on the machine, their arithmetic does not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
FIGURES = BENCHMARKS.parents[1] / "data/figures"
sys.path.append(str(BENCHMARKS))

import rows  # noqa: E402
import scaling  # noqa: E402

import notebooks as timed  # noqa: E402

HOLDING = """
import sys
sys.path.append({benchmarks!r})
from notebooks import measured
child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\\"0\\" * %d'], check=True)"
print(*[measured([sys.executable, "-c", child % size])[1] for size in (300_000_000, 1000, 600_000_000)])
"""


def test_memory_is_that_of_the_largest_process_of_one_run_alone():
    script = HOLDING.format(benchmarks=str(BENCHMARKS))  # in a small process: a child begins with what its parent holds
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    first, none, last = map(float, printed.split())
    assert first == pytest.approx(0.31, abs=0.03) and last == pytest.approx(0.61, abs=0.03) and none < 0.2
    with pytest.raises(RuntimeError, match="exit.3. ended with 3"):
        timed.measured([sys.executable, "-c", "exit(3)"])


def test_what_is_more_than_asked_is_said():
    assert timed.over([("01_a", 90.0, 1.5, 10), ("02_b", 30.0, 0.5, 10)]) == []
    assert timed.over([("01_a", 91.0, 1.0, 10), ("02_b", 30.0, 1.6, 10)]) == ["01_a takes 91 s", "02_b takes 1.60 GB"]
    assert timed.over([("01_a", 80.0, 1.0, 10)] * 16) == ["all take 21 minutes"]
    assert timed.table([("01_a", 91.2, 1.0, 10**6), ("02_b", 8.9, 0.5, 10**6)]).splitlines()[2:] == [
        "| 01_a | 91 | 1.00 | 1.00 |",
        "| 02_b | 9 | 0.50 | 1.00 |",
        "| all 2 | 100 | 1.00 | 2.00 |",
    ]


@pytest.mark.parametrize("name", ["notebooks", "playground", "scaling", "peers"])
def test_a_table_is_stored_in_its_place_and_nowhere_else(name, tmp_path, monkeypatch):
    before = rows.README.read_text(encoding="utf-8")
    monkeypatch.setattr(rows, "README", tmp_path / "README.md")
    rows.README.write_text(before, encoding="utf-8")
    rows.store(name, "| a |")
    after = rows.README.read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n| a |\n<!-- /{name} -->" in after
    outside = lambda text: re.sub(rf"<!-- {name} -->.*<!-- /{name} -->", "", text, flags=re.DOTALL)
    assert outside(after) == outside(before)
    with pytest.raises(ValueError, match="got 'nothing', which has 0"):
        rows.store("nothing", "| a |")


def test_exponents_are_slopes_of_logarithms():
    rows = [{"side": s, "training, ms": 5 + 3 * s**2, "evaluation, ms": float(s)} for s in (8, 1000, 2000)]
    assert scaling.exponents(rows, "side") == {"training, ms": 2.0, "evaluation, ms": 1.0}


@pytest.mark.parametrize("name", [name for name in ("scaling", "peers") if (FIGURES / f"{name}.json").is_file()])
def test_the_benchmarks_readme_shows_what_was_measured(name):
    """Every number of the table that the script prints, as it was printed."""
    section = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", rows.README.read_text(encoding="utf-8"), re.DOTALL)[1]
    found = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    if name == "scaling":
        assert section == scaling.table(found) + "\n"
        return
    for run in found["runs"]:  # the peers themselves need not be installed
        for key in ("parameters", "steps"):
            assert f" {run[key]:,} |" in section, (run["name"], key)
        for key, value in run["figures"].items():
            assert re.search(rf"^\| {re.escape(key)} \|.* {value:,.3g} [|(]", section, re.MULTILINE), (run["name"], key)
