"""The effect of each part of the U-Net: the digits' recipe with one part removed or exchanged, and a transformer beside it.

    python tests/benchmarks/unet_ablation.py [cost | runs] [--seeds 0 1 2 3 4] [--store]

`cost` measures the processor time of a step of each, on one thread, in turns: the minimum of many. `runs` trains each for
STEPS, and two of them once more, for as many steps as cost the full U-Net's time. 500 samples of 15 DDIM steps at w = 1 are
judged by the shipped classifier. The loss is that of v on held-out digits, at the times and with the noise that all arms
share. Lesson 04 shows the results.

The null model is the full U-Net with other seeds (NEW_SEEDS), compared with the full U-Net like an arm.
"""

from collections.abc import Callable
from functools import partial
from statistics import mean, stdev

import torch
from rows import Benchmark, Part, measure
from scores import digit_scores, parameters, rounded
from timing import min_milliseconds
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from course_lib.datasets import digits
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.attention import sincos_2d
from course_lib.nets.dit import Stream, modulate
from course_lib.nets.embeddings import LabelEmbedding, TimeEmbedding
from course_lib.nets.unet import Block, UNet, zero
from course_lib.process import DDPM, randn, seeded
from course_lib.samplers import sample
from course_lib.schedules import cosine_beta
from course_lib.training import denoising_loss, min_snr_times
from course_lib.zoo.recipes.digits import train_digits

STEPS = 240  # about 22 s of one thread for the full U-Net


class Nothing(nn.Module):
    """Zero, in place of a residual path."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def without_skips(net: UNet) -> None:
    """Gives each block of the decoder zeros in place of the encoder's map: the same work, without its information."""
    for name, block in net.decoder.items():
        if isinstance(block, Block):
            width = net.encoder[name].conv1.out_channels
            block.register_forward_pre_hook(
                lambda module, args, width=width: (torch.cat([args[0][:, :-width], 0 * args[0][:, -width:]], 1), args[1])
            )


def random_start(net: UNet) -> None:
    """Starts the last convolution of each block at random, as a network without residual paths must, and not at 0."""
    for block in net.modules():
        if isinstance(block, Block):
            block.conv2.reset_parameters()


def without_residuals(net: UNet) -> None:
    """Makes each block output what its convolutions output."""
    random_start(net)
    for block in net.modules():
        if isinstance(block, Block):
            block.skip = Nothing()


def constant_time(net: UNet) -> None:
    """Embeds t = 500, whatever the time is: the same parameters and the same work, without the information."""
    net.time.register_forward_pre_hook(lambda module, args: (torch.full_like(args[0], 0.5),))


def fraction_of_time(net: UNet) -> None:
    """Embeds t / T, from 0 to 1, where the embedding is made for steps."""
    net.time.register_forward_pre_hook(lambda module, args: (args[0] / 1000,))


class Transformer(nn.Module):
    """A diffusion transformer for the digits: patches of 2 x 2 as 64 tokens, adaLN-Zero. Peebles and Xie 2023."""

    def __init__(self, width: int = 72, depth: int = 4, heads: int = 2):
        super().__init__()
        self.shape, self.inward = (1, 16, 16), nn.Linear(4, width)
        self.time, self.label = TimeEmbedding(width), LabelEmbedding(10, width)
        self.as_condition = self.label.as_condition
        self.position = nn.Parameter(sincos_2d(width, 8).flatten(1).T.contiguous())
        self.blocks = nn.ModuleList([Stream(width, heads) for _ in range(depth)])
        self.modulation, self.outward = zero(nn.Linear(width, 2 * width)), zero(nn.Linear(width, 4))

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        emb = silu(self.time(time) + self.label(cond))
        h = self.inward(pixel_unshuffle(x, 2).flatten(2).mT) + self.position  # (B, 64, width)
        for block in self.blocks:
            attention, mlp = block.modulation(emb)
            attended = scaled_dot_product_attention(*block.queries_keys_values(h, attention))
            h = block.add_mlp(block.add_attention(h, attended, attention), mlp)
        h = self.outward(modulate(h, *self.modulation(emb).chunk(2, 1)))
        return pixel_shuffle(h.mT.unflatten(2, (8, 8)), 2)


