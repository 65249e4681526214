"""All models made anew: in an order that works, in a folder of their own, going on where it was stopped, and compared."""

import inspect
from dataclasses import replace

import pytest
import torch

from course_lib import checkpoints, models
from course_lib.__main__ import main
from course_lib.recipes import RECIPES
from course_lib.remake import Row, remake, summary, table

SHIPPED = checkpoints.FOLDER


def hasty(recipe):
    """The same, but for its figures, which are of as few samples as can be measured."""
    first, *rest = inspect.signature(recipe.figures).parameters
    return replace(recipe, figures=lambda model: recipe.figures(model, 5) if rest[:1] in (["n"], ["n_samples"]) else {})


@pytest.fixture(autouse=True)
def one_thread():
    """Thirty single steps are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few(monkeypatch):
    """Only these recipes."""

    def few(*names):
        for name in RECIPES.keys() - set(names):
            monkeypatch.delitem(RECIPES, name)

    return few


def test_all_can_be_made_in_their_order_from_nothing_but_themselves(tmp_path, monkeypatch):
    for name, recipe in list(RECIPES.items()):
        monkeypatch.setitem(RECIPES, name, hasty(recipe))
    before, opened = {path: path.read_bytes() for path in SHIPPED.iterdir()}, []
    real = checkpoints.safe_open
    monkeypatch.setattr(
        checkpoints, "safe_open", lambda path, **how: opened.append((checkpoints.FOLDER, path)) or real(path, **how)
    )
    rows = list(remake(tmp_path, seconds=0.01))
    assert list(dict.fromkeys(row.model for row in rows)) == list(RECIPES)
    assert {path.stem for path in tmp_path.iterdir()} == RECIPES.keys()
    assert before == {path: path.read_bytes() for path in SHIPPED.iterdir()}
    read = [path for folder, path in opened if folder == tmp_path]
    assert len(read) > 20 and all(path.parent == tmp_path for path in read), f"a recipe reads what ships: {read}"
    assert checkpoints.FOLDER == SHIPPED


def test_it_goes_on_where_it_was_stopped_and_compares(tmp_path, monkeypatch, capsys, few):
    few("ring", "paraphraser_small", "classifier")
    out = ["--seconds", "0.3", "--out", str(tmp_path)]
    real, made = models.make, []

    def make(name, *args):
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt(f"stopped: what {name} learned")
        return real(name, *args)

    monkeypatch.setattr(models, "make", make)
    assert main(["train", "--all", *out]) == 130
    shown = capsys.readouterr()
    assert "| ring | relative error of eps | 0.02643 |" in shown.out and "stopped: what classifier learned" in shown.err
    assert main(["train", "--all", *out]) == 1  # a third of a second teaches little
    assert made == ["ring", "classifier", "classifier", "paraphraser_small"]
    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if line.startswith("| ")]
    assert any(
        line.startswith("| ring | sliced Wasserstein distance | 0.02914 |") and line.endswith("**no** |") for line in lines
    )
    assert any(line.startswith("| 3 models | seconds | 470 | ") for line in lines)
    assert "are farther from the shipped ones" in shown.err
    assert main(["train", "--all", *out]) == 1 and len(made) == 4  # all are finished


def test_the_shipped_models_and_those_of_other_seeds_are_left_alone(tmp_path, capsys, few):
    few("ring")
    assert main(["train", "--all", "--out", str(SHIPPED)]) == 1
    assert "out must be a folder of its own" in capsys.readouterr().err
    list(remake(tmp_path, seconds=0.1))
    before = (tmp_path / "ring.safetensors").read_bytes()
    for options, words in ({"seed": 1, "seconds": 0.1}, "seed 1, at most 0.1 s"), ({}, "seed 0, without limit"):
        with pytest.raises(ValueError, match=f"out must hold models of {words}, got .*, of seed 0, at most 0.1 s"):
            list(remake(tmp_path, **options))
    assert (tmp_path / "ring.safetensors").read_bytes() == before


@pytest.mark.parametrize("line", ["train", "train ring --all"])
def test_it_is_one_or_all(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    "figure, shipped, near, far",
    [
        ("class accuracy, plain (w = 1)", 0.97, 0.90, 0.88),
        ("binding, new pairs", 0.365, 0.44, 0.45),
        ("Frechet distance, plain (w = 1)", 0.06, 0.09, 0.1),
        ("Frechet distance, 1 step", 3.977, 3.2, 3.1),
        ("the same, real against real", 0.034, 0.06, 0.07),
        ("the same, with noise of time 200 in them", 0.3671, 0.46, 0.47),
        ("perplexity of hidden words", 2.7, 3.2, 3.3),
        ("PSNR in decibels, words", 45.4, 44.5, 44.3),
    ],
)
def test_bounds_are_those_of_the_kind_of_figure(figure, shipped, near, far):
    assert Row("a", figure, shipped, shipped).within and Row("a", figure, shipped, near).within
    assert not Row("a", figure, shipped, far).within and not Row("a", figure, shipped, float("nan")).within


def test_seconds_and_speed_are_the_machines_and_what_does_not_ship_is_not_compared():
    assert Row("a", "seconds", 60, 6000).within and Row("gan", "samples a second", 9765, 1).within
    assert Row("new", "class accuracy", None, 0.1).within
    assert "| new | class accuracy |  | 0.1 |  |  |" in table([Row("new", "class accuracy", None, 0.1)])


def test_the_summary_names_the_figure_that_is_worst_off():
    rows = [
        Row("a", "seconds", 60, 6000),
        Row("a", "class accuracy", 0.9, 0.94),
        Row("a", "Frechet distance", 0.1, 0.2),
        Row("b", "seconds", 60, 60),
        Row("b", "class accuracy", 0.9, 0.9),
        Row("b", "binding", 0.5, float("nan")),
    ]
    assert summary(rows).splitlines()[2:] == [
        "| a | 1 of 2 | Frechet distance | 0.1 | 0.2 | 250% |",
        "| b | 1 of 2 | binding | 0.5 | nan | nan% |",
    ]


def test_every_figure_that_ships_has_a_bound_but_for_speed():
    unbounded = {
        figure
        for name, record in models.records().items()
        for figure, value in record["figures"].items()
        if Row(name, figure, value, value).bound is None
    }
    assert unbounded == {"samples a second"}
