"""The world of shapes: pictures are what the scenes say, captions too, and what is held out of training stays out."""

from dataclasses import replace

import pytest
import torch

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import COLOURS, HELD_OUT, NONE, SHAPES, Scene
from course_lib.process import seeded


def some(n=400, seed=0, **options):
    return scenes.sample(n, seeded(seed), **options)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("shape", "colour", "size", "place", "relation"))


# Scenes


def test_the_seed_decides():
    assert same(some(), some()) and not same(some(), some(seed=1))
    scene = some(20)
    assert torch.equal(shapes.draw(scene, seeded(0)), shapes.draw(scene, seeded(0)))
    assert captions.tell(scene, seeded(0))[0] == captions.tell(scene, seeded(0))[0] != captions.tell(scene, seeded(1))[0]


def test_scenes_hold_together():
    scene = some(3000)
    mask = torch.arange(4) < scene.count[:, None]
    for part, classes in ((scene.shape, 4), (scene.colour, 6), (scene.size, 2)):
        assert ((part >= 0) == mask).all() and part.max() == classes - 1
    assert ((scene.place >= 0) == (scene.count == 1)).all()
    assert scene.count.bincount().min() == 0 and (scene.count.bincount()[1:] > 200).all()
    many = scene[scene.relation < 0]
    many = many[many.count > 1]
    assert (many.object[:, 0] == many.object[:, 1]).all()  # alike
    pair = scene[scene.relation >= 0]
    assert (pair.count == 2).all() and (pair.object[:, 0] != pair.object[:, 1]).all()


def test_what_is_held_out_is_never_in_training():
    held = {len(COLOURS) * SHAPES.index(shape) + COLOURS.index(colour) for colour, shape in HELD_OUT}
    train, pairs, objects = some(20_000), some(500, kinds=("pair",), split="new pairs"), some(500, split="new objects")
    seen = {frozenset(row) for row in train[train.relation >= 0].object[:, :2].tolist()}
    assert not held & set(train.object.flatten().tolist()) and len(set(train.object.flatten().tolist())) == 20 + 1
    met = {frozenset(row) for row in pairs.object[:, :2].tolist()}
    assert met and not met & seen and not held & set(pairs.object.flatten().tolist())
    assert set().union(*met) == set().union(*seen)  # every object that training has occurs in such a pair
    assert all(held & set(row) for row in objects.object.tolist())


def test_said_words_never_tell_a_held_out_object_in_training():
    prompts, _ = captions.tell(some(5000), seeded(1))
    for colour, shape in HELD_OUT:
        for noun in captions.NOUNS[shape]:
            assert not [c for c in prompts if f"{colour} {noun}" in c or f"{noun} that is {colour}" in c]


# Pictures


@pytest.mark.parametrize("name, kind", [("size", "pair"), ("size", "alike"), ("place", "one"), ("colour", "pair")])
def test_what_is_not_said_is_not_drawn_in_silence(name, kind):
    """Until sizes that a caption leaves unsaid were refused, all such objects were drawn small."""
    scene = some(20, kinds=(kind,))
    value = getattr(scene, name).clone()
    value[3] = NONE
    with pytest.raises(ValueError, match=f"^scene must have the {name} of each object that is drawn, got NONE for"):
        shapes.draw(replace(scene, **{name: value}), seeded(0))


def test_what_is_not_said_is_drawn_at_random_and_the_rest_stays():
    _, said = captions.tell(some(4000, seed=3), seeded(4))
    scene = scenes.complete(said, seeded(5))
    for name in ("shape", "colour", "size", "place", "relation"):
        mentioned, drawn = getattr(said, name), getattr(scene, name)
        assert torch.equal(drawn[mentioned >= 0], mentioned[mentioned >= 0])
    unsaid = (said.size < 0) & (said.shape >= 0)
    alike = ((said.count > 1) & (said.relation < 0))[:, None].expand_as(unsaid)
    assert (scene.size[unsaid & alike] == 0).all()
    assert abs(float(scene.size[unsaid & ~alike].double().mean()) - 0.5) < 0.05
    assert scene.place[(said.count == 1) & (said.place < 0)].bincount(minlength=5).min() > 50
    assert shapes.draw(scene, seeded(6)).shape == (4000, 3, 32, 32)


