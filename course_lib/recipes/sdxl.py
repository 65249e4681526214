"""Recipes for lesson 15: bases that are told, or not, how their pictures came about, and a refiner for the last steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_lib.checkpoints import FOLDER, load_into
from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree, DynamicThreshold
from course_lib.nets.clip import CLIP
from course_lib.nets.sdxl import WHOLE, SDXLUNet, TwoEncoders
from course_lib.nets.text import TextEncoder
from course_lib.process import DDPM
from course_lib.recipes.imagen import LARGE_TEXT, shipped_language
from course_lib.recipes.recipe import Recipe, device_of, learner_of
from course_lib.recipes.shapes import asked, shipped_reader
from course_lib.samplers import ddim, result
from course_lib.schedules import linear_beta
from course_lib.sdxl import Relay, border, found, refiner_loss, sharpness
from course_lib.training import EMA, Progress, denoising_loss, train

COLLECTION = 4000
"""Pictures that there are; about a quarter of them are large and whole."""


def collection(n: int = COLLECTION, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """n pictures (n, 3, 32, 32) as they are found, their captions' tokens (n, LENGTH), and how they came about (n, 3)."""
    rng = torch.Generator().manual_seed(seed)
    scene = scenes.sample(n, rng)
    said, _ = captions.tell(scene, rng)
    x, micro = found(scene, rng)
    return x, captions.tokens(said), micro


def sdxl_network(seed: int = 0, text: nn.Module | None = None, widths: tuple[int, ...] = (32, 64)) -> Network:
    """An untrained denoiser for pictures (B, 3, 32, 32), told their captions and how they came about, that predicts x_0."""
    torch.manual_seed(seed)
    net = SDXLUNet(widths=widths, dim=64, text=TextEncoder(*LARGE_TEXT) if text is None else text)
    return Network(net.to(memory_format=torch.channels_last), DDPM(linear_beta(1000)), "x0")


def two_encoders() -> TwoEncoders:
    """Untrained encoders of the sizes of the language model's and of CLIP's."""
    return TwoEncoders(TextEncoder(*LARGE_TEXT), TextEncoder())


def frozen(text: nn.Module) -> None:
    """Puts into an encoder, or two, the weights of the shipped language model, and of CLIP's text encoder."""
    language = shipped_language().text.state_dict()
    if isinstance(text, TwoEncoders):
        clip = CLIP()
        load_into(clip, FOLDER / "clip.safetensors")
        text.first.load_state_dict(language)
        text.second.load_state_dict(clip.text.state_dict())
    else:
        text.load_state_dict(language)


def train_sdxl(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 2000,
    large: bool = False,
    told: bool = True,
    last: int | None = None,
) -> Iterator[Progress]:
    """Trains on a collection of pictures as they are found, with frozen text encoders; one caption in ten is made empty.

    `large`: only on those that are large and whole. `told` False: it is not told how they came about. `last`: only at times
    up to `last`, as a refiner.
    """
    frozen(network.net.text)
    x, tokens, micro = collection()
    if large:
        whole = (micro == torch.tensor(WHOLE)).all(1)
        x, tokens, micro = x[whole], tokens[whole], micro[whole]
    learner, rng, nothing = learner_of(network), torch.Generator().manual_seed(seed), captions.tokens("")
    learner.net.text.requires_grad_(False)

    def loss() -> Tensor:
        i = torch.randint(len(x), (64,), generator=rng)
        said = torch.where(torch.rand(64, 1, generator=rng) < 0.1, nothing, tokens[i])
        given = learner.given((said, micro[i] if told else WHOLE))
        x0 = x[i].to(device_of(learner), memory_format=torch.channels_last)
        return denoising_loss(given, x0, rng) if last is None else refiner_loss(given, x0, last, rng)

    return train(loss, learner.net, steps, lr=2e-3, seconds=seconds, ema=EMA(learner.net, 0.998, into=network.net))


@torch.no_grad()
def sdxl_drawn(
    base: Network, said: list[str], w: float = 3.0, micro=WHOLE, refiner: Network | None = None, steps: int = 20, seed: int = 1
) -> Tensor:
    """Pictures (N, 3, 32, 32) of the captions, as if they had come about by `micro`; the last steps by the refiner, if any."""
    noise, made = torch.randn(len(said), 3, 32, 32, generator=torch.Generator().manual_seed(seed)), []

    def guided(network: Network, asked: list[str]) -> Denoiser:
        return ClassifierFree(network.given((asked, micro)), network.given((NULL, micro)), w)

    for i in torch.arange(len(said)).split(100):
        asked = [said[j] for j in i.tolist()]
        denoiser = guided(base, asked) if refiner is None else Relay(guided(base, asked), guided(refiner, asked))
        times = base.process.times(steps)
        made.append(result(ddim(DynamicThreshold(denoiser), noise[i].to(device_of(base)), times)).cpu())
    return torch.cat(made)


@torch.no_grad()
def sdxl_figures(network: Network, n: int = 200) -> dict[str, float]:
    """What the reader finds in n pictures of pairs, asked for as large and whole, and what touches the border or is soft."""
    judge, figures = shipped_reader(), {}
    for split in scenes.SPLITS:
        said, scene = asked(n, split)
        x = sdxl_drawn(network, said)
        figures |= {f"{name}, {split}": scenes.agreement(judge.read(x), scene)[name] for name in ("binding", "all")}
    return figures | {
        "touch the border": float(border(x).double().mean()),
        "sharpness": float(sharpness(x.clamp(-1, 1)).mean()),
    }


SDXL = Recipe("shapes from captions and the story of their making", sdxl_network, train_sdxl, sdxl_figures, half=True)
