"""CLIP guidance over w, with a CLIP of noisy pictures and one of clean pictures: the attributes of a caption that are right.

    python tests/benchmarks/clip_guidance.py [--n 40] [--seeds 0 1 2]

The shipped text2shape without a caption, guided by the shipped CLIPs, 50 DDPM steps, captions of one and of two objects. The
shipped detector scores the pictures; `cosine` is the mean cosine between picture and caption, by the clean CLIP. Lesson 10
shows the results.
"""

import torch
from rows import Benchmark, Part, measure
from scores import right

from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL
from course_lib.methods.clip_guidance import ClipGuided
from course_lib.process import seeded
from course_lib.samplers import ddpm, sample
from course_lib.zoo import models

WS, KINDS, CLIPS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0), ("one", "pair"), {"noisy_clip": True, "clip": False}


def jobs(seeds):
    return [
        {"seed": seed, "kind": kind, "clip": name, "w": w} for seed in seeds for kind in KINDS for name in CLIPS for w in WS
    ]


@torch.no_grad()
def row(n: int, seed: int, kind: str, clip: str, w: float) -> dict:
    """The scores for n captions of one kind of scene, guided by one CLIP."""
    network, guide, clean, rng = models.load("text2shape"), models.load(clip), models.load("clip"), seeded(seed)
    prompts, scene = captions.tell(scenes.sample(n, rng, (kind,)), rng)
    guided = ClipGuided(network.given(NULL), guide, prompts, w, knows_noise=CLIPS[clip])
    x = sample(guided, network.draw_noise(n, rng), 50, ddpm, batch=n, rng=rng).clamp(-1, 1)
    cosine = float((clean.encode_image(x) * clean.encode_text(captions.tokens(prompts))).sum(1).mean())
    return {"right": right(x, scene, ("count", "shape", "colour", "binding", "all")), "cosine": round(cosine, 4)}


BENCH = Benchmark("clip_guidance", [Part(jobs=jobs, row=row)], amounts={"n": 40})

if __name__ == "__main__":
    measure(__doc__, BENCH)
