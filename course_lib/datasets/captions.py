"""Captions of scenes: a small grammar with synonyms and several word orders, and a tokenizer of whole words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.datasets.scenes import COLOURS, MOST, NONE, PLACES, RELATIONS, SHAPES, SIZES, Scene

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
START, PAD = 0, 1
LENGTH = 20
"""Tokens of a caption: its start, at most 19 words, and padding."""

Caption = str | Sequence[str]


def _vocabulary() -> tuple[str, ...]:
    phrases = [w for words in (*NOUNS.values(), *SIZE_WORDS.values(), *PLACE_WORDS.values()) for w in words]
    phrases += [w for both in RELATION_WORDS.values() for words in both for w in words]
    phrases += [PLURALS.get(noun, f"{noun}s") for nouns in NOUNS.values() for noun in nouns]
    words = {word for phrase in phrases for word in phrase.split()} | {"a", "is", "that", *COLOURS, *NUMBERS}
    return ("<start>", "<pad>", *sorted(words))


WORDS = _vocabulary()
"""All words that there are; a token is an index into it."""


def tell(scene: Scene, rng: torch.Generator | None = None) -> tuple[list[str], Scene]:
    """A caption for each scene, and the scene as far as it was told.

    Always said are the number, colours, shapes and the relation; the size of each object of one or two, and the place of one
    alone, in every other case. Synonyms, order and what is said are drawn at random.
    """
    chance = torch.rand(len(scene), 10, generator=rng)
    size = torch.where((chance[:, :MOST] < 0.5) & (scene.count < 3)[:, None], scene.size, NONE)
    size = torch.where(((scene.place < 0) & (scene.relation < 0))[:, None], NONE, size)
    place = torch.where(chance[:, 4] < 0.5, scene.place, NONE)
    told = Scene(scene.shape, scene.colour, size, place, scene.relation)
    rows = zip(*(v.tolist() for v in (told.shape, told.colour, size, place, told.relation, told.count, chance[:, 5:])))
    return [_sentence(*row) for row in rows], told


def describe(scene: Scene) -> list[str]:
    """The plain caption of each scene, all that it holds said, in one fixed way: what a reader read, in words."""
    rows = zip(*(v.tolist() for v in (scene.shape, scene.colour, scene.size, scene.place, scene.relation, scene.count)))
    return [_sentence(*row, [0.0] * 5) if row[-1] else "nothing" for row in rows]


def _sentence(shapes, colours, sizes, place, relation, count, chance: list[float]) -> str:
    """One caption. `chance` holds five numbers in [0, 1): of the two nouns, of the phrase, of the order, of 'that is'."""
    pick = lambda words, u: words[int(u * len(words))]

    def thing(k: int, that: bool = False) -> str:
        noun, colour = pick(NOUNS[SHAPES[shapes[k]]], chance[k]), COLOURS[colours[k]]
        size = f" {pick(SIZE_WORDS[SIZES[sizes[k]]], chance[1 - k])}" if sizes[k] != NONE else ""
        return f"a{size} {noun} that is {colour}" if that else f"a{size} {colour} {noun}"

    if count == 1:
        where = f" {pick(PLACE_WORDS[PLACES[place]], chance[2])}" if place != NONE else ""
        return thing(0, that=chance[4] > 0.8) + where
    if relation == NONE or count > 2:
        alike = len({(shapes[k], colours[k]) for k in range(count)}) == 1
        if alike and count <= len(NUMBERS) + 1:
            noun = pick(NOUNS[SHAPES[shapes[0]]], chance[0])
            return f"{NUMBERS[count - 2]} {COLOURS[colours[0]]} {PLURALS.get(noun, f'{noun}s')}"
        return " and ".join(f"a {COLOURS[colours[k]]} {SHAPES[shapes[k]]}" for k in range(count))
    ahead, back = RELATION_WORDS[RELATIONS[relation]]
    first, second, words = (0, 1, ahead) if chance[3] < 0.6 else (1, 0, back)
    of = pick(words, chance[2])
    if 0.4 <= chance[3] < 0.6 or chance[3] >= 0.85:
        return f"{of} {thing(second)} is {thing(first)}"
    return f"{thing(first, that=chance[4] > 0.8)} {of} {thing(second)}"


def tokens(captions: Caption) -> Tensor:
    """Captions as tokens (B, LENGTH): START, the words, PAD. The empty caption says nothing, and is the null condition.

    Raises ValueError for a caption that is too long, or that has a word which is not in WORDS; it names the nearest that are.
    """
    captions = [captions] if isinstance(captions, str) else captions
    rows = torch.full((len(captions), LENGTH), PAD)
    rows[:, 0] = START
    for row, caption in zip(rows, captions):
        said = re.findall(r"[^\s,.;:!?]+", caption.lower())
        unknown = [word for word in said if word not in TOKEN]
        if unknown:
            raise ValueError(_unknown(unknown[0]))
        if len(said) >= LENGTH:
            raise ValueError(f"captions must have at most {LENGTH - 1} words, got {len(said)}: {caption!r}")
        row[1 : len(said) + 1] = torch.tensor([TOKEN[word] for word in said], dtype=torch.long)
    return rows


TOKEN = {word: i for i, word in enumerate(WORDS) if i > PAD}


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, TOKEN, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else f"; the words are {', '.join(TOKEN)}"
    return f"captions must be made of known words, got {word!r}{meant}"


def words(row: Tensor) -> list[str]:
    """The words of one caption's tokens (LENGTH,), without start and padding."""
    return [WORDS[i] for i in row.tolist() if i > PAD]
