"""CLIP guidance over w, by a CLIP that knows noise and by one that does not: which attributes of a caption come out right.

    python tests/benchmarks/clip_guidance.py [--n 40] [--seeds 0 1 2] [--out data/figures/clip_guidance.json]

The shipped text2shape, given no caption, steered by the shipped CLIPs, 50 DDPM steps, captions of one and of two objects,
judged by the shipped reader; and what the clean CLIP makes of the pictures, the mean cosine between picture and caption.
Lesson 10 shows the results. Rows that are in the file already are not made again, so that it may be stopped at any time.
"""

import torch
from rows import measure

from course_lib import models
from course_lib.clip_guidance import ClipGuided
from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL
from course_lib.samplers import ddpm, result

WS, KINDS, CLIPS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0), ("one", "pair"), {"noisy_clip": True, "clip": False}


def jobs(seeds):
    return [
        {"seed": seed, "kind": kind, "clip": name, "w": w} for seed in seeds for kind in KINDS for name in CLIPS for w in WS
    ]


@torch.no_grad()
def row(n: int, seed: int, kind: str, clip: str, w: float) -> dict:
    """n captions of one kind of scene, steered by one CLIP."""
    network, guide, clean = models.load("text2shape"), models.load(clip), models.load("clip")
    rng = torch.Generator().manual_seed(seed)
    said, scene = captions.tell(scenes.sample(n, rng, (kind,)), rng)
    guided = ClipGuided(network.given(NULL), guide, said, w, knows_noise=CLIPS[clip])
    x = result(ddpm(guided, torch.randn(n, 3, 32, 32, generator=rng), network.process.times(50), rng)).clamp(-1, 1)
    right = scenes.agreement(models.load("reader").read(x), scene)
    right = {part: round(right[part], 4) for part in ("count", "shape", "colour", "binding", "all")}
    cosine = float((clean.picture(x) * clean.caption(captions.tokens(said))).sum(1).mean())
    return {"right": right, "cosine": round(cosine, 4)}


if __name__ == "__main__":
    measure(__doc__, "clip_guidance", 40, jobs, row)
