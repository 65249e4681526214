"""Recipes for CLIP: one that knows noisy pictures, and one that knows clean ones only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.process import DDPM, randn_like
from course_lib.recipes.recipe import Recipe, device_of
from course_lib.recipes.shapes import taught
from course_lib.schedules import linear_beta
from course_lib.training import EMA, Progress, train

PROCESS = DDPM(linear_beta(1000))
"""The noise that the noise-aware CLIP knows: that of the network which it guides."""
MOSTLY_PAIRS = (*scenes.KINDS, *4 * ("pair",))
"""What a batch is made of: five scenes in seven are pairs. Who is who in a caption can be learned only where a batch holds the
same colours and shapes arranged otherwise (Yuksekgonul et al. 2023), which is rare: the more pairs, the less so."""


def clip(seed: int = 0) -> CLIP:
    """An untrained CLIP for shapes and their captions."""
    torch.manual_seed(seed)
    return CLIP()


def train_clip(
    net: CLIP,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 2000,
    noisy: bool = True,
    batch: int = 256,
    kinds: Sequence[str] = MOSTLY_PAIRS,
) -> Iterator[Progress]:
    """Trains on fresh pairs of pictures and captions, each picture noised to a random time of its own where `noisy`.

    Radford et al. 2021, figure 3; with noise, Nichol et al. 2022 (GLIDE), section 2.4. One picture in four stays clean. The
    text encoder starts as the paraphraser's.
    """
    taught(net.text)
    learner, rng = copy.deepcopy(net).train().requires_grad_(), torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        scene = scenes.sample(batch, rng, kinds)
        said, _ = captions.tell(scene, rng)
        x, t = shapes.draw(scene, rng), torch.zeros(batch, dtype=torch.long)
        if noisy:
            t[batch // 4 :] = PROCESS.sample_t(batch - batch // 4, rng)
            x = PROCESS.add_noise(x, t, randn_like(x, rng))
        device = device_of(learner)
        seen = learner.picture(x.to(device), (t / PROCESS.T).to(device))
        return contrastive_loss(seen, learner.caption(captions.tokens(said).to(device)), learner.scale)

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def retrieval(
    net: CLIP, t: int = 0, n: int = 64, batches: int = 20, split: str = "train", told: int | None = None, seed: int = 1
) -> tuple[float, float]:
    """The share of pairs of objects in which a caption finds its picture among n, and a picture its caption; pictures noised to
    time t.

    Another picture of the n that the caption fits as well counts as its own (one caption in twenty has one). The CLIP is told
    that the time is `told`, by default the true one.
    """
    rng, right = torch.Generator().manual_seed(seed), torch.zeros(2)
    for _ in range(batches):
        scene = scenes.sample(n, rng, ("pair",), split)
        said, asked = captions.tell(scene, rng)
        each, other = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
        fits = scenes.matches(scene[each], asked[other])["all"][0].view(n, n)  # of picture i, caption j
        x = shapes.draw(scene, rng)
        x = PROCESS.add_noise(x, t, randn_like(x, rng)).to(device_of(net))
        time = torch.full((n,), (t if told is None else told) / PROCESS.T, device=x.device)
        likeness = (net.picture(x, time) @ net.caption(captions.tokens(said).to(x.device)).T).cpu()
        right += torch.stack([fits.gather(dim, likeness.argmax(dim, keepdim=True)).double().mean() for dim in (0, 1)])
    return tuple((right / batches).tolist())


@torch.no_grad()
def told_apart(net: CLIP, n: int = 600, seed: int = 1) -> tuple[dict[str, float], dict[str, str]]:
    """How often a picture is nearer to its plain caption than to one with a single thing wrong, by what is wrong, of n pairs of
    objects of two colours and two shapes; and the first picture's captions, by what is wrong in them.

    Wrong are one object's colour, the two colours swapped, or the relation turned round. By luck it is half.
    """
    rng = torch.Generator().manual_seed(seed)
    pairs = scenes.sample(5 * n, rng, ("pair",))
    pairs = pairs[(pairs.colour[:, 0] != pairs.colour[:, 1]) & (pairs.shape[:, 0] != pairs.shape[:, 1])][:n]
    changed = lambda **parts: captions.describe(replace(pairs, **parts))
    third = [next(c for c in range(len(scenes.COLOURS)) if c not in two) for two in pairs.colour[:, :2].tolist()]
    other, turned = pairs.colour.clone(), [1, 0, *range(2, scenes.MOST)]
    other[:, 0] = torch.tensor(third)
    said = {
        "nothing": captions.describe(pairs),
        "another colour": changed(colour=other),
        "colours swapped": changed(colour=pairs.colour[:, turned]),
        "relation turned": changed(**{part: getattr(pairs, part)[:, turned] for part in ("shape", "colour", "size")}),
    }
    device = device_of(net)
    seen = net.picture(shapes.draw(pairs, rng).to(device))
    like = {name: (seen * net.caption(captions.tokens(text).to(device))).sum(1) for name, text in said.items()}
    right = like.pop("nothing")
    return {name: float((right > wrong).float().mean()) for name, wrong in like.items()}, {k: v[0] for k, v in said.items()}


@torch.no_grad()
def zero_shot(net: CLIP, split: str = "train", n: int = 500, seed: int = 1) -> float:
    """The share of n objects alone whose picture is nearest to its own of the sentences "a red circle" to "a white star"."""
    rng, device = torch.Generator().manual_seed(seed), device_of(net)
    alone = scenes.sample(n, rng, ("one",), split)
    words = [f"a {colour} {shape}" for shape in scenes.SHAPES for colour in scenes.COLOURS]
    sentences = net.caption(captions.tokens(words).to(device))
    guess = (net.picture(shapes.draw(alone, rng).to(device)) @ sentences.T).argmax(1).cpu()
    return float((guess == alone.object[:, 0]).float().mean())


def clip_figures(net: CLIP, times: tuple[int, ...] = (0, 200, 400, 600)) -> dict[str, float]:
    """Retrieval, 1 in 64, of clean and of noisy pictures, and of those held out of training."""
    found = {}
    for t in times:
        noise = f"at t = {t}" if t else "clean"
        found[f"caption finds picture, {noise}"], found[f"picture finds caption, {noise}"] = retrieval(net, t)
    for split in scenes.SPLITS[1:]:
        found[f"caption finds picture, {split}"], _ = retrieval(net, split=split)
    return found


CLIP_NOISY = Recipe("CLIP of shapes, which knows noise", clip, train_clip, clip_figures, bits=16)
CLIP_CLEAN = Recipe(
    "CLIP of shapes, of clean pictures only",
    clip,
    partial(train_clip, noisy=False, steps=4000),
    partial(clip_figures, times=(0,)),
    bits=16,
)
