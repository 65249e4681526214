"""New things for a trained model: a word, all weights, low-rank adapters (LoRA), and a condition by ControlNet.

The models here are networks of TextUNet, conditioned on captions. What makes a new model returns a copy; the network that is
given stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import conv2d, embedding, linear, max_pool2d, pixel_unshuffle, silu

from course_lib import validate
from course_lib.datasets import captions
from course_lib.denoisers import NULL, Network
from course_lib.files import write_atomically
from course_lib.nets.text import TextUNet
from course_lib.nets.unet import Block, zero
from course_lib.process import randn, seeded
from course_lib.training import denoising_loss

NEW = len(captions.WORDS)
"""The token of the new word, the first after those of the vocabulary."""


class NewWord(nn.Module):
    """The embeddings of `words`, and of one new word, NEW: tokens (B, L) to vectors (B, L, width).

    The new word's `vector` is what textual inversion trains: Gal et al. 2023, section 3.
    """

    def __init__(self, words: nn.Embedding, like: Sequence[str]):
        super().__init__()
        self.words = words
        self.vector = nn.Parameter(words.weight.detach()[captions.tokens(list(like))[:, 1]].mean(0))

    def forward(self, tokens: Tensor) -> Tensor:
        return embedding(tokens, torch.cat([self.words.weight, self.vector[None]]))


def add_word(network: Network, like: Sequence[str]) -> Network:
    """A copy of the network with a new word, whose embedding is the mean of those of `like`. No weight requires a gradient.

    Gal et al. 2023, section 3, start from the embedding of a word of the same kind. Raises ValueError for an unknown word.
    """
    validate.instance("net", validate.instance("network", network, Network).net, TextUNet)
    net: Any = copy.deepcopy(network.net).requires_grad_(False)
    net.text.word = NewWord(net.text.word, validate.filled("like", like, str))
    net.text.word.vector.requires_grad_(False)
    return replace(network, net=net, cond=None)


def tokens_with(word: str, prompts: captions.Caption) -> Tensor:
    """The tokens (B, LENGTH) of captions in which `word` stands for NEW. Raises ValueError for other unknown words."""
    fill = lambda known: captions.tokens(
        [f" {p.lower()} ".replace(f" {word} ", f" {known} ") for p in captions.texts("prompts", prompts)]
    )
    one, other = fill("circle"), fill("star")
    return torch.where(one == other, one, NEW)


class LoRA(nn.Module):
    """layer(x) + strength up(down(x)): a linear layer or a convolution with an update of low rank. Hu et al. 2022, eq. 3.

    `down` (rank, inward, ...) is their A, Gaussian at the start; `up` (outward, rank) is their B, 0 at the start. `strength`
    stands for their alpha / r. Of a convolution `down` has the layer's kernel. Raises TypeError for another layer.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, rng: torch.Generator | None = None):
        super().__init__()
        out, *inward = validate.instance("layer", layer, nn.Linear, nn.Conv2d).weight.shape
        self.layer, self.strength = layer, 1.0
        start = randn(validate.at_least("rank", rank, 1), *inward, rng=rng) / layer.weight[0].numel() ** 0.5
        self.down = nn.Parameter(start.to(layer.weight))
        self.up = nn.Parameter(layer.weight.new_zeros(out, rank))

    @property
    def delta(self) -> Tensor:
        """The update of the weight at strength 1, in the weight's shape."""
        return (self.up @ self.down.flatten(1)).view_as(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            low = linear(linear(x, self.down), self.up)
        else:
            low = conv2d(conv2d(x, self.down, None, self.layer.stride, self.layer.padding), self.up[:, :, None, None])
        return self.layer(x) + self.strength * low


def add_lora(network: Network, layers: Sequence[str], rank: int, seed: int = 0) -> Network:
    """A copy of the network in which the layers of these names are LoRA layers; their `up` and `down` alone require gradients.

    A new word's vector does, too. Raises AttributeError for a layer that the net has not, TypeError for one that is neither
    linear nor a convolution.
    """
    net: Any = copy.deepcopy(validate.instance("network", network, Network).net).requires_grad_(False)
    rng = seeded(seed)
    for name in validate.filled("layers", layers, str):
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, LoRA(net.get_submodule(name), rank, rng))
    for weight in adapter_of(net).values():
        weight.requires_grad_()
    return replace(network, net=net, cond=None)


