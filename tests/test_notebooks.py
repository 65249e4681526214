"""The notebooks as they are stored, and the machinery that builds, runs, exports and moves them."""

import ast
import base64
import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter, LatexExporter, ScriptExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from course_lib.__main__ import main
from course_lib.files import NOTEBOOKS, ROOT, write_atomically
from course_lib.teaching.course_map import course_map
from course_lib.teaching.publish import address, build, claim_table, equations, execute, export, pictures, run
from course_lib.widgets.page import fragment
from course_lib.widgets.still import still

SOURCES = build.sources()
FETCHED = re.compile(r"""(?:\bsrc\s*=|<link[^>]*\bhref\s*=|@import|\burl\(|\bimport\(|\bfetch\()\s*["']?\s*(?:https?:)?//""")
# What `fragment` took: the kind, the fallback, what stands there until the cell runs, and the data.
WIDGET = re.compile(
    r'course-(\w+)" data-widget="\w+">.*?</style>\n(.*?)\n<small class="unrun">(.*?)</small>.*?\nconst data = ([^\n]*);\n',
    re.DOTALL,
)
SMALL = """# %% [markdown]
# # A small lesson

# %% tags=["summary"]
print("half", end="\\r", flush=True)
print("the figure is", 6 * 7)

# %% [markdown]
# ## Where $x_t$ ends

# %%
{last}
"""


@pytest.fixture
def small(tmp_path):
    """The source of a lesson that takes no time, in a folder of its own; call it with what its last cell does."""

    def made(last="1 + 1"):
        (tmp_path / "notebooks/src").mkdir(parents=True, exist_ok=True)
        source = tmp_path / "notebooks/src/07_small.py"
        source.write_text(SMALL.format(last=last), encoding="utf-8")
        return source

    return made


def stored(source):
    return nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", as_version=4)


def each_lesson(test):
    return pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)(test)


# The stored notebooks


