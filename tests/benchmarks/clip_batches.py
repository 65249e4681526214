"""The effect of batches on CLIP: trainings that differ in the size and the content of the batch alone.

    python tests/benchmarks/clip_batches.py [--n 600] [--seeds 0]

Each row is a CLIP of clean pictures, trained for 2,000 steps on batches of `batch` pictures. A share `pairs` of these shows two
objects: a half, as scenes have by default, or five sevenths. The last row is the shipped recipe, for half of its steps. Scores:
retrieval among 64 (12,800 pairs), whether a picture is closer to its caption than to one with a single error (n pairs), and
zero-shot classes. It takes six minutes of a core for each 128 pictures; the weights are kept in build/clip. Lesson 10 shows the
results.
"""

from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import rounded

from course_lib.zoo.recipes import clip as recipe

KINDS = {"1/2": ("one", "pair", "pair", "alike"), "5/7": recipe.MOSTLY_PAIRS}


def jobs(seeds):
    return [{"seed": seed, "batch": batch, "pairs": pairs} for seed in seeds for pairs in KINDS for batch in (128, 256)]


def row(n: int, seed: int, batch: int, pairs: str) -> dict:
    net = recipe.clip(seed)
    training = lambda: recipe.train_clip(net, seed=seed, noisy=False, batch=batch, kinds=KINDS[pairs])
    path = BUILD / f"clip/{batch} {pairs.replace('/', ' of ')} {seed}.safetensors"
    load_or_train(path, net, training, recipe.CLIP_CLEAN.bits)
    found = recipe.retrieval(net, batches=200)
    figures = rounded(dict(zip(("caption finds picture", "picture finds caption"), found)))
    figures["told apart"] = rounded(recipe.hard_negatives(net, n)[0])
    figures["zero-shot"] = {split: round(recipe.zero_shot(net, split), 4) for split in ("train", "new objects")}
    return {"figures": figures}


BENCH = Benchmark("clip_batches", [Part(jobs=jobs, row=row)], amounts={"n": 600}, seeds=(0,))

if __name__ == "__main__":
    measure(__doc__, BENCH)
