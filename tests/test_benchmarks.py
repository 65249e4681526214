"""The benchmarks' arithmetic and files, without running them: their figures depend on the machine."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.zoo.recipes import digits_network, train_digits

BENCHMARKS = Path(__file__).parent / "benchmarks"
FIGURES = BENCHMARKS.parents[1] / "data/figures"
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(BENCHMARKS.glob("*.py"))}
SCRIPTS = [name for name, tree in MODULES.items() if isinstance(tree.body[-1], ast.If)]
"""Those that end with `if __name__ == "__main__":`."""
sys.path.append(str(BENCHMARKS))

import rows  # noqa: E402
import scaling  # noqa: E402

import notebooks as timed  # noqa: E402

OPTIONAL = {"accelerate", "denoising_diffusion_pytorch", "ema_pytorch", "smalldiffusion", "playwright"}
"""Packages without which some scripts cannot be imported: other libraries, and what drives a browser."""

HOLDING = """
import sys
sys.path.append({benchmarks!r})
from notebooks import measured
child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\\"0\\" * %d'], check=True)"
print(*[measured([sys.executable, "-c", child % size])[1] for size in (300_000_000, 1000, 600_000_000)])
"""


def module_of(name):
    """A module of tests/benchmarks. Skips the test where it needs an optional package."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_is_imported_and_shows_its_help(name, monkeypatch, capsys):
    script = module_of(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        rows.measure(script.__doc__, script.BENCH) if hasattr(script, "BENCH") else script.main()
    assert script.__doc__.splitlines()[0] in capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_every_name_of_the_library_that_a_module_uses_exists(name):
    """Also within functions, which no test calls."""
    module = module_of(name)
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = getattr(module, node.value.id, None)
            if inspect.ismodule(used) and used.__name__.startswith("course_lib"):
                assert hasattr(used, node.attr), f"line {node.lineno}: {node.value.id}.{node.attr}"


def test_memory_is_that_of_the_largest_process_of_one_run_alone():
    script = HOLDING.format(benchmarks=str(BENCHMARKS))  # in a small process: a child begins with what its parent holds
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    first, none, last = map(float, printed.split())
    assert first == pytest.approx(0.31, abs=0.03) and last == pytest.approx(0.61, abs=0.03) and none < 0.2
    with pytest.raises(RuntimeError, match="exit.3. ended with 3"):
        timed.measured([sys.executable, "-c", "exit(3)"])


def test_exceeded_limits_are_named():
    assert timed.over([("01_a", 90.0, 1.5, 10), ("02_b", 30.0, 0.5, 10)]) == []
    assert timed.over([("01_a", 91.0, 1.0, 10), ("02_b", 30.0, 1.6, 10)]) == ["01_a takes 91 s", "02_b takes 1.60 GB"]
    assert timed.over([("01_a", 80.0, 1.0, 10)] * 16) == ["all take 21 minutes"]
    found = [("01_a", 8.9, 0.5, 10**6), ("02_b", 91.2, 1.0, 10**6), ("03_c", 2.0, 0.5, 10**6)]
    assert timed.table(found, slowest=2).splitlines()[2:] == [
        "| 02_b | 91 | 1.00 | 1.00 |",
        "| 01_a | 9 | 0.50 | 1.00 |",
        "| all 3 | 102 | 1.00 | 3.00 |",
    ]


@pytest.mark.parametrize(
    "name", ["notebooks", "playground", "scaling", "sampling", "digits_search", "unet_ablation", "peers", "peak", "drawbench"]
)
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


@pytest.mark.parametrize(
    "name, attn, plain", [("the recipe", 1, False), ("the recipe before", 1, True), ("no attention", 0, False)]
)
def test_the_search_starts_from_the_recipe_itself(name, attn, plain):
    search, known = module_of("digits_search"), digits_network(3, attn)
    steps = search.Way(**search.CHANGES[name]).steps
    found, training = search.training_of(name, seed=3)
    for _ in zip(range(2), training, train_digits(known, seed=3, steps=steps, plain=plain)):
        pass
    weights = found.net.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in known.net.state_dict().items())


