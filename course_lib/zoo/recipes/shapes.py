"""Recipes for pictures of shapes: the detector that evaluates them, and the network that generates them from captions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, pad

from course_lib.datasets import captions, scenes, shapes
from course_lib.datasets.scenes import Scene
from course_lib.denoisers import Network, device_of
from course_lib.guidance import classifier_free
from course_lib.nets.detector import SceneDetector, detection_loss
from course_lib.nets.text import Paraphraser, TextEncoder, TextUNet
from course_lib.process import DDPM, rand, randn, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, train
from course_lib.zoo.checkpoints import FOLDER
from course_lib.zoo.recipes.recipe import Figure, Recipe, learner_of, shipped_net

HIGH_NOISE_STEPS = 600
"""Steps at the start of training in which all times are of high noise, see `high_noise_first`."""
NOISE, BLUR = 0.1, 0.6
"""The largest noise and blur at which the detector is tested: standard deviations, of noise (white is 1, black -1) and of a
blur in pixels. It is trained on twice the noise and a little more blur."""
MANY_PAIRS = (*scenes.KINDS, "pair", "pair")
"""The kinds of scenes that the generators are trained on: three in five drawn are pairs, the hardest to generate. Held-out ones
are left out, so about half of those kept."""

# The evaluator


def detector(seed: int = 0) -> SceneDetector:
    """An untrained detector of shapes."""
    torch.manual_seed(seed)
    return SceneDetector()


def degrade(x: Tensor, noise: float, blur: float, rng: torch.Generator | None = None) -> Tensor:
    """Pictures (B, 3, H, W), blurred by `blur` pixels and then noised by `noise`, both standard deviations."""
    line = torch.exp(-(torch.arange(-2, 3, device="cpu", dtype=torch.float32) ** 2) / (2 * max(blur, 0.05) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    blurred = conv2d(pad(x, (2, 2, 2, 2), mode="replicate"), kernel.expand(3, 1, 5, 5), groups=3)
    return blurred + noise * randn(*x.shape, rng=rng)


def train_detector(
    net: SceneDetector, seconds: float | None = None, seed: int = 0, steps: int = 2000
) -> Iterator[TrainingState]:
    """Trains on fresh scenes of all kinds, also of held-out objects, half of each batch noised and blurred."""
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        scene = scenes.join([scenes.sample(48, rng), scenes.sample(16, rng, split="new objects")])
        where = shapes.layout(scene, rng)
        x = shapes.paint(scene, where)
        noise, blur = rand(2, rng=rng).tolist()
        x[::2] = degrade(x[::2], 2 * NOISE * noise, 1.2 * BLUR * blur, rng)
        return detection_loss(learner(x.to(device_of(learner))), scene, where)

    return train(loss, learner, steps, lr=3e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


def detector_figures(net: SceneDetector, n: int = 10_000) -> dict[str, Figure]:
    """The share of n fresh pictures in which every attribute is detected, of each split, and at the largest noise and blur."""
    rng, figures = seeded(1), {}

    def detected(scene: Scene, noise: float = 0.0, blur: float = 0.0) -> Figure:
        x = degrade(shapes.draw(scene, rng), noise, blur, rng)
        return Figure.share(scenes.agreement(net.detect(x.to(device_of(net))), scene)["all"])

    for split in scenes.SPLITS:
        figures[f"all read right, {split}"] = detected(scenes.sample(n, rng, _kinds(split), split))
    figures[f"all read right, noise of {NOISE:g}"] = detected(scenes.sample(n, rng), noise=NOISE)
    figures[f"all read right, blur of {BLUR:g} pixels"] = detected(scenes.sample(n, rng), blur=BLUR)
    return figures


def _kinds(split: str) -> tuple[str, ...]:
    """The kinds of scenes that a split has: new pairs are of two objects."""
    return ("pair",) if split == "new pairs" else scenes.KINDS


# Text to text


def paraphraser(seed: int = 0) -> Paraphraser:
    """An untrained paraphraser of captions."""
    torch.manual_seed(seed)
    return Paraphraser()


def train_paraphraser(
    net: Paraphraser, seconds: float | None = None, seed: int = 0, steps: int = 1200
) -> Iterator[TrainingState]:
    """Trains on fresh captions and their plain forms: text alone, no pictures."""
    learner, rng = learner_of(net), seeded(seed)

    def loss() -> Tensor:
        prompts, described = captions.tell(scenes.sample(128, rng), rng)
        prompts, plain = (captions.tokens(text).to(device_of(learner)) for text in (prompts, captions.describe(described)))
        return cross_entropy(learner(prompts).flatten(0, 1), plain.flatten())

    return train(loss, learner, steps, lr=2e-3, seconds=seconds, ema=EMA(learner, 0.998, into=net), weight_decay=0.01)


@torch.no_grad()
def paraphraser_figures(net: Paraphraser, n: int = 2000) -> dict[str, Figure]:
    """The share of n captions of each split whose plain form is predicted without one wrong word."""
    rng, figures = seeded(1), {}
    for split in scenes.SPLITS:
        prompts, described = captions.tell(scenes.sample(n, rng, _kinds(split), split), rng)
        prompts, plain = (captions.tokens(text).to(device_of(net)) for text in (prompts, captions.describe(described)))
        figures[f"plain form right, {split}"] = Figure.share((net(prompts).argmax(2) == plain).all(1).cpu().double().mean())
    return figures


def load_text_encoder(encoder: TextEncoder, name: str = "paraphraser", folder: Path = FOLDER) -> None:
    """Loads into a text encoder the weights of a paraphraser's encoder of the same size."""
    layers = encoder.layers.layers
    net = Paraphraser(encoder.width, len(layers), layers[0].self_attn.num_heads)
    encoder.load_state_dict(shipped_net(net, name, folder).encoder.state_dict())


