"""Synthetic pictures of short words: three or four capitals in a font of 3 x 5 dots, in one colour on black, and a reader.

    spelling = words.sample(64, rng)
    pictures = words.draw(spelling, rng)     # (64, 3, 32, 32)
    captions = words.tell(spelling)          # "STAR in red", ...

A picture has 16 x 16 dots of 2 x 2 pixels, so that latents can represent the letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from course_lib import validate
from course_lib.datasets import captions
from course_lib.datasets.captions import LENGTH, PAD, START, Caption
from course_lib.datasets.scenes import COLOURS, NONE, check_indices
from course_lib.datasets.shapes import FLOAT, PAINT, SIDE
from course_lib.process import rand, randint

FONT = {
    "A": "010 101 111 101 101",
    "C": "011 100 100 100 011",
    "D": "110 101 101 101 110",
    "E": "111 100 110 100 111",
    "H": "101 101 111 101 101",
    "I": "111 010 010 010 111",
    "L": "100 100 100 100 111",
    "O": "010 101 101 101 010",
    "P": "110 101 110 100 100",
    "R": "110 101 110 101 101",
    "S": "011 100 010 001 110",
    "T": "111 010 010 010 010",
    "U": "101 101 101 101 111",
    "X": "101 101 010 101 101",
    "Y": "101 101 010 010 010",
    "Z": "111 001 010 100 111",
}
"""Sixteen capitals; any two differ in at least two dots."""
LETTERS = "".join(FONT)
DOTS = torch.tensor([[[float(dot) for dot in row] for row in rows.split()] for rows in FONT.values()], **FLOAT)  # (16, 5, 3)
VOCABULARY = (*captions.WORDS, *LETTERS)
"""The vocabulary of prompts: the words of captions, and the letters of words in capitals."""
LONGEST, SHEET, PITCH = 4, SIDE // 2, 4
"""The maximal number of letters (the minimum is 3); the picture's side in dots; the dots from one letter to the next."""


@dataclass(frozen=True, eq=False, repr=False)
class Spelling:
    """A batch of words: letters (B, LONGEST), indices into LETTERS, or NONE after the end; colour (B,), an index into COLOURS.

    An unreadable word is NONE as well.
    """

    letters: Tensor
    colour: Tensor

    def __post_init__(self):
        check_indices("letters", self.letters, LETTERS, LONGEST)
        check_indices("colour", self.colour, COLOURS)
        if len(self.colour) != len(self):
            raise ValueError(f"letters and colour must be of as many words, got {len(self)} and {len(self.colour)}")

    def __repr__(self):
        return f"Spelling({', '.join(spelt(self)[:3])}{', ...' if len(self) > 3 else ''})"

    def __len__(self) -> int:
        return len(self.letters)

    def __getitem__(self, index) -> Spelling:
        """The words at these indices of the batch: a slice, a tensor of indices or a mask."""
        return Spelling(self.letters[index], self.colour[index])


def held_out(letters: Tensor) -> Tensor:
    """Which words (B,), by their letters (B, LONGEST), are not in the training data: one in eight, with all letters."""
    validate.indices("letters", letters, LONGEST)
    return (letters.clamp(min=0) * torch.tensor([1, 3, 5, 7], device=letters.device, dtype=torch.long)).sum(1) % 8 == 3


def sample(n: int, rng: torch.Generator | None = None, new: bool = False) -> Spelling:
    """n random words of three or four letters from the training split or, with `new`, from the held-out split."""
    validate.at_least("n", n, 1)
    found = torch.empty(0, LONGEST, device="cpu", dtype=torch.long)
    while len(found) < n:
        letters = randint(0, len(LETTERS), 9 * n + 16, LONGEST, rng=rng)
        letters[rand(len(letters), rng=rng) < 0.5, -1] = NONE
        found = torch.cat([found, letters[held_out(letters) == new]])
    return Spelling(found[:n], randint(0, len(COLOURS), n, rng=rng))


def spelling(word: str, colour: str, n: int = 1) -> Spelling:
    """One word in one colour, n times. Raises ValueError for letters outside LETTERS, another length or an unknown colour."""
    validate.choice("colour", colour, COLOURS)
    validate.sizes(n=n)
    if not 3 <= len(validate.instance("word", word, str)) <= LONGEST or set(word) - set(LETTERS):
        raise ValueError(f"word must be 3 or 4 of the letters {LETTERS}, got {word!r}")
    letters = [LETTERS.index(letter) for letter in word] + [NONE] * (LONGEST - len(word))
    whole = {"device": "cpu", "dtype": torch.long}
    return Spelling(torch.tensor([letters] * n, **whole), torch.full((n,), COLOURS.index(colour), **whole))


def spelt(words: Spelling) -> list[str]:
    """The words as text."""
    return [
        "".join(LETTERS[i] for i in row if i != NONE) for row in validate.instance("words", words, Spelling).letters.tolist()
    ]


def tell(words: Spelling) -> list[str]:
    """A caption for each word: "STAR in red"."""
    return [f"{word} in {COLOURS[colour]}" for word, colour in zip(spelt(words), words.colour.tolist())]


