"""A class: editions, what is handed in, hostile or not, its points, and files for other graders."""

import csv
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course_lib.process import own_defaults
from course_lib.teaching.checks.check import Check
from course_lib.teaching.checks.outcome import Failure, outcome
from course_lib.teaching.classroom import channel, collect, grades, kernel, roster, sandbox, submission
from course_lib.teaching.classroom.edition import edition
from course_lib.teaching.classroom.exam import exam
from course_lib.teaching.classroom.exercises import Exercise, exercises, lessons
from course_lib.teaching.classroom.export import export
from course_lib.teaching.classroom.fresh import fresh
from course_lib.teaching.classroom.sandbox import Limits, Stopped, confined

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are shut in by Linux")
QUICK = Limits(seconds=1.0)


def notebook(*cells):
    made = [{"cell_type": "code", "id": f"c{k}", "metadata": {}, "outputs": [], "source": c} for k, c in enumerate(cells)]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


# Protections: each attack, and a control that shows that it works where nothing is in its way


def can_be_shut_in():
    return sys.platform.startswith("linux") and "namespaces" in sandbox.safest()


def reads(path):
    return lambda content: path.read_bytes()


def connects(port):
    def run(content):
        socket.create_connection(("127.0.0.1", port), 2).close()
        return b"connected"

    return run


def signals(pid):
    def run(content):
        os.kill(pid, signal.SIGUSR1)
        return b"signalled"

    return run


def writes(path):
    return lambda content: b"%d" % path.write_text("spoiled")


def knows_the_environment(content):
    return os.environ["COURSE_SECRET"].encode()


def forks(content):
    n = 0
    try:
        for _ in range(20):
            if not os.fork():
                time.sleep(0.5)
                os._exit(0)
            n += 1
    except OSError:
        pass
    return b"all 20" if n == 20 else b""


def fills_the_disk(content):
    for k in range(4):
        Path(os.environ["HOME"], f"filler{k}").write_bytes(bytes(10 << 20))
    return b"full"


def takes_memory(content):
    return b"%d" % len(bytes(3 << 30))


def mounts(content):
    kernel._libc("umount2", f"{kernel.PACKAGE}/teaching/checks".encode(), 2)
    return b"seen"


