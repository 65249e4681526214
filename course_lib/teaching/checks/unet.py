"""Lesson 04: the U-Net."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib.nets import embeddings, unet
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, on

# sinusoidal

TIMES = torch.tensor([0.1, 0.5, 1.0, 3.0, 10.0]) * (1 + torch.rand(5, generator=seeded(2)) / 4)
"""Small, since a sine of a million radians is rounding error."""


def _embedded(times: Tensor, dim: int) -> Callable:
    """A case's `run`: the sines, then the cosines, also where those of one frequency stand side by side."""

    def run(fn):
        columns = torch.as_tensor(fn(torch.cat([torch.zeros(1), times]), dim))
        return columns[1:, columns[0].round().argsort(stable=True)]  # at time 0 sines are 0, cosines 1

    return run


def _sinusoidal(time: Tensor, dim: int) -> Tensor:
    """Sines and cosines of time (B,) at dim / 2 frequencies (B, dim). Vaswani et al. 2017, section 3.5."""
    frequency = 10_000 ** (-torch.arange(dim // 2, device=time.device) / (dim // 2))
    angle = time[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


sinusoidal = Check(
    "sinusoidal",
    _sinusoidal,
    cases=[
        Case("a row of dim numbers for each time", lambda fn: torch.tensor(on(TIMES, 6)(fn).shape)),
        Case("the highest frequency is one radian per step", lambda fn: _embedded(TIMES, 6)(fn)[:, [0, 3]], 0.01),
        Case("all frequencies, from 1 down towards 1 / 10,000", _embedded(TIMES, 8), 0.01),
        Case("the same for the real size, dim = 128", _embedded(TIMES[:3], 128), 0.01),
    ],
    mistakes={
        "the frequencies rise: the exponent needs a minus sign": {"-torch": "torch"},
        "the angle has 2 pi in it: here frequency 1 is one radian per step, not one turn": {"= time": "= 2 * torch.pi * time"},
        "time is divided by T = 1,000: most waves then hardly move, and times look alike": {"[:, None]": "[:, None] / 1000"},
        "only sines are there": {"cos()": "sin()"},
        "only cosines are there": {"sin()": "cos()"},
        "the exponent is divided by dim / 2 - 1, as in the program of Ho et al., so that the last frequency is 1 / 10,000; "
        "the formula has dim / 2": {"/ (dim // 2)": "/ (dim // 2 - 1)"},
        "rows and columns have changed places: a row for each time": {", 1)": ", 1).T"},
        "there are dim frequencies; dim / 2 of them give dim numbers": [
            {"arange(dim // 2": "arange(dim", "/ (dim // 2)": "/ dim"},
            {"arange(dim // 2": "arange(dim"},
        ],
        "the times are rounded down to whole numbers": {"time[:, None]": "time.long()[:, None]"},
        "the sine is squared": {"angle.sin()": "angle.sin() ** 2"},
        "the frequencies fall evenly; they should fall geometrically": {"10_000 ** (-torch": "(1 - torch"},
        "the exponent runs over dim, not dim / 2, so that it stops at 1 / 100": {"/ (dim // 2)": "/ dim"},
    },
    hint="frequency_i = 10,000^(-i / (dim / 2)), i = 0 .. dim / 2 - 1; angle = time[:, None] * frequency; sines, then cosines.",
    shown=(embeddings.sinusoidal,),
)


# residual_block


def _residual_block(block: unet.Block, x: Tensor, emb: Tensor) -> Tensor:
    """A residual block with adaptive group normalisation (Dhariwal and Nichol 2021, eq. 3)."""
    silu = torch.nn.functional.silu
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[:, :, None, None].chunk(2, 1)
    h = block.norm2(h) * (1 + scale) + shift
    return block.skip(x) + block.conv2(silu(h))


with torch.random.fork_rng(devices=[]):  # the global generator is left as it was
    BLOCK = unet.Block(8, 16, emb=6).requires_grad_(False)
torch.nn.utils.vector_to_parameters(0.4 * torch.randn(4000, generator=seeded(0)), BLOCK.parameters())  # all have an effect
UNMODULATED = deepcopy(BLOCK)
unet.zero(UNMODULATED.modulate)
H, EMB = torch.randn(3, 8, 5, 4, generator=seeded(0)), torch.randn(3, 6, generator=seeded(1))

residual_block = Check(
    "residual_block",
    _residual_block,
    cases=[
        Case("with an embedding that has no effect", on(UNMODULATED, H, EMB)),
        Case("what the embedding changes", lambda fn: on(BLOCK, H, EMB)(fn) - on(UNMODULATED, H, EMB)(fn)),
        Case("all of it", on(BLOCK, H, EMB)),
        Case("members of a batch do not mix", on(BLOCK, H[1:2], EMB[1:2])),
    ],
    mistakes={
        "the skip connection is missing: block.skip(x) must be added": {"block.skip(x) + ": ""},
        "shift and scale are swapped: the first half of the output of modulate is the shift": {"shift, scale": "scale, shift"},
        "the 1 is missing in 1 + scale: with shift and scale 0, h would be 0": {"(1 + scale)": "scale"},
        "the scale is forgotten": {" * (1 + scale)": ""},
        "the shift is forgotten": {" + shift": ""},
        "silu is missing before the first convolution": {"silu(block.norm1(x))": "block.norm1(x)"},
        "silu is missing before the second convolution": {"silu(h)": "h"},
        "the first norm is missing": {"block.norm1(x)": "x"},
        "the second norm is missing": {"block.norm2(h)": "h"},
        "silu is applied to the embedding; block.modulate takes it as it is": {"modulate(emb)": "modulate(silu(emb))"},
        "shift and scale come before the second norm, which undoes a part of them": {
            "block.norm2(h) * (1 + scale) + shift": "block.norm2(h * (1 + scale) + shift)"
        },
        "shift and scale come after the activation": {
            "block.norm2(h) * (1 + scale) + shift": "silu(block.norm2(h)) * (1 + scale) + shift",
            "conv2(silu(h))": "conv2(h)",
        },
        "the scale multiplies the shift too: (h + shift) (1 + scale)": {
            "block.norm2(h) * (1 + scale) + shift": "(block.norm2(h) + shift) * (1 + scale)"
        },
        "relu stands where silu belongs": {"functional.silu": "functional.relu"},
        "gelu stands where silu belongs": {"functional.silu": "functional.gelu"},
        "an activation comes after the sum": {
            "block.skip(x) + block.conv2(silu(h))": "silu(block.skip(x) + block.conv2(silu(h)))"
        },
        "the sum is divided by sqrt(2), as some networks do": {
            "block.skip(x) + block.conv2(silu(h))": "(block.skip(x) + block.conv2(silu(h))) / 2**0.5"
        },
    },
    hint="h = conv1(silu(norm1(x))); shift, scale = modulate(emb), as (B, C, 1, 1) each; h = norm2(h) (1 + scale) + shift; "
    "skip(x) + conv2(silu(h)).",
    shown=(unet.Block,),
)


# self_attention

Q, K, V = torch.randn(3, 2, 3, 7, 4, generator=seeded(0))
ONE_LARGE = torch.cat([50 * K[:, :, :1].abs(), K[:, :, 1:]], 2)


def _self_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, eq. 1."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


self_attention = Check(
    "self_attention",
    _self_attention,
    cases=[
        Case("for each of the batch, each head and each place", on(Q, K, V)),
        Case("where all keys are alike, each place gets the mean of the values", on(Q, K[:, :, :1].expand_as(K), V)),
        Case("where one key is far larger, its value is taken", on(Q.abs(), ONE_LARGE, V)),
        Case("large numbers overflow nothing", on(30 * Q, 30 * K, V)),
    ],
    mistakes={
        "the scale is missing: divide q k^T by sqrt(d)": {" / q.shape[-1] ** 0.5": ""},
        "d divides where sqrt(d) belongs": {" ** 0.5": ""},
        "sqrt(d) multiplies where it must divide": {"/ q": "* q"},
        "d is counted over all heads: each head has its own d, q.shape[-1]": {"q.shape[-1]": "(q.shape[1] * q.shape[-1])"},
        "the softmax runs over the heads; rows must sum to 1": {"softmax(-1)": "softmax(1)"},
        "each place attends to earlier places alone, as in a language model": {
            ".softmax(-1)": ".masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(-1)"
        },
        "exp overflows: subtract the largest score first, or use softmax": {
            "scores.softmax(-1)": "(scores.exp() / scores.exp().sum(-1, keepdim=True))"
        },
        "the values are added once more": {"@ v": "@ v + v"},
        "the queries are added: the residual path is no part of the formula": {"@ v": "@ v + q"},
        "the weights are returned; they must still multiply the values": {" @ v": ""},
        "the keys are averaged; the values are to be averaged": {"@ v": "@ k"},
        "the number of places stands where d belongs": {"q.shape[-1]": "q.shape[-2]"},
        "the softmax runs over the queries, not over the keys: rows must sum to 1": {"softmax(-1)": "softmax(-2)"},
        "the softmax is without exp: divide exp(...) by its sum": {".softmax(-1)": " / scores.sum(-1, keepdim=True)"},
        "the softmax is missing": {".softmax(-1)": ""},
        "queries and keys are swapped in the product": {"q @ k": "k @ q"},
    },
    hint="weights = softmax, over the last axis, of q @ k.transpose(-1, -2) / sqrt(d), d = q.shape[-1]; then weights @ v.",
    shown=(unet.Attention,),
)


# unet_forward

Block = unet.Block


def _unet_forward(net: unet.UNet, x: Tensor, emb: Tensor) -> Tensor:
    """A U-Net: each block of the encoder puts its output on a stack, each block of the decoder takes one off it."""
    h, skips = net.inward(x), []
    for layer in net.encoder.values():
        if isinstance(layer, Block):
            h = layer(h, emb)
            skips.append(h)
        else:
            h = layer(h)  # halves height and width
    for layer in net.decoder.values():
        if isinstance(layer, Block):
            h = layer(torch.cat([h, skips.pop()], 1), emb)
        else:
            h = layer(h)  # doubles height and width
    return net.outward(h)


def _unet(seed: int, *args) -> unet.UNet:
    """A small U-Net all of whose parameters have an effect."""
    with torch.random.fork_rng(devices=[]):
        net = unet.UNet(8, 1, *args, classes=0, dim=6).requires_grad_(False)
    count = sum(p.numel() for p in net.parameters())
    torch.nn.utils.vector_to_parameters(0.3 * torch.randn(count, generator=seeded(seed)), net.parameters())
    return net


ONE_SIZE, THREE_SIZES, TWO_EACH = _unet(0, (8,), 3), _unet(1, (8, 16, 24), 1), _unet(2, (8, 16), 2)
PICTURE = torch.randn(3, 1, 8, 8, generator=seeded(2))

unet_forward = Check(
    "unet_forward",
    _unet_forward,
    cases=[
        Case("three blocks at one size: only the order of the skips can be wrong", on(ONE_SIZE, PICTURE, EMB)),
        Case("one block at each of three sizes: down and up again", on(THREE_SIZES, PICTURE, EMB)),
        Case("two blocks at each of two sizes", on(TWO_EACH, PICTURE, EMB)),
        Case("another embedding", on(TWO_EACH, PICTURE, EMB.flip(0))),
        Case("members of a batch do not mix", on(THREE_SIZES, PICTURE[1:2], EMB[1:2])),
    ],
    mistakes={
        "the first map on the stack is taken; the last one in must be the first one out": {"skips.pop()": "skips.pop(0)"},
        "the skip comes first in the concatenation; h must come first, then the skip": {"[h, skips.pop()]": "[skips.pop(), h]"},
        "the stack holds each block's input; it must hold its output": {
            "h = layer(h, emb)\n            skips.append(h)": "skips.append(h)\n            h = layer(h, emb)"
        },
        "the last skip is used again and again: take it off the stack": {"skips.pop()": "skips[-1]"},
        "a layer between two sizes is left out, or its output is put on the stack: it takes h, and only the outputs of blocks "
        "belong on the stack": [
            {"h = layer(h)  # halves height and width": "h = layer(h)\n            skips.append(h)"},
            {"h = layer(h)  # halves height and width": "pass", "h = layer(h)  # doubles height and width": "pass"},
        ],
        "net.outward is missing": {"net.outward(h)": "h"},
        "x is added to the output: this U-Net has no such path": {"return net": "return x + net"},
        "the skips are zeros": {"skips.pop()": "0 * skips.pop()"},
        "each block gets its own output as a skip, not the encoder's": {"skips.pop()": "h[:, : skips.pop().shape[1]]"},
        "silu is applied to the embedding once more; it comes with it applied": {
            "h, skips = net": "emb = torch.nn.functional.silu(emb)\n    h, skips = net"
        },
        "the decoder's blocks get no embedding": {"1), emb)": "1), 0 * emb)"},
        "the encoder's blocks get no embedding": {"h = layer(h, emb)": "h = layer(h, 0 * emb)"},
    },
    hint="h = net.inward(x). Go through net.encoder.values(): a Block takes (h, emb), and its output also goes on the stack; "
    "any other layer takes h. Then through net.decoder.values(): a Block takes torch.cat([h, skips.pop()], 1), emb. Last, "
    "net.outward.",
    shown=(unet.UNet.run,),
)