def draw(words: Spelling, rng: torch.Generator | None = None, grid: int = 1) -> Tensor:
    """Pictures (B, 3, 32, 32) in [-1, 1] of the words, each at a random position, a multiple of `grid` dots."""
    validate.sizes(grid=grid)
    sheet = torch.zeros(len(validate.instance("words", words, Spelling)), SHEET, SHEET, **FLOAT)
    length = (words.letters != NONE).sum(1)
    u, v = rand(2, len(words), rng=rng)
    places = lambda free: free // grid + 1  # the number of positions of a word that leaves so many dots free
    left = (u * places(SHEET + 1 - PITCH * length)).long() * grid
    top = (v * places(SHEET - DOTS.shape[1])).long() * grid
    for k in range(LONGEST):
        (b,) = torch.where(words.letters[:, k] != NONE)
        for row in range(DOTS.shape[1]):
            for column in range(DOTS.shape[2]):
                sheet[b, top[b] + row, left[b] + PITCH * k + column] = DOTS[words.letters[b, k], row, column]
    pixels = interpolate(sheet[:, None], scale_factor=2, mode="nearest")
    return pixels * (PAINT[words.colour] + 1)[:, :, None, None] - 1


def read(x: Tensor) -> Spelling:
    """The words whose pictures are nearest to x (B, 3, 32, 32) in [-1, 1], in squared distance, by exhaustive search.

    A picture that is nearer to black than to any word is NONE.
    """
    validate.batch("x", x, 3, SIDE, SIDE)
    dots = avg_pool2d(x.detach().cpu().float().clamp(-1, 1) + 1, 2)  # (B, 3, 16, 16), black is 0
    paint = PAINT + 1
    ink = torch.einsum("bchw,kc->bkhw", dots, paint).flatten(0, 1)[:, None]  # (B * colours, 1, 16, 16)
    size = paint.square().sum(1).repeat(len(x))[:, None, None, None] * DOTS.sum((1, 2)).view(1, -1, 1, 1)
    gain = 2 * conv2d(ink, DOTS[:, None]) - size  # |dots|^2 - |dots - letter|^2, (B * colours, 16, 12, 14)
    best, which = gain.max(1)
    found = []
    for length in (3, LONGEST):
        starts = SHEET + 2 - PITCH * length
        total = sum(best[:, :, PITCH * k : PITCH * k + starts] for k in range(length))
        score, at = total.reshape(len(x), -1).max(1)  # over colours, rows and columns
        colour, row, left = at // (12 * starts), at // starts % 12, at % starts
        line = which.view(len(x), len(COLOURS), 12, 14)[range(len(x)), colour, row]
        places = left[:, None] + PITCH * torch.arange(LONGEST, device="cpu", dtype=torch.long)
        letters = line.gather(1, places.clamp(max=13))
        letters[:, length:] = NONE
        found.append((score, letters, colour))
    (short, *of_three), (long, *of_four) = found
    letters, colour = (torch.where((long > short).view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(of_three, of_four))
    nothing = torch.maximum(short, long) <= 0
    return Spelling(letters.masked_fill(nothing[:, None], NONE), colour.masked_fill(nothing, NONE))


def agreement(seen: Spelling, wanted: Spelling) -> dict[str, float]:
    """The fraction of right 'letters', of words that are 'spelt' right, in the right 'colour', and right in 'all' of these."""
    if len(validate.instance("seen", seen, Spelling)) != len(validate.instance("wanted", wanted, Spelling)):
        raise ValueError(f"seen and wanted must be as many words, got {len(seen)} and {len(wanted)}")
    right, colour = seen.letters == wanted.letters, seen.colour == wanted.colour
    spelt = right.all(1)
    letters = right[wanted.letters != NONE]
    found = {"letters": letters, "spelt": spelt, "colour": colour, "all": spelt & colour}
    return {name: float(value.double().mean()) for name, value in found.items()}


def tokens(prompts: Caption) -> Tensor:
    """The tokens (B, LENGTH) of prompts, indices into VOCABULARY: words as in captions, and words in capitals letter by letter.

    Raises ValueError for a prompt that is too long, an unknown word, or a letter outside FONT.
    """
    prompts = captions.texts("prompts", prompts)
    rows = torch.full((len(prompts), LENGTH), PAD, device="cpu", dtype=torch.long)
    for row, prompt in zip(rows, prompts):
        found = [START, *(token for word in re.findall(r"[^\s,.;:!?]+", prompt) for token in _tokens_of(word))]
        if len(found) > LENGTH:
            raise ValueError(f"prompts must have at most {LENGTH - 1} words and letters, got {len(found) - 1}: {prompt!r}")
        row[: len(found)] = torch.tensor(found, device="cpu", dtype=torch.long)
    return rows


def _tokens_of(word: str) -> list[int]:
    """The tokens of one word: its letters if it is in capitals, else itself."""
    if not word.isupper() or len(word) == 1:
        known = captions.TOKEN.get(word.lower())
        return captions.tokens(word)[0, 1:2].tolist() if known is None else [known]  # captions.tokens raises its error
    unknown = [letter for letter in word if letter not in LETTERS]
    if unknown:
        raise ValueError(f"prompts must spell with the letters {LETTERS}, got {unknown[0]!r} in {word!r}")
    return [len(captions.WORDS) + LETTERS.index(letter) for letter in word]
