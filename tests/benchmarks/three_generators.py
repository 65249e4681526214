"""A GAN, a VAE and a diffusion model of similar size, on the same data, at equal processor time. Lesson 05 shows the results.

    python tests/benchmarks/three_generators.py [cost | points | collapse | digits] [--seeds 0 1 2] [--only seconds=60]

`cost` measures, on one thread and in turns, the processor time of a training step and of a sample of each. The others train
for a fixed number of steps, as many as cost the same by it, so that other work of the machine changes nothing. `digits`: 60 s,
without classes, one recipe each, not equally tuned (HISTORY.md says what was tried). `points`: 30 s on 25 Gaussians, with and
without Fourier features. `collapse`: the GAN of points with one difference at a time. The networks of the digits are kept in
build/three_generators; the shipped ones are those of seed 0 after 60 s.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import parameters, rounded
from timing import min_milliseconds
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, logsigmoid

from course_lib import metrics
from course_lib.datasets import digits
from course_lib.datasets.points import grid
from course_lib.denoisers import Network
from course_lib.methods.gan_vae import elbo, sample_generator
from course_lib.nets.generators import GAN, VAE, FourierFeatures, layers
from course_lib.nets.mlp import MLP
from course_lib.process import DDPM, rand, randint, randn, seeded
from course_lib.schedules import cosine_beta
from course_lib.zoo import models
from course_lib.zoo.recipes import gan_vae

DIGITS = {
    "GAN": (gan_vae.gan, gan_vae.train_gan),
    "VAE": (gan_vae.vae, gan_vae.train_vae),
    "diffusion": (gan_vae.diffusion, gan_vae.train_diffusion),
}


def gan_of_raw_points(seed: int = 0) -> GAN:
    """An untrained GAN for points, whose discriminator is given the points alone, without their Fourier features."""
    gan = gan_vae.points_gan(seed)
    gan.discriminator = layers(2, 128, 128, 128, 1)
    return gan


def diffusion_of_raw_points(seed: int = 0) -> Network:
    """An untrained denoiser for points, which is given them without their Fourier features."""
    torch.manual_seed(seed)
    return Network(MLP(dim=2, width=64, depth=3), DDPM(cosine_beta(1000)), "v")


def vae_of_features(seed: int = 0) -> VAE:
    """An untrained VAE for points, whose encoder is given their Fourier features too."""
    vae = gan_vae.points_vae(seed)
    vae.encoder = nn.Sequential(FourierFeatures(), layers(34, 128, 128, 128, 2 * vae.latent))
    return vae


POINTS = {
    "GAN": (gan_vae.points_gan, gan_vae.train_gan),
    "GAN with R1": (gan_vae.points_gan, partial(gan_vae.train_gan, r1=0.01)),
    "GAN without Fourier features": (gan_of_raw_points, gan_vae.train_gan),
    "VAE": (gan_vae.points_vae, gan_vae.train_vae),
    "VAE with Fourier features": (vae_of_features, gan_vae.train_vae),
    "diffusion": (gan_vae.points_diffusion, partial(gan_vae.train_diffusion, uniform=True)),
    "diffusion without Fourier features": (diffusion_of_raw_points, partial(gan_vae.train_diffusion, uniform=True)),
}
MODELS = {"digits": DIGITS, "points": {m: (build, partial(t, data=gan_vae.some_points)) for m, (build, t) in POINTS.items()}}
MILLISECONDS = {
    "digits": {"GAN": 41.53, "VAE": 23.08, "diffusion": 107.63},
    "points": {
        "GAN": 11.64,
        "GAN with R1": 14.64,
        "GAN without Fourier features": 10.6,
        "VAE": 5.55,
        "VAE with Fourier features": 5.83,
        "diffusion": 12.36,
        "diffusion without Fourier features": 12.11,
    },
}
"""What a step costs, by `cost`; with and without Fourier features 0.91 (GAN), 1.05 (VAE) and 0.98 (diffusion) of the other's,
measured in turns with it."""
SECONDS = {"digits": (60,), "points": (30,)}
COLLAPSE: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "the recipe again": {},  # the null model: other seeds, no difference
    "momentum 0.9": {"momentum": 0.9},
    "half the rate": {"lr": 1e-3},
    "minimax loss": {"generator_loss": lambda gan, fake: logsigmoid(-gan.logits(fake)).mean()},
    "R1": {"r1": 0.01},
    "no Fourier features": {"smooth": True},
}
COLLAPSE_STEPS = 600


def steps_of(data: str, model: str, seconds: float) -> int:
    """The steps that cost so many seconds."""
    return round(1000 * seconds / MILLISECONDS[data][model])


# What things cost


def step_costs(data: str) -> dict[str, float]:
    """The milliseconds of a training step of each model on this data."""
    steps = {model: partial(next, training(build(0))) for model, (build, training) in MODELS[data].items()}
    return {model: round(ms, 2) for model, ms in min_milliseconds(steps, repeats=60).items()}


def sample_costs(rounds: int = 6, n: int = 100, **_) -> list[dict]:
    """The milliseconds of a digit in each of some rounds, of each model, and of one pass of the U-Net."""
    made = {model: build(0) for model, (build, _) in DIGITS.items()}
    unet, noise = made["diffusion"], randn(n, 1, 16, 16, rng=seeded(0))
    runs: dict[str, Callable] = {model: partial(sample_generator, made[model], n, seeded(0)) for model in made}
    runs["one pass of the U-Net"] = torch.no_grad()(partial(unet, noise, 500))
    return [{name: round(ms / n, 5) for name, ms in min_milliseconds(runs, 2).items()} for _ in range(rounds)]


# The digits


@cache
def held_out_features() -> Tensor:
    return models.load("classifier").features(digits.load("held_out")[0][:1000])


def fine_detail(x: Tensor) -> float:
    """The share of the variance of pictures x (B, 1, H, W) that 3 x 3 means remove, whatever their contrast."""
    blurred = avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return float((x - blurred).square().sum() / (x - x.mean((2, 3), keepdim=True)).square().sum())


@torch.no_grad()
def scores(x: Tensor) -> dict[str, float]:
    features, real = models.load("classifier").features(x), held_out_features()
    precision, recall = metrics.precision_recall(real, features)
    distance = metrics.frechet_distance(features, real)
    return rounded({"Frechet distance": distance, "precision": precision, "recall": recall, "fine detail": fine_detail(x)})


def references(n: int = 1000, **_) -> dict[str, dict[str, float]]:
    """The same figures of real digits, and of pictures that are two digits at once."""
    x = digits.load("train")[0]
    pairs = x[randint(0, len(x), 2 * n, rng=seeded(1))].view(2, n, 1, 16, 16).amax(0)
    return {"real digits": scores(x[:n]), "two digits at once": scores(pairs)}


def on_digits(model: str, seed: int, seconds: int) -> dict:
    build, training = MODELS["digits"][model]
    network = build(seed)
    steps, net = steps_of("digits", model, seconds), getattr(network, "net", network)
    path = BUILD / f"three_generators/{model}-{seconds}-{seed}.safetensors"
    load_or_train(path, net, lambda: training(network, seed=seed, steps=steps), bits=8)
    figures = scores(sample_generator(network, 1000, seeded(1)))
    if isinstance(network, VAE):
        figures |= rounded({"fine detail of reconstructions": fine_detail(reconstructions(network))})
    return {"parameters": parameters(net), "steps": steps, "figures": figures}


@torch.no_grad()
def reconstructions(vae: VAE, n: int = 1000) -> Tensor:
    """The decoder's means for the encoder's means of n held-out digits."""
    return vae.decode(vae.encode(digits.load("held_out")[0][:n])[0])


# The points


def on_points(model: str, seed: int, seconds: int) -> dict:
    build, training = MODELS["points"][model]
    network, steps = build(seed), steps_of("points", model, seconds)
    *_, _ = training(network, seed=seed, steps=steps)
    figures = gan_vae.generator_points_figures(network)
    if isinstance(network, VAE):
        figures |= gap(network)
    found = {"parameters": parameters(getattr(network, "net", network)), "steps": steps, "figures": rounded(figures)}
    return found | ({"samples": samples(network)} if seed == 0 else {})


def samples(network, n: int = 600) -> list[list[float]]:
    """n samples, for a picture."""
    return [[round(v, 2) for v in point] for point in sample_generator(network, n, seeded(1)).tolist()]


@torch.no_grad()
def gap(vae: VAE, n: int = 20_000) -> dict[str, float]:
    """The mean log-likelihood of n points, and the mean ELBO of them, in nats."""
    x, _ = grid().sample(n, seeded(1))
    bound = elbo(vae, x, randn(n, vae.latent, rng=seeded(2))).mean()
    return {"log-likelihood": float(grid().log_prob(x.double()).mean()), "ELBO": float(bound)}


def nulls(n: int = 5000, **_) -> dict[str, dict[str, float]]:
    """The figures of uniform noise on the square of the grid, and of networks that were not trained."""
    counted = lambda x: dict(zip(("modes covered, of 25", "share out of any mode"), metrics.modes(x, grid())))
    found = {"uniform noise": counted(2.2 * rand(n, 2, rng=seeded(0)) - 1.1)}
    found |= {f"untrained {m}": gan_vae.generator_points_figures(build(0)) for m, (build, _) in POINTS.items()}
    return found | {"the mixture itself": counted(grid().sample(n, seeded(3))[0])}


def collapse(change: str, seed: int) -> dict:
    options, seed_used = dict(COLLAPSE[change]), seed + 100 * (change == "the recipe again")
    network = (gan_of_raw_points if options.pop("smooth", False) else gan_vae.points_gan)(seed_used)
    *_, _ = gan_vae.train_gan(network, seed=seed_used, steps=COLLAPSE_STEPS, data=gan_vae.some_points, **options)
    found = {"steps": COLLAPSE_STEPS, "figures": rounded(gan_vae.generator_points_figures(network))}
    return found | ({"samples": samples(network)} if seed == 0 else {})


def jobs_of(data: str) -> Callable:
    return lambda seeds: [
        {"data": data, "model": m, "seconds": s, "seed": seed} for s in SECONDS[data] for seed in seeds for m in MODELS[data]
    ]


def row(data: str, model: str, seconds: int, seed: int) -> dict:
    return (on_points if data == "points" else on_digits)(model, seed, seconds)


BENCH = Benchmark(
    "three_generators",
    [
        Part(
            "cost",
            once={f"milliseconds a step, {data}": lambda data=data, **_: step_costs(data) for data in MODELS}
            | {"milliseconds a sample": sample_costs},
        ),
        Part("points", jobs_of("points"), row, once={"nulls of points": nulls}),
        Part(
            "collapse",
            lambda seeds: [{"change": change, "seed": seed} for seed in seeds for change in COLLAPSE],
            collapse,
            into="collapse",
        ),
        Part("digits", jobs_of("digits"), row, once={"references": references}),
    ],
    threads=1,
    indent=None,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
