"""What each part of the U-Net is worth: the digits' recipe with one part taken out or exchanged, at equal training time.

    python tests/benchmarks/unet_ablation.py [--seconds 30] [--seeds 0 1 2] [--out data/figures/unet_ablation.json]

Lesson 04 shows the results. Runs that are in the file already are not made again, so that it may be stopped at any time.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import recipes
from course_lib.denoisers import Network
from course_lib.nets.unet import Block, UNet
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.training import show_progress

OUT = Path(__file__).parents[2] / "data/figures/unet_ablation.json"


class Nothing(nn.Module):
    """Zeros, in the place of a residual path (shape None) or of a time embedding (B, shape)."""

    def __init__(self, shape: int | None = None):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(()) if self.shape is None else x.new_zeros(len(x), self.shape)


def without_skips(net: UNet) -> None:
    """Each block on the way up gets zeros where the map from the way down would be: the same work, with nothing in it."""
    for name, block in net.decoder.items():
        if isinstance(block, Block):
            width = net.encoder[name].conv1.out_channels
            block.register_forward_pre_hook(
                lambda module, args, width=width: (torch.cat([args[0][:, :-width], 0 * args[0][:, -width:]], 1), args[1])
            )


def without_residuals(net: UNet) -> None:
    """Blocks give what their convolutions give, which then cannot begin at 0."""
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


def measured(part: str, seconds: float, seed: int) -> dict:
    options, cut = PARTS[part]
    torch.manual_seed(seed)
    net = UNet(size=16, channels=1, widths=(16, 32, 64), depth=1, classes=10, **options).to(memory_format=torch.channels_last)
    if cut:
        cut(net)
    network = Network(net, DDPM(cosine_beta(1000)), "v")
    end = show_progress(recipes.train_digits(network, seconds=seconds, seed=seed), f"{part}, seed {seed}")
    figures = {name: round(value, 4) for name, value in recipes.digits_figures(network).items()}
    return {"part": part, "seed": seed, "steps": end.step, "figures": figures}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    made_by = {
        "command": f"python tests/benchmarks/unet_ablation.py --seconds {args.seconds:g}",
        "seconds": args.seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
    }
    found = json.loads(args.out.read_text()) if args.out.is_file() else made_by | {"runs": []}
    if found["seconds"] != args.seconds:
        parser.error(f"--seconds must be {found['seconds']:g}, as in {args.out}, got {args.seconds:g}; or give another --out")
    have = {(run["part"], run["seed"]) for run in found["runs"]}
    for seed in args.seeds:
        for part in PARTS:
            if (part, seed) not in have:
                found["runs"].append(measured(part, args.seconds, seed))
                args.out.parent.mkdir(parents=True, exist_ok=True)
                partial = args.out.with_suffix(".partial")
                partial.write_text(json.dumps(found, indent=1) + "\n")
                os.replace(partial, args.out)
                print(json.dumps(found["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
