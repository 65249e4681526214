"""What guidance does to a minority: a network asked for a mixed class, at growing w. Lesson 20 shows the results.

    python tests/benchmarks/bias.py train      # five minutes on one core: a snapshot into build/bias
    python tests/benchmarks/bias.py measure    # samples at each w, read by the judge: data/figures/bias.json

The digits' network and recipe, but it is told only which of four kinds a digit is of. Two kinds have a majority and a minority,
nine to one; the other two are what the minority may be taken for. Which way the minority's share should go is told beforehand,
by the shipped noise-aware classifier, which never saw these kinds: guidance climbs log P(kind | x_t).
"""

import argparse
import json
import os
from pathlib import Path

import torch

from course_lib import checkpoints, models
from course_lib.datasets import digits
from course_lib.denoisers import NULL, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like
from course_lib.recipes.recipe import learner_of
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train

ROOT = Path(__file__).parents[2]
OUT, SNAPSHOT = ROOT / "data/figures/bias.json", ROOT / "build/bias/network.safetensors"
KINDS = ({6: 360, 9: 40}, {4: 200, 7: 200}, {8: 360, 0: 40}, {3: 200, 5: 200})
"""Of each kind, its digits, and how many of each are trained on."""
MIXED = {0: (6, 9), 2: (8, 0)}
"""The kinds with a majority and a minority."""
STEPS, N, SEEDS, WEIGHTS = 3000, 400, (0, 1, 2), (0.0, 1.0, 2.0, 4.0, 8.0)
TIMES = (200, 300, 400, 500, 600, 700)


def skewed() -> tuple[torch.Tensor, torch.Tensor]:
    """The training pictures (1600, 1, 16, 16) and the kind of each (1600,)."""
    x, label = digits.load("train")
    parts = [(x[label == d][:n], kind) for kind, of in enumerate(KINDS) for d, n in of.items()]
    return torch.cat([part for part, _ in parts]), torch.cat([torch.full((len(part),), kind) for part, kind in parts])


def network(seed: int = 0) -> Network:
    """The digits' network, with four kinds in the place of ten classes."""
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=len(KINDS)).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_and_keep(seed: int = 0) -> None:
    x, kind = skewed()
    painter, rng = network(seed), torch.Generator().manual_seed(seed)
    learner = learner_of(painter)

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(learner.given(kind[i]).dropped(0.1, rng), x[i], rng)

    for progress in train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.995, into=painter.net)):
        if progress.step % 500 == 0:
            checkpoints.write(SNAPSHOT, painter.net, {"step": progress.step})
            print(f"step {progress.step}: loss {progress.loss:.4f}, {progress.elapsed:.0f} s", flush=True)


@torch.no_grad()
def surety() -> list[dict]:
    """The mean of log P(kind | x_t) over held-out digits of each mixed kind, majority and minority, at TIMES.

    P(kind) is put together from the shipped classifier's ten, each digit weighted as it is in its kind.
    """
    guide, (x, label) = models.load("noisy_classifier"), digits.load("held_out")
    found = []
    for kind, pair in MIXED.items():
        for digit in pair:
            rng, log_p = torch.Generator().manual_seed(0), []
            for t in TIMES:
                x0 = x[label == digit]
                p = guide(guide.process.add_noise(x0, t, randn_like(x0, rng)), t).softmax(1)
                of_kind = torch.stack([sum(n / 400 * p[:, d] for d, n in of.items()) for of in KINDS], 1)
                log_p.append(round(float((of_kind / of_kind.sum(1, keepdim=True))[:, kind].log().mean()), 3))
            found.append({"kind": kind, "digit": digit, "log P": log_p})
    return found


def measure() -> dict:
    judge, painter = models.load("classifier"), network()
    checkpoints.load_into(painter.net, SNAPSHOT)
    painter.net.eval().requires_grad_(False)
    found = {
        "command": "python tests/benchmarks/bias.py train, then measure",
        "torch": torch.__version__.split("+")[0],
        "kinds": [{str(d): n for d, n in of.items()} for of in KINDS],
        "steps": STEPS,
        "n": N,
        "times": TIMES,
        "surety": surety(),
        "runs": [],
    }
    for kind, (majority, minority) in MIXED.items():
        for w in WEIGHTS:
            for seed in SEEDS:
                noise = torch.randn(N, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
                guided = ClassifierFree(painter.given(kind), painter.given(NULL), w)
                x = torch.cat([result(ddim(guided, part, painter.process.times(25))) for part in noise.split(200)])
                with torch.no_grad():
                    read = torch.bincount(judge(x.clamp(-1, 1)).argmax(1), minlength=10).tolist()
                own = read[majority] + read[minority]
                run = {"kind": kind, "w": w, "seed": seed, "read": read, "of the kind": round(own / N, 4)}
                found["runs"].append(run | {"minority": round(read[minority] / max(own, 1), 4)})
                print(json.dumps(found["runs"][-1]), flush=True)
    return found


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
