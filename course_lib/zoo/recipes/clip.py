"""Recipes for CLIP: one trained on noisy pictures, and one trained on clean ones only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import device_of
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.process import DDPM, randn_like, seeded
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of
from course_lib.zoo.recipes.shapes import load_text_encoder

PROCESS = DDPM(linear_beta(1000))
"""The process of the noisy CLIP's pictures: that of the network which it guides."""
MOSTLY_PAIRS = (*scenes.KINDS, *4 * ("pair",))
"""The kinds of scenes in a batch: five in seven are pairs. Attribute binding can be learned only where a batch holds the same
colours and shapes in another arrangement (Yuksekgonul et al. 2023). More pairs make that less rare."""


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
    folder: Path = FOLDER,
) -> Iterator[TrainingState]:
    """Trains on fresh pairs of pictures and captions, each picture noised to a random time of its own where `noisy`.

    Radford et al. 2021, figure 3; with noise, Nichol et al. 2022 (GLIDE), section 2.4. One picture in four stays clean. The
    text encoder starts from the paraphraser's weights.
    """
    load_text_encoder(net.text, folder=folder)
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        scene = scenes.sample(batch, rng, kinds)
        prompts, _ = captions.tell(scene, rng)
        x, t = shapes.draw(scene, rng), torch.zeros(batch, device="cpu", dtype=torch.long)
        if noisy:
            t[batch // 4 :] = PROCESS.sample_t(batch - batch // 4, rng)
            x = PROCESS.add_noise(x, t, randn_like(x, rng))
        device = device_of(learner)
        pictures = learner.encode_image(x.to(device), (t / PROCESS.T).to(device))
        return contrastive_loss(pictures, learner.encode_text(captions.tokens(prompts).to(device)), learner.scale)

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def retrieval(
    net: CLIP, t: int = 0, n: int = 64, batches: int = 20, split: str = "train", described: int | None = None, seed: int = 1
) -> tuple[float, float]:
    """The retrieval accuracy among n pairs of objects: of pictures by caption, and of captions by picture, noised to time t.

    Another picture of the n that the caption fits as well counts as its own (one caption in twenty has one). The CLIP is given
    the time `described`, by default the true one.
    """
    rng, right = seeded(seed), torch.zeros(2, device="cpu", dtype=torch.float32)
    for _ in range(batches):
        scene = scenes.sample(n, rng, ("pair",), split)
        prompts, wanted = captions.tell(scene, rng)
        line = torch.arange(n, device="cpu", dtype=torch.long)
        each, other = line.repeat_interleave(n), line.repeat(n)
        fits = scenes.matches(scene[each], wanted[other])["all"][0].view(n, n)  # of picture i, caption j
        x = shapes.draw(scene, rng)
        x = PROCESS.add_noise(x, t, randn_like(x, rng)).to(device_of(net))
        time = x.new_full((n,), (t if described is None else described) / PROCESS.T)
        similarity = (net.encode_image(x, time) @ net.encode_text(captions.tokens(prompts).to(x.device)).T).cpu()
        right += torch.stack([fits.gather(dim, similarity.argmax(dim, keepdim=True)).double().mean() for dim in (0, 1)])
    return tuple((right / batches).tolist())


@torch.no_grad()
def hard_negatives(net: CLIP, n: int = 600, seed: int = 1) -> tuple[dict[str, float], dict[str, str]]:
    """How often a picture is nearer to its plain caption than to a hard negative, by the kind of negative, for n pairs of
    objects of two colours and two shapes; and the first picture's captions, by the same kinds.

    A hard negative changes one object's colour, swaps the two colours, or reverses the relation. Chance is a half. Its objects
    and its pair of objects occur in training, so that no caption is wrong merely because it is new.
    """
    rng = seeded(seed)
    pairs = scenes.sample(10 * n, rng, ("pair",))
    third = [next(c for c in range(len(scenes.COLOURS)) if c not in two) for two in pairs.colour[:, :2].tolist()]
    other, turned = pairs.colour.clone(), [1, 0, *range(2, scenes.MAX_OBJECTS)]
    other[:, 0] = torch.tensor(third, device="cpu", dtype=torch.long)
    changed = {
        "nothing": pairs,
        "another colour": replace(pairs, colour=other),
        "colours swapped": replace(pairs, colour=pairs.colour[:, turned]),
        "relation turned": replace(pairs, **{part: getattr(pairs, part)[:, turned] for part in ("shape", "colour", "size")}),
    }
    keep = (pairs.colour[:, 0] != pairs.colour[:, 1]) & (pairs.shape[:, 0] != pairs.shape[:, 1])
    for scene in changed.values():
        keep &= ~scenes.new_objects(scene) & ~scenes.new_pairs(scene)
    prompts = {name: captions.describe(scene[keep][:n]) for name, scene in changed.items()}
    pairs = pairs[keep][:n]
    device = device_of(net)
    pictures = net.encode_image(shapes.draw(pairs, rng).to(device))
    similarity = {name: (pictures * net.encode_text(captions.tokens(text).to(device))).sum(1) for name, text in prompts.items()}
    right = similarity.pop("nothing")
    shares = {name: float((right > wrong).float().mean()) for name, wrong in similarity.items()}
    return shares, {name: text[0] for name, text in prompts.items()}


@torch.no_grad()
def zero_shot(net: CLIP, split: str = "train", n: int = 500, seed: int = 1) -> float:
    """The zero-shot accuracy on n pictures of one object: the nearest of the sentences "a red circle" to "a white star"."""
    rng, device = seeded(seed), device_of(net)
    alone = scenes.sample(n, rng, ("one",), split)
    words = [f"a {colour} {shape}" for shape in scenes.SHAPES for colour in scenes.COLOURS]
    sentences = net.encode_text(captions.tokens(words).to(device))
    guess = (net.encode_image(shapes.draw(alone, rng).to(device)) @ sentences.T).argmax(1).cpu()
    return float((guess == alone.object[:, 0]).float().mean())


def clip_figures(net: CLIP, times: tuple[int, ...] = (0, 200, 400, 600)) -> dict[str, Figure]:
    """Retrieval, 1 in 64, of clean and of noisy pictures, and of those held out of training."""
    figures = {}
    for t in times:
        noise = f"at t = {t}" if t else "clean"
        figures[f"caption finds picture, {noise}"], figures[f"picture finds caption, {noise}"] = retrieval(net, t)
    for split in scenes.SPLITS[1:]:
        figures[f"caption finds picture, {split}"], _ = retrieval(net, split=split)
    return {name: Figure.share(value) for name, value in figures.items()}


CLIP_NOISY = Recipe("CLIP of shapes, trained on noisy pictures", clip, train_clip, clip_figures, bits=16)
CLIP_CLEAN = Recipe(
    "CLIP of shapes, trained on clean pictures",
    clip,
    partial(train_clip, noisy=False, steps=4000),
    partial(clip_figures, times=(0,)),
    bits=16,
)