@pytest.fixture
def victims(tmp_path, monkeypatch):
    """A file of another student, a server, a process, and a secret."""
    monkeypatch.setenv("COURSE_SECRET", "token")
    other = tmp_path / "other.ipynb"
    other.write_text("an answer")
    signalled = []
    signal.signal(signal.SIGUSR1, lambda *_: signalled.append(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"file": other, "port": server.getsockname()[1], "pid": os.getpid(), "signalled": signalled}
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def works(run, way):
    try:
        return bool(confined(run, limits=QUICK, way=way))
    except Stopped:
        return False


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
def test_what_reaches_outside_works_without_protection_and_fails_with_it(victims):
    attacks = {
        "reads another's file": reads(victims["file"]),
        "connects": connects(victims["port"]),
        "signals its parent": signals(victims["pid"]),
        "writes a file": writes(victims["file"]),
        "reads an answer": reads(kernel.PACKAGE / "teaching/checks/ddim.py"),
        "reads the system's files": reads(Path("/etc/passwd")),
    }
    for name, run in attacks.items():
        assert works(run, "limits"), f"control: {name}"
    victims["file"].write_text("an answer")
    victims["signalled"].clear()
    for way in [w for w in sandbox.WAYS if w.endswith("namespaces") and (w != "namespaces" or os.getuid() == 0)]:
        for name, run in attacks.items():
            assert not works(run, way), f"{name} in {way}"
        assert not works(mounts, way) and not works(writes(kernel.PACKAGE / ".spoiled"), way), way
    assert victims["file"].read_text() == "an answer" and not victims["signalled"]
    assert not works(knows_the_environment, "limits")


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
def test_the_folder_of_submissions_is_empty_even_inside_the_course():
    read = reads(kernel.DATA / "README.md")
    assert confined(read) and confined(read, hidden=kernel.PACKAGE / "widgets")
    with pytest.raises(Stopped):
        confined(read, hidden=kernel.DATA)


@linux
def test_where_nothing_else_can_be_had_limits_and_a_clean_environment_hold(tmp_path, monkeypatch):
    def writes_much(content):
        (tmp_path / "big").write_bytes(bytes(40 << 20))
        return b"written"

    assert confined(writes_much, limits=Limits(disk=50 << 20), way="limits")
    assert not works(writes_much, "limits") and not works(takes_memory, "limits")
    monkeypatch.setenv("COURSE_SECRET", "token")
    assert not works(knows_the_environment, "limits")


@linux
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_another_user_can_neither_write_nor_signal_and_what_is_started_ends(victims, tmp_path):
    def leaves_a_child(content):
        if not os.fork():
            os.close(3)  # the pipe
            os.setsid()
            time.sleep(600)
        return b"%d" % os.getuid()

    user = int(confined(leaves_a_child, way="another user"))
    end = time.monotonic() + 20
    while left := [p for p in Path("/proc").glob("[0-9]*") if owner(p) == user]:
        assert time.monotonic() < end, left
    assert user >= 60_000
    for run in (signals(victims["pid"]), writes(victims["file"])):
        assert works(run, "limits") and not works(run, "another user")


def owner(path):
    try:
        return path.stat().st_uid
    except OSError:
        return None


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
def test_what_takes_too_much_of_the_machine_is_stopped():
    generous = Limits(memory=8 << 30, disk=1 << 30, processes=4000)
    for run, narrow in ((forks, QUICK), (fills_the_disk, QUICK), (takes_memory, QUICK)):
        assert confined(run, limits=generous), f"control: {run.__name__}"
        with pytest.raises(Stopped):
            confined(run, limits=narrow)


@linux
def test_what_ends_late_early_or_says_too_much_is_said_in_words():
    def spin(content):
        while True:
            pass

    begun = time.perf_counter()
    for run, words in (
        (lambda content: time.sleep(60), "it took more than 1 s"),
        (spin, "it took more than"),
        (lambda content: os._exit(0), "it ended the process before it gave an answer"),
        (lambda content: os.kill(os.getpid(), signal.SIGSEGV), "by a signal|before it gave"),
        (lambda content: bytes(100_000), "its results take more than 0 MB"),
    ):
        with pytest.raises(Stopped, match=words):
            confined(run, limits=Limits(seconds=0.5, answer=1000))
    assert time.perf_counter() - begun < 25
    begun = time.perf_counter()
    confined(lambda content: print("x" * 10_000_000) or b"done")
    assert time.perf_counter() - begun < 20
    with pytest.raises(Stopped, match="it could not be started"):
        confined(lambda content: b"", file=Path("/nowhere.ipynb"))


# A class: what its members hand in

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


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "in"
    for name, code in (HONEST | HOSTILE | {"hardcodes": hard_coded()}).items():
        (folder / name).mkdir(parents=True)
        (folder / name / "01.ipynb").write_text(notebook(code, "verdict = check.add_noise(my_add_noise)"))
    (folder / "no_json.ipynb").write_text("{")
    (folder / "deep_json.ipynb").write_text("[" * 200_000)
    (folder / "odd_json.ipynb").write_text('{"cells": [{"cell_type": "code", "source": 7}]}')
    with open(folder / "large.ipynb", "wb") as file:
        file.truncate(200 << 20)
    for name in ("link", "pipe", "empty"):
        (folder / name).mkdir()
    (folder / "link/01.ipynb").symlink_to(folder / "ada/01.ipynb")
    os.mkfifo(folder / "pipe/01.ipynb")
    return folder


@pytest.fixture(scope="module")
def collected(handed_in, tmp_path_factory):
    """Both tables, the pages and the folder's files of one collection by the command."""
    out = tmp_path_factory.mktemp("out")
    before = listing(handed_in)
    (out / "roster.csv").write_text("ID,Name\n17,ada\n18,../../x\n19,Zoe Nobody\n")
    command = [sys.executable, "-m", "course_lib", "class", "collect", str(handed_in), "--lessons", "01", "--seconds", "4"]
    command += [
        "--csv",
        str(out / "grades.csv"),
        "--roster",
        str(out / "roster.csv"),
        "--html",
        str(out / "pages"),
        "--seed",
        "71",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((out / "grades.csv").read_text())))
    return {"rows": {row["name"]: row for row in rows}, "out": out, "said": done.stderr, "same": before == listing(handed_in)}


