"""Lesson 04."""

import math

import numpy as np
import torch
from torch.nn.functional import group_norm, scaled_dot_product_attention, silu

from course_lib.nets.unet import Block, UNet


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


def by_names(net, x, emb):
    h, kept = net.inward(x), {}
    for name, layer in net.encoder.items():
        if "block" in name:
            h = kept[name] = layer(h, emb)
        else:
            h = layer(h)
    for name, layer in net.decoder.items():
        if name.endswith("_up"):
            h = layer(h)
        else:
            size, number = name.split("_block")
            last = sum(key.startswith(f"{size}_block") for key in kept) - 1
            h = layer(torch.cat((h, kept[f"{size}_block{last - int(number)}"]), dim=1), emb)
    return net.outward(h)


def recursive(net, x, emb):
    down, up = list(net.encoder.values()), list(net.decoder.values())

    def through(h, i, j):
        """From layer i of the encoder on, back to where layer j of the decoder is next."""
        if i == len(down):
            return h, 0
        if not isinstance(down[i], Block):
            h, j = through(down[i](h), i + 1, j)
            return up[j](h), j + 1
        skip = down[i](h, emb)
        h, j = through(skip, i + 1, j)
        return up[j](torch.cat([h, skip], 1), emb), j + 1

    return net.outward(through(net.inward(x), 0, 0)[0])


def input_kept_too(net, x, emb):
    """As Ho et al.: the first convolution's map lies at the bottom of the stack, where nobody takes it."""
    h = net.inward(x)
    skips = [h]
    for layer in net.encoder.values():
        h = layer(h, emb) if isinstance(layer, Block) else layer(h)
        skips += [h] * isinstance(layer, Block)
    for layer in net.decoder.values():
        h = layer(torch.cat([h, skips.pop()], 1), emb) if isinstance(layer, Block) else layer(h)
    return net.outward(h)


def by_index(net, x, emb):
    h, skips, i = net.inward(x), [], 0
    for layer in net.encoder.children():
        if isinstance(layer, Block):
            h = layer(h, emb)
            skips.insert(0, h)
        else:
            h = layer(h)
    for layer in net.decoder.children():
        if isinstance(layer, Block):
            h = layer(torch.hstack([h, skips[i]]), emb)
            i += 1
        else:
            h = layer(h)
    return net.outward(h)


def unet_by(skip="skips.pop()", order="[h, {}]", kept="out", outward="net.outward(h)", between="layer(h)"):
    """A U-Net's forward pass, written with one thing changed."""
    source = f"""
def forward(net, x, emb):
    h, skips = net.inward(x), []
    for layer in net.encoder.values():
        if isinstance(layer, Block):
            before, h = h, layer(h, emb)
            skips.append({"h" if kept == "out" else "before"})
        else:
            h = {between}
    for layer in net.decoder.values():
        if isinstance(layer, Block):
            h = layer(torch.cat({order.format(skip)}, 1), emb)
        else:
            h = {between}
    return {outward}
"""
    exec(source, globals(), made := {})
    return made["forward"]


def silu_again(net, x, emb):
    return input_kept_too(net, x, silu(emb))


def sums(net, x, emb):
    """The skip is added, as in a residual block."""
    h, skips = net.inward(x), []
    for layer in net.encoder.values():
        h = layer(h, emb) if isinstance(layer, Block) else layer(h)
        if isinstance(layer, Block):
            skips.append(h)
    for layer in net.decoder.values():
        h = layer(h + skips.pop(), emb) if isinstance(layer, Block) else layer(h)
    return net.outward(h)


def all_kept(net, x, emb):
    h, skips = net.inward(x), []
    for layer in net.encoder.values():
        h = layer(h, emb) if isinstance(layer, Block) else layer(h)
        skips.append(h)
    for layer in net.decoder.values():
        h = layer(torch.cat([h, skips.pop()], 1), emb) if isinstance(layer, Block) else layer(h)
    return net.outward(h)


def without_emb_up(net, x, emb):
    h, skips = net.inward(x), []
    for layer in net.encoder.values():
        if isinstance(layer, Block):
            h = layer(h, emb)
            skips.append(h)
        else:
            h = layer(h)
    for layer in net.decoder.values():
        if isinstance(layer, Block):
            h = layer(torch.cat([h, skips.pop()], 1), torch.zeros_like(emb))
        else:
            h = layer(h)
    return net.outward(h)


RIGHT = {
    "sinusoidal": [by_powers, cosines_first, in_pairs, as_complex],
    "residual_block": [Block.__call__, step_by_step, reshaped, by_functions],
    "self_attention": [by_einsum, by_exp, one_at_a_time, scaled_first],
    "unet_forward": [UNet.run, by_names, recursive, input_kept_too, by_index],
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
    "unet_forward": [
        ("the last one in must be the first one out", unet_by(skip="skips.pop(0)")),
        ("the skip comes first", unet_by(order="[{}, h]")),
        ("each block's input", unet_by(kept="in")),
        ("net.outward is missing", unet_by(outward="h")),
        ("silu is applied", silu_again),
    ],
}