@each_lesson
def test_source_and_notebook_are_in_step(source):
    def cells(notebook):
        return [(cell.cell_type, cell.id, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    claims = claim_table.gather(sorted(NOTEBOOKS.glob("[0-9]*.ipynb")))
    assert cells(stored(source)) == cells(claim_table.fill_notebook(build.read(source), claims)), (
        f"run: course build {source.stem[:2]}"
    )


@each_lesson
def test_no_map_of_the_course_is_older_than_the_list_of_lessons(source):
    maps = [(cell, here[1]) for cell in stored(source).cells if (here := build.MAP.search(cell.source))]
    assert [(here, cell.outputs[-1].data) for cell, here in maps] == [
        (source.stem[:2], build.shown(course_map(source.stem[:2])))
    ], "run: course build"


def test_a_build_refreshes_the_maps_of_all_lessons(small):
    source = small('course_map("01")')
    path = source.parents[1] / f"{source.stem}.ipynb"
    notebook = build.read(source)
    notebook.cells[-1].outputs = [new_output("execute_result", {"text/html": "not written yet"})]
    path.write_text(address.to_text(notebook), encoding="utf-8")
    build.refill(path.parent)
    assert "You are at lesson 01" in path.read_text(encoding="utf-8")


@each_lesson
def test_no_text_stands_on_the_line_that_begins_a_text_cell(source):
    """It would be lost: jupytext takes it for the cell's title."""
    assert not re.findall(r"^# %% \[markdown\] +[^ ].*$", source.read_text(encoding="utf-8"), re.MULTILINE)


@each_lesson
def test_every_cell_was_run_in_order_and_none_raised(source):
    code = [cell for cell in stored(source).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [cell.id for cell in code for output in cell.outputs if output.output_type == "error"]


@each_lesson
def test_stored_notebook_is_light_and_holds_for_any_machine(source):
    text = (NOTEBOOKS / f"{source.stem}.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text) <= 1.5e6
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        for output in map(json.dumps, cell.get("outputs", [])):
            assert len(output) <= 1e6, cell["id"]
            assert execute.WIDGET not in output, f"{cell['id']}: a widget needs a text/html beside it in the same output"
            assert not re.search(r"(?<![\w+/=.:])/(?:home|root|tmp|Users|work|content|opt)/\w|\b[A-Z]:\\\\", output), cell["id"]


@each_lesson
def test_every_picture_says_what_it_shows(source):
    for cell in stored(source).cells:
        for output in cell.get("outputs", []):
            page = "".join(output.get("data", {}).get("text/html", ""))
            png = output.get("data", {}).get("image/png")
            if png and "course-widget" not in page:
                assert png in page, f"{cell.id}: show the figure with plots.show(fig, alt=...)"
            for tag in re.findall(r"<img\b[^>]*>", page):
                assert re.search(r'alt="[^"]', tag), cell.id


@each_lesson
def test_every_figure_is_there_for_what_shows_no_html(source):
    """LaTeX, and viewers that strip HTML, take image/png."""
    for cell in stored(source).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if str(data.get("text/plain", "")).startswith("[picture: "):
                assert data["image/png"].strip() in data["text/html"], cell.id
            page = data.get("text/html", "")
            if "course-widget" in page and "<img" in page:
                made, kept = still(page), Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                assert output["metadata"]["image/png"]["alt"] == made.alt and kept.width == made.width, cell.id


@each_lesson
def test_every_widget_has_the_present_style_and_script(source):
    """What `fragment` makes today of a stored widget's own data and fallback is what is stored, byte for byte."""
    stale = []
    for cell in stored(source).cells:
        for page in (output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])):
            widgets = WIDGET.findall(page)
            assert len(widgets) == page.count('<div class="course-widget'), cell.id
            for kind, fallback, unrun, data in widgets:
                if fragment(kind, json.loads(data), fallback, unrun).html not in page:
                    stale.append((cell.id, kind))
    assert not stale, f"run: course build {source.stem[:2]}"


@each_lesson
def test_every_figure_that_a_cell_shows_is_seen(source):
    """`plots.show` gives what a cell displays; only the value of its last line is displayed."""
    for cell in build.read(source).cells:
        if cell.cell_type == "code" and cell.id != "setup":
            *before, _ = ast.parse(cell.source).body
            assert not [node for node in before if ast.unparse(node).startswith("plots.show(")], cell.id


@each_lesson
def test_every_printed_diagnosis_says_something(source):
    for cell in stored(source).cells:
        if cell.cell_type == "code" and re.search(r"print\(.*\.diagnosis", cell.source):
            printed = "".join(output.get("text", "") for output in cell.outputs).strip("\n").split("\n")
            assert not [line for line in printed if not line.strip() or line.rstrip().endswith(":")], cell.id


@each_lesson
def test_page_draws_every_equation_and_fetches_nothing(source):
    text = export.page(stored(source))
    assert not re.findall(r'<code class="latex-source">(.*?)</code>', text)
    heights = re.findall(r'class="equation"[^>]* height="([\d.]+)em"', text)
    assert all(float(height) < 10 for height in heights), heights
    assert not FETCHED.search(text)


def test_the_page_of_claims_is_that_of_the_stored_notebooks():
    stored = claim_table.page(sorted(NOTEBOOKS.glob("[0-9]*.ipynb")))
    assert (NOTEBOOKS / "CLAIMS.md").read_text(encoding="utf-8") == stored, "run: course build"


def test_the_readmes_claims_are_rows_of_the_page_of_claims():
    readme, page = ((path / name).read_text(encoding="utf-8") for path, name in ((ROOT, "README.md"), (NOTEBOOKS, "CLAIMS.md")))
    shown = re.search(r"<!-- claims -->\n(.*?)<!-- /claims -->", readme, re.DOTALL)[1].splitlines()
    assert shown[:2] == claim_table.table([]).splitlines() and 8 <= len(shown) - 2 <= 12
    for row in shown[2:]:
        plain = re.sub(r"\[([0-9]{2})\]\(notebooks/\1_\w+\.ipynb\)", r"\1", row)
        assert plain in page.splitlines(), f"run: course build NN; the README has {row}"
    assert {row.rpartition(" | ")[2] for row in shown[2:]} >= {"yes |", "no |"}, "show what does not hold, too"
    assert claim_table.in_readme(readme, sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))) == readme