def listing(folder):
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
def test_honest_answers_get_their_points_whoever_sits_beside_them(collected):
    for name in ("ada", "prints", "'=cmd()", "..%2f..%2fx", "two lines", "library", "magic"):
        assert collected["rows"][name]["01 add_noise"] == "1", collected["rows"][name]
    bob = collected["rows"]["bob"]
    assert bob["01 add_noise"] == "0" and "It looks as if" in bob["feedback"] and bob["of"] == "7"
    assert collected["rows"]["blank"]["feedback"] == "" and collected["rows"]["blank"]["points"] == "0"
    assert collected["rows"]["Zoe Nobody"]["notes"] == "not handed in"
    assert "reference" in collected["rows"]["library"]["uses the library"] and not bob["uses the library"]


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
@pytest.mark.parametrize("name", [*HOSTILE, "hardcodes"])
def test_a_hostile_notebook_costs_one_row_without_points(collected, name):
    row = collected["rows"][name]
    assert row["points"] == "0" and ("add_noise: wrong: " in row["feedback"] or row["notes"]), row


@linux
@pytest.mark.skipif(not can_be_shut_in(), reason="namespaces are needed")
def test_nothing_else_changes(collected, handed_in):
    for name, words in (
        ("no_json", "it is no notebook"),
        ("deep_json", "it is no notebook"),
        ("odd_json", ""),
        ("large", "it is larger than 20 MB"),
        ("link", "it is no file of its own"),
        ("pipe", "it is no file of its own"),
        ("empty", ""),
    ):
        assert collected["rows"][name]["points"] == "0" and words in collected["rows"][name]["notes"], name
    assert collected["same"] and "shut in by " in collected["said"] and "--seed 71" in collected["said"]
    assert len(collected["rows"]) == len(HONEST) + len(HOSTILE) + 1 + 7 + 2
    pages = sorted((collected["out"] / "pages").iterdir())
    assert len(pages) == len(collected["rows"]) - 2 and all(page.suffix == ".html" for page in pages)
    text = "".join(page.read_text() for page in pages)
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert not [path for path in collected["out"].parent.glob("*/x*")]


def test_hard_coded_answers_pass_on_the_shipped_data_alone():
    made: dict = {}
    for seed, right in ((0, True), (71, False)):
        exec(hard_coded(), made)
        check = fresh(seed)["add_noise"]
        assert check.judge([outcome(case.run, made["my_add_noise"]) for case in check.cases]).right == right


# Fresh data


def right_variants(*lessons):
    for lesson in lessons:
        for name, variants in importlib.import_module(f"check_variants.{lesson}").RIGHT.items():
            yield from ((name, fn) for fn in variants)


def all_right(seed, variants):
    checks = fresh(seed)
    with own_defaults():
        for name, fn in variants:
            verdict = checks[name].judge([outcome(case.run, fn) for case in checks[name].cases])
            assert verdict.right, f"{name}, {fn.__name__}, seed {seed}: {verdict}"


def test_right_answers_are_right_on_fresh_data():
    all_right(123456789, right_variants("forward", "ddim", "score"))


@pytest.mark.parametrize("seed", [1000, 77, 4_000_000_000])
def test_right_answers_of_all_lessons_are_right_on_fresh_data(seed):
    import check_variants

    names = sorted(path.stem for path in Path(check_variants.__file__).parent.glob("[a-z]*.py"))
    all_right(seed, right_variants(*names))


WITHOUT_DATA = {"truncated_snr", "karras_times", "cosine_beta", "micro_embedding", "sinusoidal"}
"""Exercises that are given plain numbers: their checks' inputs are the same each time."""


def test_fresh_data_are_other_data_and_the_shipped_ones_stay():
    from course_lib.teaching import checks

    shipped = {c.name: c for c in vars(checks).values() if isinstance(c, Check)}
    other, same = fresh(5), fresh(0)
    assert other.keys() == shipped.keys() and vars(checks)["add_noise"] is shipped["add_noise"]
    for name in ("add_noise", "ddim_sampler", "slerp", *WITHOUT_DATA):
        got = [[outcome(case.run, c.reference) for case in c.cases] for c in (shipped[name], same[name], other[name])]
        assert all(map(torch.equal, got[0], got[1]))
        assert all(map(torch.equal, got[0], got[2])) == (name in WITHOUT_DATA), name
    with pytest.raises(ValueError, match="seed must be"):
        fresh(-1)