def unet(change: Callable[[UNet], None] = lambda net: None, **options) -> UNet:
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10, **options)
    change(net)
    return net.to(memory_format=torch.channels_last)


PARTS = {
    "the full U-Net": unet,
    "the full U-Net, new seeds": unet,
    "no skip connections": partial(unet, without_skips),
    "no residual paths": partial(unet, without_residuals),
    "residual paths, random start": partial(unet, random_start),
    "no self-attention": partial(unet, attn=0),
    "constant time": partial(unet, constant_time),
    "time as a fraction": partial(unet, fraction_of_time),
    "random Fourier time": partial(unet, time="fourier"),
    "addition, not adaptive norm": partial(unet, modulation="add"),
    "a transformer": Transformer,
}
EQUAL_TIME = {"no self-attention": 264, "a transformer": 104}
"""The steps that cost as much as STEPS of the full U-Net, by `cost`. Arms of equal work differ by up to 1.4 % there."""
SEEDS = {"a transformer": 3}
"""How many trainings a part has, where not five. The transformer is far behind, and costs most."""
NEW_SEEDS = 10
"""What is added to the seeds of the null model."""


def training_of(part: str, seed: int = 0, steps: int = STEPS):
    """The network of a part, and its training by the digits' recipe."""
    seed += NEW_SEEDS * part.endswith("new seeds")
    torch.manual_seed(seed)
    network = Network(PARTS[part](), DDPM(cosine_beta(1000)), "v")
    return network, train_digits(network, steps=steps, seed=seed)


def costs(**_) -> dict[str, float]:
    """The milliseconds of a step of each."""
    steps = {part: partial(next, training_of(part)[1]) for part in PARTS}
    return {part: round(ms, 1) for part, ms in min_milliseconds(steps, repeats=40).items()}


ARMS = [("steps", part) for part in PARTS] + [("time", part) for part in EQUAL_TIME]


def jobs(seeds):
    return [{"part": part, "equal": equal, "seed": seed} for seed in seeds for equal, part in ARMS if seed < SEEDS.get(part, 5)]


@torch.no_grad()
def row(part: str, equal: str, seed: int) -> dict:
    """The figures of one training, of as many steps as the full U-Net's or of as much processor time."""
    network, training = training_of(part, seed, STEPS if equal == "steps" else EQUAL_TIME[part])
    *_, end = training
    label, noise = torch.arange(500) % 10, randn(500, 1, 16, 16, rng=seeded(1))
    x = sample(classifier_free(network, label, 1.0), noise, 15, batch=500)
    figures = rounded({"held-out loss": held_out_loss(network)}) | digit_scores(x, label)
    return {"steps": end.step, "parameters": parameters(network.net), "figures": figures}


def held_out_loss(network: Network) -> float:
    """The loss of v on the 1,000 held-out digits, each with four noises, at times drawn as in training."""
    (x0, label), rng = digits.load("held_out"), seeded(2)
    losses = [denoising_loss(network.given(label), x0, rng, min_snr_times(network.process, len(x0), rng)) for _ in range(4)]
    return float(torch.stack(losses).mean())


def table(found: dict) -> str:
    """Markdown: a row for each arm, each figure the mean over its seeds with the standard error of that mean."""
    keys = ["Frechet distance", "held-out loss", "class accuracy", "precision", "recall"]
    lines = ["| arm | steps | ms a step | " + " | ".join(keys) + " |", "|---" * (3 + len(keys)) + "|"]
    cost = found.get("milliseconds a step", {})  # not that of arms of the full U-Net's work that came later
    for equal, part in ARMS:
        runs = [run for run in found.get("runs", []) if (run["part"], run["equal"]) == (part, equal)]
        if len(runs) > 1:
            of = [[run["figures"][key] for run in runs] for key in keys]
            cells = [f"{mean(v):.3f} ± {stdev(v) / len(v) ** 0.5:.3f}" for v in of]
            start = [
                part + ", equal time" * (equal == "time"),
                str(runs[0]["steps"]),
                f"{cost.get(part, cost['the full U-Net']):.0f}",
            ]
            lines.append("| " + " | ".join(start + cells) + " |")
    return "\n".join(lines)


BENCH = Benchmark(
    "unet_ablation",
    [Part("cost", once={"milliseconds a step": costs}), Part("runs", jobs, row)],
    seeds=range(5),
    table=table,
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
