"""The cost of a sampler's loop without its network, per step: the course and diffusers' schedulers, in one run.

    python tests/benchmarks/samplers.py [--repeats 40]

The network here only multiplies by 0.9, and its own time is subtracted. The loop remains: tables, formulas, noise, and on both
sides the batch of times for the network, which the course's Network makes, and diffusers' UNet2DModel at the start of its
forward. Sixteen pictures of 16 x 16, 50 steps; the minimum over the repeats, both in turn. Required: at most half of diffusers'
time per step.
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
from timing import min_milliseconds

from course_lib.denoisers import Network
from course_lib.process import DDPM, RectifiedFlow, VarianceExploding, seeded
from course_lib.samplers import ddim, ddpm, heun, rectified_flow, result
from course_lib.schedules import linear_beta

STEPS, SHAPE = 50, (16, 1, 16, 16)


def scaled(x, time):
    """A network of almost no cost."""
    return 0.9 * x


def as_their_unet(x, t):
    """The same, after what UNet2DModel does with the time first."""
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
    """Microseconds of loop for each of STEPS moves of each of `runs`, without the network's own time."""
    x = torch.randn(SHAPE)
    loops = {k: lambda run=run: run(x, seeded(0)) for k, run in enumerate(runs)}
    loops["network"] = lambda: [scaled(x, None) for _ in range(evaluations)]
    with torch.no_grad():
        spent = min_milliseconds(loops, repeats, time.perf_counter)
    return [1e3 * (spent[k] - spent["network"]) / STEPS for k in range(len(runs))]


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
        "Euler (the course: DDIM)": (ours(ddim, chain), theirs(EulerDiscreteScheduler(**betas)), STEPS),
    }
    print("| sampler | the course, µs per step | diffusers, µs per step | ratio |\n|---|---|---|---|")
    for name, (mine, other, evaluations) in pairs.items():
        a, b = a_step((mine, other), args.repeats, evaluations)
        print(f"| {name} | {a:.0f} | {b:.0f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
