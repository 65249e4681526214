"""Captions of scenes: a small grammar with synonyms and several word orders, and a word-level tokenizer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib import validate
from course_lib.datasets.scenes import COLOURS, MAX_OBJECTS, NONE, PLACES, RELATIONS, SHAPES, SIZES, Scene
from course_lib.denoisers import NULL
from course_lib.process import rand

NOUNS = {"circle": ("circle", "disc"), "square": ("square", "box"), "triangle": ("triangle",), "star": ("star",)}
PLURALS = {"box": "boxes"}
SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
NUMBERS = ("two", "three", "four")
PLACE_WORDS = {
    place: ("in the middle", "in the centre") if place == "middle" else (f"at the {place}", f"in the {place} corner")
    for place in PLACES
}
RELATION_WORDS = {  # of the first to the second; of the second to the first
    "left of": (("left of", "to the left of"), ("right of", "to the right of")),
    "above": (("above", "over"), ("below", "under")),
}
FORMS = {  # of the plain caption "A left of B"; a_that is A with its colour at the end: "a circle that is red"
    "plain": "{a} {of} {b}",
    "that is, first": "{a_that} {of} {b}",
    "inverted": "{of} {b} is {a}",
    "that is, second": "{a} {of} {b_that}",
    "inverted, that is, first": "{of} {b_that} is {a}",
    "inverted, that is, second": "{of} {b} is {a_that}",
}
"""Forms of a sentence about two objects. `tell` has the first three; the others follow no caption of the training data."""
START, PAD = 0, 1
LENGTH = 20
"""The tokens of a caption: the start token, at most 19 words, and padding."""

Caption = str | Sequence[str]


def _vocabulary() -> tuple[str, ...]:
    phrases = [w for words in (*NOUNS.values(), *SIZE_WORDS.values(), *PLACE_WORDS.values()) for w in words]
    phrases += [w for both in RELATION_WORDS.values() for words in both for w in words]
    phrases += [PLURALS.get(noun, f"{noun}s") for nouns in NOUNS.values() for noun in nouns]
    words = {word for phrase in phrases for word in phrase.split()} | {"a", "is", "that", *COLOURS, *NUMBERS}
    return ("<start>", "<pad>", *sorted(words))


WORDS = _vocabulary()
"""The vocabulary; a token is an index into it."""


def tell(scene: Scene, rng: torch.Generator | None = None) -> tuple[list[str], Scene]:
    """A random caption for each scene, and the scenes with only those attributes that the captions mention.

    A caption always mentions the number, colours, shapes and the relation. With probability 1/2 it mentions each size of one or
    two objects, and the place of a single object. Synonyms and word order are random.
    """
    chance = rand(len(validate.instance("scene", scene, Scene)), 10, rng=rng)
    size = torch.where((chance[:, :MAX_OBJECTS] < 0.5) & (scene.count < 3)[:, None], scene.size, NONE)
    size = torch.where(((scene.place < 0) & (scene.relation < 0))[:, None], NONE, size)
    place = torch.where(chance[:, 4] < 0.5, scene.place, NONE)
    mentioned = Scene(scene.shape, scene.colour, size, place, scene.relation)
    parts = (scene.shape, scene.colour, size, place, scene.relation, scene.count, chance[:, 5:])
    return [_sentence(*row) for row in zip(*(v.tolist() for v in parts))], mentioned


def describe(scene: Scene) -> list[str]:
    """The plain caption of each scene: all attributes, without synonyms, in a fixed word order."""
    plain = torch.zeros(len(validate.instance("scene", scene, Scene)), 5, device="cpu", dtype=torch.float32)
    parts = (scene.shape, scene.colour, scene.size, scene.place, scene.relation, scene.count, plain)
    return [_sentence(*row) if row[5] else "nothing" for row in zip(*(v.tolist() for v in parts))]


def in_form(scene: Scene, form: str) -> list[str]:
    """The plain caption of each scene of two objects, in one of FORMS: all attributes, without synonyms."""
    validate.choice("form", form, FORMS)
    found = []
    for plain in describe(scene):
        if not (parts := re.fullmatch(f"(a .*?) ({'|'.join(RELATIONS)}) (a .*)", plain)):
            raise ValueError(f"scene must be of two objects, one left of or above the other, got {plain!r}")
        a, of, b = parts.groups()
        a_that, b_that = (re.sub(r"(\w+) (\w+)$", r"\2 that is \1", thing) for thing in (a, b))
        found.append(FORMS[form].format(a=a, b=b, of=of, a_that=a_that, b_that=b_that))
    return found


def _sentence(shapes, colours, sizes, place, relation, count, chance: list[float]) -> str:
    """One caption. `chance` has five numbers in [0, 1): for the two nouns, the phrase, the order and 'that is'."""
    pick = lambda words, u: words[int(u * len(words))]

    def thing(k: int, that: bool = False) -> str:
        noun, colour = pick(NOUNS[SHAPES[shapes[k]]], chance[k]), COLOURS[colours[k]]
        size = f" {pick(SIZE_WORDS[SIZES[sizes[k]]], chance[1 - k])}" if sizes[k] != NONE else ""
        return f"a{size} {noun} that is {colour}" if that else f"a{size} {colour} {noun}"

    if count == 1:
        where = f" {pick(PLACE_WORDS[PLACES[place]], chance[2])}" if place != NONE else ""
        return thing(0, that=chance[4] > 0.8) + where
    if relation == NONE or count > 2:
        equal = len({(shapes[k], colours[k]) for k in range(count)}) == 1
        if equal and count <= len(NUMBERS) + 1:
            noun = pick(NOUNS[SHAPES[shapes[0]]], chance[0])
            return f"{NUMBERS[count - 2]} {COLOURS[colours[0]]} {PLURALS.get(noun, f'{noun}s')}"
        return " and ".join(f"a {COLOURS[colours[k]]} {SHAPES[shapes[k]]}" for k in range(count))
    ahead, back = RELATION_WORDS[RELATIONS[relation]]
    first, second, words = (0, 1, ahead) if chance[3] < 0.6 else (1, 0, back)
    of = pick(words, chance[2])
    if 0.4 <= chance[3] < 0.6 or chance[3] >= 0.85:
        return f"{of} {thing(second)} is {thing(first)}"
    return f"{thing(first, that=chance[4] > 0.8)} {of} {thing(second)}"


_either = lambda words: "|".join(sorted(words, key=len, reverse=True))
_NOUN = {word: i for i, shape in enumerate(SHAPES) for word in NOUNS[shape]}
_SIZE = {word: i for i, size in enumerate(SIZES) for word in SIZE_WORDS[size]}
_PLURAL = {PLURALS.get(word, f"{word}s"): i for word, i in _NOUN.items()}
_PLACE = {phrase: i for i, place in enumerate(PLACES) for phrase in PLACE_WORDS[place]}
_RELATION = {
    of: (i, turned) for i, name in enumerate(RELATIONS) for turned, phrases in enumerate(RELATION_WORDS[name]) for of in phrases
}
_PLAIN = f"a (?:({_either(_SIZE)}) )?({_either(COLOURS)}) ({_either(_NOUN)})()()"
_THAT = f"a (?:({_either(_SIZE)}) )?()()({_either(_NOUN)}) that is ({_either(COLOURS)})"
_OF = f"({_either(_RELATION)})"
_ONE = [re.compile(f"{thing}(?: ({_either(_PLACE)}))?") for thing in (_PLAIN, _THAT)]
_PAIR = [re.compile(f"{thing} {_OF} {_PLAIN}") for thing in (_PLAIN, _THAT)]
_INVERTED = re.compile(f"{_OF} {_PLAIN} is {_PLAIN}")
_ALIKE = re.compile(f"({_either(NUMBERS)}) ({_either(COLOURS)}) ({_either(_PLURAL)})")


def read(captions: Caption) -> tuple[Tensor, Scene]:
    """Which captions `tell` can say of some scene of 'one', 'pair' or 'alike' (B,), and the scenes with what they mention.

    The scene of a caption that it cannot say is empty. A caption is true of a picture where `scenes.matches` of the picture's
    scene and this one has 'all'.
    """
    rows = [_read(caption) for caption in texts("captions", captions)]
    table = torch.tensor([row or [NONE] * 14 for row in rows], device="cpu", dtype=torch.long)
    shape, colour, size = table[:, :12].view(-1, 3, MAX_OBJECTS).unbind(1)
    grammatical = torch.tensor([row is not None for row in rows], dtype=torch.bool, device="cpu")
    return grammatical, Scene(shape, colour, size, table[:, 12], table[:, 13])


def _read(caption: str) -> list[int] | None:
    """Shapes, colours and sizes of MAX_OBJECTS objects, place and relation; None for what is no caption."""

    def thing(size, colour, noun, noun_that, colour_that) -> tuple[int, int, int]:
        return _NOUN[noun or noun_that], COLOURS.index(colour or colour_that), _SIZE.get(size, NONE)

    place = relation = NONE
    if found := next(filter(None, (form.fullmatch(caption) for form in _ONE)), None):
        objects, place = [thing(*found.groups()[:5])], _PLACE.get(found[6], NONE)
    elif found := _ALIKE.fullmatch(caption):
        objects = [(_PLURAL[found[3]], COLOURS.index(found[2]), NONE)] * (2 + NUMBERS.index(found[1]))
    else:
        parts = None
        if found := next(filter(None, (form.fullmatch(caption) for form in _PAIR)), None):
            parts = found[6], thing(*found.groups()[:5]), thing(*found.groups()[6:])
        elif found := _INVERTED.fullmatch(caption):
            parts = found[1], thing(*found.groups()[6:]), thing(*found.groups()[1:6])
        if parts is None:
            return None
        (relation, turned), *both = _RELATION[parts[0]], parts[1], parts[2]
        objects = both[::-1] if turned else both
    columns = zip(*objects, *[(NONE,) * 3] * (MAX_OBJECTS - len(objects)))
    return [value for column in columns for value in column] + [place, relation]


def texts(name: str, value: Caption) -> Sequence[str]:
    """A text, or a list of one or more, as a list; raises TypeError or ValueError, with the argument's name, otherwise."""
    return [value] if isinstance(value, str) else validate.filled(name, value, str)