def test_the_readme_begins_with_its_two_commands():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30]
    assert sum(line.startswith(("    make demo ", "    make lab ")) for line in first) == 2


# The README's pictures


def test_the_pictures_are_small_and_say_what_they_show():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(\.github/pictures/([^)]+)\)", readme)
    assert {name for _, name in shown} == {path.name for path in pictures.FOLDER.iterdir()} and len(shown) == 3
    for alt, name in shown:
        assert len(alt) > 40 and (pictures.FOLDER / name).stat().st_size <= pictures.MAX_BYTES
    film = Image.open(pictures.FOLDER / "guidance.webp")
    assert film.is_animated and film.n_frames == 17 and film.width >= 500


def test_a_picture_is_what_the_shipped_models_draw():
    stored, anew = (Image.open(file).convert("L") for file in (pictures.FOLDER / "steps.webp", io.BytesIO(pictures.steps())))
    assert stored.size == anew.size
    difference = np.abs(np.asarray(stored, float) - np.asarray(anew, float))
    assert difference.mean() < 2, "run: course pictures"


def test_a_picture_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "guidance", lambda: b"0" * (pictures.MAX_BYTES + 1))
    monkeypatch.setattr(pictures, "captions", lambda: b"")
    monkeypatch.setattr(pictures, "steps", lambda: b"")
    with pytest.raises(ValueError, match="a picture must be at most 60,000 bytes, got 60,001 of guidance.webp"):
        pictures.draw(tmp_path)
    assert not any(tmp_path.iterdir())


# Building


def test_build_stores_what_ran(small, capsys):
    path = build.build(small())
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.id for cell in cells] == ["07-000", "setup", "07-002", "07-003", "07-004"]
    assert cells[2].outputs[0].text == "the figure is 42\n" and cells[4].outputs[0].data == {"text/plain": "2"}
    assert "3/3" in capsys.readouterr().err
    again = path.read_text(encoding="utf-8")
    build.build(small())
    assert path.read_text(encoding="utf-8") == again


def test_a_cell_that_raises_leaves_the_stored_notebook_as_it_was(small, capsys):
    path = small().parents[1] / "07_small.ipynb"
    path.write_text("as it was", encoding="utf-8")
    with pytest.raises(RuntimeError, match="a cell raised ZeroDivisionError: division by zero"):
        build.build(small("1 / 0"))
    assert path.read_text(encoding="utf-8") == "as it was" and "1 / 0" in capsys.readouterr().err
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]


@pytest.mark.parametrize("command, home", [("build", build), ("run", run), ("export", export)])
def test_ctrl_c_says_what_was_not_written(command, home, monkeypatch, capsys):
    stops = iter([True, False, True])  # in the first lesson; then in the second

    def stopped(source):
        if next(stops):
            raise KeyboardInterrupt

    monkeypatch.setattr(home, command, stopped)
    for of in ("", " of 02_epsilon_loss"):
        assert main([command, "01", "02"]) == 130
        assert capsys.readouterr().err == f"course: stopped by hand: nothing was written{of}\n"


def test_unknown_lesson_is_one_line(capsys):
    assert main(["build", "99"]) == 1
    assert capsys.readouterr().err.startswith("course: numbers must be those of lessons, 00, 01")


def test_a_lesson_begins_with_its_title():
    with pytest.raises(ValueError, match="the first cell of x must be Markdown that begins with '# '"):
        address.add_links_and_setup(new_notebook(cells=[new_code_cell("1")]), "x", address.read())


