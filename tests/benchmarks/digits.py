"""Digits from scratch in so many seconds: the course's recipe beside diffusers' UNet2DModel and its textbook loop, in one run.

    python tests/benchmarks/digits.py [--seconds 60] [--seeds 0 1 2]

Both get the same digits, seconds, sampler (ours, which equals theirs: tests/test_samplers.py) and judge.
"""

import argparse
import statistics
import time

import torch
from diffusers import UNet2DModel
from torch import nn

from course_lib import recipes
from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.embeddings import LabelEmbedding
from course_lib.process import DDPM
from course_lib.schedules import linear_beta
from course_lib.training import Progress, denoising_loss, show_progress


class Theirs(nn.Module):
    """diffusers' UNet2DModel, of about the size of ours, behind the signature of our networks."""

    def __init__(self):
        super().__init__()
        self.unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(16, 32, 48),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            num_class_embeds=11,
        )
        self.as_condition = LabelEmbedding(10, 1).as_condition

    def forward(self, x, time, cond):
        return self.unet(x, (1000 * time - 1).round(), class_labels=cond).sample  # they count t from 0 to 999


def train_theirs(network: Network, seconds: float, lr: float, seed: int):
    """The loop of diffusers' tutorial: eps, linear betas, AdamW at a fixed rate, no average of weights."""
    x, label = digits.load("train")
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.net.parameters(), lr=lr)
    begun, step, done = time.perf_counter(), 0, 0.0
    while done < 1:
        i = torch.randint(len(x), (64,), generator=rng)
        loss = denoising_loss(network.given(label[i]).dropped(0.1, rng), x[i], rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.net.parameters(), 1.0)
        optimizer.step()
        step, elapsed = step + 1, time.perf_counter() - begun
        done = min(1.0, elapsed / seconds)
        yield Progress(step, loss.item(), done, elapsed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    found = {}
    for seed in args.seeds:
        for name, lr in (("ours", None), ("diffusers, lr 1e-4", 1e-4), ("diffusers, lr 1e-3", 1e-3)):
            if lr is None:
                network = recipes.digits_network(seed)
                training = recipes.train_digits(network, seconds=args.seconds, seed=seed)
            else:
                torch.manual_seed(seed)
                network = Network(Theirs(), DDPM(linear_beta(1000)), "eps")
                training = train_theirs(network, args.seconds, lr, seed)
            end = show_progress(training, f"{name}, seed {seed}")
            size = sum(p.numel() for p in network.net.parameters())
            found.setdefault(name, []).append({"parameters": size, "steps": end.step, **recipes.digits_figures(network)})
    names = list(found)
    print(f"\n{args.seconds:g} s, {torch.get_num_threads()} threads, torch {torch.__version__}, mean of seeds {args.seeds}\n")
    print("| figure |", " | ".join(names), "|\n|---|" + "---|" * len(names))
    mean = {name: {key: statistics.mean(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    for key in mean["ours"]:
        print(f"| {key} |", " | ".join(f"{mean[name][key]:,.4g}" for name in names), "|")
    key = "Frechet distance, plain (w = 1)"
    best = min(mean[name][key] for name in names if name != "ours")
    print(f"\nFrechet distance of the better of theirs, over ours: {best / mean['ours'][key]:.1f}")


if __name__ == "__main__":
    main()
