"""A student's progress is kept whatever happens to the file, and their copies of notebooks stay as they are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.files import NOTEBOOKS, ROOT
from course_lib.nets.clip import contrastive_loss
from course_lib.teaching import checks as check
from course_lib.teaching import course_map, progress
from course_lib.teaching.checks import check as machinery
from course_lib.teaching.course_map import written


@pytest.fixture
def file(tmp_path):
    return tmp_path / "my/progress.json"


def test_a_pass_is_kept_with_its_first_day(file, monkeypatch):
    assert progress.passed(file) == {}
    progress.note("add_noise", file)
    (first,) = progress.passed(file).values()
    monkeypatch.setattr(progress, "date", None)  # a second pass needs no date
    progress.note("add_noise", file)
    assert progress.passed(file) == {"add_noise": first} and len(first) == 10


def test_damaged_files_are_set_aside_and_not_lost(file, capsys):
    for damaged in ('{"passed": ', "[" * 100_000):
        file.parent.mkdir(exist_ok=True)
        file.write_text(damaged, encoding="utf-8")
        assert progress.passed(file) == {} and "progress.json could not be read\n" in capsys.readouterr().err
        assert file.exists()  # only who writes sets it aside
        progress.note("slerp", file)
        assert list(progress.passed(file)) == ["slerp"]
    assert file.with_suffix(".damaged.json").read_text(encoding="utf-8") == '{"passed": '
    assert file.with_name("progress.damaged2.json").stat().st_size == 100_000
    assert "kept as progress.damaged2.json, and a new one begins" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_damage(encoding, file, capsys):
    file.parent.mkdir()
    file.write_text('{"passed": {"slerp": "2026-11-28"}}', encoding=encoding)
    progress.note("add_noise", file)
    assert list(progress.passed(file)) == ["slerp", "add_noise"] and capsys.readouterr().err == ""


EIGHT_AT_ONCE = """
import sys
from pathlib import Path
from threading import Barrier, Thread
from course_lib.teaching.progress import note

file, writer, together = Path(sys.argv[1]), sys.argv[2], Barrier(8)
threads = [Thread(target=lambda k=k: (together.wait(), note(f"{writer}-{k}", file))) for k in range(8)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_24_writers_in_threads_and_processes_lose_nothing(file):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", EIGHT_AT_ONCE, str(file), str(k)], env=environment, **pipes) for k in range(3)
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 3
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=60)[1] for writer in writers] == [""] * 3
    assert sorted(progress.passed(file)) == sorted(f"{writer}-{k}" for writer in range(3) for k in range(8))
    assert not list(file.parent.glob("*.part")) and not list(file.parent.glob("*damaged*"))


def test_a_folder_that_cannot_be_written_stops_nobody(file, capsys):
    file.parent.write_text("a file where the folder should be", encoding="utf-8")
    progress.note("slerp", file)
    assert "progress is not kept" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_stops_nobody(file, capsys):
    file.mkdir(parents=True)
    assert progress.passed(file) == {}
    progress.note("slerp", file)
    assert "could not be read" in capsys.readouterr().err and progress.passed(file.parent / "other.json") == {}


def test_a_lock_that_cannot_be_had_stops_nobody(file, capsys, monkeypatch):
    def no_locks(*args, **kwargs):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(progress, "FileLock", no_locks)
    progress.note("slerp", file)
    assert capsys.readouterr().err == "progress is not kept: no locks here\n" and not file.exists()


def test_checks_note_what_is_right_and_only_in_a_notebook(monkeypatch):
    noted = []
    monkeypatch.setattr(machinery, "note", noted.append)
    assert check.contrastive_loss(contrastive_loss).right and noted == []
    monkeypatch.setattr(machinery, "in_notebook", lambda: True)
    assert not check.contrastive_loss(lambda *args: 0).right and noted == []
    assert check.contrastive_loss(contrastive_loss).right and noted == ["contrastive_loss"]


def test_every_exercise_of_a_lesson_is_a_check_and_each_is_known(file):
    found = progress.exercises()
    assert found["01"] == ["add_noise", "cosine_beta", "posterior", "reverse_chain"]
    assert all(hasattr(check, name) for names in found.values() for name in names)
    progress.note("cosine_beta", file)
    shown = progress.progress(file)
    assert "[ ] add_noise  [x] cosine_beta  [ ] posterior" in str(shown) and "1 of " in str(shown).splitlines()[-1]
    assert "✓ cosine_beta" in shown._repr_html_()


def test_a_copy_is_the_students_and_stays(tmp_path):
    copy = progress.start("01", tmp_path / "my")
    notebook = json.loads(copy.read_text(encoding="utf-8"))
    notebook["cells"][0]["source"] = "mine"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    assert progress.start("01", tmp_path / "my") == copy and json.loads(copy.read_text(encoding="utf-8")) == notebook
    with pytest.raises(ValueError, match="number must be one of 00, .*got '99'"):
        progress.start("99", tmp_path)


def test_every_link_of_a_copy_leads_to_a_copy_or_to_the_lesson(tmp_path):
    copies = [progress.start(number, tmp_path) for number in ("03", "02", "01")]
    outside = Path(os.path.relpath(NOTEBOOKS, tmp_path)).as_posix() + "/"
    for copy in copies:
        text = copy.read_text(encoding="utf-8")
        links = [link for link in re.findall(r'(?:\]\(|href=\\")([^")#\\]+)', text) if not re.match("[a-z]+:", link)]
        assert {Path(link).name for link in links} == {name for name in written().values() if name != copy.name}
        assert not [link for link in links if not (tmp_path / link).is_file()]
        assert text.replace(outside, "") == (NOTEBOOKS / copy.name).read_text(encoding="utf-8")
    text = copies[2].read_text(encoding="utf-8")
    assert f"]({copies[1].name})" in text and f'href=\\"{outside}04_unet.ipynb' in text


def test_the_map_in_a_copy_leads_to_copies(monkeypatch, tmp_path):
    my = tmp_path / "my"
    copy = progress.start("02", my)
    monkeypatch.setattr(course_map, "MY", my)
    assert f'href="{copy.name}"' in course_map.course_map("01")._repr_html_()
    monkeypatch.chdir(my)
    shown = course_map.course_map("01")._repr_html_()
    assert f'href="{copy.name}"' in shown and 'notebooks/03_score_and_langevin.ipynb"' in shown
