"""The benchmarks' arithmetic and files, without running them: their figures depend on the machine."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_lib.zoo.recipes import RECIPES, digits_network, train_digits

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
    for key in sampling.FITS:
        if key[0] == 2:
            calls.clear()
            sampling.drawn(found, network, *key[1:], 2.0, label, network.draw_noise(3, sampling.seeded(0)), None)
            assert calls == ([3, 3] if key[1] == sampling.APART else [6]) * key[2]
    hook.remove()
    for fit in found["fitted"].values():
        first, last = fit["log error, first and last"]
        assert last < first and not torch.tensor(fit["weights"]).triu(2).any()


@torch.no_grad()
def test_a_fit_of_both_conditions_apart_begins_with_guidance():
    """Its first weights draw what DPM-Solver++(2M) draws with guidance; the null prediction is made a time step later."""
    sampling = module_of("sampling")
    key = next(key for key in sampling.FITS if key[1] == sampling.APART)
    fit, network, label = sampling.FITS[key], sampling.network_of_the_course(), torch.arange(8)
    noise = network.draw_noise(8, sampling.seeded(1))
    guided = sampling.KnownStart(sampling.classifier_free(network, label, 2.0), sampling.known_start(2.0)[label])
    want = sampling.result(sampling.dpm_solver(guided, noise, torch.tensor([*fit.times[::2], 0])))
    draw = lambda w: sampling.result(
        sampling.bespoke(
            sampling.denoiser_of(fit, network, label, 2.0), noise, torch.tensor(fit.times), sampling.first_weights(fit, w)
        )
    )
    off = lambda w: (draw(w) - want).square().mean().sqrt()
    assert off(2.0) < 0.1 * off(1.0)


def test_a_pace_that_predicts_a_time_exactly_has_the_ratio_1_and_needs_three_rounds():
    pace = module_of("minute_pace")
    of = lambda time_, *halves: pace.compared(time_, pace.machine.Pace(*halves))
    found = of(1.5, 1.6, 1.4)
    assert found == {"time": 1.5, "convolutions": 1.6, "products": 1.4, "ratio": 1.0} and of(1.5, 1.2, 1.2)["ratio"] == 1.25
    row = {"machine": "AVX2", "training": "MLP"} | found
    shifted = lambda times: {"runs": [row | {"ratio": 1 + times * change} for change in (-0.01, 0, 0.01)]}
    said = lambda found, key="ratio": pace.verdict(pace.over_rounds(found, "AVX2", "MLP", key))
    assert said(shifted(1)) == "yes" and said(shifted(1), "time") == "no"
    assert said(shifted(10)) == said({"runs": shifted(1)["runs"][:2]}) == "cannot be told apart"


def test_in_a_round_the_changed_machine_has_the_middle_slices(monkeypatch):
    """A machine that becomes slower by and by is no reason for another ratio."""
    pace, clock = module_of("minute_pace"), iter(range(10, 10_000))

    class Slowing:
        def __init__(self, env):
            self.factor = 1.25 if env else 1.0

        def seconds(self, name, count):
            spent = self.factor * (pace.SLICE + 0.01 * next(clock))
            return spent, spent

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(pace, "Machine", Slowing)
    found = pace.slices.__wrapped__("AVX2", 4)
    assert set(found) == {*pace.TRAININGS, *pace.HALVES}
    assert all(ratio == pytest.approx(1.25) and share == 1 for ratio, share in found.values())


@torch.no_grad()
@pytest.mark.parametrize("w", [1.0, 2.0])
def test_both_conditions_in_one_batch_give_what_two_evaluations_give(w):
    sampling = module_of("sampling")
    network, label, x = sampling.network_of_the_course(), torch.arange(3), torch.randn(3, 1, 16, 16)
    guided = lambda network, w: sampling.classifier_free(network, label, w)(x, 500).x0
    want, got = guided(sampling.models.load("digits", device="cpu"), w), guided(network, w)
    assert (got - want).abs().max() < 1e-4 < (guided(network, 3 - w) - want).abs().max()


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


COSTS = {
    name: {"steps": steps, "processor_seconds": s} for name, steps, s in (("a", 100, 40.0), ("b", 50, 10.0), ("c", 9, 2.0))
}
"""Records of three trainings for a projection."""


def test_a_projection_scales_what_was_not_measured_by_what_was():
    projection = module_of("gpu_projection")
    rows = [{"name": "a", "start": 1.0, "ms": 100.0}, {"name": "b", "start": 3.0, "ms": 400.0}, {"name": "c", "error": "E: e"}]
    found = projection.projected(rows, COSTS)  # steps take 10 s and 20 s, a quarter and twice what they cost on a core
    assert found["measured"] == {"a": 11.0, "b": 23.0} and found["scaled"] == ["c"]
    assert found["seconds"] == pytest.approx([2 + 0.25 * 2, 2 + 30 / 50 * 2, 2 + 2 * 2])
    lines = projection.table(rows, COSTS)
    assert "| `b` | 50 | 3 | 400 | 0.38 | 0.2 |" in lines and "| `c` | 9 |  | E: e | scaled | 0.0 |" in lines
    assert "| all 3, projected | | | | 0.6 | 0.9 |" in lines
    assert lines[-1] == "Between 0.6 and 0.7 minutes in all. Scaled, not measured: `c`."
    every = projection.projected([*rows[:2], {"name": "c", "start": 0.0, "ms": 1000.0}], COSTS)
    assert every["scaled"] == [] and every["seconds"] == [0, 0, 0] and every["measured"]["c"] == 9.0
    with pytest.raises(ValueError, match="rows must have the milliseconds of one recipe"):
        projection.projected(rows[2:], COSTS)
    assert projection.table(rows[2:], COSTS) == ["No recipe was measured.", "- `c`: E: e"]


def test_a_projection_begins_with_the_most_expensive_training_and_leaves_none_out():
    records = module_of("gpu_projection").shipped()
    costs = [record["processor_seconds"] for record in records.values()]
    assert costs == sorted(costs, reverse=True) and set(records) == set(RECIPES)


def test_parts_on_a_gpu_never_take_more_than_the_whole_and_inherit_what_is_left():
    gpu = module_of("gpu")
    left = {"all used": 600.0, "none used": 600.0}
    for part in gpu.SHARES:
        assert gpu.allowed(left["all used"], part) == pytest.approx(600 * gpu.SHARES[part] / sum(gpu.SHARES.values()))
        left["all used"] -= gpu.allowed(left["all used"], part)
    assert left["all used"] == pytest.approx(0, abs=1e-9) and gpu.allowed(left["none used"], part) == 600
    assert gpu.allowed(-3.0, part) == 0 and list(gpu.SECTIONS) == list(gpu.SHARES)


@pytest.mark.parametrize("end, code", [("was cut after 6 s", "time.sleep(60)"), ("ended with 3", "sys.exit(3)"), ("", "")])
def test_a_part_that_is_ended_keeps_its_whole_rows(end, code, tmp_path):
    gpu, out = module_of("gpu"), tmp_path / "rows.jsonl"
    out.write_text('{"of": "another run"}\n')
    write = f'import sys, time; open({str(out)!r}, \'w\').write(\'{{"ms": 1}}\\n{{"ms": 2}}\\n{{"m\'); {code}'
    found = gpu.run_part([sys.executable, "-c", write], out, 6.0 if "sleep" in code else 60.0)
    assert found["end"] == end and found["rows"] == [{"ms": 1}, {"ms": 2}] and found["seconds"] < 30
    assert gpu.run_part([sys.executable, "-c", "pass"], out, 30.0)["rows"] == []


def test_the_table_of_a_gpu_shows_each_part_and_which_were_cut():
    gpu = module_of("gpu")
    figures = {"steps": 1000, "loss": 0.1}
    rows = {
        "tests": [{"last": "9 passed, 1 failed", "failed": ["test_devices.py::test_x"]}],
        "training": [{"place": "device", "figures": figures}, {"difference": 2e-3}],
        "times": [{"what": "step", "cpu": 30.0, "device": 4.0}],
        "formats": [
            {"what": "product of two large matrices", "format": "float32", "TFLOP/s": 50.0},
            {
                "what": "digits",
                "format": "weights",
                "batch": 64,
                "ms": 8.0,
                "rate": 8000,
                "share": 5.0,
                "largest": 0.02,
                "rms": 0.01,
            },
            {"what": "step", "format": "autocast", "batch": 1024, "error": "OutOfMemoryError: CUDA"},
        ],
        "ways": [{"what": "step", "way": "CUDA graphs", "format": "autocast", "first": 40.0, "ms": 1.5}],
        "projection": [{"name": "digits", "start": 1.0, "ms": 10.0}],
    }
    ended = lambda name: "was cut after 60 s" if name == "projection" else ""
    parts = {name: {"rows": rows[name], "seconds": 50.0, "end": ended(name), "allowed": 60.0} for name in gpu.SHARES}
    text = gpu.table({"device": "X", "note": "", "torch": "2", "minutes": 5.0, "parts": parts})
    for line in (
        "- failed: `test_devices.py::test_x`",
        "| steps |  | 1,000 |",
        "| largest difference of the same samples | 0 | 2.0e-03 |",
        "| step | 30 | 4 | 7.5 |",
        "A product of two large matrices, TFLOP/s: float32 50.0.",
        "| digits | bfloat16 weights | 64 | 8 | 8,000 | 5 % | 0.02 | 0.01 |",
        "| step | bfloat16 by autocast | 1024 | OutOfMemoryError: CUDA |  |  |  |  |",
        "| step | CUDA graphs | bfloat16 by autocast | 1.5 | 40 |",
        "| `digits` | 24,000 | 1 | 10 | 4.02 | 22.3 |",
    ):
        assert f"\n{line}\n" in text, line
    assert text.count("**Not all of this part was measured: it was cut after 60 s.**") == 1
    nothing = {name: part | {"rows": []} for name, part in parts.items()}
    assert "No recipe was measured." in gpu.table({"device": "X", "note": "", "torch": "2", "minutes": 5.0, "parts": nothing})


@pytest.mark.parametrize("name", ["digits", "text2shape"])
def test_operations_are_proportional_to_the_batch(name):
    formats, cpu, peak = module_of("gpu_formats"), torch.device("cpu"), module_of("peak")
    step = lambda n: peak.step_of(*formats.given(name, formats.pictures(peak.NETWORKS[name](), n, cpu)), torch.float32)
    one, five = (peak.operations(step(n)) for n in (1, 5))
    assert five == 5 * one > 0
    half = formats.speed(10.0, 5, one, {torch.float32: five / 5}, torch.float32)  # a step twice as long as at the peak
    assert half == {"ms": 10.0, "rate": 500, "share": 50.0}


def test_times_are_a_median_after_three_or_within_a_limit_without_the_first(monkeypatch):
    peak, cpu, now = module_of("peak"), torch.device("cpu"), [0.0]
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def median(seconds, *limits):
        left = list(seconds)
        found = peak.milliseconds(lambda: now.__setitem__(0, now[0] + left.pop(0)), cpu, *limits)
        return found, len(left)

    assert median([8.0, 2.0, 1.0], 20, 0.5) == (2000, 1)
    assert median([8.0, 8.0, 8.0, 2.0, 4.0, 1.0, 1.0], 3) == (2000, 1)
    assert median([8.0, 8.0, 8.0, 3.0, 1.0, 1.0], 20, 27.5) == (2000, 1)


def test_an_error_of_a_device_is_one_line():
    formats = module_of("gpu_formats")
    assert formats.attempt(lambda: {"ms": 1}) == {"ms": 1}
    assert formats.attempt(lambda: torch.zeros(2) @ torch.zeros(3))["error"].startswith("RuntimeError: ")
    assert formats.apart(torch.tensor([0.0, 0.3]), torch.zeros(2)) == {"largest": 0.3, "rms": 0.21}


def section(name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", rows.README.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.mark.parametrize("name", sorted(re.findall(r"^<!-- (\w+) -->$", rows.README.read_text(encoding="utf-8"), re.MULTILINE)))
def test_the_benchmarks_readme_shows_what_was_measured(name):
    """A table that a script stores is that of the file of its figures."""
    bench = getattr(module_of(name), "BENCH", None)
    if bench is None or not bench.table:
        assert name in ("collect", "notebooks", "peak", "peers", "playground")  # measured anew each time, or below
    else:
        assert section(name) == bench.table(rows.load(name)) + "\n"


def test_the_table_of_peers_has_every_number_of_its_file():
    """Their libraries need not be installed."""
    for run in rows.load("peers")["runs"]:
        for key in ("parameters", "steps"):
            assert f" {run[key]:,} |" in section("peers"), (run["name"], key)
        for key, value in run["figures"].items():
            cell = rf"^\| {re.escape(key)} \|.* {value:,.3g} [|(]"
            assert re.search(cell, section("peers"), re.MULTILINE), (run["name"], key)
