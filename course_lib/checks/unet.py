"""Lesson 04: the U-Net."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from course_lib.checks.check import Case, Check, on
from course_lib.nets import embeddings, unet


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# sinusoidal


def _sinusoidal_with(
    angles=lambda time, frequency: time[:, None] * frequency,
    frequencies=lambda half: torch.exp(-math.log(10_000) * torch.arange(half) / half),
    join=lambda angle: torch.cat([angle.sin(), angle.cos()], 1),
) -> Callable:
    """sinusoidal with other angles, frequencies, or another way to put sines and cosines together."""
    return lambda time, dim: join(angles(time.float(), frequencies(dim // 2)))


TIMES = torch.tensor([0.1, 0.5, 1.0, 3.0, 10.0])  # small, since a sine of a million radians is rounding error


def _sines_first(columns: Tensor) -> Tensor:
    """Columns in one order, whichever a student chose: pairs (sin, cos) of one frequency may stand side by side, too."""
    if columns.ndim != 2 or columns.shape[1] % 2:
        return columns
    at_zero = columns[0]  # time 0: sines are 0, cosines 1
    return torch.cat([columns[:, at_zero < 0.5], columns[:, at_zero >= 0.5]], 1)


def _embedded(times: Tensor, dim: int) -> Callable:
    return lambda fn: _sines_first(torch.as_tensor(fn(torch.cat([torch.zeros(1), times]), dim)))[1:]


sinusoidal = Check(
    "sinusoidal",
    embeddings.sinusoidal,
    cases=[
        Case("a row of dim numbers for each time", lambda fn: torch.tensor(fn(TIMES, 6).shape)),
        Case("the fastest wave turns by one radian a step", lambda fn: _embedded(TIMES, 6)(fn)[:, [0, 3]], 0.01),
        Case("all frequencies, from 1 down towards 1 / 10,000", _embedded(TIMES, 8), 0.01),
        Case("the same for the real size, dim = 128", _embedded(TIMES[:3], 128), 0.01),
    ],
    mistakes=[
        (
            "the frequencies rise: the exponent needs a minus sign",
            _sinusoidal_with(frequencies=lambda half: torch.exp(math.log(10_000) * torch.arange(half) / half)),
        ),
        (
            "the angle has 2 pi in it: here frequency 1 is one radian a step, not one turn",
            _sinusoidal_with(angles=lambda time, frequency: 2 * math.pi * time[:, None] * frequency),
        ),
        (
            "time is divided by T = 1,000: most waves then hardly move, and times look alike",
            _sinusoidal_with(angles=lambda time, frequency: time[:, None] / 1000 * frequency),
        ),
        ("only sines are there", _sinusoidal_with(join=lambda angle: torch.cat([angle.sin(), angle.sin()], 1))),
        (
            "the frequencies fall evenly; they should fall geometrically, each by the same factor",
            _sinusoidal_with(frequencies=lambda half: 1 - torch.arange(half) / half),
        ),
        (
            "the exponent runs over dim, not dim / 2, so that it stops at 1 / 100",
            _sinusoidal_with(frequencies=lambda half: torch.exp(-math.log(10_000) * torch.arange(half) / (2 * half))),
        ),
    ],
    hint="frequency_i = 10,000^(-i / (dim / 2)), i = 0 .. dim / 2 - 1; angle = time[:, None] * frequency; sines, then cosines.",
)


# residual_block


def _block(modulated: bool = True) -> unet.Block:
    """A block whose weights all count; `modulated` False leaves the embedding without a say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = unet.Block(8, 16, emb=6)
        for p in block.parameters():
            torch.nn.init.normal_(p, std=0.4)
        if not modulated:
            torch.nn.init.zeros_(block.modulate.weight)
            torch.nn.init.zeros_(block.modulate.bias)
    return block.eval().requires_grad_(False)


H, EMB = _some(3, 8, 5, 4), _some(3, 6, seed=1)


def _reference_block(block: unet.Block, x: Tensor, emb: Tensor) -> Tensor:
    """A residual block with adaptive group normalisation (Dhariwal and Nichol 2021, eq. 3)."""
    return unet.Block.forward(block, x, emb)


