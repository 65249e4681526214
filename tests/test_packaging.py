"""What installs the course: the lists of what it needs agree, its commands hold together, its links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib.__main__ import main
from course_lib.files import ROOT
from course_lib.teaching import environment
from course_lib.teaching.publish import address
from course_lib.zoo import checkpoints

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def ranges(*lists: list[str]) -> dict[str, str]:
    """Name to range, of requirements as pip writes them; the course's own name is left out."""
    found = [Requirement(line) for each in lists for line in each]
    return {canonicalize_name(r.name): str(r.specifier) for r in found if r.name != PROJECT["name"]}


def conda(path: str) -> dict[str, str]:
    """Name to range, of a conda environment's packages and of those that it leaves to pip, without Python and pip."""
    listed = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["dependencies"]
    by_pip = [line for entry in listed if isinstance(entry, dict) for line in entry["pip"] if not line.startswith("-")]
    return ranges([e for e in listed if isinstance(e, str) and not e.startswith("python=") and e != "pip"], by_pip)


CORE = ranges(PROJECT["dependencies"])
EXTRAS = PROJECT["optional-dependencies"]


def test_licence_citation_and_changes_are_those_of_the_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["title"]) == (PROJECT["version"], PROJECT["description"])
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert set(cited["license"]) < set(PROJECT["license"].split(" AND ")) and all(
        (ROOT / f).is_file() for f in PROJECT["license-files"]
    )
    newest = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == PROJECT["version"]


def test_conda_lists_what_pip_lists():
    pip = CORE | ranges(EXTRAS["lab"])
    assert conda("environment.yml") == {{"torch": "pytorch"}.get(name, name): which for name, which in pip.items()}


def test_binder_has_the_core_without_a_gpu():
    assert conda("binder/environment.yml") == {{"torch": "pytorch-cpu"}.get(name, name): which for name, which in CORE.items()}


@pytest.mark.parametrize("path", ["environment.yml", "binder/environment.yml"])
def test_conda_channels_and_python(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert yaml.safe_load(text)["channels"] == ["conda-forge", "nodefaults"]
    assert re.search(r"^  - python=3\.1[123]$", text, re.MULTILINE), "repo2docker reads python=3.x and no other form"
    assert "cuda" not in text


def test_constraints_are_plain_and_within_the_ranges():
    lines = (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line) for line in lines if not line.startswith("#"))
    assert not [name for name in tested if name.startswith(("nvidia-", "cuda-"))]
    wanted = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["test"]]
    for each in wanted:
        if each.name != PROJECT["name"]:
            assert each.specifier.contains(tested[canonicalize_name(each.name)]), each


def test_colab_versions_are_within_the_ranges():
    for line in (ROOT / ".ci/colab.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name in CORE:
            assert Requirement(f"{name}{CORE[name]}").specifier.contains(version), line


FORMS = {
    ".github/workflows": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE": "github-issue-forms",
}


def by_schema(schema, *files):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True).returncode


@pytest.mark.parametrize("place", FORMS)
def test_what_a_fork_needs_has_the_form_that_the_service_reads(place, tmp_path):
    files = sorted((ROOT / place).glob("*.yml")) or [ROOT / place]
    assert by_schema(FORMS[place], *files) == 0
    spoilt = tmp_path / "spoilt.yml"
    spoilt.write_text(re.sub(r"^(jobs|body|updates):", r"\1s:", files[0].read_text(), flags=re.MULTILINE))
    assert by_schema(FORMS[place], spoilt) == 1


def test_what_the_workflows_make_can_be_made():
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [
        path.read_text() for path in [*(ROOT / ".github/workflows").glob("*.yml"), ROOT / ".devcontainer/devcontainer.json"]
    ]
    asked = {target for text in texts for target in re.findall(r"\bmake ([\w./-]+)", text)}
    assert {"test", "check", "site", ".venv/lab"} <= asked <= targets


def test_every_package_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "course_lib").rglob("__init__.py")}
    assert set(setuptools["packages"]) == packages | setuptools["package-dir"].keys()


