"""What the order of the words is worth: a small network from captions to shapes, trained with positions and without.

    python tests/benchmarks/text_positions.py [--n 200] [--seeds 0 1 2]

Both arms have the same U-Net, text encoder, plain captions of two objects of different colours, batches and noises. They
differ in one thing: in the arm "without" the encoder's vectors of position are 0 and stay so. Nothing is pretrained. STEPS
steps of 32 pictures, the first HIGH of them at high noise, take 85 s of one core; one training of the arm "with", from another
seed, set them. Scored by the shipped detector on n captions, w = 3, 20 DDIM steps: the share of pictures with both colours,
and with both shapes, in any combination; of those with both colours, the share in which each is at its place ("placed"): the
colour named first is that of the left or upper object. Chance is one half. Lesson 09 shows the results. The weights are kept
in build/text_positions.
"""

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import detector, rounded
from torch import Tensor

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.nets.text import TextEncoder, TextUNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, denoising_loss, train
from course_lib.zoo.recipes.recipe import learner_of
from course_lib.zoo.recipes.shapes import high_noise_first

STEPS, HIGH = 1000, 400
ARMS = ("with", "without")


def two_colours(n: int, rng: torch.Generator) -> Scene:
    """n scenes of two objects of different colours."""
    scene = scenes.sample(2 * n + 8, rng, ("pair",))
    return scene[scene.colour[:, 0] != scene.colour[:, 1]][:n]


def network_of(seed: int, positions: bool) -> Network:
    """An untrained network of 0.28 M parameters for pictures (B, 3, 32, 32)."""
    torch.manual_seed(seed)
    text = TextEncoder(32)
    if not positions:
        text.position = torch.nn.Parameter(torch.zeros_like(text.position), requires_grad=False)
    net = TextUNet(size=32, widths=(24, 48), dim=64, text=text, patch=4).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def training_of(network: Network, seed: int):
    learner, rng = learner_of(network), seeded(seed)
    if not network.net.text.position.any():
        learner.net.text.position.requires_grad_(False)
    times = high_noise_first(network.process, rng, HIGH)

    def loss() -> Tensor:
        scene = two_colours(32, rng)
        x0 = shapes.draw(scene, rng).to(memory_format=torch.channels_last)
        given = learner.given(captions.describe(scene)).drop_condition(0.1, rng)
        return denoising_loss(given, x0, rng, times(len(x0)))

    return train(loss, learner.net, STEPS, lr=3e-3, ema=EMA(learner.net, 0.99, into=network.net))


def row(n: int, seed: int, arm: str) -> dict:
    network, rng = network_of(seed, arm == "with"), seeded(1000 + seed)
    record = load_or_train(BUILD / f"text_positions/{arm} {seed}.safetensors", network.net, lambda: training_of(network, seed))
    wanted = two_colours(n, rng)
    guided = classifier_free(network, captions.describe(wanted), 3.0)
    seen = detector().detect(sample(guided, network.draw_noise(n, rng), 20))
    found = {name: right for name, (right, _) in scenes.matches(seen, wanted).items()}
    placed = (seen.colour[:, :2] == wanted.colour[:, :2]).all(1) & found["colour"]
    figures = {name: found[name].double().mean() for name in ("count", "colour", "shape", "binding")}
    figures["placed"] = placed.double().sum() / found["colour"].double().sum().clamp(min=1)
    return {"steps": record["steps"], "seconds": record["seconds"], "figures": rounded(figures)}


def jobs(seeds):
    return [{"seed": seed, "arm": arm} for seed in seeds for arm in ARMS]


BENCH = Benchmark("text_positions", [Part(jobs=jobs, row=row)], amounts={"n": 200}, threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
