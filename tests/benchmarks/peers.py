"""The core beside three libraries on the digits: same pictures, batch, processor seconds and judge, in turns, in one run.

    python -m pip install --no-deps --target build/peers smalldiffusion==0.5.0 denoising-diffusion-pytorch==2.3.4 \\
        accelerate einops ema-pytorch pytorch-fid     # or, into the environment: pip install -e ".[bench]"
    python tests/benchmarks/peers.py [--seconds 60] [--n 500] [--seed 0]

Each library trains a class-conditional U-Net of about 0.4 million weights by its own loss, schedule and average of weights, as
its own examples set them, and draws by its own sampler in 25 steps. What is not its own: batches of 64, and a rate of 1e-3
where its examples, meant for days, have a tenth of that. One thread; they take turns of 30 s, so that what else the machine
does falls on all of them. Results: data/figures/peers.json, and a picture in build/peers.png.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "build/peers"))

from accelerate import Accelerator  # noqa: E402
from denoising_diffusion_pytorch import classifier_free_guidance as lucid  # noqa: E402
from diffusers import DDIMScheduler  # noqa: E402
from digits import Theirs, train_theirs  # noqa: E402
from ema_pytorch import EMA as LucidEMA  # noqa: E402
from rows import FIGURES, store  # noqa: E402
from smalldiffusion import CondEmbedderLabel, Scaled, ScheduleLogLinear, Unet, samples, training_loop  # noqa: E402

from course_lib import checkpoints, metrics, models, plots, recipes  # noqa: E402
from course_lib.datasets import digits  # noqa: E402
from course_lib.denoisers import NULL, Network  # noqa: E402
from course_lib.guidance import ClassifierFree  # noqa: E402
from course_lib.process import DDPM  # noqa: E402
from course_lib.samplers import ddim, result  # noqa: E402
from course_lib.schedules import linear_beta  # noqa: E402
from course_lib.training import EMA  # noqa: E402

BATCH, STEPS, RATE, TURN = 64, 25, 1e-3, 30


@dataclass
class Peer:
    """A library on trial: its network, its training, a step at a time, and `draw(label, w)`, pictures in [-1, 1]."""

    package: str
    net: nn.Module
    training: Iterator
    draw: Callable[[Tensor, float], Tensor]
    used: float = 0.0
    steps: int = 0
    over: bool = False

    def turn(self, seconds: float, until: float) -> None:
        """Trains for so many seconds of processor time, at most until it has used `until` in all."""
        begun, before = time.process_time(), self.used
        for _ in self.training:
            self.steps, self.used = self.steps + 1, before + time.process_time() - begun
            if self.used >= until or self.used - before >= seconds:
                break
        else:
            self.over = True
        self.over |= self.used >= until


def the_course(seconds: float, seed: int) -> Peer:
    """Its rate follows a cycle that must know its end: as many steps as a first few say that there is time for."""
    trial = Peer("", nn.Identity(), recipes.train_digits(recipes.digits_network(seed)), None)
    trial.turn(min(10.0, seconds), seconds)
    network = recipes.digits_network(seed)
    training = recipes.train_digits(network, seed=seed, steps=max(1, int(seconds * trial.steps / trial.used)))

    def draw(label: Tensor, w: float) -> Tensor:
        asked = network.given(label)
        asked = asked if w == 1 else ClassifierFree(asked, network.given(NULL), w)
        return result(ddim(asked, noise(len(label)), network.process.times(STEPS)))

    return Peer("diffusion-course", network.net, training, draw)


def diffusers(seconds: float, seed: int) -> Peer:
    torch.manual_seed(seed)
    network, scheduler = Network(Theirs(), DDPM(linear_beta(1000)), "eps"), DDIMScheduler()
    label_of = lambda cond: network.given(cond).cond

    def draw(label: Tensor, w: float) -> Tensor:
        x = noise(len(label))
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            said = lambda cond: network.net.unet(x, t, class_labels=label_of(cond).expand(len(x))).sample  # noqa: B023
            eps = said(label) if w == 1 else said(NULL).lerp(said(label), w)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    return Peer("diffusers", network.net, train_theirs(network, float("inf"), RATE, seed), draw)


def smalldiffusion(seconds: float, seed: int) -> Peer:
    """Its example for FashionMNIST, with the condition and the average of its example with classes."""
    torch.manual_seed(seed)
    width = 32  # its norms have 32 groups
    net = Scaled(Unet)(
        16,
        1,
        1,
        ch=width,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        attn_resolutions=(8,),
        cond_embed=CondEmbedderLabel(4 * width, 10),
    )
    schedule, accelerator = ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800), Accelerator(cpu=True)
    loader = DataLoader(TensorDataset(*digits.load("train")), batch_size=BATCH, shuffle=True, drop_last=True)
    ema = EMA(net, 0.99)

    def training():
        for step in training_loop(loader, net, schedule, accelerator, lr=RATE, conditional=True):
            yield step
            ema.update()

    def draw(label: Tensor, w: float) -> Tensor:
        sigmas = schedule.sample_sigmas(STEPS)
        start = noise(len(label)) * sigmas[0]
        *_, x = samples(ema.net, sigmas, gam=1.6, cfg_scale=w - 1, xt=start, cond=label, accelerator=accelerator)
        return x

    return Peer("smalldiffusion", net, training(), draw)


def denoising_diffusion_pytorch(seconds: float, seed: int, objective: str = "pred_noise") -> Peer:
    torch.manual_seed(seed)
    net = lucid.Unet(16, num_classes=10, cond_drop_prob=0.1, dim_mults=(1, 2, 2), channels=1, attn_heads=2)
    whole = lucid.GaussianDiffusion(
        net, image_size=16, sampling_timesteps=STEPS, ddim_sampling_eta=0.0, objective=objective, beta_schedule="cosine"
    )
    ema = LucidEMA(whole, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(whole.parameters(), lr=RATE, betas=(0.9, 0.99))
    x, label = digits.load("train")
    rng = torch.Generator().manual_seed(seed)

    def training():
        while True:
            i = torch.randint(len(x), (BATCH,), generator=rng)
            loss = whole(x[i] / 2 + 0.5, classes=label[i])  # it takes pictures in [0, 1]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(whole.parameters(), 1.0)
            optimizer.step()
            ema.update()
            yield

    def draw(label: Tensor, w: float) -> Tensor:
        torch.manual_seed(seed + 1)
        drawn = ema.ema_model
        if w == 1:  # it gives one answer there, and expects two of itself
            drawn.model.forward_with_cond_scale = lambda *args, **_: [drawn.model(*args, cond_drop_prob=0.0)] * 2
        try:
            return drawn.sample(label, cond_scale=w) * 2 - 1
        finally:
            drawn.model.__dict__.pop("forward_with_cond_scale", None)

    return Peer("denoising-diffusion-pytorch", net, training(), draw)


PEERS = {
    "the course": the_course,
    "diffusers": diffusers,
    "smalldiffusion": smalldiffusion,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
    "the same, of v": lambda seconds, seed: denoising_diffusion_pytorch(seconds, seed, "pred_v"),
}


def noise(n: int) -> Tensor:
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def judged(peer: Peer, n: int) -> tuple[dict[str, float], Tensor]:
    """The figures of `recipes.digits_figures`, pictures a second of processor time, and ten guided digits.

    n plain samples, a fifth as many guided ones, of which only the class is asked.
    """
    judge, label = models.load("classifier"), torch.arange(n) % 10
    begun = time.process_time()
    plain = peer.draw(label, 1.0)
    seconds = time.process_time() - begun
    guided, held_out = peer.draw(label[: n // 5], 2.0), judge.features(digits.load("held_out")[0][:n])
    made = judge.features(plain.float())
    precision, recall = metrics.precision_recall(held_out, made)
    figures = {
        "class accuracy, guided (w = 2)": metrics.accuracy(judge(guided.float()), label[: n // 5]),
        "class accuracy, plain (w = 1)": metrics.accuracy(judge(plain.float()), label),
        "Frechet distance, plain": metrics.frechet_distance(made, held_out),
        "precision, plain": precision,
        "recall, plain": recall,
        "pictures a second, plain": n / seconds,
    }
    return {name: float(f"{value:.4g}") for name, value in figures.items()}, guided[:10]


def table(found: dict) -> str:
    """Markdown: a row a figure, a column a library, and of Frechet distance and speed the ratio to the course's."""
    runs = found["runs"]
    rows = ["| figure | " + " | ".join(run["name"] for run in runs) + " |", "|---|" + "---|" * len(runs)]
    for key in ("version", "parameters", "steps", "processor seconds"):
        rows.append(f"| {key} | " + " | ".join(f"{v:,}" if isinstance(v := run[key], int) else str(v) for run in runs) + " |")
    for key, mine in runs[0]["figures"].items():
        cells = [f"{run['figures'][key]:,.3g}" for run in runs]
        if "distance" in key or "second" in key:
            cells[1:] = [f"{cell} ({run['figures'][key] / mine:.2g} times)" for cell, run in zip(cells[1:], runs[1:])]
        rows.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def picture(found: dict, drawn: list[Tensor]) -> bytes:
    """Guided digits of each, and the distance of plain ones."""
    plots.style()
    names = [run["name"] for run in found["runs"]]
    fig, (left, right) = plots.plt.subplots(1, 2, figsize=(12, 0.8 * len(names) + 1), width_ratios=(1.3, 1))
    plots.pictures(torch.cat(drawn), columns=10, ax=left, title="Guided, w = 2", rows=names)
    right.barh(names, [run["figures"]["Frechet distance, plain"] for run in found["runs"]], color=plots.COLOURS[0])
    right.set(xscale="log", title="Frechet distance, plain", yticks=[])
    right.invert_yaxis()
    return plots.png(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FIGURES / "peers.json")
    parser.add_argument("--store", action="store_true", help="put the table into tests/benchmarks/README.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    peers = {name: make(args.seconds, args.seed) for name, make in PEERS.items()}
    for name in itertools.cycle(peers):
        if all(peer.over for peer in peers.values()):
            break
        if not (peer := peers[name]).over:
            most = float("inf") if name == "the course" else args.seconds  # it ends by its steps
            peer.turn(TURN, most)
            print(f"{name}: {peer.steps} steps, {peer.used:.0f} s", file=sys.stderr, flush=True)
    found = {"command": f"python tests/benchmarks/peers.py --seconds {args.seconds:g} --n {args.n}", "seed": args.seed}
    found |= {"torch": torch.__version__.split("+")[0], "threads": 1, "runs": []}
    drawn = []
    for name, peer in peers.items():
        peer.training.close()
        figures, ten = judged(peer, args.n)
        drawn.append(ten)
        size = sum(p.numel() for p in peer.net.parameters())
        row = {"name": name, "version": version(peer.package), "parameters": size, "steps": peer.steps}
        found["runs"].append(row | {"processor seconds": round(peer.used), "figures": figures})
        print(json.dumps(found["runs"][-1]), file=sys.stderr, flush=True)
    checkpoints.write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())
    checkpoints.write_atomically(ROOT / "build/peers.png", picture(found, drawn))
    print(table(found))
    if args.store:
        store("peers", table(found))


if __name__ == "__main__":
    main()
