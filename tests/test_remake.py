"""All models made anew: in an order that works, in a folder of their own, going on where it was stopped, and compared."""

import copy
import inspect
import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_lib.__main__ import main
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import RECIPES
from course_lib.zoo.recipes.recipe import Figure
from course_lib.zoo.remake import Row, remake, summary, table

SHIPPED = checkpoints.FOLDER


def hasty(recipe):
    """The same recipe, with figures of as few samples as can be measured."""
    few = "n" in inspect.signature(recipe.figures).parameters
    return replace(recipe, figures=partial(recipe.figures, n=5) if few else lambda model: {})


@pytest.fixture(autouse=True)
def one_thread():
    """Thirty single steps are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few(monkeypatch):
    """Only these recipes, with hasty figures."""

    def few(*names):
        for name in RECIPES.keys() - set(names):
            monkeypatch.delitem(RECIPES, name)
        for name in names:
            monkeypatch.setitem(RECIPES, name, hasty(RECIPES[name]))

    return few


def test_all_can_be_made_in_their_order_from_nothing_but_themselves(tmp_path, monkeypatch):
    for name, recipe in list(RECIPES.items()):
        monkeypatch.setitem(RECIPES, name, hasty(recipe))
    before, opened = {path: path.read_bytes() for path in SHIPPED.iterdir()}, []
    real = checkpoints.safe_open
    records = models.records()
    monkeypatch.setattr(models, "records", lambda: records)  # all that is read from now on is read to train or to measure
    monkeypatch.setattr(checkpoints, "safe_open", lambda path, **how: opened.append(path) or real(path, **how))
    rows = list(remake(tmp_path, seconds=0.01))
    assert list(dict.fromkeys(row.model for row in rows)) == list(RECIPES)
    assert {path.stem for path in tmp_path.iterdir()} == RECIPES.keys()
    assert before == {path: path.read_bytes() for path in SHIPPED.iterdir()}
    assert len(opened) > 20 and all(path.parent == tmp_path for path in opened), f"a recipe reads what ships: {opened}"


def test_it_goes_on_where_it_was_stopped_and_compares(tmp_path, monkeypatch, capsys, few):
    few("ring", "paraphraser_small", "classifier")
    out = ["--seconds", "0.3", "--out", str(tmp_path)]
    real, made = models.make, []

    def make(name, *args, **folder):
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt(f"stopped: what {name} learned")
        return real(name, *args, **folder)

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
    shipped = sum(models.records()[name]["processor_seconds"] for name in ("ring", "classifier", "paraphraser_small"))
    assert any(line.startswith(f"| 3 models | processor seconds | {shipped:.0f} | ") for line in lines)
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


def test_a_model_of_an_older_version_has_no_tolerances_and_is_refused(tmp_path, few):
    few("ring")
    list(remake(tmp_path, seconds=0.1))
    model, path = RECIPES["ring"].build(), tmp_path / "ring.safetensors"
    record = checkpoints.load_into(model.net, path)
    del record["tolerances"]
    checkpoints.write(path, model.net, record)
    with pytest.raises(ValueError, match="out must hold models with .*tolerances.*remove it"):
        list(remake(tmp_path, seconds=0.1))


@pytest.mark.parametrize(
    "kind, shipped, near, far",
    [
        (Figure.share, 0.97, 0.90, 0.88),
        (Figure.share, 0.365, 0.44, 0.45),
        (Figure.error, 0.06, 0.09, 0.1),
        (Figure.error, 3.977, 3.2, 3.1),
        (Figure.error, 2.7, 3.2, 3.3),
        (Figure.decibels, 45.4, 44.5, 44.3),
    ],
)
def test_bounds_are_those_of_the_kind_of_figure(kind, shipped, near, far):
    row = lambda remade: Row("a", "figure", shipped, float(remade), remade.tolerance)
    assert row(kind(shipped)).within and row(kind(near)).within
    assert not row(kind(far)).within and not row(kind(float("nan"))).within


def test_seconds_and_speed_are_the_machines_and_what_does_not_ship_is_not_compared():
    assert (
        Row("a", "processor seconds", 60, 6000, None).within
        and Row("gan", "samples a second", 9765, 1, Figure(1).tolerance).within
    )
    new = Row("new", "class accuracy", None, 0.1, (0.08, 0.0))
    assert new.within and "| new | class accuracy |  | 0.1 |  |  |" in table([new])


def test_the_summary_names_the_figure_that_is_worst_off():
    share, error = (0.08, 0.0), (0.02, 0.2)
    rows = [
        Row("a", "processor seconds", 60, 6000, None),
        Row("a", "class accuracy", 0.9, 0.94, share),
        Row("a", "Frechet distance", 0.1, 0.2, error),
        Row("b", "processor seconds", 60, 60, None),
        Row("b", "class accuracy", 0.9, 0.9, share),
        Row("b", "binding", 0.5, float("nan"), share),
    ]
    assert summary(rows).splitlines()[2:] == [
        "| a | 1 of 2 | Frechet distance | 0.1 | 0.2 | 250% |",
        "| b | 1 of 2 | binding | 0.5 | nan | nan% |",
    ]


def test_a_figure_is_a_number_that_carries_its_tolerance():
    figure = Figure.error(0.5)
    assert figure == 0.5 and f"{figure:.2f}" == "0.50" and json.dumps({"a": figure}) == '{"a": 0.5}'
    assert copy.deepcopy(figure).tolerance == figure.tolerance == (0.02, 0.2) and Figure(9765).tolerance is None


def test_every_figure_of_a_generator_has_a_tolerance():
    figures = RECIPES["gan"].figures(models.load("gan"), n=20)
    assert not [name for name, figure in figures.items() if figure.tolerance is None]
