"""A student's progress is kept whatever happens to the file, and their copies of notebooks stay as they are."""

import json

import pytest

from course_lib.files import NOTEBOOKS
from course_lib.nets.clip import contrastive_loss
from course_lib.teaching import checks as check
from course_lib.teaching import progress
from course_lib.teaching.checks import check as machinery


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


def test_a_damaged_file_is_set_aside_and_not_lost(file, capsys):
    file.parent.mkdir()
    file.write_text('{"passed": ')
    progress.note("slerp", file)
    assert list(progress.passed(file)) == ["slerp"]
    assert (
        file.with_suffix(".damaged.json").read_text() == '{"passed": '
        and "kept as progress.damaged.json" in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written_stops_nobody(file, capsys):
    file.parent.write_text("a file where the folder should be")
    progress.note("slerp", file)
    assert "progress is not kept" in capsys.readouterr().err


def test_checks_note_what_is_right_and_only_in_a_notebook(monkeypatch):
    noted = []
    monkeypatch.setattr(machinery, "note", noted.append)
    assert check.contrastive_loss(contrastive_loss).right and noted == []
    monkeypatch.setattr(machinery, "in_notebook", lambda: True)
    assert not check.contrastive_loss(lambda *args: 0).right and noted == []
    assert check.contrastive_loss(contrastive_loss).right and noted == ["contrastive_loss"]


def test_every_exercise_of_a_lesson_is_a_check_and_each_is_known(file):
    found = progress.exercises()
    assert found["01"] == ["add_noise", "cosine_beta", "posterior"]
    assert all(hasattr(check, name) for names in found.values() for name in names)
    progress.note("cosine_beta", file)
    shown = progress.progress(file)
    assert "○ add_noise  ✓ cosine_beta  ○ posterior" in str(shown) and "1 of " in str(shown).splitlines()[-1]
    assert "✓ cosine_beta" in shown._repr_html_()


def test_a_copy_is_the_students_and_stays(tmp_path):
    copy = progress.start("01", tmp_path / "my")
    assert copy.read_bytes() == (NOTEBOOKS / copy.name).read_bytes()
    notebook = json.loads(copy.read_text())
    notebook["cells"][0]["source"] = "mine"
    copy.write_text(json.dumps(notebook))
    assert progress.start("01", tmp_path / "my") == copy and json.loads(copy.read_text()) == notebook
    with pytest.raises(ValueError, match="number must be one of 00, .*got '99'"):
        progress.start("99", tmp_path)
