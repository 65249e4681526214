"""unCLIP in figures: with and without a prior, variations, edits by words, and what binding depends on. Lesson 11 shows them.

    python tests/benchmarks/unclip.py [pictures | binding] [--n 40] [--seeds 20 21 22 23 24]

`pictures` measures the shipped models, one training each, on n scenes a seed: 20 DDIM steps of the prior, 25 of the decoder,
scored by the shipped detector. It takes 5 minutes of one core.

- 'captions': pairs of objects, drawn at w = 2 from the embedding of the 'prior', of the 'prior, again' with other noise, or
  from the 'caption' embedding itself
- 'variations': pictures drawn at w = 2 from the embedding of a picture of two objects, with 'fresh' noise or with the picture's
  own, 'inverted' at w = 1. 'redrawn' is the same scene with random places, 'another' is another scene. `apart` is the distance
  of the objects to the picture's, in pixels, where both are detected alike
- 'edits': one object whose colour is to change, "a red square" to "a blue square". By 'difference': z is rotated by SHARE of
  the angle to the difference of the caption embeddings, and decoded from the inverted noise at w = 1; 'difference, fresh'
  decodes it from fresh noise at w = 1; 'caption' decodes the new caption's own embedding from fresh noise at w = 2. `near` is
  the share of pictures whose object is within 2 pixels, a cell of the detector, of where it was

`binding` trains a small CLIP on pictures of two objects, for CLIP_STEPS batches of 64: with their plain captions ('order'), or
with the words of each caption sorted ('bag'), which has the same words in no order. A network of two hidden layers is then
trained to predict the shipped CLIP's embedding of a picture from that of the small one (FIT_STEPS batches of 256, of 8,000
pictures), and the shipped decoder draws from what it predicts. Two arms of three trainings, equal in all else, take 5 minutes
of one core; the weights are kept in build/unclip. It measures how often the CLIP prefers the right caption, and what 120
pictures show that are drawn from the embeddings of real pictures of two colours and two shapes. With their two colours
exchanged, these scenes are ones of training, too: that a combination never occurred does not give it away. `bound` is the
share with the right combination among those with both colours and both shapes right: chance is a half.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import detector, right, rounded
from torch import Tensor, nn
from torch.nn.functional import normalize

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.guidance import classifier_free
from course_lib.methods.interpolation import slerp
from course_lib.methods.unclip import UnCLIP, image_embedding
from course_lib.nets.clip import CLIP, contrastive_loss
from course_lib.process import seeded
from course_lib.samplers import invert, result, sample
from course_lib.training import EMA, TrainingState, train
from course_lib.zoo import models
from course_lib.zoo.recipes.clip import hard_negatives
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.shapes import load_text_encoder, pair_prompts

CAPTIONS = ("prior", "prior, again", "caption")
SHARE = 0.375
"""By how much of the angle an edit rotates: the middle of what Ramesh et al. 2022, section 3.3, call typical, 0.25 to 0.50."""
PARTS = ("count", "shape", "colour", "binding", "relation", "size", "all")
CLIP_STEPS, FIT_STEPS = 300, 1500
CELL = 2.0
"""The side of a cell of the detector, in pixels."""


def jobs(seeds):
    ways = [{"what": "captions", "by": by, "split": s} for s in ("train", "new objects") for by in CAPTIONS]
    ways += [{"what": "variations", "by": by} for by in ("fresh", "inverted", "redrawn", "another")]
    ways += [{"what": "edits", "by": by} for by in ("difference", "difference, fresh", "caption")]
    return [way | {"seed": seed} for seed in seeds for way in ways]


def row(n: int, what: str, seed: int, **options) -> dict:
    method = UnCLIP(*(models.load(name) for name in ("clip", "prior", "decoder")))
    return {"captions": by_caption, "variations": variations, "edits": edits}[what](method, n, seed, **options)


def attributes(x: Tensor, scene: Scene, parts: tuple[str, ...] = PARTS) -> dict[str, float]:
    """The share of pictures in which each attribute that the scene has is right."""
    return {part: share for part, share in right(x, scene, parts).items() if share == share}


def by_caption(method: UnCLIP, n: int, seed: int, by: str, split: str) -> dict:
    prompts, scene = pair_prompts(n, split, seed)
    rng = seeded(seed)
    x_T = method.decoder.draw_noise(n, rng)
    rng = seeded(seed + 1000) if by == "prior, again" else rng
    z = method.embed_captions(prompts) if by == "caption" else method.sample_prior(prompts, steps=20, rng=rng)
    return {"right": attributes(decoded(method, z, x_T), scene)}


def decoded(method: UnCLIP, z: Tensor, x_T: Tensor, w: float = 2.0) -> Tensor:
    return sample(classifier_free(method.decoder, z, w), x_T, 25).clamp(-1, 1)


def noise_of(method: UnCLIP, x: Tensor, z: Tensor) -> Tensor:
    """The noise from which the decoder, given z, draws pictures x at w = 1: DDIM run backwards."""
    return result(invert(method.decoder.given(z), x, method.decoder.process.times(25)))


def variations(method: UnCLIP, n: int, seed: int, by: str) -> dict:
    rng = seeded(seed)
    scene = scenes.sample(n, rng, ("pair",))
    x, redrawn, fresh = shapes.draw(scene, rng), shapes.draw(scene, rng), method.decoder.draw_noise(n, rng)
    z = method.embed_images(x)
    if by == "another":
        again = shapes.draw(scenes.sample(n, rng, ("pair",)), rng)
    elif by == "redrawn":
        again = redrawn
    else:
        again = decoded(method, z, fresh) if by == "fresh" else decoded(method, z, noise_of(method, x, z), 1.0)
    (seen, centres), (seen_again, centres_again) = detector().locate(x), detector().locate(again)
    both = (seen.count == 2) & (seen_again.count == 2) & (seen.relation == seen_again.relation)
    apart = float((centres - centres_again)[both, :2].norm(dim=2).mean())
    return {"right": attributes(again, scene), "apart": round(apart, 3)}


def edits(method: UnCLIP, n: int, seed: int, by: str) -> dict:
    """`right` are the shares with the new colour and all else as it was; `near` the share of objects that stay in place."""
    rng = seeded(seed)
    scene = scenes.sample(n, rng, ("one",))
    turned = Scene(scene.shape, torch.where(scene.colour >= 0, (scene.colour + 1) % 6, -1), *_rest(scene))
    plain = [captions.describe(Scene(s.shape, s.colour, *_rest(s, stated=False))) for s in (scene, turned)]
    old, new = (method.embed_captions(prompts) for prompts in plain)
    x, fresh = shapes.draw(scene, rng), method.decoder.draw_noise(n, rng)
    z = method.embed_images(x)
    towards = normalize(new - old) * z.norm(dim=1, keepdim=True)
    if by == "caption":
        edited = decoded(method, new, fresh)
    else:
        edited = decoded(method, slerp(z, towards, SHARE), noise_of(method, x, z) if by == "difference" else fresh, 1.0)
    (_, before), (seen, after) = detector().locate(x), detector().locate(edited)
    near = (seen.count == 1) & ((before - after)[:, 0].norm(dim=1) < CELL)
    found = scenes.matches(seen, turned)
    parts = {part: round(float((found[part][0] & (seen.count == 1)).double().mean()), 4) for part in ("colour", "shape")}
    size = (seen.count == 1) & (seen.size[:, 0] == scene.size[:, 0])
    every = found["binding"][0] & size & near
    parts |= {"size": round(float(size.double().mean()), 4), "all": round(float(every.double().mean()), 4)}
    return {"right": parts, "near": round(float(near.double().mean()), 4)}


def _rest(scene: Scene, stated: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Size, place and relation of a scene, or none where these are not stated."""
    nothing = torch.full_like(scene.size, scenes.NONE)
    return (scene.size, scene.place, scene.relation) if stated else (nothing, nothing[:, 0], nothing[:, 0])