def test_a_picture_shows_its_scene():
    """Objects by their colour: pixels of each are where the layout puts them, and as many as the shape's area holds."""
    scene, where = some(300), shapes.layout(some(300), seeded(3))
    x = shapes.paint(scene, where)
    assert x.shape == (300, 3, 32, 32) and x.min() == -1 and x.max() == 1
    area = {"circle": torch.pi, "square": 3.125, "triangle": 2.03, "star": 1.1226 * 1.5625}  # of radius 1
    ink = (x + 1).sum((1, 2, 3))
    for i in range(300):
        want = 0.0
        for k in range(int(scene.count[i])):
            paint = (shapes.PAINT[scene.colour[i, k]] + 1).sum()
            want += area[SHAPES[scene.shape[i, k]]] * where.radius[i, k] ** 2 * paint
            column, row = int(where.x[i, k] + 16), int(where.y[i, k] + 16)
            assert torch.allclose(x[i, :, row, column], shapes.PAINT[scene.colour[i, k]], atol=1e-5), (
                "the centre has its colour"
            )
        assert abs(float(ink[i] / want) - 1) < 0.1


def test_the_layout_makes_the_scene_true():
    scene = some(3000)
    where = shapes.layout(scene, seeded(4))
    x, y, reach = where.x, where.y, shapes.REACH * where.radius
    mask = scene.shape >= 0
    assert (torch.maximum(x.abs(), y.abs()) + reach < 16)[mask].all()
    left, above = scene.relation == 0, scene.relation == 1
    assert (x[left, 0] + reach[left, 0] < 0).all() and (x[left, 1] - reach[left, 1] > 0).all()
    assert (y[above, 0] + reach[above, 0] < 0).all() and (y[above, 1] - reach[above, 1] > 0).all()
    apart = torch.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], 1)[left | above].abs().sort(1).values
    assert (apart[:, 1] - apart[:, 0] > 3).all(), "it is plain which of the two relations holds"
    for place, (right, below) in enumerate([(-1, -1), (1, -1), (-1, 1), (1, 1)]):
        at = scene.place == place
        assert (x[at, 0] * right > reach[at, 0]).all() and (y[at, 0] * below > reach[at, 0]).all()
    assert (where.radius[scene.size == 1].min() - where.radius[scene.size == 0].max()) > 1.3


def test_objects_do_not_touch_and_larger_pictures_are_the_same_pictures():
    scene = some(500)
    where = shapes.layout(scene, seeded(5))
    cover = torch.zeros(500, 32, 32)
    for of, mask in shapes.masks(scene, where):
        cover[of[0]] += mask
    assert cover.max() <= 1 + 1e-5
    large = shapes.paint(scene, where, side=128)
    assert (torch.nn.functional.avg_pool2d(large, 4) - shapes.paint(scene, where)).abs().mean() < 0.004


# Captions


def test_captions_say_what_the_scene_is():
    scene = some(3000)
    prompts, described = captions.tell(scene, seeded(1))
    assert set(scenes.agreement(scene, described).values()) == {1.0}
    assert (described.size[described.count > 2] == NONE).all() and 0.4 < (described.place[described.place >= 0]).numel() / (
        scene.place >= 0
    ).sum() < 0.6
    for caption, colours, size in zip(prompts, described.colour.tolist(), described.size.tolist()):
        words = caption.split()
        for colour in {c for c in colours if c >= 0}:
            assert COLOURS[colour] in words
        assert sum(w in ("small", "little") for w in words) == size.count(0) and sum(
            w in ("large", "big") for w in words
        ) == size.count(1)
    assert len({tuple(w for w in c.split() if w not in COLOURS) for c in prompts}) > 300, "the grammar has many forms"


def plain(*objects, relation=NONE, place=NONE):
    fill = lambda values: torch.tensor([[*values, *[NONE] * (4 - len(values))]])
    shape, colour = (fill([names.index(o[i]) for o in objects]) for i, names in ((0, SHAPES), (1, COLOURS)))
    return Scene(shape, colour, fill([1] * len(objects)), torch.tensor([place]), torch.tensor([relation]))


def test_plain_words_for_what_was_read():
    pair = plain(("circle", "red"), ("square", "blue"), relation=1)
    assert captions.describe(pair) == ["a large red circle above a large blue square"]
    assert captions.describe(plain(("star", "pink"), place=4)) == ["a large pink star in the middle"]
    assert captions.describe(plain(("star", "pink"), ("star", "pink"), ("star", "pink"))) == ["three pink stars"]
    assert captions.describe(plain(("star", "pink"), ("star", "red"), ("circle", "red"))) == [
        "a pink star and a red star and a red circle"
    ]
    assert captions.describe(plain()) == ["nothing"]


def test_a_pair_is_told_in_each_form():
    pair = plain(("circle", "red"), ("square", "blue"), relation=1)
    told = {form: captions.in_form(pair, form)[0] for form in captions.FORMS}
    assert told == {
        "plain": "a large red circle above a large blue square",
        "that is, first": "a large circle that is red above a large blue square",
        "inverted": "above a large blue square is a large red circle",
        "that is, second": "a large red circle above a large square that is blue",
        "inverted, that is, first": "above a large square that is blue is a large red circle",
        "inverted, that is, second": "above a large blue square is a large circle that is red",
    }