def test_exponents_are_slopes_of_logarithms():
    costs = [{"side": s, "training, ms": 5 + 3 * s**2, "evaluation, ms": float(s)} for s in (8, 1000, 2000)]
    assert scaling.exponents(costs, "side") == {"training, ms": 2.0, "evaluation, ms": 1.0}


def test_what_is_not_measured_on_a_device_is_scaled_by_the_gain_of_what_is():
    gpu = module_of("gpu")
    found = gpu.projected({"a": 6.0, "b": 12.0}, {"a": 10.0, "b": 20.0, "c": 5.0}, steps={"a": 10_000, "b": 10_000}.get)
    assert found == {
        "models measured": 2,
        "models": 3,
        "minutes measured": 3.0,
        "minutes scaled": 0.5,
        "minutes of one CPU core": 35.0,
    }
    assert gpu.cpu_minutes().keys() == gpu.RECIPES.keys() and min(gpu.cpu_minutes().values()) > 0


def test_a_ring_sends_two_rounds_of_parts_and_more_messages_in_more_pieces():
    part, message = 1e9 / 4 / scaling.BANDWIDTH, scaling.LATENCY
    assert scaling.ring_seconds(1e9, 1) == 0 and scaling.ring_seconds(1e9, 4) == pytest.approx(6 * (part + message))
    assert scaling.ring_seconds(1e9, 4, 100) == pytest.approx(6 * (part + 100 * message))


def test_what_a_step_communicates_is_its_gradients_and_its_outputs():
    one, two = sorted(rows.load("scaling")["processes"], key=lambda row: row["processes"])
    assert one["bytes reduced"] == one["bytes gathered"] == one["messages"] == 0
    gradients = 4 * 413_425
    assert gradients <= two["bytes reduced"] < 1.001 * gradients  # and the loss, the slope and the time
    assert two["bytes gathered"] == 64 * 16 * 16 * 4


def test_an_equal_distance_is_one_that_is_not_higher_beyond_the_margin():
    sampling, found = module_of("sampling"), rows.load("sampling")
    for w in sampling.WEIGHTS:
        assert not sampling.is_equal(sampling.excess(found, *sampling.NULL_WAY, w))
        assert sampling.is_equal(sampling.excess(found, *sampling.REFERENCE, w))
    assert sampling.excess(found, *sampling.UNGUIDED, 2.0).below(sampling.MARGIN) is False


@torch.no_grad()
def test_a_fitted_solver_makes_as_many_evaluations_as_it_says():
    sampling, found = module_of("sampling"), rows.load("sampling")
    label, network = torch.arange(3), sampling.network_of_the_course()
    calls: list[int] = []
    hook = network.net.register_forward_hook(lambda net, inputs, output: calls.append(len(output)))
    sampling.known_start(2.0)
    for evaluations in (2, 3):
        calls.clear()
        sampling.drawn(found, network, sampling.FITTED, evaluations, 2.0, label, network.draw_noise(3, sampling.seeded(0)))
        assert calls == [6] * evaluations
    hook.remove()
    for name, fit in found["fitted"].items():
        if "ends" not in name:
            first, last = fit["log error, first and last"]
            assert last < first and not torch.tensor(fit["weights"]).triu(2).any()


def test_a_pace_that_predicts_a_time_exactly_has_the_ratio_1_and_needs_three_rounds():
    pace = module_of("minute_pace")
    machine = lambda seconds, paces, share: {"paces": paces, "trainings": {"MLP": {"seconds": seconds, "share": share}}}
    as_is, slower = machine(4.0, [1.5, 1.5], 0.99), machine(6.0, [2.0, 2.5], 0.804)
    found = pace.compared(slower, as_is, "MLP")
    assert found == {"time": 1.5, "pace": 1.5, "ratio": 1.0, "drift": 0.25, "share": 0.8}
    assert pace.compared(as_is, machine(4.0, [3.0, 2.4], 0.99), "MLP")["drift"] == -0.2
    row = {"machine": "AVX2", "training": "MLP"} | found
    runs = [row | {"ratio": 1 + change} for change in (-0.01, 0, 0.01)]
    line = pace.table({"runs": runs}).splitlines()[2]
    assert line == "| AVX2 | MLP | 1.500 ± 0.000 | 1.500 ± 0.000 | no | 1.000 ± 0.006 | yes | 3 of 3 |"
    assert "| cannot be told apart | 3 of 3 |" in pace.table(
        {"runs": [row | {"ratio": 1 + 10 * (r["ratio"] - 1)} for r in runs]}
    )
    assert pace.table({"runs": runs[:2]}).endswith("| cannot be told apart | 2 of 2 |")
    marks = [row | {"drift": drift, "share": share} for drift, share in ((0.05, 0.9), (-0.06, 0.9), (0.05, 0.89))]
    assert pace.table({"runs": marks}).endswith("| yes | 2 of 3 |")


