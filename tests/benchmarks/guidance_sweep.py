"""Fidelity and diversity over w, for classifier and classifier-free guidance; the miniature of two papers' trade-off curves.

    python tests/benchmarks/guidance_sweep.py [--only train|w|steps|dropout] [--n 500] [--out data/figures/guidance_sweep.json]

Three seeds throughout, and a seed is all of it: its own network (seed 0 is the shipped one), its own noise-aware classifier, a
clean one of the same make and steps, its own noise. Classifier guidance takes the same network with the null condition as the
unconditional model. DDIM, eta = 0, 25 steps. Every guide is judged by the shipped classifier, which guides nobody.

What is trained on the way is kept in build/guidance, and rows that are in the file already are not made again: it may be
stopped at any time. Lessons 07 and 08 show the results. All of it takes an hour and a quarter on one core.
"""

import argparse
import copy
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from course_lib import checkpoints, metrics, models, recipes
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree, ClassifierGuided
from course_lib.nets.classifier import jitter
from course_lib.samplers import ddim, result
from course_lib.training import EMA, show_progress, train

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/guidance_sweep.json", ROOT / "build/guidance"
SEEDS, WS, RATES = (0, 1, 2), (0, 0.5, 1, 1.5, 2, 3, 5, 8), (0.02, 0.1, 0.2, 0.5)
DROPOUT_STEPS = 2000


def network(seed: int):
    """The digits' network of that seed, trained by the recipe."""
    return _made("digits", recipes.digits_network, seed)


def noisy_classifier(seed: int):
    return _made("noisy_classifier", recipes.noisy_classifier, seed)


def _made(name: str, build, seed: int):
    if seed == 0:
        return models.load(name)
    path = KEPT / f"{name}_{seed}.safetensors"
    if not path.is_file():
        models.make(name, seed, device="cpu", out=path, every=1e9)
    return _loaded(build(), path)


def _loaded(model, path: Path):
    checkpoints.load_into(model.net, path)
    model.net.eval().requires_grad_(False)
    return model


def clean_classifier(seed: int, steps: int = 3000):
    """The noise-aware classifier's twin, which saw the same digits, the same number of times, and never any noise."""
    path, model = KEPT / f"clean_classifier_{seed}.safetensors", recipes.noisy_classifier(seed)
    if path.is_file():
        return _loaded(model, path)
    x, label = digits.load("train")
    learner = replace(model, net=copy.deepcopy(model.net).train())
    rng = torch.Generator().manual_seed(seed)

    def loss():
        i = torch.randint(len(x), (128,), generator=rng)
        return cross_entropy(learner(jitter(x[i], rng), 0), label[i])

    ema = EMA(learner.net, 0.998, into=model.net)
    show_progress(train(loss, learner.net, steps, lr=3e-3, ema=ema, weight_decay=0.05), f"clean classifier {seed}")
    checkpoints.write(path, model.net, {"seed": seed, "steps": steps})
    return _loaded(model, path)


def dropout_network(rate: float, seed: int):
    """The digits' network, trained for DROPOUT_STEPS with that share of labels dropped."""
    path, model = KEPT / f"dropped_{rate}_{seed}.safetensors", recipes.digits_network(seed)
    if not path.is_file():
        training = recipes.train_digits(model, seed=seed, steps=DROPOUT_STEPS, dropped=rate)
        show_progress(training, f"dropped {rate}, seed {seed}")
        checkpoints.write(path, model.net, {"seed": seed, "steps": DROPOUT_STEPS, "dropped": rate})
    return _loaded(model, path)


def guided(guide: str, seed: int, w: float, label, rate: float | None):
    """The denoiser of one row."""
    net = network(seed) if rate is None else dropout_network(rate, seed)
    if guide == "classifier-free":
        return ClassifierFree(net.given(label), net.given(NULL), w)
    return ClassifierGuided(net.given(NULL), (noisy_classifier if guide == "classifier" else clean_classifier)(seed), label, w)


def measured(n: int, guide: str, seed: int, w: float, steps: int = 25, rate: float | None = None) -> dict:
    """One row: n samples beside the held-out digits."""
    label, judge = torch.arange(n) % 10, models.load("classifier")
    denoiser = guided(guide, seed, w, label, rate)
    x = torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(100 + seed))
    begun = time.perf_counter()
    made = result(ddim(denoiser, x, denoiser.process.times(steps)))
    seconds = round(time.perf_counter() - begun, 1)
    row = {"guide": guide, "seed": seed, "w": w, "steps": steps, "dropped": rate, "seconds": seconds}
    return row | {"figures": figures(made, label, judge, n)}


@torch.no_grad()
def figures(made, label, judge, n: int) -> dict:
    """What the judge says. Samples that are not finite count as wrong, and have no distance."""
    real = judge.features(digits.load("held_out")[0][:n])
    if not made.isfinite().all():
        return {"class accuracy": 0.0, "precision": 0.0, "recall": 0.0, "Frechet distance": None}
    features = judge.features(made.clamp(-1, 1))
    precision, recall = metrics.precision_recall(real, features)
    found = {"class accuracy": metrics.accuracy(judge(made.clamp(-1, 1)), label), "precision": precision, "recall": recall}
    found["Frechet distance"] = metrics.frechet_distance(features, real)
    return {name: round(value, 4) for name, value in found.items()}


def jobs(part: str) -> list[dict]:
    """The rows of one part of the sweep."""
    if part == "w":
        guides = ("classifier-free", "classifier", "clean classifier")
        return [{"guide": g, "seed": s, "w": w} for s in SEEDS for g in guides for w in WS]
    if part == "steps":
        return [
            {"guide": g, "seed": s, "w": 2, "steps": k}
            for s in SEEDS
            for g in ("classifier", "classifier-free")
            for k in (5, 10, 50, 250)
        ]
    return [{"guide": "classifier-free", "seed": s, "w": w, "rate": r} for s in SEEDS for r in RATES for w in (0, 1, 3)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("train", "w", "steps", "dropout"))
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.only == "train":
        for seed in SEEDS:
            noisy_classifier(seed), clean_classifier(seed), network(seed)
        return
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    else:
        judge, label = models.load("classifier"), torch.arange(args.n) % 10
        real = figures(digits.load("train")[0][: args.n], label, judge, args.n)
        found = {"command": f"python tests/benchmarks/guidance_sweep.py --n {args.n}", "n": args.n, "seeds": len(SEEDS)}
        found |= {"torch": torch.__version__.split("+")[0], "dropout steps": DROPOUT_STEPS, "real": real, "runs": []}
    key = lambda row: tuple(row[name] for name in ("guide", "seed", "w", "steps", "dropped"))
    have = {key(row) for row in found["runs"]}
    for part in [args.only] if args.only else ("w", "steps", "dropout"):
        for job in jobs(part):
            if (job["guide"], job["seed"], job["w"], job.get("steps", 25), job.get("rate")) in have:
                continue
            found["runs"].append(measured(args.n, **job))
            print(json.dumps(found["runs"][-1]), flush=True)
            checkpoints.write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
