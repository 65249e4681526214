"""Fidelity and diversity over w, for classifier and classifier-free guidance; the miniature of two papers' trade-off curves.

    python tests/benchmarks/guidance_sweep.py [--only train|w|steps|dropout] [--n 500] [--out data/figures/guidance_sweep.json]

The shipped network throughout; for classifier guidance, with the null condition, as the unconditional model. A seed is the
noise that samples start from, and a pair of classifiers: a noise-aware one and its clean twin, which stops after 600 steps
since it has long learned all there is. Seed 0 has the shipped noise-aware one. So error bars cover noise and three trainings
of the classifiers, and not the network's own; that is covered by the part `dropout`, where each seed is a network of its own.
DDIM, eta = 0, 25 steps. Every guide is judged by the shipped classifier, which guides nobody.

What is trained on the way is kept in build/guidance, and rows that are in the file already are not made again: it may be
stopped at any time. Lessons 07 and 08 show the results. All of it takes about an hour on one core.
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
GUIDES = ("classifier-free", "classifier", "clean classifier")
SEEDS, WS, RATES = (0, 1, 2), (0, 0.5, 1, 1.5, 2, 3, 5, 8), (0.02, 0.1, 0.2, 0.5)
STEPS = (25, 250)
DROPOUT_STEPS, DROPOUT_SEEDS = 1500, 2
FEWER = 200  # samples, where the steps are compared


def noisy_classifier(seed: int):
    """The noise-aware classifier of that seed, trained by the recipe."""
    if seed == 0:
        return models.load("noisy_classifier")
    path = KEPT / f"noisy_classifier_{seed}.safetensors"
    if not path.is_file():
        models.make("noisy_classifier", seed, device="cpu", out=path, every=1e9)
    return _loaded(recipes.noisy_classifier(), path)


def _loaded(model, path: Path):
    checkpoints.load_into(model.net, path)
    model.net.eval().requires_grad_(False)
    return model


def clean_classifier(seed: int, steps: int = 600):
    """The noise-aware classifier's twin, which saw the same digits and never any noise."""
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
    net = models.load("digits") if rate is None else dropout_network(rate, seed)
    if guide == "classifier-free":
        return ClassifierFree(net.given(label), net.given(NULL), w)
    classifier = (noisy_classifier if guide == "classifier" else clean_classifier)(seed)
    return ClassifierGuided(net.given(NULL), classifier, label, w)


def measured(n: int, guide: str, seed: int, w: float, steps: int = 25, rate: float | None = None) -> dict:
    """One row: n samples beside the held-out digits."""
    label, judge = torch.arange(n) % 10, models.load("classifier")
    denoiser = guided(guide, seed, w, label, rate)
    x = torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(100 + seed))
    begun = time.perf_counter()
    made = result(ddim(denoiser, x, denoiser.process.times(steps)))
    seconds = round(time.perf_counter() - begun, 1)
    row = {"guide": guide, "seed": seed, "w": w, "steps": steps, "dropped": rate, "n": n, "seconds": seconds}
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
        return [{"guide": g, "seed": s, "w": w} for g in GUIDES for s in SEEDS for w in WS]
    if part == "steps":
        return [{"guide": "classifier", "seed": s, "w": 2, "steps": k} for s in SEEDS for k in STEPS]
    seeds = SEEDS[:DROPOUT_SEEDS]
    return [{"guide": "classifier-free", "seed": s, "w": w, "rate": r} for w in (2,) for s in seeds for r in RATES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("train", "w", "steps", "dropout"))
    parser.add_argument("--guide", nargs="+", choices=GUIDES, default=GUIDES)
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.only == "train":
        for seed in SEEDS:
            noisy_classifier(seed), clean_classifier(seed)
        return
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    else:
        judge, label = models.load("classifier"), torch.arange(args.n) % 10
        real = figures(digits.load("train")[0][: args.n], label, judge, args.n)
        found = {"command": f"python tests/benchmarks/guidance_sweep.py --n {args.n}", "n": args.n, "seeds": len(SEEDS)}
        found |= {
            "torch": torch.__version__.split("+")[0],
            "dropout steps": DROPOUT_STEPS,
            "dropout seeds": DROPOUT_SEEDS,
            "real": real,
            "runs": [],
        }
    key = lambda row: tuple(row[name] for name in ("guide", "seed", "w", "steps", "dropped", "n"))
    for part in [args.only] if args.only else ("w", "steps", "dropout"):
        for job in jobs(part):
            n, have = FEWER if part == "steps" else args.n, {key(row): row for row in found["runs"]}
            wanted = (job["guide"], job["seed"], job["w"], job.get("steps", 25), job.get("rate"), n)
            if job["guide"] not in args.guide or job["seed"] not in args.seeds or wanted in have:
                continue
            unguided = have.get(("classifier-free", *wanted[1:]))  # at w = 0 nobody guides: it is the same for all
            row = unguided | {"guide": job["guide"]} if job["w"] == 0 and unguided else measured(n, **job)
            print(json.dumps(row), flush=True)
            if args.out.is_file():  # another process may have added to it
                found = json.loads(args.out.read_text())
            found["runs"] = sorted([*found["runs"], row], key=lambda row: [str(value) for value in key(row)])
            checkpoints.write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
