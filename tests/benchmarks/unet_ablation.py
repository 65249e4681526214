"""The effect of each part of the U-Net: the digits' recipe with one part removed or exchanged, at equal training time.

    python tests/benchmarks/unet_ablation.py [--seconds 30] [--seeds 0 1 2]

Lesson 04 shows the results.
"""

import torch
from rows import Benchmark, Part, measure
from scores import rounded
from torch import Tensor, nn

from course_lib.denoisers import Network
from course_lib.nets.unet import Block, UNet
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.training import show_progress
from course_lib.zoo.recipes.digits import digits_figures, train_digits


class Nothing(nn.Module):
    """Zeros, in place of a residual path (shape None) or of a time embedding (B, shape)."""

    def __init__(self, shape: int | None = None):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(()) if self.shape is None else x.new_zeros(len(x), self.shape)


def without_skips(net: UNet) -> None:
    """Gives each block of the decoder zeros in place of the encoder's map: the same work, without its information."""
    for name, block in net.decoder.items():
        if isinstance(block, Block):
            width = net.encoder[name].conv1.out_channels
            block.register_forward_pre_hook(
                lambda module, args, width=width: (torch.cat([args[0][:, :-width], 0 * args[0][:, -width:]], 1), args[1])
            )


def without_residuals(net: UNet) -> None:
    """Makes each block output what its convolutions output, whose weights then cannot start at 0."""
    for block in net.modules():
        if isinstance(block, Block):
            block.skip = Nothing()
            block.conv2.reset_parameters()


def without_time(net: UNet) -> None:
    net.time = Nothing(net.time.dim)


PARTS = {
    "the whole": ({}, None),
    "no skip connections": ({}, without_skips),
    "no residual paths": ({}, without_residuals),
    "no self-attention": ({"attn": 0}, None),
    "no time": ({}, without_time),
    "random Fourier time": ({"time": "fourier"}, None),
    "addition, not adaptive norm": ({"modulation": "add"}, None),
}


def jobs(seeds):
    return [{"part": part, "seed": seed} for seed in seeds for part in PARTS]


def row(seconds: float, part: str, seed: int) -> dict:
    """The figures of the digits' network with one part removed or exchanged, after `seconds` of training."""
    options, change = PARTS[part]
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10, **options).to(memory_format=torch.channels_last)
    if change:
        change(net)
    network = Network(net, DDPM(cosine_beta(1000)), "v")
    end = show_progress(train_digits(network, seconds=seconds, seed=seed, plain=True), f"{part}, seed {seed}")
    return {"steps": end.step, "figures": rounded(digits_figures(network))}


BENCH = Benchmark(
    "unet_ablation", [Part(jobs=jobs, row=row)], amounts={"seconds": 30.0}, header={"threads": torch.get_num_threads()}
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
