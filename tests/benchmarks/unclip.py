"""unCLIP in figures: captions drawn with and without the prior, variations of a picture, and text differences.

    python tests/benchmarks/unclip.py [--n 60] [--seeds 0 1 2] [--out data/figures/unclip.json]

The shipped prior and decoder, 20 DDIM steps each, decoder at w = 2, judged by the shipped reader; beside the shipped text2shape
at w = 3 on the same captions. Lesson 11 shows the results. Rows that are in the file already are not made again, so that it
may be stopped at any time.

- 'captions': pairs, drawn by 'text' (lesson 09), by 'prior', or by the decoder from the 'caption' vector itself
- 'variations': one for each of n pictures of pairs: what is still read in it, beside the scene 'redrawn', places free;
  `apart` is how far its objects lie from the picture's, in pixels, where both are found
- 'difference': from "a red square" to "a blue square" and the like: z turned by `share` of the way to the difference
"""

import torch
from rows import measure

from course_lib import models
from course_lib.datasets import captions, scenes, shapes
from course_lib.interpolation import slerp
from course_lib.recipes.shapes import asked, drawn
from course_lib.unclip import UnCLIP

SHARES = (0.0, 0.2, 0.4, 0.6)
PARTS = ("count", "shape", "colour", "binding", "relation", "size", "all")


def jobs(seeds):
    ways = [{"what": "captions", "by": by, "split": split} for by in ("text", "prior", "caption") for split in scenes.SPLITS]
    ways += [{"what": "variations", "by": by, "split": "train"} for by in ("decoder", "redrawn")]
    ways += [{"what": "difference", "by": "decoder", "split": "train", "share": share} for share in SHARES]
    return [way | {"seed": seed} for seed in seeds for way in ways]


def row(n: int, what: str, seed: int, **how) -> dict:
    method = UnCLIP(*(models.load(name) for name in ("clip", "prior", "decoder")))
    rng = torch.Generator().manual_seed(seed)
    return {"captions": by_caption, "variations": variations, "difference": difference}[what](method, n, seed, rng, **how)


def right(x, scene) -> dict:
    found = scenes.agreement(models.load("reader").read(x), scene)
    return {part: round(found[part], 4) for part in PARTS if found[part] == found[part]}


def by_caption(method, n, seed, rng, by, split) -> dict:
    said, scene = asked(n, split, seed)
    if by == "text":
        return {"right": right(drawn(models.load("text2shape"), said, 3.0, 20, seed), scene)}
    z = method.imagined(said, steps=20, rng=rng) if by == "prior" else method.read(said)
    return {"right": right(method.drawn(z, 2.0, 20, rng), scene)}


def variations(method, n, seed, rng, by, split) -> dict:
    scene = scenes.sample(n, rng, ("pair",), split)
    x = shapes.draw(scene, rng)
    again = shapes.draw(scene, rng) if by == "redrawn" else method.drawn(method.seen(x), 2.0, 20, rng)
    judge = models.load("reader")
    (seen, at), (found, there) = judge.locate(x), judge.locate(again)
    both = (seen.count == 2) & (found.count == 2) & (seen.relation == found.relation)
    return {"right": right(again, scene), "apart": round(float((at - there)[both, :2].norm(dim=2).mean()), 3)}


def difference(method, n, seed, rng, by, split, share) -> dict:
    """Objects alone, whose colour is to change; right is what is read of the new colour, the old shape, and both."""
    scene = scenes.sample(n, rng, ("one",), split)
    turned = scenes.Scene(scene.shape, torch.where(scene.colour >= 0, (scene.colour + 1) % 6, -1), *_rest(scene))
    plain = [captions.describe(scenes.Scene(s.shape, s.colour, *_rest(s, said=False))) for s in (scene, turned)]
    old, new = (method.read(said) for said in plain)
    z = method.seen(shapes.draw(scene, rng))
    towards = torch.nn.functional.normalize(new - old) * z.norm(dim=1, keepdim=True)
    x = method.drawn(slerp(z, towards, share), 2.0, 20, rng)
    return {"right": right(x, turned), "kept": right(x, scene)}


def _rest(scene, said: bool = True):
    nothing = torch.full_like(scene.size, scenes.NONE)
    if said:
        return scene.size, scene.place, scene.relation
    return nothing, nothing[:, 0], nothing[:, 0]


if __name__ == "__main__":
    measure(__doc__, "unclip", 60, jobs, row)