# A notebook is read, and not run


def functions_of(*cells, name="my_f"):
    found, unread = submission.statements(notebook(*cells).encode())
    return [submission.ast.unparse(each.node) for each in submission.part(found, name)], unread


def test_a_function_comes_with_what_it_depends_on_and_nothing_else():
    cells = [
        "import sys\nsys.exit(3)",
        "import torch, math\nfrom course_lib.samplers import Step, ddim as sampler",
        "base = 2\ntable = {}\ntable['a'] = base\nunused = table\nbase += 1",
        "def helper(x):\n    return math.sqrt(x) + table['a']",
        "def my_f(x):\n    return 0",
        "def my_f(x, k=base):\n    Step = x\n    return helper(Step) * k",
        "verdict = check.f(my_f)\nmy_f = verdict.function\nhelper = None",
    ]
    got, unread = functions_of(*cells)
    want = ["import math", "base = 2", "table = {}", "table['a'] = base", "base += 1"]
    assert got[:-2] == want and got[-2].startswith("def helper") and "helper(Step) * k" in got[-1] and not unread
    assert submission.load(notebook(*cells).encode(), "my_f")(4) == 12.0


def test_cells_that_are_no_python_are_said_and_the_others_read():
    got, unread = functions_of("%%bash\nls", "def my_f(:", "%time\ndef my_f():\n    !ls\n    return 1")
    assert got == ["def my_f():\n    pass\n    return 1"]
    assert any(line.startswith("cell 2 cannot be read") for line in unread)
    assert functions_of("x = 1")[0] == [] and functions_of("def my_f(): return missing")[0]
    with pytest.raises(ValueError, match="it is no notebook"):
        submission.statements(b'{"cells": 3}')


@pytest.mark.parametrize(
    "code, said",
    [
        ("from course_lib.samplers import Step, ddim\ndef my_f(x): return Step", []),
        ("from course_lib.samplers import ddim\ndef my_f(x): return ddim(x)", ["ddim"]),
        ("from course_lib.samplers import ddim as step\ndef my_f(x): return step(x)", ["ddim"]),
        ("from course_lib import samplers\ndef my_f(x): return samplers.ddim(x)", ["samplers.ddim"]),
        ("import gc\ndef my_f(x): return gc.get_objects()", ["gc"]),
        ("from course_lib.teaching import checks as c\ndef my_f(x): return c.f.answer(x)", ["c.f.answer", "checks"]),
    ],
)
def test_what_uses_the_library_is_said(code, said):
    found = submission.statements(notebook(code).encode())[0]
    assert submission.uses(submission.part(found, "my_f"), {"ddim"}) == said


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"{}",
        b"[1]",
        b'[{"says": 3, "blank": 1}]',
        b'[{"kind": "object", "shape": [], "data": ""}]',
        b"\xff",
        b"9" * 9999,
    ]
    + [b'[{"kind": "bool", "shape": [99999999999, 99999999999], "data": "AA=="}]', b"[" * 99_999]
    + [b'[{"kind": "float64", "shape": [-1], "data": "AAAA"}]', b'[{"kind": "bool", "shape": [2], "data": "AA=="}]'],
)
def test_what_comes_back_is_numbers_or_nothing(said):
    with pytest.raises(ValueError):
        channel.decode(said, 1)


def test_outcomes_come_back_as_they_were():
    sent = [torch.randn(2, 3).double(), torch.tensor(True), torch.zeros(0, 2).double(), Failure("it raised <b>", True)]
    back = channel.decode(channel.encode(sent), 4)
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(sent[:3], back)) and back[3] == sent[3]


# Students and tables

E1, E2 = Exercise("01", "add_noise", "`add_noise`", 1, 5), Exercise("14", "ddim_sampler", "the DDIM sampler", 2, 10)
MARKED = collect.Row("Doe_17", [collect.Mark(E1, "right"), collect.Mark(E2, "wrong", "=1+1 <b>", ("ddim",))], ("-note",))


