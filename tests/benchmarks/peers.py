"""The core beside three libraries on the digits: same pictures, batch, processor seconds and classifier, in one run.

    python -m pip install --no-deps --target build/peers smalldiffusion==0.5.0 denoising-diffusion-pytorch==2.3.4 \\
        accelerate einops ema-pytorch pytorch-fid scipy     # or, into the environment: pip install -e ".[bench]"
    python tests/benchmarks/peers.py [--seconds 60] [--n 500] [--seed 0]

Each library trains a class-conditional U-Net of about 0.4 M parameters with its own loss, schedule and average of weights, as
its own examples set them, and samples with its own sampler in 25 steps. All have batches of 64 and a rate of 1e-3; the examples
are meant for days and have a tenth of that rate. One thread; they take turns of 30 s, so that other work of the machine affects
all of them alike. Pictures go to build/peers.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.append(str(Path(__file__).parents[2] / "build/peers"))

from accelerate import Accelerator
from denoising_diffusion_pytorch import classifier_free_guidance as lucid
from diffusers import DDIMScheduler
from ema_pytorch import EMA as LucidEMA
from like_networks import Diffusers
from rows import BUILD, Benchmark, Part, measure
from scores import digit_scores, parameters
from smalldiffusion import CondEmbedderLabel, Scaled, ScheduleLogLinear, Unet, samples, training_loop
from timing import train_plainly

from course_lib import metrics, plots
from course_lib.datasets import digits
from course_lib.denoisers import NULL, Network
from course_lib.files import write_atomically
from course_lib.guidance import classifier_free
from course_lib.process import DDPM, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, denoising_loss
from course_lib.zoo import models
from course_lib.zoo.recipes.digits import digits_network, train_digits

BATCH, STEPS, RATE, TURN = 64, 25, 1e-3, 30


def train_diffusers(network: Network, seconds: float, lr: float, seed: int):
    """The loop of diffusers' tutorial: eps, linear betas, AdamW at a fixed rate, no average of weights."""
    (x, label), rng = digits.load("train"), seeded(seed)

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(network.given(label[i]).drop_condition(0.1, rng), x[i], rng)

    optimizer = torch.optim.AdamW(network.net.parameters(), lr=lr)
    return train_plainly(network.net, loss, optimizer, seconds, clip=1.0)


@dataclass
class Peer:
    """A library to measure: its network, its training, a step at a time, and `generate(label, w)`, pictures in [-1, 1]."""

    package: str
    net: nn.Module
    training: Iterator
    generate: Callable[[Tensor, float], Tensor]
    used: float = 0.0
    steps: int = 0
    over: bool = False

    def turn(self, seconds: float, until: float) -> None:
        """Trains for `seconds` of processor time, at most until it has used `until` in all."""
        begun, before = time.process_time(), self.used
        for _ in self.training:
            self.steps, self.used = self.steps + 1, before + time.process_time() - begun
            if self.used >= until or self.used - before >= seconds:
                break
        else:
            self.over = True
        self.over |= self.used >= until


def the_course(seconds: float, seed: int) -> Peer:
    """Its rate follows a cycle of a fixed length: as many steps as there is time for, measured on a first few."""
    trial = Peer("", nn.Identity(), train_digits(digits_network(seed, attn=0)), None)
    trial.turn(min(10.0, seconds), seconds)
    network = digits_network(seed, attn=0)
    training = train_digits(network, seed=seed, steps=max(1, int(seconds * trial.steps / trial.used)))

    def generate(label: Tensor, w: float) -> Tensor:
        return sample(classifier_free(network, label, w), noise(len(label)), STEPS, batch=len(label))

    return Peer("diffusion-course", network.net, training, generate)


def diffusers(seconds: float, seed: int) -> Peer:
    torch.manual_seed(seed)
    network, scheduler = Network(Diffusers(), DDPM(linear_beta(1000)), "eps"), DDIMScheduler()
    label_of = lambda cond: network.given(cond).cond

    def generate(label: Tensor, w: float) -> Tensor:
        x = noise(len(label))
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            eps_of = lambda cond: network.net.unet(x, t, class_labels=label_of(cond).expand(len(x))).sample  # noqa: B023
            eps = eps_of(label) if w == 1 else eps_of(NULL).lerp(eps_of(label), w)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    return Peer("diffusers", network.net, train_diffusers(network, float("inf"), RATE, seed), generate)


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

    def generate(label: Tensor, w: float) -> Tensor:
        sigmas = schedule.sample_sigmas(STEPS)
        start = noise(len(label)) * sigmas[0]
        *_, x = samples(ema.net, sigmas, gam=1.6, cfg_scale=w - 1, xt=start, cond=label, accelerator=accelerator)
        return x

    return Peer("smalldiffusion", net, training(), generate)