def test_captions_of_training_have_the_first_three_forms_alone():
    """A size, an object and a relation are left of what is told: the order of words that carry the form."""
    form = lambda text: tuple(word for word in text.split() if word in ("is", "that", "above", "over", "below", "under"))
    scene = some(3000, kinds=("pair",))
    above = scene[scene.relation == 1]
    in_training = {form(text) for text in captions.tell(above, seeded(1))[0]}
    names = {"over": "above", "below": "above", "under": "above"}
    known = {tuple(names.get(word, word) for word in words) for words in in_training}
    told = {name: form(captions.in_form(above[:1], name)[0]) for name in captions.FORMS}
    assert known == {told[name] for name in list(told)[:3]} and not known & {told[name] for name in list(told)[3:]}


def test_tokens_are_whole_words_and_come_back():
    prompts, _ = captions.tell(some(2000), seeded(1))
    rows = captions.tokens(prompts)
    assert (
        rows.shape == (2000, captions.LENGTH) and (rows[:, 0] == captions.START).all() and rows.max() == len(captions.WORDS) - 1
    )
    assert [" ".join(captions.words(row)) for row in rows] == prompts
    assert torch.equal(captions.tokens("A red  circle, above a Star."), captions.tokens(["a red circle above a star"]))
    assert captions.tokens("").tolist() == [[captions.START] + [captions.PAD] * (captions.LENGTH - 1)]


@pytest.mark.parametrize(
    "caption, words",
    [
        ("a gren circle", "captions must be made of known words, got 'gren'; did you mean green"),
        ("a red circel", "got 'circel'; did you mean circle"),
        ("qqqq", "got 'qqqq'; the words are a, above, at, below"),
        ("a red circle " * 7, "captions must have at most 19 words, got 21"),
    ],
)
def test_what_cannot_be_understood_is_said(caption, words):
    with pytest.raises(ValueError) as raised:
        captions.tokens(caption)
    assert words in str(raised.value) and "\n" not in str(raised.value)


# Agreement


def test_each_attribute_is_scored_separately():
    wanted = plain(("circle", "red"), ("square", "blue"), relation=0)
    agreement = lambda *objects, **options: scenes.agreement(plain(*objects, **options), wanted)
    right = agreement(("circle", "red"), ("square", "blue"), relation=0)
    assert (
        set(right.values()) - {1.0}
        and right["all"] == right["binding"] == right["relation"] == 1
        and right["place"] != right["place"]
    )
    swapped = agreement(("circle", "blue"), ("square", "red"), relation=0)
    assert (swapped["count"], swapped["shape"], swapped["colour"], swapped["binding"], swapped["all"]) == (1, 1, 1, 0, 0)
    turned = agreement(("square", "blue"), ("circle", "red"), relation=0)
    assert (turned["binding"], turned["relation"], turned["all"]) == (1, 0, 0)
    other = agreement(("circle", "red"), ("square", "blue"), relation=1)
    assert (other["binding"], other["relation"], other["all"]) == (1, 0, 0)
    lonely = agreement(("circle", "red"))
    assert (lonely["count"], lonely["binding"], lonely["all"]) == (0, 0, 0)
    small = Scene(wanted.shape, wanted.colour, torch.tensor([[1, 0, NONE, NONE]]), wanted.place, wanted.relation)
    assert scenes.agreement(small, wanted)["size"] == 0 and scenes.agreement(small, wanted)["all"] == 0
    unsaid = Scene(wanted.shape, wanted.colour, torch.full((1, 4), NONE), wanted.place, wanted.relation)
    assert scenes.agreement(small, unsaid)["all"] == 1


@pytest.mark.parametrize(
    "of, words",
    [
        (lambda: scenes.sample(0), "n must be at least 1, got 0"),
        (lambda: scenes.sample(3, kinds=("many",)), "kinds must be one of one, pair, alike, got 'many'"),
        (lambda: scenes.sample(3, split="test"), "split must be one of train, new pairs, new objects, got 'test'"),
        (lambda: scenes.sample(3, kinds=("one",), split="new pairs"), "kinds must have 'pair' in it"),
        (lambda: scenes.agreement(some(3), some(4)), "seen and wanted must be as many scenes, got 3 and 4"),
        (lambda: Scene(*[torch.zeros(2, 4, dtype=torch.long)] * 5), r"place must be (B,), got shape (2, 4)"),
    ],
)
def test_bad_input_is_said_in_one_line(of, words):
    with pytest.raises(ValueError) as raised:
        of()
    assert words in str(raised.value) and "\n" not in str(raised.value)