def test_submissions_find_their_students(tmp_path):
    (tmp_path / "roster.csv").write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
        '"Doe, Jane",17,s17,jdoe,A\n"Müller, Ann Lee",18,s18,amu,A\n"Ng, X",4,,xng,B\n"Ng, X",5,,yng,B\n'
    )
    students = roster.read(tmp_path / "roster.csv")
    assert [s.id for s in students] == ["17", "18", "4", "5"]
    submitted = {
        name: [Path(name)]
        for name in ("Jane Doe_99_assignsubmission", "mullerannlee_18_9_14_ddim", "amu", "stranger", "5", "X Ng")
    }
    notebooks, found = roster.matched(submitted, students)
    assert [s.key for s in found] == ["Jane Doe_99_assignsubmission", "mullerannlee_18_9_14_ddim", "", "5", "stranger", "X Ng"]
    assert notebooks["mullerannlee_18_9_14_ddim"] == [Path("mullerannlee_18_9_14_ddim"), Path("amu")] and "amu" not in notebooks
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="--roster must have a column id or name"):
        roster.read(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match="FOLDER must be a folder"):
        roster.handed_in(tmp_path / "bad.csv")


def table(format):
    students = [roster.Student("17", "Doe, Jane", "s17", "jdoe", "A", "Doe_17"), roster.Student("18", "@x", login="x@y.z")]
    return list(csv.reader(io.StringIO(grades.table(students, {"Doe_17": MARKED}, [E1, E2], format))))


def test_a_table_for_canvas_has_the_columns_and_the_points_that_it_takes():
    head, points, jane, other = table("canvas")
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "01 add_noise", "14 ddim_sampler"]
    assert points == ["    Points Possible", "", "", "", "", "1", "2"]
    assert jane == ["Doe, Jane", "17", "s17", "jdoe", "A", "1", "0"] and other[-2:] == ["0", "0"]


def test_a_table_for_moodle_has_an_identifier_and_a_grade_with_feedback():
    head, jane, other = table("moodle")
    assert head[:5] == ["ID number", "Email address", "Full name", "01 add_noise", "01 add_noise (feedback)"]
    assert jane == ["17", "jdoe", "Doe, Jane", "1", "right", "0", "wrong: =1+1 <b>"]
    assert other[:4] == ["18", "x@y.z", "'@x", "0"]


def test_a_plain_table_and_a_page_say_all_and_run_nothing(tmp_path):
    head, jane, other = table("plain")
    assert dict(zip(head, jane))["uses the library"] == "ddim_sampler: ddim" and dict(zip(head, jane))["points"] == "1"
    assert dict(zip(head, jane))["notes"] == "'-note" and dict(zip(head, other))["notes"] == "not handed in"
    students = [roster.Student("../../x", "<script>", key="Doe_17"), roster.Student("x", key="Doe_17")]
    pages = grades.pages(students, {"Doe_17": MARKED}, tmp_path / "pages")
    assert [page.name for page in pages] == ["x.html", "x_2.html"] and "<script>" not in pages[0].read_text()
    with pytest.raises(ValueError, match="format must be one of"):
        table("excel")


# Editions, and other graders