def denoising_diffusion_pytorch(seconds: float, seed: int, objective: str = "pred_noise") -> Peer:
    torch.manual_seed(seed)
    net = lucid.Unet(16, num_classes=10, cond_drop_prob=0.1, dim_mults=(1, 2, 2), channels=1, attn_heads=2)
    whole = lucid.GaussianDiffusion(
        net, image_size=16, sampling_timesteps=STEPS, ddim_sampling_eta=0.0, objective=objective, beta_schedule="cosine"
    )
    ema = LucidEMA(whole, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(whole.parameters(), lr=RATE, betas=(0.9, 0.99))
    x, label = digits.load("train")
    rng = seeded(seed)

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

    def generate(label: Tensor, w: float) -> Tensor:
        torch.manual_seed(seed + 1)
        model = ema.ema_model
        if w == 1:  # there it returns one prediction, and its caller expects two
            model.model.forward_with_cond_scale = lambda *args, **_: [model.model(*args, cond_drop_prob=0.0)] * 2
        try:
            return model.sample(label, cond_scale=w) * 2 - 1
        finally:
            model.model.__dict__.pop("forward_with_cond_scale", None)

    return Peer("denoising-diffusion-pytorch", net, training(), generate)


PEERS = {
    "the course": the_course,
    "diffusers": diffusers,
    "smalldiffusion": smalldiffusion,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
    "the same, of v": lambda seconds, seed: denoising_diffusion_pytorch(seconds, seed, "pred_v"),
}


def noise(n: int) -> Tensor:
    return torch.randn(n, 1, 16, 16, generator=seeded(1))


@cache
@torch.enable_grad()  # a row draws without
def trained(seconds: float, seed: int) -> dict[str, Peer]:
    """All libraries, trained in turns."""
    peers = {name: make(seconds, seed) for name, make in PEERS.items()}
    for name in itertools.cycle(peers):
        if all(peer.over for peer in peers.values()):
            break
        if not (peer := peers[name]).over:
            peer.turn(TURN, float("inf") if name == "the course" else seconds)  # the course ends by its steps
            print(f"{name}: {peer.steps} steps, {peer.used:.0f} s", file=sys.stderr, flush=True)
    for peer in peers.values():
        peer.training.close()
    return peers


@torch.no_grad()
def row(seconds: float, n: int, seed: int, name: str) -> dict:
    """The figures of `digits_figures`, and pictures per second of processor time.

    n plain samples, a fifth as many guided ones, of which only the class accuracy is measured.
    """
    peer, label = trained(seconds, seed)[name], torch.arange(n) % 10
    begun = time.process_time()
    plain = peer.generate(label, 1.0)
    spent = time.process_time() - begun
    guided = peer.generate(label[: n // 5], 2.0).float()
    fig, ax = plots.plt.subplots(figsize=(8, 1.2))
    plots.pictures(guided[:10], columns=10, ax=ax, title=f"{name}, guided, w = 2")
    write_atomically(BUILD / f"peers/{name}.png", plots.png(fig))
    scores = digit_scores(plain.float(), label)
    figures = {"class accuracy, guided (w = 2)": metrics.accuracy(models.load("classifier")(guided), label[: n // 5])}
    figures |= {"class accuracy, plain (w = 1)": scores.pop("class accuracy")}
    figures |= {f"{key}, plain": value for key, value in scores.items()} | {"pictures a second, plain": n / spent}
    made = {"version": version(peer.package), "parameters": parameters(peer.net), "steps": peer.steps}
    made |= {"processor seconds": round(peer.used)}
    return made | {"figures": {key: float(f"{value:.4g}") for key, value in figures.items()}}


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


BENCH = Benchmark(
    "peers",
    [Part(jobs=lambda seeds: [{"name": name} for name in PEERS], row=row)],
    amounts={"seconds": 60.0, "n": 500, "seed": 0},
    seeds=(),
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