def adapter_of(net: nn.Module) -> dict[str, Tensor]:
    """What was added to a net, by name: `up` and `down` of each LoRA layer, and the vector of a new word."""
    added = {LoRA: ("up", "down"), NewWord: ("vector",)}
    return {
        f"{name}.{part}": getattr(module, part) for name, module in net.named_modules() for part in added.get(type(module), ())
    }


def at_strength(network: Network, strength: float) -> Network:
    """A copy of the network with this strength of all LoRA layers: 0 is the model without them, 1 as it was trained."""
    validate.finite("strength", strength)
    net = copy.deepcopy(validate.instance("network", network, Network).net)
    for module in net.modules():
        if isinstance(module, LoRA):
            module.strength = strength
    return replace(network, net=net)


@torch.no_grad()
def merge(network: Network) -> Network:
    """A copy of the network without LoRA layers: strength times delta is added to each weight. Hu et al. 2022, section 4.1."""
    net = copy.deepcopy(validate.instance("network", network, Network).net)
    for name, module in list(net.named_modules()):
        if isinstance(module, LoRA):
            module.layer.weight += module.strength * module.delta
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, module.layer)
    return replace(network, net=net)


def save_adapter(path: Path, network: Network) -> None:
    """Writes what was added to a network, as 16-bit floats, to a safetensors file: nothing of the base model is in it."""
    found = adapter_of(validate.instance("network", network, Network).net)
    if not found:
        raise ValueError("network must have a LoRA layer or a new word, got one without")
    write_atomically(path, save({name: w.detach().cpu().half().contiguous() for name, w in found.items()}))


def load_adapter(path: Path, base: Network) -> Network:
    """A copy of the base network with the adapter of that file; the base stays as it is. Nothing requires a gradient.

    Raises FileNotFoundError where there is none, ValueError where it is not a safetensors file or is of another network.
    """
    net: Any = copy.deepcopy(validate.instance("base", base, Network).net)
    try:
        found = load(Path(path).read_bytes())
        for name in [name.removesuffix(".up") for name in found if name.endswith(".up")]:
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, LoRA(net.get_submodule(name), found[f"{name}.up"].shape[1]))
        if "text.word.vector" in found:
            net.text.word = NewWord(net.text.word, ("star",))
        weights = adapter_of(net)
        if weights.keys() != found.keys() or not found:
            raise KeyError
        for name, weight in weights.items():
            weight.data = found[name].to(weight).view_as(weight)
    except (SafetensorError, AttributeError, KeyError, TypeError, RuntimeError, IndexError):
        raise ValueError(f"path must be an adapter of such a network, got {path}") from None
    return replace(base, net=net.eval().requires_grad_(False), cond=None)


def prior_preservation_loss(
    network: Network,
    new: tuple[Any, Tensor],
    prior: tuple[Any, Tensor],
    weight: float = 1.0,
    rng: torch.Generator | None = None,
) -> Tensor:
    """The loss () of new pictures plus `weight` times that of the base model's own. Ruiz et al. 2023, eq. 2.

    `new` and `prior` are captions and pictures (B, ...), of which the second were drawn by the base model. A tenth of the
    captions is dropped.
    """
    validate.instance("network", network, Network)
    validate.finite("weight", weight, 0)
    each = [
        denoising_loss(network.given(cond).drop_condition(0.1, rng), validate.batch(name, x0), rng)
        for name, (cond, x0) in (("new", new), ("prior", prior))
    ]
    return each[0] + weight * each[1]


