"""Lesson 04."""

import math

import torch
from torch.nn.functional import group_norm, scaled_dot_product_attention, silu

from course_lib.nets.unet import Block


def by_powers(time, dim):
    i = torch.arange(dim // 2)
    angle = time.float()[:, None] / 10_000 ** (2 * i / dim)
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def cosines_first(time, dim):
    """As in Vaswani et al., but for their order."""
    angle = torch.outer(time.float(), torch.logspace(0, -4 + 8 / dim, dim // 2))
    return torch.hstack([angle.cos(), angle.sin()])


def in_pairs(time, dim):
    """sin, cos, sin, cos: the order of Vaswani et al."""
    angle = time.float().unsqueeze(1) * torch.exp(-torch.arange(0, dim, 2) / dim * math.log(10_000))
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


def as_complex(time, dim):
    turning = torch.exp(1j * time.float()[:, None] * 10_000 ** (-torch.arange(dim // 2) * 2 / dim))
    return torch.cat([turning.imag, turning.real], 1)


def rising(time, dim):
    angle = time.float()[:, None] * 10_000 ** (torch.arange(dim // 2) * 2 / dim)
    return torch.cat([angle.sin(), angle.cos()], 1)


def full_turns(time, dim):
    angle = 2 * math.pi * time.float()[:, None] * 10_000 ** (-torch.arange(dim // 2) * 2 / dim)
    return torch.cat([angle.sin(), angle.cos()], 1)


def fractions(time, dim):
    return by_powers(time / 1000, dim)


def even(time, dim):
    angle = time.float()[:, None] * torch.linspace(1, 0, dim // 2 + 1)[:-1]
    return torch.cat([angle.sin(), angle.cos()], 1)


def step_by_step(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb).chunk(2, dim=1)
    h = block.norm2(h) * (1 + scale[..., None, None]) + shift[..., None, None]
    h = block.conv2(silu(h))
    return h + block.skip(x)


def reshaped(block, x, emb):
    h = block.norm2(block.conv1(silu(block.norm1(x))))
    prompts = block.modulate(emb).reshape(len(x), 2, -1, 1, 1)
    return block.skip(x) + block.conv2(silu(torch.addcmul(prompts[:, 0], h, prompts[:, 1] + 1)))


def by_functions(block, x, emb):
    h = group_norm(x, block.norm1.num_groups, block.norm1.weight, block.norm1.bias)
    h = block.conv1(h * h.sigmoid())
    prompts, width = block.modulate(emb), h.shape[1]
    h = torch.stack([n * (1 + s[width:, None, None]) + s[:width, None, None] for n, s in zip(block.norm2(h), prompts)])
    return block.conv2(h * h.sigmoid()) + block.skip(x)


def straight(block, x, emb):
    return step_by_step(block, x, emb) - block.skip(x)


def swapped(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    scale, shift = block.modulate(emb)[:, :, None, None].chunk(2, 1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def without_one(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[:, :, None, None].chunk(2, 1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * scale + shift))


def deaf(block, x, emb):
    return block.skip(x) + block.conv2(silu(block.norm2(block.conv1(silu(block.norm1(x))))))


def linear(block, x, emb):
    h = block.conv1(block.norm1(x))
    shift, scale = block.modulate(emb)[:, :, None, None].chunk(2, 1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def by_einsum(q, k, v):
    looks = torch.einsum("bhic,bhjc->bhij", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bhij,bhjc->bhic", torch.softmax(looks, dim=3), v)


def by_exp(q, k, v):
    looks = q @ k.mT / q.shape[-1] ** 0.5
    weights = (looks - looks.amax(-1, keepdim=True)).exp()
    return weights @ v / weights.sum(-1, keepdim=True)


def one_at_a_time(q, k, v):
    d = q.shape[-1]
    rows = [torch.softmax((k @ q[:, :, i, :, None]).squeeze(-1) / d**0.5, -1)[:, :, None] @ v for i in range(q.shape[2])]
    return torch.cat(rows, 2)


def scaled_first(q, k, v):
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3), -1).matmul(v)


def unscaled(q, k, v):
    return torch.softmax(q @ k.mT, -1) @ v


def by_d(q, k, v):
    return torch.softmax(q @ k.mT / q.shape[-1], -1) @ v


def columns(q, k, v):
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -2) @ v


def bare(q, k, v):
    return q @ k.mT / q.shape[-1] ** 0.5 @ v


def turned(q, k, v):
    return scaled_dot_product_attention(k, q, v)


RIGHT = {
    "sinusoidal": [by_powers, cosines_first, in_pairs, as_complex],
    "residual_block": [Block.__call__, step_by_step, reshaped, by_functions],
    "self_attention": [by_einsum, by_exp, one_at_a_time, scaled_first],
}
WRONG = {
    "sinusoidal": [
        ("the frequencies rise", rising),
        ("2 pi", full_turns),
        ("time is divided by T", fractions),
        ("its shape is", lambda time, dim: by_powers(time, 2 * dim)),
        ("they should fall geometrically", even),
    ],
    "residual_block": [
        ("the skip connection is missing", straight),
        ("shift and scale are swapped", swapped),
        ("the 1 is missing", without_one),
        ("what the embedding changes", deaf),
        ("silu is missing before the first convolution", linear),
    ],
    "self_attention": [
        ("the scale is missing", unscaled),
        ("d divides where sqrt(d) belongs", by_d),
        ("the softmax runs over the queries", columns),
        ("the softmax is missing", bare),
        ("queries and keys are swapped", turned),
    ],
}