# What binding depends on


def distinct(n: int, rng: torch.Generator, exchangeable: bool = False) -> Scene:
    """n pairs of objects of two colours and two shapes; if `exchangeable`, ones that occur with exchanged colours, too."""
    scene = scenes.sample((6 if exchangeable else 3) * n + 20, rng, ("pair",))
    two = lambda part: part[:, 0] != part[:, 1]
    keep = two(scene.colour) & two(scene.shape)
    if exchangeable:
        other = replace(scene, colour=scene.colour[:, [1, 0, *range(2, scenes.MAX_OBJECTS)]])
        keep &= ~scenes.new_objects(other) & ~scenes.new_pairs(other)
    return scene[keep][:n]


def train_clip(net: CLIP, seed: int, words: str) -> Iterator[TrainingState]:
    """Trains on pictures with plain captions, whose words are sorted if `words` is 'bag'."""
    load_text_encoder(net.text)
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        scene = scenes.sample(64, rng, ("pair",))
        prompts = captions.describe(scene)
        if words == "bag":
            prompts = [" ".join(sorted(prompt.split())) for prompt in prompts]
        pictures = learner.encode_image(shapes.draw(scene, rng))
        return contrastive_loss(pictures, learner.encode_text(captions.tokens(prompts)), learner.scale)

    return train(loss, learner, CLIP_STEPS, lr=2e-3, ema=EMA(learner, 0.98, into=net), weight_decay=0.01, muon=0.02)


