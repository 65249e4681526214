"""Imagen in miniature: the sizes of text encoder and U-Net, where shapes are lost, thresholds, the efficient U-Net's cost.

    python tests/benchmarks/imagen.py sizes [--only base=large-small]      # trains bases, and scores them over w
    python tests/benchmarks/imagen.py finished                             # sampling that starts from noisy real pictures
    python tests/benchmarks/imagen.py thresholds                           # of the shipped base
    python tests/benchmarks/imagen.py cost                                 # of the efficient U-Net, on an idle core

The four bases, text-unet, are trained once each, like the shipped one and for equally many steps, but at all times alike. They
are kept in build/imagen. The seeds are those of sampling: all generate pictures of the same captions of two objects, and the
shipped detector scores the small pictures. Lesson 13 shows the results.
"""

import itertools
from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import detector, parameters, rounded
from timing import min_milliseconds
from torch import Tensor

from course_lib import metrics
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import DynamicThreshold, StaticThreshold, classifier_free
from course_lib.methods.cascades import upsampler_loss
from course_lib.nets.efficient_unet import EfficientUNet
from course_lib.nets.upsampler import Upsampler
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import ddim, result, sample
from course_lib.schedules import linear_beta
from course_lib.zoo import models
from course_lib.zoo.recipes import imagen
from course_lib.zoo.recipes.shapes import pair_prompts

SIZES = ("small", "large")
TEXT = {"small": (imagen.SMALL_TEXT, "paraphraser_small"), "large": (imagen.LARGE_TEXT, "paraphraser")}
UNET = {"small": imagen.SMALL_UNET, "large": imagen.LARGE_UNET}
FOUR = [f"{text}-{unet}" for text in SIZES for unet in SIZES]
FINISHED, TIMES = ("large-large", "ships"), (50, 100, 200, 300, 500, 700, 1000)
W = {"sizes": (1.0, 1.5, 2.0, 3.0, 5.0, 8.0), "thresholds": (1.0, 3.0, 5.0, 7.0, 10.0, 15.0)}
WITHIN = {"none": lambda denoiser: denoiser, "static": StaticThreshold, "dynamic": DynamicThreshold}


@cache
def trained(name: str) -> tuple[Network, dict]:
    """The base of these sizes, and the record of its training: the one that ships, the kept one, or trained now."""
    if name == "ships":
        return models.load("imagen"), models.records()["imagen"]
    text, unet = name.split("-")
    network = imagen.imagen_network(0, TEXT[text][0], UNET[unet])
    training = lambda: imagen.train_imagen(network, text=TEXT[text][1], low_noise_half=False)
    return network, load_or_train(BUILD / f"imagen/{name}.safetensors", network.net, training, imagen.IMAGEN.bits)


def features(x: Tensor) -> Tensor:
    """The detector's features of small pictures, enlarged."""
    with torch.no_grad():
        return torch.cat([detector().features(part) for part in imagen.upsample_bilinear(x.clamp(-1, 1)).split(100)])


@cache
def real_features() -> Tensor:
    rng = seeded(2)
    return features(shapes.draw(scenes.sample(500, rng, ("pair",)), rng, imagen.SIDE))


def figures(x: Tensor, scene: scenes.Scene) -> dict[str, float]:
    """The detector's scores of small pictures (N, 3, 16, 16) of N scenes, and their distance to real ones."""
    seen = imagen.detect_small(detector(), x)
    right = scenes.agreement(seen, scene)
    found = {"all": right["all"], "colours in place": float(imagen.colours_in_place(seen, scene).double().mean())}
    found |= {name: right[name] for name in ("binding", "shape", "colour", "count", "relation")}
    return rounded(found | {"Frechet distance": metrics.frechet_distance(features(x), real_features())})


def training(captions: int, base: str) -> dict:
    """The steps and parameters of a base, and by how much the right caption lowers its error."""
    network, record = trained(base)
    text = parameters(network.net.text)
    row = {"steps": record["steps"], "text parameters": text, "U-Net parameters": parameters(network.net) - text}
    return row | rounded(imagen.caption_sensitivity(network, 1000))


@torch.no_grad()
def scored(captions: int, w: float, seed: int, base: str = "ships", within: str = "static") -> dict:
    """The scores of a base at guidance w under a threshold."""
    (network, _), (prompts, scene) = trained(base), pair_prompts(captions, "train")
    denoiser = WITHIN[within](classifier_free(network, prompts, w))
    return figures(sample(denoiser, network.draw_noise(captions, seeded(seed)), 20), scene)


@torch.no_grad()
def finished(captions: int, base: str, t: int, seed: int) -> dict:
    """The scores of sampling, w = 2, that starts from real pictures with the noise of time t."""
    (network, _), (prompts, scene) = trained(base), pair_prompts(captions, "train")
    x0 = shapes.draw(scene, seeded(3), imagen.SIDE)
    start, times = network.process.add_noise(x0, t, randn_like(x0, seeded(seed))), network.process.times(20)
    return figures(result(ddim(StaticThreshold(classifier_free(network, prompts, 2.0)), start, times[times <= t])), scene)


def real_pictures(captions: int) -> dict[str, float]:
    scene = pair_prompts(captions, "train")[1]
    return figures(shapes.draw(scene, seeded(3), imagen.SIDE), scene)


def efficient(captions: int) -> dict:
    """Milliseconds of processor time for a training step of 32 pictures, the minimum of twelve, in turns."""
    kinds = {
        "usual order": {"early": False},
        "efficient order": {"early": True},
        "efficient order, no more blocks where maps are small": {"early": True, "depths": (1, 1, 1)},
    }
    x, nets = torch.randn(32, 3, 32, 32).to(memory_format=torch.channels_last), {}
    for name, options in kinds.items():
        nets[name] = Upsampler(channels=3, unet=EfficientUNet(**options)).to(memory_format=torch.channels_last)
    step_of = lambda net: lambda: upsampler_loss(Network(net, DDPM(linear_beta(1000)), "v"), x, None, 400).backward()
    spent = min_milliseconds({name: step_of(net) for name, net in nets.items()}, 12)
    return {name: {"ms": round(spent[name], 1), "parameters": parameters(net)} for name, net in nets.items()}


def over(**values):
    """The jobs for all combinations of these values and the seeds."""
    combined = lambda seeds: itertools.product(*values.values(), seeds)
    return lambda seeds: [dict(zip((*values, "seed"), job)) for job in combined(seeds)]


BENCH = Benchmark(
    "imagen",
    [
        Part("sizes", lambda seeds: [{"base": base} for base in FOUR], training, into="trainings"),
        Part("sizes", over(base=FOUR, w=W["sizes"]), scored, into="sizes"),
        Part("finished", over(base=FINISHED, t=TIMES), finished, into="finished"),
        Part("thresholds", over(within=WITHIN, w=W["thresholds"]), scored, "thresholds", once={"real pictures": real_pictures}),
        Part("cost", once={"efficient": efficient}),
    ],
    amounts={"captions": 100},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