def test_the_package_says_where_it_comes_from():
    assert PROJECT["urls"] == {"Repository": address.read().url}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs `course` with these arguments in an empty folder, from the files of a wheel built here."""
    folder = tmp_path_factory.mktemp("wheel")
    made = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "checkout"]
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for file in filter(None, files):  # a copy: a build leaves its folders behind
        if not file.startswith(("tests/", ".")) and (ROOT / file).is_file():
            (folder / "checkout" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / "checkout" / file)
    subprocess.run([sys.executable, "-m", *made], check=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 60e6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    before = {path: path.stat().st_mtime_ns for path in (folder / "site").rglob("*") if "__pycache__" not in path.parts}
    home = folder / "empty"
    home.mkdir()

    def course(*arguments):
        run = [sys.executable, "-m", "course_lib", *arguments]
        done = subprocess.run(
            run, cwd=home, env=os.environ | {"PYTHONPATH": f"{folder / 'site'}"}, capture_output=True, text=True
        )
        after = {path: path.stat().st_mtime_ns for path in (folder / "site").rglob("*") if "__pycache__" not in path.parts}
        assert before.keys() == after.keys() and all(path.is_dir() or before[path] == after[path] for path in before)
        return done, home

    course.site = folder / "site/course_lib"
    return course


def test_a_wheel_holds_the_library_data_and_lessons(installed):
    development = {f"course_lib/widgets/{name}" for name in ("biome.json", "jsconfig.json", "matmul.wat")}
    for folder, home in {"data": installed.site, "notebooks": installed.site, "course_lib": installed.site.parent}.items():
        files = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        assert len(files) > 40 and not [file for file in {*files} - development if not (home / file).is_file()]


def test_an_installed_course_samples_starts_and_reports(installed):
    done, home = installed("sample", "digits", "--label", "3", "-n", "2", "--steps", "4", "--out", "three.png")
    assert done.returncode == 0 and (home / "three.png").is_file(), done.stderr
    done, _ = installed("start", "02")
    assert done.returncode == 0 and (home / "my/02_epsilon_loss.ipynb").is_file(), done.stderr
    done, _ = installed("doctor")
    assert "an installed package" in done.stdout and "models and the digits were read: as shipped." in done.stdout, done


def test_an_installed_course_is_never_changed(installed):
    done, home = installed("build", "02")
    assert done.returncode == 1 and "must be run in the course's repository" in done.stderr
    done, _ = installed("train", "ring", "--seconds", "1")
    assert (home / "build/checkpoints/ring.safetensors").is_file(), done.stderr


def test_doctor_names_a_damaged_model(tmp_path):
    shutil.copy(checkpoints.shipped("ring"), tmp_path / "good.safetensors")
    report, well = environment.doctor(tmp_path)
    assert well and "1 models and the digits were read: as shipped." in report
    (tmp_path / "bad.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:-9])
    report, well = environment.doctor(tmp_path)
    assert not well and "NO  path must be a whole safetensors file" in report
    (tmp_path / "none").mkdir()
    assert not environment.doctor(tmp_path / "none")[1]


def test_lab_says_what_a_container_needs(monkeypatch, capsys):
    monkeypatch.setattr("os.geteuid", lambda: 0, raising=False)
    assert main(["lab", "02"]) == 1 and "--allow-root" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["lab", "02"]) == 1 and "pip install" in capsys.readouterr().err


@pytest.mark.parametrize("path", [".ci/run", "binder/postBuild", "binder/start"])
def test_scripts_can_be_run(path):
    assert os.access(ROOT / path, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / path], check=True)


def test_binder_start_passes_on_its_command():
    done = subprocess.run([ROOT / "binder/start", "sh", "-c", "echo $OMP_NUM_THREADS"], capture_output=True, text=True)
    assert done.stdout == "1\n"


def test_binder_builds_as_conda(monkeypatch):
    buildpacks = pytest.importorskip("repo2docker.buildpacks", reason="repo2docker is not installed (extra: dev)")
    monkeypatch.chdir(ROOT)
    pack = buildpacks.CondaBuildPack(base_image="docker.io/library/buildpack-deps:noble")
    pack.platform = "linux/amd64"
    assert pack.detect() and pack.python_version == "3.12"
    rendered = pack.render()
    assert "binder/environment.yml" in rendered and "binder/postBuild" in rendered and "binder/start" in rendered


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_targets_are_lines_a_person_could_type():
    for target in ("demo", "check", "test", "lab", "notebooks", "site", "clean"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert len(done.stdout.splitlines()) <= 6, done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_says_which_python_it_needs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/constraints.txt").touch()
    old = tmp_path / "python3.9"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1); $2"\n')
    old.chmod(0o755)
    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and not (tmp_path / ".venv").exists()
    assert "needs Python 3.11 or newer" in done.stderr and "3.9" in done.stderr


def test_links_of_the_readme_lead_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / target).exists(), target


def test_badges_of_the_readme_are_those_of_the_address():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- badges -->\n{address.read().badges('00_start_here')}\n<!-- /badges -->" in text
    assert all(Path(ROOT, "notebooks", f"{name}.ipynb").exists() for name in re.findall(r"notebooks/(\w+)\.ipynb", text))


def test_addresses_have_the_forms_that_the_services_document():
    here = address.Address("ada", "her.course")
    file = "ada/her.course/blob/main/notebooks/07_x.ipynb"
    assert here.colab("07_x") == f"https://colab.research.google.com/github/{file}"
    assert here.binder("07_x") == "https://mybinder.org/v2/gh/ada/her.course/main?labpath=notebooks/07_x.ipynb"
    assert here.codespaces == "https://codespaces.new/ada/her.course?ref=main"
    assert here.kaggle("07_x") == f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}"
    link = urlsplit(here.hub("07_x", "https://hub.uni.edu"))
    assert (link.netloc, link.path) == ("hub.uni.edu", "/hub/user-redirect/git-pull")
    asked = {"repo": [here.url], "branch": ["main"], "urlpath": ["lab/tree/her.course/notebooks/07_x.ipynb"]}
    assert parse_qs(link.query) == asked
    assert f"git clone --depth 1 {here.url}`" in here.badges("07_x")  # the history weighs more than the course
    assert f"git clone -q --depth 1 -b main {here.url} " in here.setup


def test_slow_tests_exist():
    names = re.findall(
        r'^    "(test_\w+\.py)(?:::(\w+))?",$', (ROOT / "tests/conftest.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    for file, name in names:
        assert f"def {name or 'test_'}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"
    assert names