def outline(x: Tensor) -> Tensor:
    """The outlines (B, 1, H, W), 0 or 1, of pictures x (B, 3, H, W) in [-1, 1]: bright pixels with a dark neighbour."""
    bright = (validate.batch("x", x, 3, "H", "W").amax(1, keepdim=True) > 0).float()
    return bright * max_pool2d(1 - bright, 3, 1, 1)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """The intersection over union (B,) of outlines a and b (B, 1, H, W), each widened by one pixel; 1 where both are empty."""
    validate.same_shape("b", b, "a", validate.batch("a", a, 1, "H", "W"))
    wide = [max_pool2d(v, 3, 1, 1).bool().flatten(1) for v in (a, b)]
    both, either = (wide[0] & wide[1]).sum(1), (wide[0] | wide[1]).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


class ControlNet(nn.Module):
    """net(x, time, cond) of a TextUNet `base` that is also given an outline: Zhang et al. 2023, figure 3.

    The base is fixed. A trained copy of its encoder is given x plus the features of the outline; the output of each of its
    blocks goes through a zero convolution and is added to the base's skip connection of that name. At the start all that is
    added is 0. The condition is a pair: captions, and outlines (B, 1, size, size) of 0 and 1.
    """

    def __init__(self, base: TextUNet, hidden: int = 16):
        super().__init__()
        self.base = copy.deepcopy(validate.instance("base", base, TextUNet)).requires_grad_(False)
        self.shape = base.shape
        self.inward, self.encoder = (copy.deepcopy(part).requires_grad_() for part in (base.inward, base.encoder))
        names = [name for name, layer in base.encoder.items() if isinstance(layer, Block)]
        self.cross = nn.ModuleDict({name: copy.deepcopy(base.cross[f"encoder_{name}"]).requires_grad_() for name in names})
        width, blocks = base.inward.out_channels, cast(Any, base.encoder)
        first = nn.Conv2d(base.patch**2, validate.at_least("hidden", hidden, 1), 3, padding=1)
        self.hint = nn.Sequential(first, nn.SiLU(), zero(nn.Conv2d(hidden, width, 1)))
        channels = {name: blocks[name].conv2.out_channels for name in names}
        self.zero = nn.ModuleDict({name: zero(nn.Conv2d(c, c, 1)) for name, c in channels.items()})

    def as_condition(self, cond: Any) -> Tensor:
        """The condition as one row of whole numbers for each picture, (B, LENGTH + size^2): tokens, then the outline."""
        if isinstance(cond, Tensor):
            return validate.indices("cond", cond, captions.LENGTH + self.shape[-1] ** 2)
        if not isinstance(cond, tuple) or len(cond) != 2:
            raise TypeError(f"cond must be a pair of captions and outlines, got {type(cond).__name__}")
        tokens, lines = self.base.as_condition(cond[0]), validate.batch("outlines", cond[1], 1, *self.shape[1:])
        return torch.cat([tokens.expand(len(lines), -1), lines.flatten(1).long().to(tokens.device)], 1)

    def null_for(self, cond: Any) -> Tensor:
        """The same outlines with the empty caption, so that guidance amplifies the caption alone."""
        rows = self.as_condition(cond).clone()
        rows[:, : captions.LENGTH] = self.base.as_condition(NULL).to(rows.device)
        return rows

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        tokens, lines = cond[:, : captions.LENGTH], cond[:, captions.LENGTH :].to(x.dtype).view(len(x), 1, *self.shape[1:])
        words, mask = self.base.text(tokens)
        emb = silu(self.base.time(time) + self.base.sentence(words[:, 0]))
        patch = self.base.patch
        h, added = self.inward(pixel_unshuffle(x, patch)) + self.hint(pixel_unshuffle(lines, patch)), {}
        for name, layer in cast(nn.ModuleDict, self.encoder).items():
            if isinstance(layer, Block):
                h = self.cross[name](layer(h, emb), words, mask)
                added[name] = self.zero[name](h)
            else:
                h = layer(h)
        after = lambda name, h: self.base.cross[name](h, words, mask)
        return self.base.run(x, emb, after, lambda name, h: h + added[name])