@torch.no_grad()
@pytest.mark.parametrize("w", [1.0, 2.0])
def test_both_conditions_in_one_batch_give_what_two_evaluations_give(w):
    sampling = module_of("sampling")
    network, label, x = sampling.network_of_the_course(), torch.arange(3), torch.randn(3, 1, 16, 16)
    want = sampling.classifier_free(network, label, w)(x, 500).x0
    got = sampling.InOneBatch(network, label, w)(x, 500).x0
    assert (got - want).abs().max() < 1e-4 < (got - sampling.InOneBatch(network, label, 3 - w)(x, 500).x0).abs().max()


@pytest.mark.parametrize("name", sorted(path.stem for path in FIGURES.glob("*.json")))
def test_a_benchmark_would_measure_nothing_that_is_stored(name):
    """Its jobs are the rows of its file, no more and no fewer."""
    bench, found = module_of(name).BENCH, rows.load(name)
    assert bench.name == name and bench.missing(found) == []
    jobs = [job for part in bench.parts for job in part.jobs(bench.seeds)]
    assert len(jobs) == sum(len(found[into]) for into in {part.into for part in bench.parts if part.jobs(bench.seeds)})
    for part in bench.parts:
        if part.jobs(bench.seeds):
            assert len(part.missing(found | {part.into: {} if part.by else []}, bench.seeds, bench.amounts)) > 0


def test_a_row_is_measured_once_and_written_at_once(tmp_path, monkeypatch, capsys):
    made, out = [], tmp_path / "figures.json"

    def row(n, seed):
        made.append(seed)
        if seed == 2:
            raise KeyboardInterrupt
        return {"figure": n * seed}

    part = rows.Part(jobs=lambda seeds: [{"seed": seed} for seed in seeds], row=row, once={"floor": lambda n: n})
    bench = rows.Benchmark("sketch", [part], amounts={"n": 5})
    run = lambda *words: monkeypatch.setattr(sys, "argv", ["sketch.py", "--out", str(out), *words]) or rows.measure("", bench)
    with pytest.raises(KeyboardInterrupt):
        run()
    found = json.loads(out.read_text())
    assert found["n"] == found["floor"] == 5 and found["runs"] == [{"seed": 0, "figure": 0}, {"seed": 1, "figure": 5}]
    run("--seeds", "0", "1", "3")
    assert made == [0, 1, 2, 3]
    run("--seeds", "0", "1", "3", "--only", "seed=1", "--again")
    assert made == [0, 1, 2, 3, 1] and [run["seed"] for run in json.loads(out.read_text())["runs"]] == [0, 3, 1]
    with pytest.raises(SystemExit):
        run("--n", "6")
    assert "--n must be 5" in capsys.readouterr().err


def test_the_benchmarks_readme_shows_what_was_measured():
    """The tables that scripts store are those of the files; every number of `peers`, whose libraries need not be installed."""
    section = lambda name: re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", readme, re.DOTALL)[1]
    readme = rows.README.read_text(encoding="utf-8")
    for name in ("scaling", "sampling", "drawbench", "recipe_costs", "minute", "minute_pace"):
        assert section(name) == importlib.import_module(name).BENCH.table(rows.load(name)) + "\n"
    for run in rows.load("peers")["runs"]:
        for key in ("parameters", "steps"):
            assert f" {run[key]:,} |" in section("peers"), (run["name"], key)
        for key, value in run["figures"].items():
            cell = rf"^\| {re.escape(key)} \|.* {value:,.3g} [|(]"
            assert re.search(cell, section("peers"), re.MULTILINE), (run["name"], key)
