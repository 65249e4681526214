"""What text2shape draws right and wrong: by attribute over w, and for captions that differ from those of its training.

    python tests/benchmarks/text_guidance.py [--n 40] [--seeds 10 11 12 13 14]

The shipped text2shape, 20 DDIM steps, scored by the shipped detector. A seed is one set of n captions and their noises. The
kinds are captions as in training (two objects); of two known objects that never met; with an object of a colour that its shape
never had; of two such objects; of two to four equal objects, as in training. The forms are the scenes of the first kind in
sentences of one form (`captions.FORMS`). Where errors are rare there are as many sets again, of the next five seeds. All was
fixed before these seeds were measured: nine minutes of one core. Lesson 09 shows the results.
"""

import torch
from rows import Benchmark, Part, measure
from scores import right

from course_lib.datasets import captions, scenes
from course_lib.datasets.scenes import Scene
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import models

WS = (0.0, 1.0, 2.0, 3.0, 5.0)
NEW = [len(scenes.COLOURS) * scenes.SHAPES.index(shape) + scenes.COLOURS.index(colour) for colour, shape in scenes.HELD_OUT]
KINDS = ("known", "new pairs", "new objects", "both objects new", "numbers")


def scenes_of(n: int, seed: int, kind: str) -> Scene:
    """n scenes of a kind. All kinds of sentences have the same ones."""
    rng = seeded(seed)
    if kind == "numbers":
        return scenes.sample(n, rng, ("alike",))
    if kind == "both objects new":
        many = scenes.sample(20 * n, rng, ("pair",), "new objects")
        return many[torch.isin(many.object[:, :2], torch.tensor(NEW)).all(1)][:n]
    return scenes.sample(n, rng, ("pair",), kind if kind in scenes.SPLITS else "train")


def row(n: int, seed: int, kind: str, w: float) -> dict:
    """The share of n captions of a kind for which each attribute is right."""
    scene = scenes_of(n, seed, kind)
    if kind in captions.FORMS:
        prompts = captions.in_form(scene, kind)
    else:
        prompts, scene = captions.tell(scene, seeded(seed + 100))
    network = models.load("text2shape")
    found = right(sample(classifier_free(network, prompts, w), network.draw_noise(n, seeded(seed)), 20), scene)
    found.pop("place")  # which a pair does not have
    return {"right": found}


def jobs(seeds):
    ws = {"known": WS} | dict.fromkeys(KINDS[1:], (1.0, 3.0)) | dict.fromkeys(captions.FORMS, (3.0,))
    each = [{"seed": seed, "kind": kind, "w": w} for seed in seeds for kind in ws for w in ws[kind]]
    rare = (("known", 1.0), ("known", 3.0), ("new pairs", 3.0), ("both objects new", 3.0))
    return each + [{"seed": seed + 5, "kind": kind, "w": w} for seed in seeds for kind, w in rare]


BENCH = Benchmark("text_guidance", [Part(jobs=jobs, row=row)], amounts={"n": 40}, seeds=(10, 11, 12, 13, 14), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
