"""A cascade, 16 to 32: how much noise the upsampler's input should get, and the cascade beside one stage at equal cost.

    python tests/benchmarks/cascade.py [--seeds 0 1 2] [--n 200] [--out data/figures/cascade.json]

It trains once, on one thread: a base of 16 x 16 (a copy is kept at a quarter of its training: stopped early), an upsampler
with augmentation and one without, and one stage of 32 x 32 for as long as base and upsampler together. The seeds are those
of all noise that is drawn. The networks are kept in build/cascade, and rows that are in the file already are not made again,
so that it may be stopped at any time.
"""

import argparse
import copy
import json
import os
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from course_lib import checkpoints, metrics, models, recipes
from course_lib.cascades import augmented, cascade
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM
from course_lib.recipes.recipe import learner_of
from course_lib.samplers import ddim, result
from course_lib.schedules import cosine_beta
from course_lib.training import EMA, denoising_loss, train

ROOT = Path(__file__).parents[2]
OUT, KEPT = ROOT / "data/figures/cascade.json", ROOT / "build/cascade"
STEPS = {"base": 600, "upsampler": 1000, "single": 2250}
LEVELS = {"with": (0, 100, 200, 400, 600), "without": (0, 200)}
TRUNCATED = (200, 400)
EARLY = 4


def single(seed: int) -> Network:
    """One stage: the upsampler's U-Net, told the class, with no small picture."""
    torch.manual_seed(seed)
    net = UNet(size=32, patch=2, widths=(16, 32, 64), classes=10).to(memory_format=torch.channels_last)
    return Network(net, DDPM(cosine_beta(1000)), "v")


def train_single(network: Network, seed: int):
    x, label = digits.load("train", 32)
    learner, rng = learner_of(network), torch.Generator().manual_seed(seed)

    def loss():
        i = torch.randint(len(x), (32,), generator=rng)
        return denoising_loss(learner.given(label[i]).dropped(0.1, rng), x[i], rng)

    return train(loss, learner.net, STEPS["single"], lr=3e-3, ema=EMA(learner.net, 0.995, into=network.net))


KINDS = {
    "base": (recipes.digits_network, lambda network, seed: recipes.train_digits(network, seed=seed, steps=STEPS["base"])),
    "with": (recipes.upsampler_network, lambda network, seed: recipes.train_upsampler(network, None, seed, STEPS["upsampler"])),
    "without": (
        recipes.upsampler_network,
        lambda network, seed: recipes.train_upsampler(network, None, seed, STEPS["upsampler"], 0),
    ),
    "single": (single, train_single),
}


def trained(kind: str, seed: int = 0) -> tuple[Network, float]:
    """The network of that kind, and the seconds of processor time that its training took: out of KEPT, or trained now."""
    early = kind == "early"
    build, training = KINDS["base" if early else kind]
    network, path = build(seed), KEPT / f"{kind}-{seed}.safetensors"
    if not path.is_file():
        if early:
            raise FileNotFoundError(f"{path} is kept while the base is trained: remove base-{seed}.safetensors to have both")
        begun = time.process_time()

        def keep(kind: str) -> None:
            record = {"seconds": round(time.process_time() - begun, 1), "steps": progress.step, "loss": round(progress.loss, 4)}
            checkpoints.write(KEPT / f"{kind}-{seed}.safetensors", copy.deepcopy(network.net), record)

        for progress in training(network, seed):
            if kind == "base" and progress.step == STEPS["base"] // EARLY:
                keep("early")
        keep(kind)
    record = checkpoints.load_into(network.net, path)
    network.net.eval().requires_grad_(False)
    return network, record["seconds"]


class Judge:
    """Figures of pictures (n, 1, 32, 32) against n held-out digits."""

    def __init__(self, n: int):
        self.net = models.load("judge32")
        self.real = self.net.features(digits.load("held_out", 32)[0][:n])

    def figures(self, x, label) -> dict[str, float]:
        features = self.net.features(x)
        precision, recall = metrics.precision_recall(self.real, features)
        figures = {
            "Frechet distance": metrics.frechet_distance(features, self.real),
            "precision": precision,
            "recall": recall,
            "class accuracy": metrics.accuracy(self.net(x), label),
        }
        return {name: round(value, 4) for name, value in figures.items()}