@cache
def known() -> tuple[Tensor, Tensor]:
    """8,000 pictures of two objects of two colours and two shapes, and the shipped CLIP's embeddings of them."""
    x = shapes.draw(distinct(8000, seeded(99)), seeded(98))
    return x, embedded(models.load("clip"), x)


@torch.no_grad()
def embedded(clip: CLIP, x: Tensor) -> Tensor:
    return torch.cat([image_embedding(clip, part) for part in x.split(500)])


def train_translator(net: nn.Module, clip: CLIP, seed: int) -> Iterator[TrainingState]:
    """Trains a network to predict the shipped CLIP's embeddings from this one's, by the mean squared error."""
    rng, (x, theirs) = seeded(seed), known()
    ours = embedded(clip, x)

    def loss() -> Tensor:
        i = torch.randint(len(x), (256,), generator=rng)
        return (net(ours[i]) - theirs[i]).square().mean()

    return train(loss, net, FIT_STEPS, lr=2e-3)


def binding_jobs(seeds):
    return [{"seed": seed, "words": words} for seed in (1, 2, 3) for words in ("order", "bag")]


def binding_row(n: int, seed: int, words: str) -> dict:
    torch.manual_seed(seed)
    clip, network = CLIP(dim=64, width=16, words=64), models.load("decoder")
    hidden = nn.Linear(64, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()
    translator = nn.Sequential(*hidden, nn.Linear(512, 64))
    first = load_or_train(BUILD / f"unclip/clip {words} {seed}.safetensors", clip, lambda: train_clip(clip, seed, words))
    path = BUILD / f"unclip/translator {words} {seed}.safetensors"
    second = load_or_train(path, translator, lambda: train_translator(translator, clip, seed))
    rng, figures = seeded(200 + seed), {"right caption preferred": rounded(hard_negatives(clip, 600)[0])}
    scene = distinct(120, rng, exchangeable=True)
    z = translator(embedded(clip, shapes.draw(scene, rng)))
    x = sample(classifier_free(network, z, 2.0), network.draw_noise(len(scene), rng), 20).clamp(-1, 1)
    found = scenes.matches(detector().detect(x), scene)
    parts = found["shape"][0] & found["colour"][0]
    figures["right"] = {
        part: round(float(found[part][0].double().mean()), 4) for part in ("count", "shape", "colour", "binding")
    }
    figures |= {"parts right": int(parts.sum()), "bound": round(float(found["binding"][0][parts].double().mean()), 4)}
    return {"seconds": [first["seconds"], second["seconds"]], "figures": figures}


PARTS_OF_IT = [Part("pictures", jobs, row), Part("binding", binding_jobs, binding_row, into="binding")]
BENCH = Benchmark("unclip", PARTS_OF_IT, amounts={"n": 40}, seeds=(20, 21, 22, 23, 24), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
