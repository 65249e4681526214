"""What a batch holds decides what CLIP learns: trainings that differ in the batch alone.

    python tests/benchmarks/clip_batches.py [--n 600] [--seeds 0] [--out data/figures/clip_batches.json]

Each row is a CLIP of clean pictures, 2,000 steps, with `batch` pictures of which a share of `pairs` are pairs: a half, as
scenes come by default, or five sevenths. The last row is the shipped recipe, for half as long. Measured are retrieval among 64
(12,800 pairs), whether a picture prefers its caption to one with a single thing wrong (n pairs), and zero-shot classes. Six
minutes of a core for each 128 pictures; the weights are kept in build/clip. Lesson 10 shows the results. Rows that are in the
file already are not made again.
"""

from pathlib import Path

from rows import kept, measure

from course_lib.recipes import clip as recipe

KEPT = Path(__file__).parents[2] / "build/clip"
KINDS = {"1/2": ("one", "pair", "pair", "alike"), "5/7": recipe.MOSTLY_PAIRS}


def jobs(seeds):
    return [{"seed": seed, "batch": batch, "pairs": pairs} for seed in seeds for pairs in KINDS for batch in (128, 256)]


def row(n: int, seed: int, batch: int, pairs: str) -> dict:
    net = recipe.clip(seed)
    training = recipe.train_clip(net, seed=seed, noisy=False, batch=batch, kinds=KINDS[pairs])
    kept(KEPT / f"{batch} {pairs.replace('/', ' of ')} {seed}.safetensors", net, training, recipe.CLIP_CLEAN.bits)
    found = recipe.retrieval(net, batches=200)
    figures = dict(zip(("caption finds picture", "picture finds caption"), (round(share, 4) for share in found)))
    figures["told apart"] = {name: round(share, 4) for name, share in recipe.told_apart(net, n)[0].items()}
    figures["zero-shot"] = {split: round(recipe.zero_shot(net, split), 4) for split in ("train", "new objects")}
    return {"figures": figures}


if __name__ == "__main__":
    measure(__doc__, "clip_batches", 600, jobs, row)