class Draws:
    """All that one seed draws: each network, and each noise, is the same for all of its rows."""

    def __init__(self, seed: int, n: int):
        self.seed, self.n, rng = seed, n, torch.Generator().manual_seed(100 + seed)
        self.label, self.small = torch.arange(n) % 10, torch.randn(n, 1, 16, 16, generator=rng)
        self.large, self.other = torch.randn(2, n, 1, 32, 32, generator=rng)
        self.nets = {kind: trained(kind) for kind in ("base", "early", "with", "without", "single")}
        self.times = self.nets["base"][0].process.times(20)
        self.low = {}  # what each base draws

    def sample(self, denoiser, noise) -> Tensor:
        return result(ddim(denoiser, noise, self.times))

    def base(self, name: str) -> Tensor:
        """The small pictures of a base, or real ones."""
        if name not in self.low:
            real = avg_pool2d(digits.load("held_out", 32)[0][-self.n :], 2)
            self.low[name] = real if name == "real" else self.sample(self.nets[name][0].given(self.label), self.small)
        return self.low[name]

    def picture(self, base: str, upsampler: str, s: int, truncated: bool) -> Tensor:
        """The large pictures of one row (n, 1, 32, 32)."""
        if base == "single":
            return self.sample(self.nets["single"][0].given(self.label), self.other)
        network, rng = self.nets[upsampler][0], torch.Generator().manual_seed(200 + self.seed)
        if truncated:
            asked = self.nets[base][0].given(self.label)
            return result(cascade(asked, network, (self.small, self.large), self.times, s, truncated=True))
        return self.sample(network.given(augmented(network.process, self.base(base), s, rng)), self.large)


def rows() -> list[tuple[str, str, int, bool]]:
    """Base, upsampler, s, and whether the base is stopped at s."""
    found = [("single", "", 0, False)]
    for base in ("real", "early", "base"):
        found += [(base, kind, s, False) for kind in LEVELS for s in LEVELS[kind]]
        found += [(base, "with", s, True) for s in TRUNCATED if base != "real"]
    return found


def seconds_a_picture(draws: Draws, n: int = 50) -> dict[str, float]:
    """Milliseconds of processor time for a picture, by each network, in 20 steps."""
    cost = {}
    for kind, size in (("base", 16), ("with", 32), ("single", 32)):
        network, noise = draws.nets[kind][0], torch.randn(n, 1, size, size)
        given = network.given(torch.zeros(n, 1, 16, 16) if kind == "with" else torch.arange(n) % 10)
        draws.sample(given, noise)  # once, to warm up
        begun = time.process_time()
        draws.sample(given, noise)
        cost[kind] = round(1000 * (time.process_time() - begun) / n, 2)
    return cost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", nargs="*", choices=list(KINDS), help="only train these, and keep them")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.train is not None:
        for kind in args.train or KINDS:
            print(kind, trained(kind)[1], "s", flush=True)
        return
    judge = Judge(args.n)
    if args.out.is_file():
        found = json.loads(args.out.read_text())
        if found["n"] != args.n:
            parser.error(f"--n must be {found['n']}, as in {args.out}, got {args.n}; or give another --out")
    else:
        found = {"command": f"python tests/benchmarks/cascade.py --n {args.n}", "n": args.n, "steps": STEPS}
        found |= {"torch": torch.__version__.split("+")[0]}
        held_out, label = digits.load("held_out", 32)
        found |= {"real against real": judge.figures(held_out[-args.n :], label[-args.n :]), "runs": []}
    have = {(run["seed"], run["base"], run["upsampler"], run["s"], run["truncated"]) for run in found["runs"]}
    for seed in args.seeds:
        todo = [row for row in rows() if (seed, *row) not in have]
        draws = Draws(seed, args.n) if todo else None
        for row in todo:
            figures = judge.figures(draws.picture(*row), draws.label)
            found["runs"].append(
                dict(zip(("seed", "base", "upsampler", "s", "truncated"), (seed, *row))) | {"figures": figures}
            )
            if "training s" not in found:
                found["training s"] = {kind: seconds for kind, (_, seconds) in draws.nets.items()}
                found["drawing ms"] = seconds_a_picture(draws)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            partial = args.out.with_suffix(".partial")
            partial.write_text(json.dumps(found, indent=1) + "\n")
            os.replace(partial, args.out)
            print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