def tokens(captions: Caption) -> Tensor:
    """The tokens (B, LENGTH) of captions: START, the words, PAD. The empty caption is the null condition.

    Raises ValueError for a caption that is too long, or that has a word outside WORDS; it names the nearest in WORDS.
    """
    captions = texts("captions", captions)
    rows = torch.full((len(captions), LENGTH), PAD, device="cpu", dtype=torch.long)
    rows[:, 0] = START
    for row, caption in zip(rows, captions):
        found = re.findall(r"[^\s,.;:!?]+", caption.lower())
        unknown = [word for word in found if word not in TOKEN]
        if unknown:
            raise ValueError(_unknown(unknown[0]))
        if len(found) >= LENGTH:
            raise ValueError(f"captions must have at most {LENGTH - 1} words, got {len(found)}: {caption!r}")
        row[1 : len(found) + 1] = torch.tensor([TOKEN[word] for word in found], device="cpu", dtype=torch.long)
    return rows


def as_tokens(name: str, cond: Any, tokenize: Callable[[Caption], Tensor]) -> Tensor:
    """The tokens (B, LENGTH) of a text, a list of texts, or tokens, which stay as they are; NULL is the empty text.

    Raises TypeError, which names the argument, for anything else, and what `tokenize` raises.
    """
    if cond is NULL:
        return tokenize("")
    if isinstance(cond, Tensor) and not cond.is_floating_point() and cond.shape[1:] == (LENGTH,):
        return cond
    if isinstance(cond, str) or (isinstance(cond, (list, tuple)) and cond and all(isinstance(c, str) for c in cond)):
        return tokenize(cond)
    value = f" of shape {tuple(cond.shape)}" if isinstance(cond, Tensor) else f", {cond!r}"
    raise TypeError(f"{name} must be text, a list of texts or tokens (B, {LENGTH}), got {type(cond).__name__}{value}")


TOKEN = {word: i for i, word in enumerate(WORDS) if i > PAD}


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, TOKEN, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else f"; the words are {', '.join(TOKEN)}"
    return f"captions must be made of known words, got {word!r}{meant}"


def words(row: Tensor) -> list[str]:
    """The words of one caption's tokens (LENGTH,), without the start token and padding."""
    return [WORDS[i] for i in validate.indices("row", row).tolist() if i > PAD]