def _block_with(
    first=lambda b, x: b.conv1(silu(b.norm1(x))),
    said=lambda b, emb: b.modulate(emb)[:, :, None, None].chunk(2, 1),
    modulate=lambda h, shift, scale: h * (1 + scale) + shift,
    second=lambda b, h: b.conv2(silu(h)),
    around=lambda b, x: b.skip(x),
) -> Callable:
    """residual_block with another first or second half, another modulation, or another path around."""

    def residual_block(block, x, emb):
        shift, scale = said(block, emb)
        return around(block, x) + second(block, modulate(block.norm2(first(block, x)), shift, scale))

    return residual_block


residual_block = Check(
    "residual_block",
    _reference_block,
    cases=[
        Case("with an embedding that says nothing", lambda fn: fn(_block(False), H.clone(), EMB.clone())),
        Case("what the embedding changes", lambda fn: fn(_block(), H.clone(), EMB) - fn(_block(False), H.clone(), EMB)),
        Case("all of it", lambda fn: fn(_block(), H.clone(), EMB.clone())),
        Case("members of a batch do not mix", lambda fn: fn(_block(), H[1:2].clone(), EMB[1:2].clone())),
    ],
    mistakes=[
        ("the path around is missing: block.skip(x) must be added", _block_with(around=lambda b, x: 0)),
        (
            "shift and scale are swapped: the first half of what modulate says is the shift",
            _block_with(modulate=lambda h, shift, scale: h * (1 + shift) + scale),
        ),
        (
            "the 1 is missing in 1 + scale: an embedding that says nothing would silence the block",
            _block_with(modulate=lambda h, shift, scale: h * scale + shift),
        ),
        ("the scale is forgotten", _block_with(modulate=lambda h, shift, scale: h + shift)),
        ("the shift is forgotten", _block_with(modulate=lambda h, shift, scale: h * (1 + scale))),
        ("silu is missing before the first convolution", _block_with(first=lambda b, x: b.conv1(b.norm1(x)))),
        ("silu is missing before the second convolution", _block_with(second=lambda b, h: b.conv2(h))),
        ("the first norm is missing", _block_with(first=lambda b, x: b.conv1(silu(x)))),
    ],
    hint="h = conv1(silu(norm1(x))); shift, scale = modulate(emb), as (B, C, 1, 1) each; h = norm2(h) (1 + scale) + shift; "
    "skip(x) + conv2(silu(h)).",
    shown=(unet.Block,),
)


# self_attention

Q, K, V = (_some(2, 3, 7, 4, seed=seed) for seed in range(3))


def _attention_with(
    scale=lambda q: q.shape[-1] ** 0.5,
    weights=lambda looks: looks.softmax(-1),
    looks=lambda q, k: q @ k.transpose(-1, -2),
    gather=lambda weights, v: weights @ v,
) -> Callable:
    """self_attention with another scale, softmax, product or gathering."""
    return lambda q, k, v: gather(weights(looks(q, k) / scale(q)), v)


def _reference_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, eq. 1."""
    return scaled_dot_product_attention(q, k, v)


self_attention = Check(
    "self_attention",
    _reference_attention,
    cases=[
        Case("for each of the batch, each head and each place", on(Q, K, V)),
        Case("where all keys are alike, each place gets the mean of what is said", on(Q, K[:, :, :1].expand_as(K), V)),
        Case("where one key shouts, its value is taken", on(Q.abs(), torch.cat([50 * K[:, :, :1].abs(), K[:, :, 1:]], 2), V)),
        Case("large numbers overflow nothing", on(30 * Q, 30 * K, V)),
    ],
    mistakes=[
        ("the scale is missing: divide q k^T by sqrt(d)", _attention_with(scale=lambda q: 1)),
        ("d divides where sqrt(d) belongs", _attention_with(scale=lambda q: q.shape[-1])),
        ("the number of places stands where d belongs", _attention_with(scale=lambda q: q.shape[-2] ** 0.5)),
        (
            "the softmax runs over the places that look, not over those that are looked at: rows must sum to 1",
            _attention_with(weights=lambda looks: looks.softmax(-2)),
        ),
        (
            "the softmax is without exp: divide exp(...) by its sum",
            _attention_with(weights=lambda looks: looks / looks.sum(-1, keepdim=True)),
        ),
        ("the softmax is missing", _attention_with(weights=lambda looks: looks)),
        (
            "keys look at queries: the product is turned round",
            _attention_with(looks=lambda q, k: k @ q.transpose(-1, -2)),
        ),
    ],
    hint="weights = softmax, over the last axis, of q @ k.transpose(-1, -2) / sqrt(d), d = q.shape[-1]; then weights @ v.",
    shown=(unet.Attention,),
)
