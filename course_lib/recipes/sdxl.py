"""Recipes for lesson 15: networks that are told, or not, how their pictures came about, and a refiner for the last steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from course_lib.datasets import captions, scenes
from course_lib.denoisers import NULL, Denoiser, Network
from course_lib.guidance import ClassifierFree
from course_lib.nets.sdxl import WHOLE, SDXLUNet, TwoEncoders
from course_lib.nets.text import TextEncoder
from course_lib.process import DDPM
from course_lib.recipes.latents import latent2shape_network, shipped_autoencoder
from course_lib.recipes.recipe import Recipe, device_of, learner_of, shipped_net
from course_lib.recipes.shapes import asked, shipped_reader, walked
from course_lib.recipes.unclip import shipped_clip
from course_lib.schedules import linear_beta
from course_lib.sdxl import Relay, border, detail, found, refiner_loss
from course_lib.training import EMA, Progress, denoising_loss, train

COLLECTION = 4000
"""Pictures that there are; about a quarter of them are large and whole."""
BATCH = 48


def collection(n: int = COLLECTION, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """n pictures (n, 3, 32, 32) as they are found, their captions' tokens (n, LENGTH), and how they came about (n, 3)."""
    rng = torch.Generator().manual_seed(seed)
    scene = scenes.sample(n, rng)
    said, _ = captions.tell(scene, rng)
    x, micro = found(scene, rng)
    return x, captions.tokens(said), micro


def encoded(n: int = COLLECTION, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The same, each picture as its latent (n, 4, 8, 8), encoded once and for all."""
    (x, tokens, micro), through = collection(n, seed), shipped_autoencoder()
    rng = torch.Generator().manual_seed(seed)
    return torch.cat([through.encode(part, rng) for part in x.split(200)]), tokens, micro


def sdxl_network(seed: int = 0, text: nn.Module | None = None, **options) -> Network:
    """An untrained denoiser for latents (B, 4, 8, 8), told captions and how pictures came about; all else is lesson 12's."""
    torch.manual_seed(seed)
    net = SDXLUNet(text=text, **options).to(memory_format=torch.channels_last)
    return Network(net, DDPM(linear_beta(1000)), "v")


def two_encoders() -> TwoEncoders:
    """Untrained encoders of the sizes of the paraphraser's and of CLIP's."""
    return TwoEncoders(TextEncoder(), TextEncoder())


def schooled(net: SDXLUNet) -> None:
    """Gives a network all that lesson 12's knows, so that at first it draws what that one does: every addition is silent.

    A second text encoder is CLIP's, whose words have no weight yet. SDXL, too, was trained in stages, each from the one before.
    """
    known = shipped_net(latent2shape_network().net, "latent2shape").state_dict()
    if isinstance(net.text, TwoEncoders):
        known = {name.replace("text.", "text.first.", 1): w for name, w in known.items()}
        known |= {f"text.second.{name}": w for name, w in shipped_clip().text.state_dict().items()}
    own = net.state_dict()
    for name, w in known.items():
        if own[name].shape != w.shape:  # it hears the words of both encoders
            own[name].zero_()
        own[name][tuple(map(slice, w.shape))] = w


def train_sdxl(
    network: Network,
    seconds: float | None = None,
    seed: int = 0,
    steps: int = 600,
    large: bool = False,
    told: bool = True,
) -> Iterator[Progress]:
    """Trains on the latents of pictures as they are found; one caption in ten is made empty.

    `large`: only on those that are large and whole. `told` False: it is not told how they came about. It starts as lesson 12's
    network.
    """
    schooled(network.net)
    rng = torch.Generator().manual_seed(seed)
    loss = lambda given, z: denoising_loss(given, z, rng)
    return _learning(network, loss, rng, large, told, steps=steps, lr=1e-3, seconds=seconds)


def train_refiner(
    network: Network, base: Network, seconds: float | None = None, seed: int = 0, steps: int = 150, last: int = 200
) -> Iterator[Progress]:
    """Trains from the base's weights on large whole pictures alone, at times up to `last` alone."""
    network.net.load_state_dict(base.net.state_dict())
    rng = torch.Generator().manual_seed(seed)
    loss = lambda given, z: refiner_loss(given, z, last, rng)
    return _learning(network, loss, rng, large=True, told=True, steps=steps, lr=5e-4, seconds=seconds)


def _learning(
    network: Network, loss: Callable[[Network, Tensor], Tensor], rng: torch.Generator, large: bool, told: bool, **options
) -> Iterator[Progress]:
    """A training on the collection, or on what in it is `large` and whole: `loss(given, z)` of BATCH latents at a time.

    The text encoders stay as they are (Podell et al. 2023, section 2.1).
    """
    z, tokens, micro = encoded()
    if large:
        whole = (micro == torch.tensor(WHOLE)).all(1)
        z, tokens, micro = z[whole], tokens[whole], micro[whole]
    learner, nothing = learner_of(network), captions.tokens("")
    learner.net.text.requires_grad_(False)

    def of_some() -> Tensor:
        i = torch.randint(len(z), (BATCH,), generator=rng)
        said = torch.where(torch.rand(BATCH, 1, generator=rng) < 0.1, nothing, tokens[i])
        return loss(learner.given((said, micro[i] if told else WHOLE)), z[i].to(device_of(learner)))

    return train(of_some, learner.net, ema=EMA(learner.net, 0.998, into=network.net), **options)


def guided(network: Network, said: list[str], micro=WHOLE, w: float = 3.0) -> Denoiser:
    """The network asked for these captions and this making, steered away from no caption at all of the same making."""
    return ClassifierFree(network.given((said, micro)), network.given((NULL, micro)), w)


def sdxl_drawn(
    network: Network,
    said: list[str],
    w: float = 3.0,
    micro=WHOLE,
    refiner: Network | None = None,
    steps: int = 20,
    seed: int = 1,
) -> Tensor:
    """Pictures (N, 3, 32, 32) of the captions, as if they had come about by `micro`; the last steps by the refiner, if any."""

    def ask(part: list[str]) -> Denoiser:
        denoiser = guided(network, part, micro, w)
        return denoiser if refiner is None else Relay(denoiser, guided(refiner, part, micro, w))

    return shipped_autoencoder().decode(walked(ask, network, said, steps, seed))


def sdxl_figures(network: Network, n: int = 100) -> dict[str, float]:
    """What the reader finds in n pictures of pairs asked for as large and whole, what touches the border, and their detail."""
    judge, figures = shipped_reader(), {}
    for split in scenes.SPLITS:
        said, scene = asked(n, split)
        x = sdxl_drawn(network, said)
        right = scenes.agreement(judge.read(x), scene)
        figures |= {f"{name}, {split} (w = 3)": right[name] for name in ("binding", "all")}
        if split == "train":
            figures |= {"touch the border": float(border(x).double().mean()), "detail": float(detail(x).mean())}
    return figures


SDXL = Recipe("latents of shapes, told how they came about", sdxl_network, train_sdxl, sdxl_figures, bits=8)
