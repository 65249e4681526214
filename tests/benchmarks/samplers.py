"""What a sampler's loop costs beside its network: ours and diffusers' schedulers, a step each, in one run.

    python tests/benchmarks/samplers.py [--repeats 40]

The network here only multiplies by 0.9, and its own time is taken off, so that what is left is the loop: tables, formulas,
noise, and on both sides the making of a batch of times for the network, which the course's Network does, and diffusers'
UNet2DModel at the start of its forward. Sixteen pictures of 16 x 16, 50 steps; the smallest of the repeats, of both in turn.
Asked: at most half of diffusers' per step.
"""

import argparse
import time

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from course_lib.denoisers import Network
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding
from course_lib.samplers import ddim, ddpm, heun, rectified_flow, result
from course_lib.schedules import linear_beta

STEPS, SHAPE = 50, (16, 1, 16, 16)


def scaled(x, time):
    """As good as no network."""
    return 0.9 * x


def as_their_unet(x, t):
    """The same, behind what UNet2DModel does with the time before anything else."""
    t = t[None].to(x.device)
    t = t * torch.ones(x.shape[0], dtype=t.dtype, device=t.device)
    return scaled(x, t)


def theirs(scheduler):
    def run(x, rng):
        scheduler.set_timesteps(STEPS)
        noise = {"generator": rng} if isinstance(scheduler, DDPMScheduler) else {}
        scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
        for t in scheduler.timesteps:
            x = scheduler.step(as_their_unet(scale(x, t), t), t, x, **noise)[0]
        return x

    return run


def ours(sampler, process, view="eps"):
    network = Network(scaled, process, view)
    times = process.times(STEPS)
    return lambda x, rng: result(sampler(network, x, times, **({"rng": rng} if sampler is ddpm else {})))


def a_step(runs, repeats: int, evaluations: int = STEPS) -> list[float]:
    """Microseconds of loop for each of STEPS moves of each of `runs`, the network's own time taken off."""
    x, least = torch.randn(SHAPE), [float("inf")] * len(runs)
    with torch.no_grad():
        for _ in range(repeats):
            for k, run in enumerate(runs):
                least[k] = min(least[k], _seconds(run, x, torch.Generator().manual_seed(0)))
        network = min(_seconds(lambda: [scaled(x, None) for _ in range(evaluations)]) for _ in range(repeats))
    return [1e6 * (seconds - network) / STEPS for seconds in least]


def _seconds(run, *args) -> float:
    begun = time.perf_counter()
    run(*args)
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chain, betas = DDPM(linear_beta(1000)), {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    sigmas = VarianceExploding(torch.logspace(-1.7, 1.7, STEPS, dtype=torch.float64))
    pairs = {
        "DDPM": (ours(ddpm, chain), theirs(DDPMScheduler(**betas, clip_sample=False)), STEPS),
        "DDIM": (ours(ddim, chain), theirs(DDIMScheduler(**betas, clip_sample=False)), STEPS),
        "Heun": (ours(heun, sigmas), theirs(HeunDiscreteScheduler(**betas)), 2 * STEPS - 1),
        "rectified flow": (ours(rectified_flow, RectifiedFlow(), "flow"), theirs(FlowMatchEulerDiscreteScheduler()), STEPS),
        "Euler (ours: DDIM)": (ours(ddim, chain), theirs(EulerDiscreteScheduler(**betas)), STEPS),
    }
    print("| sampler | ours, µs a step | diffusers, µs a step | ours over theirs |\n|---|---|---|---|")
    for name, (mine, other, evaluations) in pairs.items():
        a, b = a_step((mine, other), args.repeats, evaluations)
        print(f"| {name} | {a:.0f} | {b:.0f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
