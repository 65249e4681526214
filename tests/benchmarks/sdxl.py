"""SDXL in miniature: the effect of each of its additions, one at a time. Lesson 15 shows the results.

    python tests/benchmarks/sdxl.py [--n 80] [--seeds 0 1 2] [--only 'kind=large only']

All start as lesson 12's network and are trained once, for equally many steps, on the same collection of 4,000 pictures, three
quarters of which were small or are cropped. The refiner starts from the shipped network, which is conditioned on size and crop
('told' in the file). All are kept in build/sdxl in 8 bits, like the shipped one. The seeds are those of sampling: n captions of
two objects, w = 3, 20 DDIM steps, conditioned on a large whole picture unless the row says otherwise.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import detector, parameters, right, rounded

from course_lib import metrics
from course_lib.datasets import scenes, shapes
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.methods.sdxl import ExpertSwitch, border, downscale, high_frequency_detail
from course_lib.nets.sdxl import WHOLE
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo import checkpoints, models
from course_lib.zoo.recipes import sdxl
from course_lib.zoo.recipes.shapes import pair_prompts

KINDS = {
    "before": ({}, {}),
    "told": ({}, {}),
    "large only": ({}, {"large": True, "conditioned": False}),
    "all, not told": ({}, {"conditioned": False}),
    "two encoders": ({"two": True}, {}),
    "larger U-Net": ({"more": 3}, {}),
    "refiner": ({}, {}),
}
"""Of each, how it is built, and how it is trained; 'before' is lesson 12's network, and is not trained."""
DRAWINGS = {kind: (kind, WHOLE, None) for kind in KINDS if kind != "refiner"}
DRAWINGS |= {f"{kind}, refined": (kind, WHOLE, "refiner") for kind in ("told", "all, not told")}
DRAWINGS |= {"told, asked for side 8": ("told", (8, 0, 0), None), "told, asked for cut": ("told", (32, 8, 8), None)}
"""Of each row of samples, the network, size and crop that it is conditioned on, and the network for the last steps."""
REAL = ("large and whole", "decoded", "side 8", "side 16")


@cache
def trained(kind: str) -> tuple[Network, dict]:
    """The network of that kind, and the record of its training: the one that ships, the kept one, or trained now."""
    options = dict(KINDS[kind][0])
    text = sdxl.two_encoders() if options.pop("two", False) else None
    network = sdxl.sdxl_network(0, text, **options)
    if kind == "before":
        sdxl.init_from_latent2shape(network.net)
        network.net.eval().requires_grad_(False)
        return network, {}
    name = kind.replace(", ", "-").replace(" ", "-").lower()
    path = checkpoints.shipped("sdxl") if kind == "told" else BUILD / f"sdxl/{name}.safetensors"
    if kind == "refiner":
        training = lambda: sdxl.train_refiner(network, models.load("sdxl"))
    else:
        training = lambda: sdxl.train_sdxl(network, **KINDS[kind][1])
    record = load_or_train(path, network.net, training, bits=8)
    return network, {name: record[name] for name in ("steps", "loss", "seconds")}


@cache
def real_features() -> torch.Tensor:
    """The detector's features of many real pictures of pairs."""
    rng = seeded(2)
    return detector().features(shapes.draw(scenes.sample(2000, rng, ("pair",)), rng))


def figures(x, scene) -> dict[str, float]:
    found = {"touch the border": float(border(x).double().mean()), "detail": float(high_frequency_detail(x).mean())}
    found["Frechet distance"] = metrics.frechet_distance(detector().features(x.clamp(-1, 1)), real_features())
    return right(x, scene, ("all", "binding", "shape", "colour", "count")) | rounded(found)


def jobs(seeds):
    found = [{"what": "real pictures", "kind": kind, "seed": 0} for kind in REAL]
    found += [{"what": "training", "kind": kind, "seed": 0} for kind in KINDS if kind != "before"]
    return found + [{"what": "drawing", "kind": name, "seed": seed} for name in DRAWINGS for seed in seeds]


@torch.no_grad()
def row(n: int, what: str, kind: str, seed: int) -> dict:
    if what == "training":
        network, record = trained(kind)
        text = parameters(network.net.text)
        return record | {"U-Net parameters": parameters(network.net) - text, "text parameters": text}
    prompts, scene = pair_prompts(n, "train")
    if what == "real pictures":
        return figures(real_pictures(scene, kind), scene)
    name, micro, last = DRAWINGS[kind]
    guided = lambda name: classifier_free(trained(name)[0], (prompts, micro), 3.0)
    denoiser, network = guided(name), trained(name)[0]
    if last:
        denoiser = ExpertSwitch(denoiser, guided(last))
    latents = sample(denoiser, network.draw_noise(n, seeded(seed)), 20, batch=n)
    return figures(models.load("autoencoder").decode(latents), scene)


def real_pictures(scene, kind: str):
    """Pictures of the scenes themselves, large and whole or downscaled; encoded and decoded unless they are left as they
    are."""
    rng = seeded(3)
    x = shapes.draw(scenes.complete(scene, rng), rng)
    if kind == "large and whole":
        return x
    if kind != "decoded":
        x = downscale(x, int(kind.split()[1]))
    autoencoder = models.load("autoencoder")
    return autoencoder.decode(autoencoder.encode(x, rng))


BENCH = Benchmark("sdxl", [Part(jobs=jobs, row=row)], amounts={"n": 80}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