def code(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_a_students_edition_has_no_answer_and_the_instructors_has_all(tmp_path):
    (stored,) = lessons("14")
    edition(tmp_path, "14", "2027-01-31", answers="on page 3")
    mine, other = (tmp_path / kind / stored.name for kind in ("students", "instructor"))
    asked = [source for source in code(stored) if not source.startswith("check.solution(")]
    assert code(mine)[1:] == asked and code(other) == asked
    assert code(mine)[0].endswith('STUDENT = ""') and "# Due: 2027-01-31" in code(mine)[0]
    assert mine.read_text().count("The class's answer to this exercise: on page 3.") == 2
    assert "An answer to <b>" not in mine.read_text() and '"image/png"' not in mine.read_text()
    assert "**Answer to `ddim_sampler`** (2 points, 10 minutes)" in other.read_text()
    assert "bar_s.sqrt() * pred.x0 + direction * pred.eps" in other.read_text()
    assert '"image/png"' in other.read_text() and "Mistakes known by name" in other.read_text()


def test_the_notes_are_in_the_instructors_edition_alone(tmp_path):
    (stored,) = lessons("00")
    edition(tmp_path, "00")
    notes = (tmp_path / "instructor/notes/00.md").read_text(encoding="utf-8")
    assert "{{" not in notes and "sets of 500" in " ".join(notes.split())
    assert "](notes/00.md)" in (tmp_path / "instructor" / stored.name).read_text(encoding="utf-8")
    assert not [path for path in (tmp_path / "students").rglob("*") if "notes" in path.name]
    assert "notes/00.md" not in (tmp_path / "students" / stored.name).read_text(encoding="utf-8")


def test_an_edited_notebook_is_never_overwritten(tmp_path):
    (stored,) = lessons("14")
    assert {what for _, what in edition(tmp_path, "14")} == {"wrote"}
    mine = tmp_path / "students" / stored.name
    mine.write_text(mine.read_text() + " ")
    again = dict(edition(tmp_path, "14", "tomorrow", "keep"))
    assert again[mine] == "kept (it was edited)" and mine.read_text().endswith(" ")
    assert again[tmp_path / "instructor" / stored.name] == "unchanged"
    for bad in ({"wanted": "99"}, {"wanted": "08-00"}, {"due": "a\nb"}, {"outputs": "some"}):
        with pytest.raises(ValueError, match="must be"):
            edition(tmp_path / "none", **bad)
    assert not (tmp_path / "none").exists()


def test_each_exercise_has_its_difficulty_and_minutes():
    found = exercises()
    assert len(found) == len({e.name for e in found}) >= 67 and {e.difficulty for e in found} == {1, 2, 3}
    assert [e.name for e in exercises("00-01,14")][-2:] == ["ddim_sampler", "ddim_inversion"]


def test_for_nbgrader_answers_stand_between_its_marks_and_checks_are_locked(tmp_path):
    (path,) = export("nbgrader", tmp_path, "14")
    assert path == tmp_path / "source/14_ddim/14_ddim.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if "nbgrader" in c["metadata"]]
    assert [c["metadata"]["nbgrader"].get("points") for c in cells] == [None, 2, None, 2]
    assert all("### BEGIN SOLUTION" in "".join(c["source"]) for c in cells[::2])
    assert all("".join(c["source"]).endswith("assert verdict.right, str(verdict)") for c in cells[1::2])
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    validator.validate_nb(importlib.import_module("nbformat").read(path, 4))


def test_for_otter_each_exercise_has_a_test_that_a_librarys_function_does_not_pass(tmp_path):
    files = export("otter", tmp_path, "14")
    assert sorted(p.name for p in files) == ["14_ddim.ipynb", "ddim_inversion.py", "ddim_sampler.py"]
    exec((tmp_path / "14_ddim/tests/ddim_sampler.py").read_text(), made := {})
    assert made["test"]["points"] == 2 and made["OK_FORMAT"]
    lines = [line[4:] for line in made["test"]["suites"][0]["cases"][0]["code"].splitlines()]
    from course_lib.teaching import checks

    for fn, passes in ((checks.ddim_sampler.reference, True), (checks.ddim_sampler(None).function, False)):
        try:
            exec("\n".join(lines), {"my_ddim_sampler": fn})
        except AssertionError:
            assert not passes
        else:
            assert passes
    with pytest.raises(ValueError, match="--to must be one of"):
        export("canvas", tmp_path)


def test_an_exam_has_versions_and_keys_of_one_page_each(tmp_path):
    files = exam("01-02", 2, tmp_path, n=6)
    assert [path.name for path in files] == ["exam_A.pdf", "key_A.pdf", "exam_B.pdf", "key_B.pdf"]
    pages = [path.read_bytes() for path in files]
    assert all(page.startswith(b"%PDF") and b"/Count 1" in page for page in pages) and len(set(pages)) == 4
    for bad, words in (({"versions": 27}, "--versions"), ({"n": 0}, "--n"), ({"n": 900}, "--lessons must have 900 questions")):
        with pytest.raises(ValueError, match=words):
            exam(**{"wanted": "01", "versions": 1, "folder": tmp_path, "n": 3} | bad)
