"""The course works where a reader has put it: a folder with spaces and umlauts, CRLF, no home, a terminal of another time."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from course_lib.__main__ import main
from course_lib.files import NOTEBOOKS, ROOT
from course_lib.teaching.publish import build
from course_lib.teaching.publish.export import export
from course_lib.widgets.page import HERE, bundle

TEXT = {".py", ".js", ".css", ".j2", ".json", ".md", ".toml", ".ipynb"}
LESSON = """# %% [markdown]
# # 99 Größe
#
# **You will be able to** say ε.

# %% tags=["summary"]
import sys

from course_lib import plots
from course_lib.files import ROOT
from course_lib.teaching.checks import add_noise

print("ε → 0 ✓ in", ROOT)
print("ε of the bar", file=sys.stderr)
add_noise(add_noise.reference)

# %%
plots.style()
plots.show(plots.plt.figure(figsize=(2, 1)), alt="ε, alone")
"""


def with_crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A function that runs Python in a copy of the course, which a reader of little luck has made, and returns its stdout."""
    root = tmp_path_factory.mktemp("Größe & Maß") / "Kopie (2) von ‘course’"
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("course_lib", "notebooks/src"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copytree(ROOT / "data/figures", root / "data/figures")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copy(NOTEBOOKS / "01_forward_process.ipynb", root / "notebooks")
    (root / "notebooks/src/99_groesse.py").write_text(LESSON, encoding="utf-8")
    for path in root.rglob("*"):
        if path.suffix in TEXT:
            path.write_bytes(with_crlf(path.read_bytes()))
    for path in [*(ROOT / "data").iterdir(), *NOTEBOOKS.glob("*.ipynb")]:  # not text, or as large
        if not (place := root / path.relative_to(ROOT)).exists():
            place.symlink_to(path)
    (root / "file").touch()
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "cp1252"}

    def python(*args, **more):
        done = subprocess.run([sys.executable, *args], cwd=root, env=environment | more, capture_output=True)
        assert done.returncode == 0, (done.stdout + done.stderr).decode("cp1252", "replace")[-3000:]
        return done.stdout.decode("cp1252")

    python.root = root
    return python


def test_a_lesson_runs_and_becomes_a_page(course):
    shown = course("-m", "course_lib", "run", "99", HOME=str(course.root / "file/none"))  # cannot be made
    assert "\\u03b5 \\u2192 0 \\u2713 in " in shown and "Größe" in shown
    page = (course.root / "build/99_groesse.html").read_text(encoding="utf-8")
    assert "ε → 0 ✓ in ." in page and "✓ add_noise is right." in page and 'alt="ε, alone"' in page and "<title>99 Größe" in page


HOMELESS = """
import os, pwd, sys

def getpwuid(uid):
    raise KeyError(uid)  # as in a container whose user has no name

os.environ.pop("HOME", None)
pwd.getpwuid = getpwuid
assert os.path.expanduser("~") == "~"
from course_lib.__main__ import main
sys.exit(main(["export", "01"]))
"""


def test_a_page_has_the_same_bytes_without_any_home(course, tmp_path):
    course("-c", HOMELESS)
    made = (course.root / "build/01_forward_process.html").read_bytes()
    assert made == export(NOTEBOOKS / "src/01_forward_process.py", folder=tmp_path).read_bytes()


FROM_SOURCES = """
import json
from course_lib.teaching import checks
from course_lib.teaching.checks.check import Check
from course_lib.teaching.publish import address, build
from course_lib.widgets.page import HERE, bundle

every = [check for check in vars(checks).values() if isinstance(check, Check)]
assert len(every) > 40 and all(check(check.reference).right for check in every)
assert not any("\\r" in str(check.solution) for check in every)
assert b"\\r\\n" in (HERE / "page.js").read_bytes()
notebook = build.read(build.sources(["01"])[0])
print(json.dumps([{path.stem: bundle(path.stem) for path in HERE.glob("*.js")}, [cell.source for cell in notebook.cells]]))
"""


def test_what_is_made_from_sources_is_the_same(course):
    scripts, cells = json.loads(course("-c", FROM_SOURCES))
    assert scripts == {path.stem: bundle(path.stem) for path in HERE.glob("*.js")}
    assert cells == [cell.source for cell in build.read(NOTEBOOKS / "src/01_forward_process.py").cells]


# Terminals


@pytest.fixture
def old_terminal(monkeypatch):
    """old_terminal(encoding): stdout and stderr become a terminal of this encoding; gives what was written there."""

    def old_terminal(encoding):
        written = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding, write_through=True))
        return lambda: written.getvalue().decode(encoding)

    return old_terminal


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("command", ["progress", "models", "models --json", "claims", "claims --json", "claims 99", "--help"])
def test_every_command_can_print_in_any_terminal(command, encoding, old_terminal, monkeypatch):
    stored = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    monkeypatch.setattr(build, "rebuilt", lambda numbers: build.sources(numbers) and stored)
    written = old_terminal(encoding)
    try:
        code = main(command.split())
    except SystemExit as end:  # argparse's own
        code = end.code
    assert code == (1 if "99" in command else 0), written()
    assert "Traceback" not in written() and len(written()) > 40
    if "--json" in command:
        assert json.loads(written())
    if command == "claims":
        assert "E[ε" in written().replace("\\u03b5", "ε")


# Sources


@pytest.mark.parametrize("folder", ["course_lib", "notebooks/src"])
def test_every_text_file_is_opened_as_utf_8(folder):
    calls = re.compile(r"(?<!Image\.)(?<!safe_)(?<!webbrowser\.)(?<!os\.)\b(?:open|read_text|write_text)\((.*)")
    for path in (ROOT / folder).rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if (call := calls.search(line)) and not re.search('encoding=|"[rwax]b"', call[1]) and "def " not in line:
                pytest.fail(f"{path.name}: {line.strip()}")


def test_git_writes_the_same_bytes_on_every_system():
    given = subprocess.run(
        ["git", "check-attr", "eol", "text", "--stdin"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input="binder/start\n.ci/run\nnotebooks/00_start_here.ipynb\ncourse_lib/files.py\ndata/mnist5k.npz\n",
    )
    if given.returncode:
        pytest.skip("the course is not a git repository here")
    said = dict(re.findall(r"^(.*): eol: (.*)$", given.stdout, re.MULTILINE))
    assert list(said.values()) == ["lf"] * 5 and "data/mnist5k.npz: text: unset" in given.stdout
