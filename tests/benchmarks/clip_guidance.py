"""CLIP guidance over w, by a CLIP trained on noisy pictures and by one trained on clean ones: how many pictures are right.

    python tests/benchmarks/clip_guidance.py [--n 40] [--seeds 10 11 12 13 14]

The shipped text2shape without a caption, guided by the shipped CLIPs, 40 DDPM steps, captions of one object. A seed is one
set of captions and noises, the same for all arms. The weights span the range of an earlier run, 3 to 100 times CLIP's inverse
temperature; captions and noises are new. On noisy real pictures at t = 500, the shift by the noise-aware CLIP has the length
of text2shape's own difference (with the caption less without) at about w = 200. The shipped detector scores the pictures; the
cosines are those of both CLIPs between a final picture and its caption. A picture is right in `binding` if the detector finds
the one object of its caption, with its shape and colour, and no other. Lesson 10 shows the results.

The claim is about the mean over the four weights, five sets a guide, paired. Its null model, set before it was run: the clean
CLIP again, with five other sets (seeds 15 to 19), beside its own first five, not paired, under the same condition.
"""

import torch
from rows import Benchmark, Part, measure
from scores import right
from torch import Tensor

from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL
from course_lib.methods.clip_guidance import ClipGuided
from course_lib.process import seeded
from course_lib.samplers import ddpm, sample
from course_lib.zoo import models

WS = (100.0, 300.0, 1000.0, 3000.0)
GUIDES = {"noisy_clip": True, "clip": False}
"""Whether the CLIP that guides is given the time."""


def jobs(seeds):
    arms = {"none": (0.0,), **dict.fromkeys(GUIDES, WS)}
    each = [{"seed": seed, "clip": name, "w": w} for seed in seeds for name, ws in arms.items() for w in ws]
    return each + [{"seed": seed + 5, "clip": "clip", "w": w} for seed in seeds for w in WS]


def guided(n: int, seed: int, clip: str, w: float) -> tuple[Tensor, list[str], scenes.Scene]:
    """n pictures of one object, guided by one CLIP, their captions, and the scenes that these describe."""
    network, rng = models.load("text2shape"), seeded(seed)
    prompts, scene = captions.tell(scenes.sample(n, rng, ("one",)), rng)
    denoiser = network.given(NULL)
    if w:
        denoiser = ClipGuided(denoiser, models.load(clip), prompts, w, GUIDES[clip])
    x = sample(denoiser, network.draw_noise(n, rng), 40, ddpm, batch=n, rng=rng)
    return x.clamp(-1, 1), prompts, scene


@torch.no_grad()
def cosines(clip: str, x: Tensor, prompts: list[str]) -> Tensor:
    """The cosines (n,) of pictures with their captions, by one CLIP."""
    net = models.load(clip)
    return (net.encode_image(x) * net.encode_text(captions.tokens(prompts))).sum(1)


def row(n: int, seed: int, clip: str, w: float) -> dict:
    """The scores for n captions of one object, guided by one CLIP."""
    x, prompts, scene = guided(n, seed, clip, w)
    means = {f"cosine by {judge}": round(float(cosines(judge, x, prompts).mean()), 4) for judge in GUIDES}
    return {"right": right(x, scene, ("count", "shape", "colour", "binding", "all"))} | {
        name: means[name] for name in ("cosine by clip", "cosine by noisy_clip")
    }


PARTS = [Part(jobs=jobs, row=row)]
BENCH = Benchmark("clip_guidance", PARTS, amounts={"n": 40}, seeds=range(10, 15))

if __name__ == "__main__":
    measure(__doc__, BENCH)