def test_tidy_leaves_what_another_machine_can_use():
    both = new_output("display_data", {execute.WIDGET: {}, "text/html": f"<b>{ROOT}/data</b>", "text/plain": "Both()"})
    cell = new_code_cell("1", metadata={"execution": {}, "tags": ["a"]})
    alone = new_output("display_data", {execute.WIDGET: {}})
    cell.outputs = [new_output("stream", name="stderr", text=" \n"), new_output("stream", text=f"in {ROOT}/x"), alone, both]
    notebook = execute.tidy(
        new_notebook(cells=[cell], metadata={"widgets": {}, "language_info": {"name": "python", "version": "3"}})
    )
    assert notebook.metadata == execute.METADATA and cell.metadata == {"tags": ["a"]}
    assert [o.get("text") for o in cell.outputs] == ["in ./x", None]
    assert cell.outputs[1].data == {"text/html": "<b>./data</b>", "text/plain": "Both()"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old", encoding="utf-8")
    monkeypatch.setattr("os.replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


# Running in a terminal


def test_run_says_what_runs_and_ends_with_the_summary(small, capsys, monkeypatch):
    monkeypatch.setattr(run, "export", lambda source, notebook: export.export(source, notebook, small().parents[2]))
    page = run.run(small())
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  2/3 +\d+\.\d s  A small lesson", lines[0]) and re.fullmatch(r"  3/3 .* s  Where .* ends", lines[1])
    assert lines[2] == "the figure is 42" and lines[-1].endswith(str(page)) and page.exists()
    assert not (small().parents[1] / "07_small.ipynb").exists()


def test_run_prints_its_figures_beside_those_of_the_stored_notebook():
    def ran(*lines):
        cells = [new_code_cell(metadata={"tags": tags}, outputs=[new_output("stream", text=text)]) for tags, text in lines]
        return new_notebook(cells=cells)

    training = "the digit model: {} after {} steps in 50 s, loss 0.1\n".format
    here = ran(([], training("stopped by hand; what it learned is kept", "880")), (["summary"], "accuracy: 0.97\nnew: 1\n"))
    stored = ran(([], training("done", "1,411")), (["summary"], "accuracy: 0.99\nold: 2\n"))
    assert run.beside(here, stored) == [
        "the digit model: 880 steps; in the notebook as it ships 1,411",
        "accuracy: 0.97; in the notebook as it ships 0.99",
        "new: 1",
    ]
    assert run.beside(here, None) == ["accuracy: 0.97", "new: 1"]
    slow = run.beside(ran(([], training("done", "209"))), stored)
    assert (
        slow[1].startswith("These are 15 % of the steps") and "`course run 00 --time 7`" in slow[2] and "export 00" in slow[2]
    )
    lesson = nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    assert len(run.trainings(lesson)) == 1 and len(run.beside(lesson, lesson)) == 1 + len(run.summary(lesson)) > 5


def test_a_training_shows_the_newest_line_of_its_progress(small, monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: SimpleNamespace(columns=40))
    notebook = build.read(small())
    progress = run.SectionProgress(notebook, out)
    text = lambda line: (progress.text(line), progress.over.wait(0.5))
    reporter = SimpleNamespace(start=progress.start, end=progress.end, text=text)
    with progress:
        execute.Client(notebook, reporter, small().parents[1]).run()
    assert re.search(r"\r\033\[K  1/3 +\d\.\d s  half", out.getvalue())
    assert all(len(line) < 40 for line in re.split(r"\r\033\[K|\n", out.getvalue()))


# Pages


def test_equations_sit_on_the_baseline_in_the_colour_of_the_text():
    depth = {letter: float(re.search(r"vertical-align:(-?[\d.]+)em", equations.svg(letter, False))[1]) for letter in "xg"}
    assert -0.15 < depth["x"] < 0 and depth["g"] < depth["x"] - 0.1
    drawn = equations.svg(r"\mathbb E\left[\epsilon \sim q\right]", True)
    assert 'fill="currentColor"' in drawn and 'fill="black"' not in drawn and r'aria-label="\mathbb E\left' in drawn


def test_a_box_is_not_filled():
    for inside in (r"\log x", r"\operatorname{tr} x", r"\int_0^1 p(x)\, dx"):
        assert 'stroke="currentColor" fill="none"' in equations.svg(rf"\boxed{{{inside}}}", True)


@pytest.mark.parametrize("body", [r"\frac{a}{\sum_j b_j}", r"\frac{a}{\int b\, db}", r"\frac{\prod_i a_i}{b}"])
def test_fences_are_as_high_as_what_they_hold(body):
    height = lambda latex: float(re.search(r' height="([\d.]+)em"', equations.svg(latex, True))[1])
    for left, right in (r"\left[", r"\right]"), (r"\left(", r"\right)"), (r"\left\{", r"\right\}"), (r"\left|", r"\right|"):
        assert height(body) - 0.01 <= height(left + body + right) < 1.6 * height(body)


@pytest.mark.parametrize("latex", [r"\nonsense{x}", r"\mathop{\arg\min}", r"\frac{1"])
def test_what_cannot_be_drawn_shows_its_source(latex):
    with pytest.raises(ValueError, match="equation must be LaTeX that can be drawn, got"):
        equations.svg(latex, False)
    assert '<code class="latex-source">' in equations.equation(latex)


def lesson():
    """A notebook with one of each thing that a page must get right."""
    text = "# Title\n\n[![Open](https://example.org/b.svg)](https://example.org/)\n\n$x$ and `$y$`\n\n<details>$z$</details>"
    cell = new_code_cell("1", id="a")
    image = '<img alt="a line" src="data:image/png;base64,AAAA"><script>document.title += "!"</script>'
    cell.outputs = [new_output("display_data", {execute.WIDGET: {"model_id": "7"}, "text/html": image})]
    environment = new_markdown_cell("\\begin{align}a &= b \\\\ c &= d\\end{align}\n\n$$" + "a + " * 99 + "z$$")
    return new_notebook(cells=[new_markdown_cell(text), new_code_cell("setting_up", id="setup"), environment, cell])


def test_page_needs_nothing_else():
    text = export.page(lesson())
    labels = re.findall(r'aria-label="([^"]*)"', text)
    assert labels[:2] == ["x", "z"] and labels[2].startswith("\\begin{align}") and "<code>$y$</code>" in text
    assert not FETCHED.search(text) and not re.search("mathjax|require.min|mermaid|unpkg", text, re.IGNORECASE)
    assert "setting_up" not in text and 'alt="a line"' in text and "widget-view" not in text
    assert '<a href="https://example.org/">Open</a>' in text


# The address


@pytest.fixture
def set_up(monkeypatch, tmp_path):
    """set_up(folder): runs the setup cell with its kernel in this folder of a disk without the library; what the shell ran."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = TransformerManager().transform_cell(address.Address("ada", "course").setup)
    course = tmp_path / "Übungen & more"
    (course / "course_lib").mkdir(parents=True)
    (course / "course_lib/__init__.py").touch()
    (course / "my/deep").mkdir(parents=True)

    def set_up(folder):
        commands = []
        monkeypatch.chdir(folder)
        exec(code, {"get_ipython": lambda: SimpleNamespace(system=commands.append)})
        return commands

    set_up.course = course
    return set_up


def test_setup_cell_leaves_an_installed_course_alone(set_up, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    before = list(sys.path)
    assert set_up(tmp_path) == [] and sys.path == before


@pytest.mark.parametrize("folder", [".", "my", "my/deep", "course_lib"])
def test_setup_cell_finds_the_course_from_any_of_its_folders(set_up, folder):
    assert set_up(set_up.course / folder) == [] and sys.path[0] == str(set_up.course)


def test_setup_cell_says_in_one_line_what_to_do_elsewhere(set_up, tmp_path):
    with pytest.raises(ImportError) as raised:
        set_up(tmp_path)
    assert str(raised.value).startswith("course_lib was not found: run `%cd FOLDER`") and "\n" not in str(raised.value)
    assert set_up(set_up.course) == [] and sys.path[0] == str(set_up.course)  # after doing so


def test_setup_cell_fetches_the_course_in_colab(set_up, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    there = lambda path: path == Path("/content/course/course_lib/__init__.py")
    monkeypatch.setattr("pathlib.Path.exists", there)
    commands = set_up("/")
    assert sys.path[0] == "/content/course"
    assert commands == ["test -d {home} || git clone -q --depth 1 -b main https://github.com/ada/course {home}"]
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)  # what git says stands above
    with pytest.raises(ImportError, match="course_lib was not found"):
        set_up("/")


@each_lesson
def test_a_notebook_shows_no_picture_of_a_server(source):
    """One would be missing offline, and no LaTeX has a place for it."""
    cells = [cell.source for cell in stored(source).cells if cell.cell_type == "markdown"]
    assert cells and not [text for text in cells if re.search(r"!\[[^]]*\]\(\s*https?:|<img[^>]*https?:", text)]


@pytest.mark.skipif(not shutil.which("pandoc"), reason="LaTeX is written by pandoc")
def test_a_lesson_is_latex_with_its_pictures_and_equations():
    notebook = nbformat.read(NOTEBOOKS / "02_epsilon_loss.ipynb", as_version=4)
    latex, resources = LatexExporter().from_notebook_node(notebook)
    shown = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(shown) > 5 and len(resources["outputs"]) == len(shown)
    assert all(latex.count(f"{{{name}}}") == 1 for name in resources["outputs"]) and r"\includesvg" not in latex
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert latex.count(r"\[") == sum(text.count("$$") for text in texts) // 2 > 3
    assert resources["output_extension"] == ".tex"


def test_a_lesson_is_a_script_and_a_plain_page_with_its_pictures_and_equations():
    notebook = execute.tidy(nbformat.read(NOTEBOOKS / "02_epsilon_loss.ipynb", as_version=4))
    script, resources = ScriptExporter().from_notebook_node(notebook)
    assert resources["output_extension"] == ".py" and compile(script, "lesson", "exec")
    page, _ = HTMLExporter().from_notebook_node(notebook)
    shown = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(shown) > 5 and page.count('src="data:image/png;base64,') >= len(shown)
    displayed = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown").count("$$")
    assert page.count("$$") >= displayed > 5  # MathJax draws them; with no network, a reader has their LaTeX


def test_publish_moves_everything_and_does_so_once(tmp_path, small):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").write_text("# Course\n\n<!-- badges -->\nold\n<!-- /badges -->\n\nText\n", encoding="utf-8")
    notebook = build.read(small())
    notebook.cells[2].outputs = [new_output("stream", text="kept\n")]
    (tmp_path / "notebooks/07_small.ipynb").write_text(address.to_text(notebook), encoding="utf-8")
    changed = address.publish("ada/her.course", tmp_path)
    assert [path.name for path in changed] == ["pyproject.toml", "README.md", "07_small.ipynb"]
    assert address.read(tmp_path / "pyproject.toml") == address.Address("ada", "her.course", address.read().branch)
    for path in changed:
        assert '"her.course"' in path.read_text(encoding="utf-8") or "ada/her.course" in path.read_text(encoding="utf-8")
        assert "/diffusion-course" not in path.read_text(encoding="utf-8")
    assert 'Repository = "https://github.com/ada/her.course"' in changed[0].read_text(encoding="utf-8")
    assert '"kept\\n"' in changed[2].read_text(encoding="utf-8") and changed[1].read_text(encoding="utf-8").endswith(
        "<!-- /badges -->\n\nText\n"
    )
    assert address.publish("ada/her.course", tmp_path) == []


@pytest.mark.parametrize(
    "bad", ["", "ada", "ada/", "/course", "a/b/c", "ada/co urse", "ada/..", "-ada/x", 'ada/x"y', "ada/x\n"]
)
def test_publish_refuses_what_is_no_repository(bad, tmp_path):
    with pytest.raises(ValueError, match="owner_repo must be OWNER/REPO, such as ada/diffusion-course, got") as error:
        address.publish(bad, tmp_path)
    assert "\n" not in str(error.value)


def test_a_speakers_questions_stand_in_sources_alone_each_before_a_widget():
    for source in build.sources():
        assert "<!-- Ask" not in "".join(cell.source for cell in build.read(source).cells)
        code = {cell.id: cell for cell in build.read(source).cells if cell.cell_type == "code"}
        asked = build.questions(source)
        assert asked.keys() <= code.keys() and len(asked) == source.read_text(encoding="utf-8").count("<!-- Ask: ")