# From text to shapes


def text2shape_network(seed: int = 0) -> Network:
    """An untrained text-conditional denoiser for pictures (B, 3, 32, 32): a U-Net with cross-attention that predicts x_0.

    Over the linear schedule, since positions are decided at high noise, where the cosine schedule spends little time. It
    predicts x_0 and not eps: 32 channels are too few to represent the noise of 2 x 2 pixels at full detail.
    """
    torch.manual_seed(seed)
    net = TextUNet(size=32, widths=(32, 64, 128)).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "x0")


def train_text2shape(
    network: Network, seconds: float | None = None, seed: int = 0, steps: int = 11_000, folder: Path = FOLDER
) -> Iterator[TrainingState]:
    """Trains on fresh captioned pictures, one caption in ten made empty: Ho and Salimans 2022, Algorithm 1, with text.

    The text encoder starts from the paraphraser's weights and is trained, too. The first HIGH_NOISE_STEPS have high noise.
    After a quarter of the steps, half of each batch lies at middle times.
    """
    load_text_encoder(network.net.text, folder=folder)
    learner, rng = learner_of(network), seeded(seed)
    times = high_noise_first(network.process, rng, HIGH_NOISE_STEPS, half_middle, steps // 4)

    def loss() -> Tensor:
        scene = scenes.sample(32, rng, MANY_PAIRS)
        prompts, _ = captions.tell(scene, rng)
        x0 = shapes.draw(scene, rng).to(device_of(learner), memory_format=torch.channels_last)
        t = times(len(x0))
        return denoising_loss(learner.given(prompts).drop_condition(0.1, rng), x0, rng, t)

    return train(loss, learner.net, steps, lr=1.5e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


def high_noise_first(
    process: DDPM,
    rng: torch.Generator,
    first: int,
    then: Callable[[Tensor, int], Tensor] | None = None,
    start: int = 0,
) -> Callable[[int], Tensor]:
    """A function that draws the training times (B,) of the next step: in the `first` steps t >= 0.7 T, later all of 1..T.

    At high noise only the condition determines what lies where. A network trained on all times from the start learns to use
    the noisy picture before it learns to use the condition, and treats a caption as a bag of words. After `first` and `start`
    steps the times are `then(t, T)`, if it is given.
    """
    count = itertools.count(1)

    def times(n: int) -> Tensor:
        step, t = next(count), process.sample_t(n, rng)
        if step <= first:
            return process.T - (0.3 * t).long()
        return then(t, process.T) if then and step > start else t

    return times


def half_middle(t: Tensor, T: int) -> Tensor:
    """Times with every other one moved to T/4..3T/4, where an object's outline is decided."""
    t[::2] = T // 4 + t[::2] // 2
    return t


def pair_prompts(n: int, split: str, seed: int = 1) -> tuple[list[str], Scene]:
    """n captions of two objects, and all that they state: both objects' colours, shapes and sizes, and the relation."""
    rng = seeded(seed)
    return captions.tell(scenes.sample(n, rng, ("pair",), split), rng)


def shipped_detector(folder: Path = FOLDER) -> SceneDetector:
    """The shipped detector, which evaluates all pictures of shapes."""
    return shipped_net(SceneDetector(), "reader", folder)


def pair_figures(draw: Callable[[list[str], float], Tensor], n: int, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n pictures of pairs (n, 3, 32, 32), `draw(captions, w)`, that match their captions, for each split."""
    evaluator, figures = shipped_detector(folder), {}
    for split, w in (("train", 3.0), ("new pairs", 3.0), ("new objects", 3.0), ("train", 1.0)):
        prompts, scene = pair_prompts(n, split)
        right = scenes.agreement(evaluator.detect(draw(prompts, w)), scene)
        figures |= {f"{name}, {split} (w = {w:g})": Figure.share(right[name]) for name in ("binding", "all")}
    return figures


def text2shape_figures(network: Network, n: int = 200, folder: Path = FOLDER) -> dict[str, Figure]:
    """The shares of n pictures of pairs of each split that match their captions, 25 DDIM steps."""
    noise = network.draw_noise(n, seeded(1))
    return pair_figures(lambda prompts, w: sample(classifier_free(network, prompts, w), noise, 25), n, folder)


DETECTOR = Recipe("detector of shapes, used as evaluator", detector, train_detector, detector_figures)
PARAPHRASER = Recipe("the plain form of a caption", paraphraser, train_paraphraser, paraphraser_figures, bits=16)
TEXT2SHAPE = Recipe(
    "shapes from captions, 32 x 32",
    text2shape_network,
    train_text2shape,
    text2shape_figures,
    (3, 32, 32),
    captions=True,
    bits=8,
)
