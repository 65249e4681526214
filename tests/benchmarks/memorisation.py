"""What a network remembers of pictures that it saw more often than others. Lesson 20 shows the results.

    python tests/benchmarks/memorisation.py train      # six minutes on one core: snapshots into build/memorisation
    python tests/benchmarks/memorisation.py measure    # samples of each, judged: data/figures/memorisation.json

One training of the digits' network and recipe on 4,000 digits, of which a few are there 10 to 1,000 times. Its samples are
held against every distinct training picture by `metrics.memorisation`; what counts as a copy is nearer to one picture than
any of 1,000 held-out digits is.
"""

import argparse
import base64
import json
import os
from pathlib import Path

import torch

from course_lib import checkpoints, metrics
from course_lib.datasets import digits
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree
from course_lib.recipes.digits import digits_network
from course_lib.recipes.recipe import learner_of
from course_lib.samplers import ddim, result
from course_lib.training import EMA, denoising_loss, train

ROOT = Path(__file__).parents[2]
OUT, SNAPSHOTS = ROOT / "data/figures/memorisation.json", ROOT / "build/memorisation"
COPIES = {10: 10, 30: 10, 100: 6, 300: 3, 1000: 2}
"""How often a picture is in the training set, and how many such pictures there are. All others are there once."""
STEPS, KEPT = 4000, (250, 500, 1000, 2000, 4000)
N, SEEDS, WEIGHTS = 1000, (0, 1, 2), (0.0, 1.0, 3.0)


def duplicated() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The distinct training pictures (4000, 1, 16, 16), their labels (4000,), and how often each is shown (4000,).

    Ones are never duplicated: they are all alike.
    """
    x, label = digits.load("train")
    often = torch.ones(len(x), dtype=torch.long)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    some = iter(some[label[some] != 1].tolist())
    for copies, pictures in COPIES.items():
        for _ in range(pictures):
            often[next(some)] = copies
    return x, label, often


def train_and_keep(seed: int = 0) -> None:
    """Algorithm 1 with labels, a tenth of them dropped, as the recipe `digits` has it; a snapshot of the average at KEPT."""
    x, label, often = duplicated()
    shown = torch.arange(len(x)).repeat_interleave(often)
    network, rng = digits_network(seed), torch.Generator().manual_seed(seed)
    learner = learner_of(network)

    def loss() -> torch.Tensor:
        i = shown[torch.randint(len(shown), (64,), generator=rng)]
        return denoising_loss(learner.given(label[i]).dropped(0.1, rng), x[i], rng)

    for progress in train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=network.net)):
        if progress.step in KEPT:
            checkpoints.write(SNAPSHOTS / f"{progress.step}.safetensors", network.net, {"step": progress.step})
            print(f"step {progress.step}: loss {progress.loss:.4f}, {progress.elapsed:.0f} s", flush=True)


def snapshot(step: int):
    """The network as it was after so many steps."""
    network = digits_network()
    checkpoints.load_into(network.net, SNAPSHOTS / f"{step}.safetensors")
    network.net.eval().requires_grad_(False)
    return network


def drawn(network, label: torch.Tensor, w: float, seed: int) -> torch.Tensor:
    """A picture for each label, 25 DDIM steps at guidance w."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for part in label.split(250):
        noise = torch.randn(len(part), 1, 16, 16, generator=rng)
        guided = ClassifierFree(network.given(part), network.given(NULL), w)
        made.append(result(ddim(guided, noise, network.process.times(25))))
    return torch.cat(made).clamp(-1, 1)


def packed(x: torch.Tensor) -> str:
    """Pictures (n, 1, 16, 16) in [-1, 1] as bytes in base64."""
    return base64.b64encode(((x + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()).decode()


def measure() -> dict:
    x, label, often = duplicated()
    shown = torch.arange(len(x)).repeat_interleave(often)
    held_out = digits.load("held_out")[0]
    real, _ = metrics.memorisation(held_out, x)
    limit = float(real.min())
    groups = [1, *COPIES]
    share = {copies: float(often[often == copies].sum()) / len(shown) for copies in groups}
    found = {
        "command": "python tests/benchmarks/memorisation.py train, then measure",
        "torch": torch.__version__.split("+")[0],
        "steps": STEPS,
        "pictures": {"1": int((often == 1).sum()), **COPIES},
        "share of training": {str(c): round(v, 4) for c, v in share.items()},
        "limit": round(limit, 4),
        "held-out scores": {str(q): round(float(real.quantile(q)), 3) for q in (0.01, 0.1, 0.5, 0.9)},
        "n": N,
        "runs": [],
    }
    best: dict[int, tuple[float, torch.Tensor]] = {}
    for step in KEPT:
        network = snapshot(step)
        for w in WEIGHTS if step == STEPS else (1.0,):
            for seed in SEEDS:
                rng = torch.Generator().manual_seed(100 + seed)
                asked = label[shown[torch.randint(len(shown), (N,), generator=rng)]]
                made = drawn(network, asked, w, seed)
                score, which = metrics.memorisation(made, x)
                to_known = torch.cdist(made.flatten(1), x.flatten(1)).min(1).values
                to_new = torch.cdist(made.flatten(1), held_out.flatten(1)).min(1).values
                copy = score < limit
                rate = {c: float((copy & (often[which] == c)).sum()) / N for c in groups}
                run = {"step": step, "w": w, "seed": seed, "copies": {str(c): round(v, 4) for c, v in rate.items()}}
                run["all copies"] = round(float(copy.float().mean()), 4)
                run["median distance, training"] = round(float(to_known.median()), 3)
                run["median distance, held out"] = round(float(to_new.median()), 3)
                found["runs"].append(run)
                print(json.dumps(run), flush=True)
                if step == STEPS and w == 1:
                    for i in range(N):
                        k, s = int(which[i]), float(score[i])
                        if k not in best or s < best[k][0]:
                            best[k] = (s, made[i])
    found["album"] = album(x, often, best)
    found["film"] = film(x, label, often)
    return found


def film(x: torch.Tensor, label: torch.Tensor, often: torch.Tensor) -> list[dict]:
    """What becomes of the same noise, and the same 16 labels, as the training goes on, and the training picture nearest to it.

    The labels are drawn as the training set has them, so that about half are those of duplicated pictures.
    """
    shown = torch.arange(len(x)).repeat_interleave(often)
    asked = label[shown[torch.randint(len(shown), (16,), generator=torch.Generator().manual_seed(7))]]
    frames = []
    for step in KEPT:
        made = drawn(snapshot(step), asked, 1.0, seed=7)
        score, which = metrics.memorisation(made, x)
        frame = {"step": step, "drawn": packed(made), "nearest": packed(x[which]), "often": often[which].tolist()}
        frames.append(frame | {"score": [round(float(s), 3) for s in score]})
    return frames


def album(x: torch.Tensor, often: torch.Tensor, best: dict) -> list[dict]:
    """For two pictures of each count, those that were drawn nearest: the picture, and the sample that is nearest to it."""
    pages = []
    for copies in (1, *COPIES):
        mine = sorted((k for k in best if often[k] == copies), key=lambda k: best[k][0])
        for k in mine[:2]:
            score, made = best[k]
            pages.append({"copies": copies, "score": round(score, 3), "picture": packed(x[k]), "sample": packed(made)})
    return pages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "measure"])
    if parser.parse_args().what == "train":
        return train_and_keep()
    partial = OUT.with_suffix(".partial")
    partial.write_text(json.dumps(measure(), indent=1) + "\n")
    os.replace(partial, OUT)


if __name__ == "__main__":
    main()