# What was tried: whole functions, as they would stand in the cell


def as_in_ddpm(time, dim):
    """Ho et al.'s own program, and much that was copied from it: divided by half - 1."""
    half = dim // 2
    freqs = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    args = time[:, None].float() * freqs[None]
    return torch.cat([args.sin(), args.cos()], dim=-1)


def no_minus(time, dim):
    half = dim // 2
    freqs = torch.exp(math.log(10000) * torch.arange(half) / half)
    args = time[:, None] * freqs[None]
    return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)


def divided_by_frequency(time, dim):
    half = dim // 2
    freqs = 10000 ** (-torch.arange(half) / half)
    return torch.cat([torch.sin(time[:, None] / freqs), torch.cos(time[:, None] / freqs)], dim=-1)


def over_dim(time, dim):
    freqs = 10000 ** (-torch.arange(dim // 2) / dim)
    args = time[:, None] * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def sines_twice(time, dim):
    freqs = 10000 ** (-torch.arange(dim // 2) / (dim // 2))
    args = time[:, None] * freqs
    return torch.cat([args.sin(), args.sin()], dim=1)


def with_two_pi(time, dim):
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2) / (dim // 2))
    args = 2 * math.pi * time[:, None] * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def of_t_over_T(time, dim):
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2) / (dim // 2))
    args = time[:, None] / 1000 * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def in_columns(time, dim):
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2) / (dim // 2))
    args = freqs[:, None] * time[None]
    return torch.cat([args.sin(), args.cos()], dim=0)


def dim_frequencies(time, dim):
    freqs = 10000 ** (-torch.arange(dim) / dim)
    args = time[:, None] * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def in_even_steps(time, dim):
    half = dim // 2
    freqs = 1 - torch.arange(half) / half
    args = time[:, None] * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def whole_steps(time, dim):
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2) / (dim // 2))
    args = time.long()[:, None] * freqs
    return torch.cat([args.sin(), args.cos()], dim=1)


def no_skip(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def scale_first(block, x, emb):
    """As diffusers names them: scale, shift = chunk."""
    h = block.conv1(silu(block.norm1(x)))
    scale, shift = torch.chunk(block.modulate(emb)[..., None, None], 2, dim=1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def scale_alone(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * scale + shift))


def added_only(block, x, emb):
    """As Ho et al.: the embedding is added."""
    h = block.conv1(silu(block.norm1(x)))
    shift, _ = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) + shift))


def silu_of_the_embedding(block, x, emb):
    """As most libraries have it: emb_layers = SiLU, Linear."""
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(silu(emb))[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def before_the_norm(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(silu(block.norm2(h * (1 + scale) + shift)))


def after_the_activation(block, x, emb):
    h = silu(block.norm2(block.conv1(silu(block.norm1(x)))))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(h * (1 + scale) + shift)


def no_second_silu(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2(block.norm2(h) * (1 + scale) + shift)


def silu_at_the_end(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return silu(block.skip(x) + block.conv2(silu(block.norm2(h) * (1 + scale) + shift)))


def with_relu(block, x, emb):
    h = block.conv1(block.norm1(x).relu())
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv2((block.norm2(h) * (1 + scale) + shift).relu())


def plain_x(block, x, emb):
    h = block.conv1(silu(block.norm1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return x + block.conv2(silu(block.norm2(h) * (1 + scale) + shift))


def norm_after_conv(block, x, emb):
    h = silu(block.norm1(block.conv1(x)))
    shift, scale = block.modulate(emb)[..., None, None].chunk(2, dim=1)
    return block.skip(x) + silu(block.norm2(block.conv2(h)) * (1 + scale) + shift)


def never_scaled(q, k, v):
    weights = torch.softmax(torch.matmul(q, k.transpose(-2, -1)), dim=-1)
    return torch.matmul(weights, v)


def over_d(q, k, v):
    return (torch.einsum("bhid,bhjd->bhij", q, k) / q.size(-1)).softmax(-1) @ v


def times_root_d(q, k, v):
    return (q @ k.mT * math.sqrt(q.size(-1))).softmax(-1) @ v


def by_places(q, k, v):
    return (q @ k.mT / math.sqrt(q.size(2))).softmax(-1) @ v


def over_queries(q, k, v):
    return (q @ k.mT / math.sqrt(q.size(-1))).softmax(dim=-2) @ v


def over_heads(q, k, v):
    return (q @ k.mT / math.sqrt(q.size(-1))).softmax(dim=1) @ v


def causal(q, k, v):
    return scaled_dot_product_attention(q, k, v, is_causal=True)


def own_softmax(q, k, v):
    scores = torch.exp(q @ k.mT / math.sqrt(q.size(-1)))
    return scores / scores.sum(dim=-1, keepdim=True) @ v


def key_asks(q, k, v):
    return (k @ q.mT / math.sqrt(q.size(-1))).softmax(-1) @ v


def weights_alone(q, k, v):
    return (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)


def residual(q, k, v):
    return v + (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1) @ v


def no_softmax(q, k, v):
    return q @ k.mT / math.sqrt(q.size(-1)) @ v


TRIED = {
    "sinusoidal": [
        ("dim / 2 - 1", as_in_ddpm),
        ("the frequencies rise", no_minus),
        ("the frequencies rise", divided_by_frequency),
        ("over dim, not dim / 2", over_dim),
        ("only sines", sines_twice),
        ("2 pi", with_two_pi),
        ("time is divided by T", of_t_over_T),
        ("rows and columns", in_columns),
        ("there are dim frequencies", dim_frequencies),
        ("fall geometrically", in_even_steps),
        ("rounded down", whole_steps),
    ],
    "residual_block": [
        ("the skip connection is missing", no_skip),
        ("shift and scale are swapped", scale_first),
        ("the 1 is missing", scale_alone),
        ("the scale is forgotten", added_only),
        ("silu is applied to the embedding", silu_of_the_embedding),
        ("before the second norm", before_the_norm),
        ("after the activation", after_the_activation),
        ("before the second convolution", no_second_silu),
        ("after the sum", silu_at_the_end),
        ("relu stands", with_relu),
        ("", plain_x),
        ("", norm_after_conv),
    ],
    "self_attention": [
        ("the scale is missing", never_scaled),
        ("d divides where sqrt(d) belongs", over_d),
        ("sqrt(d) multiplies", times_root_d),
        ("the number of places", by_places),
        ("over the queries", over_queries),
        ("over the heads", over_heads),
        ("earlier places", causal),
        ("exp overflows", own_softmax),
        ("queries and keys are swapped", key_asks),
        ("the weights are returned", weights_alone),
        ("once more", residual),
        ("the softmax is missing", no_softmax),
    ],
    "unet_forward": [
        ("the last one in must be the first one out", unet_by(skip="skips.pop(0)")),
        ("again and again", unet_by(skip="skips[-1]")),
        ("the skip comes first", unet_by(order="[{}, h]")),
        ("each block's input", unet_by(kept="in")),
        ("net.outward is missing", unet_by(outward="h")),
        ("x is added", unet_by(outward="net.outward(h) + x")),
        ("zeros", unet_by(skip="torch.zeros_like(skips.pop())")),
        ("between two sizes is left out", unet_by(between="h")),
        ("only the outputs of blocks", all_kept),
        ("the decoder's blocks get no embedding", without_emb_up),
        ("once more", silu_again),
        ("", sums),
    ],
}


def in_double(time, dim):
    half = dim // 2
    angle = time.double().reshape(-1, 1) / 10_000.0 ** (torch.arange(half, dtype=torch.float64) / half)
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=-1)


def in_numpy(time, dim):
    angle = np.outer(np.asarray(time, dtype=np.float64), np.exp(-np.log(10_000) * np.arange(0, dim, 2) / dim))
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


def by_shifted_sines(time, dim):
    angle = torch.einsum("b,f->bf", time.float(), 1e4 ** -torch.linspace(0, 1, dim // 2 + 1)[:-1])
    return torch.sin(torch.cat([angle, angle + math.pi / 2], 1))


def with_views(block, x, emb):
    h = block.norm1(x)
    h = block.conv1(h * torch.sigmoid(h))
    both = block.modulate(emb).view(x.size(0), -1, 1, 1)
    shift, scale = both.split(both.size(1) // 2, dim=1)
    h = block.norm2(h)
    return torch.add(block.skip(x), block.conv2(silu(h + h * scale + shift)))


def on_its_own_copies(block, x, emb):
    h = block.conv1(silu(block.norm1(x.clone()), inplace=True))
    modulation = block.modulate(emb)
    width = modulation.shape[1] // 2
    h = block.norm2(h)
    h *= (1 + modulation[:, width:])[:, :, None, None]
    h += modulation[:, :width].unsqueeze(-1).unsqueeze(-1)
    out = block.conv2(silu(h, inplace=True))
    out += block.skip(x)
    return out


def one_by_one(block, x, emb):
    return torch.cat([step_by_step(block, a[None], e[None]) for a, e in zip(x, emb)])


def by_torch(q, k, v):
    return scaled_dot_product_attention(q, k, v)


def flattened_heads(q, k, v):
    B, heads, places, d = q.shape
    q, k, v = (part.reshape(B * heads, places, d) for part in (q, k, v))
    return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)) / d**0.5, 2), v).view(B, heads, places, d)


def in_float64(q, k, v):
    q, k, v = q.double(), k.double(), v.double()
    scores = torch.einsum("bhic,bhjc->bhij", q, k).mul(q.shape[-1] ** -0.5)
    return torch.log_softmax(scores, -1).exp() @ v


RIGHT["sinusoidal"] += [in_double, in_numpy, by_shifted_sines]
RIGHT["residual_block"] += [with_views, on_its_own_copies, one_by_one]
RIGHT["self_attention"] += [by_torch, flattened_heads, in_float64]
