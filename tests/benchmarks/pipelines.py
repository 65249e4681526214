"""What a step of a diffusers pipeline costs under our samplers, beside the pipeline's own loop, and whether both end alike.

    python tests/benchmarks/pipelines.py [--device cpu] [--steps 10] [--rounds 5]

Random weights, so that nothing is downloaded: the tiny pipelines of zoo/tiny_pipelines.py, and Stable Diffusion's class with a
larger U-Net; on a GPU that of Stable Diffusion 1.5's size, in float16. Guidance of 4, latents out. The two take turns; the
fastest round counts: processor milliseconds a step on a CPU, wall milliseconds on a GPU. Only the ratio is a result.
"""

import argparse
import time

import torch
from timing import min_milliseconds

from course_lib.guidance import classifier_free
from course_lib.process import RectifiedFlow, seeded
from course_lib.samplers import consistency, ddim, rectified_flow, result
from course_lib.training import pick_device
from course_lib.zoo.diffusers import from_diffusers, scheduler_times
from course_lib.zoo.tiny_pipelines import PIPELINES, tiny

NAMES = [name for name in PIPELINES if name not in ("DDPMPipeline", "StableDiffusionXLImg2ImgPipeline")]
LARGER = "StableDiffusionPipeline, larger"
SIZES = {"cpu": (96, 192), "cuda": (320, 640, 1280, 1280)}
"""Channels of the larger U-Net at each resolution; on a GPU those of Stable Diffusion 1.5."""


def larger(device: torch.device):
    """Stable Diffusion's pipeline with a U-Net of SIZES for 32 x 32 latents, or 64 x 64 on a GPU."""
    from diffusers import UNet2DConditionModel

    pipeline, widths = tiny("StableDiffusionPipeline"), SIZES["cpu" if device.type == "cpu" else "cuda"]
    down = [*["CrossAttnDownBlock2D"] * (len(widths) - 1), "DownBlock2D"]
    up = [block.replace("Down", "Up") for block in down[::-1]]
    options = {"block_out_channels": widths, "down_block_types": down, "up_block_types": up, "attention_head_dim": 8}
    side = 32 if device.type == "cpu" else 64
    pipeline.register_modules(unet=UNet2DConditionModel(side, cross_attention_dim=32, **options).eval())
    return pipeline.to(device, torch.float32 if device.type == "cpu" else torch.float16)


def compared(name: str, device: torch.device, steps: int, rounds: int, batch: int) -> dict:
    """Milliseconds a step of both loops, their ratio, and the largest difference of what they end with."""
    pipeline = larger(device) if name == LARGER else tiny(name).to(device)
    network, prompts = from_diffusers(pipeline), ["a red house", "two cats, at sea", "rain", "a fox"][:batch]
    x, times = network.draw_noise(batch, seeded(1)).to(device, pipeline.dtype), scheduler_times(pipeline.scheduler, steps)
    given = {"latents": x, "num_inference_steps": steps, "guidance_scale": 4.0, "output_type": "latent"}

    def ours():
        guided = classifier_free(network, prompts, 4.0)
        if isinstance(network.process, RectifiedFlow):
            return result(rectified_flow(guided, x, times))
        if name == "LatentConsistencyModelPipeline":
            return result(consistency(guided, x, times, seeded(7)))
        return result(ddim(guided, x, times))

    def theirs():
        return pipeline(prompts, generator=seeded(7), **given).images

    apart = float((ours() - theirs()).abs().max() / theirs().abs().max())
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    runs = {"ours": lambda: (ours(), synchronize()), "theirs": lambda: (theirs(), synchronize())}
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    found = {who: ms / steps for who, ms in min_milliseconds(runs, rounds, clock).items()}
    return found | {"ratio": found["ours"] / found["theirs"], "apart": apart}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = pick_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    print("| pipeline | batch | ours, ms a step | theirs | ratio | largest difference, as a share |\n|---|---|---|---|---|---|")
    for name in [*NAMES, LARGER]:
        for batch in (1, 4):
            found = compared(name, device, args.steps, args.rounds, batch)
            figures = f"{found['ours']:.1f} | {found['theirs']:.1f} | {found['ratio']:.2f} | {found['apart']:.0e}"
            print(f"| {name} | {batch} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
