"""Digits from random weights in a given time: the course's recipe beside diffusers' UNet2DModel with its tutorial's loop.

    python tests/benchmarks/digits.py [--seconds 60] [--seeds 0 1 2]

Both get the same digits, seconds, sampler (ours, which equals theirs: tests/test_samplers.py) and classifier.
"""

import argparse
from statistics import mean

import torch
from diffusers import UNet2DModel
from scores import parameters
from timing import means, train_plainly
from torch import nn

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.nets.embeddings import LabelEmbedding
from course_lib.process import DDPM, seeded
from course_lib.schedules import linear_beta
from course_lib.training import denoising_loss, show_progress
from course_lib.zoo.recipes.digits import digits_figures, digits_network, train_digits


class Theirs(nn.Module):
    """diffusers' UNet2DModel, of about the size of ours, with the signature of our networks."""

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
        return self.unet(x, (1000 * time - 1).round(), class_labels=cond).sample  # diffusers counts t from 0 to 999


def train_theirs(network: Network, seconds: float, lr: float, seed: int):
    """The loop of diffusers' tutorial: eps, linear betas, AdamW at a fixed rate, no average of weights."""
    (x, label), rng = digits.load("train"), seeded(seed)

    def loss() -> torch.Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        return denoising_loss(network.given(label[i]).drop_condition(0.1, rng), x[i], rng)

    optimizer = torch.optim.AdamW(network.net.parameters(), lr=lr)
    return train_plainly(network.net, loss, optimizer, seconds, clip=1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    found = {}
    for seed in args.seeds:
        for name, lr in (("ours", None), ("diffusers, lr 1e-4", 1e-4), ("diffusers, lr 1e-3", 1e-3)):
            if lr is None:
                network = digits_network(seed)
                training = train_digits(network, seconds=args.seconds, seed=seed)
            else:
                torch.manual_seed(seed)
                network = Network(Theirs(), DDPM(linear_beta(1000)), "eps")
                training = train_theirs(network, args.seconds, lr, seed)
            end = show_progress(training, f"{name}, seed {seed}")
            run = {"parameters": parameters(network.net), "steps": end.step, **digits_figures(network)}
            found.setdefault(name, []).append(run)
    print(f"\n{means(found, args.seconds, args.seeds)}")
    distance = {name: mean(run["Frechet distance, plain (w = 1)"] for run in runs) for name, runs in found.items()}
    ours = distance.pop("ours")
    print(f"\nFrechet distance of the better of theirs, over ours: {min(distance.values()) / ours:.1f}")


if __name__ == "__main__":
    main()
