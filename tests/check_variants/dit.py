"""Lesson 25."""

import torch
from torch import nn
from torch.nn.functional import layer_norm, unfold
from torch.utils.flop_counter import FlopCounterMode

from course_lib.nets.dit import DiTBlock, modulate, patchify
from course_lib.nets.unet import Attention


def by_unfold(x, patch):
    """unfold has the channels first in a token."""
    B, C, *_ = x.shape
    tokens = unfold(x, patch, stride=patch).mT
    return tokens.reshape(B, -1, C, patch**2).mT.reshape(B, -1, C * patch**2)


def by_slices(x, patch):
    _, _, H, W = x.shape
    tokens = [
        x[:, :, i : i + patch, j : j + patch].permute(0, 2, 3, 1).flatten(1)
        for i in range(0, H, patch)
        for j in range(0, W, patch)
    ]
    return torch.stack(tokens, 1)


def by_unfolding_sides(x, patch):
    x = x.unfold(2, patch, patch).unfold(3, patch, patch)  # B, C, rows, columns, patch, patch
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def by_einsum(x, patch):
    B, C, H, W = x.shape
    x = x.view(B, C, H // patch, patch, W // patch, patch)
    return torch.einsum("bchpwq->bhwpqc", x).reshape(B, H * W // patch**2, C * patch**2)


def channels_first(x, patch):
    return unfold(x, patch, stride=patch).mT


def reshaped(x, patch):
    B, C, H, W = x.shape
    return x.reshape(B, H * W // patch**2, C * patch**2)


def _permuted(*order):
    def patchify(x, patch):
        B, C, H, W = x.shape
        x = x.reshape(B, C, H // patch, patch, W // patch, patch).permute(order)
        return x.reshape(B, H * W // patch**2, C * patch**2)

    return patchify


by_columns = _permuted(0, 4, 2, 3, 5, 1)
pixels_by_columns = _permuted(0, 2, 4, 5, 3, 1)
tokens_last = lambda x, patch: patchify(x, patch).mT
turned = lambda x, patch: patchify(x.mT, patch)


def pixels_of_all(x, patch):
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // patch, patch, W // patch, patch)
    return x.permute(0, 3, 5, 2, 4, 1).reshape(B, patch**2, -1).reshape(B, -1, patch**2 * C)


def in_parts(x, patch):
    B, C, H, W = x.shape
    x = x.reshape(B, C, patch, H // patch, patch, W // patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(B, patch**2, -1)


def overlapping(x, patch):
    return unfold(x, patch).mT


def first_patch(x, patch):
    return patchify(x, patch)[:, :1]


def with_modulate(h, attn, mlp, attention, feedforward):
    h = h + attn.gate[:, None] * attention(modulate(h, attn.shift, attn.scale))
    return h + mlp.gate[:, None] * feedforward(modulate(h, mlp.shift, mlp.scale))


def with_unsqueeze(h, attn, mlp, attention, feedforward):
    for (shift, scale, gate), part in ((attn, attention), (mlp, feedforward)):
        normed = layer_norm(h, (h.shape[-1],))
        h = h + gate.unsqueeze(1) * part(normed + normed * scale.unsqueeze(1) + shift.unsqueeze(1))
    return h


def by_hand(h, attn, mlp, attention, feedforward):
    def norm(h):
        centred = h - h.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    add = lambda h, m, part: h + m.gate[:, None, :] * part((1 + m.scale[:, None, :]) * norm(h) + m.shift[:, None, :])
    return add(add(h, attn, attention), mlp, feedforward)


def with_a_module(h, attn, mlp, attention, feedforward):
    norm, wide = nn.LayerNorm(h.shape[-1], elementwise_affine=False), lambda v: v[:, None].expand_as(h)
    h = torch.addcmul(h, wide(attn.gate), attention(torch.addcmul(wide(attn.shift), norm(h), 1 + wide(attn.scale))))
    return torch.addcmul(h, wide(mlp.gate), feedforward(torch.addcmul(wide(mlp.shift), norm(h), 1 + wide(mlp.scale))))


def _block(gate=lambda g: g[:, None], scale=lambda s: 1 + s[:, None], skip=1.0, norm=lambda h: layer_norm(h, h.shape[-1:])):
    def dit_block(h, attn, mlp, attention, feedforward):
        for m, part in ((attn, attention), (mlp, feedforward)):
            h = skip * h + gate(m.gate) * part(norm(h) * scale(m.scale) + m.shift[:, None])
        return h

    return dit_block


ungated = _block(gate=lambda g: 1)
gated_from_one = _block(gate=lambda g: 1 + g[:, None])
scale_alone = _block(scale=lambda s: s[:, None])
without_scale = _block(scale=lambda s: 1)
without_skip = _block(skip=0.0)
without_norm = _block(norm=lambda h: h)
over_tokens = _block(norm=lambda h: layer_norm(h, h.shape[1:]))


def in_parallel(h, attn, mlp, attention, feedforward):
    first = attn.gate[:, None] * attention(modulate(h, attn.shift, attn.scale))
    return h + first + mlp.gate[:, None] * feedforward(modulate(h, mlp.shift, mlp.scale))


def exchanged(h, attn, mlp, attention, feedforward):
    return with_modulate(h, mlp, attn, attention, feedforward)


def mlp_first(h, attn, mlp, attention, feedforward):
    return with_modulate(h, mlp, attn, feedforward, attention)


def swapped(h, attn, mlp, attention, feedforward):
    turn = lambda m: m._replace(shift=m.scale, scale=m.shift)
    return with_modulate(h, turn(attn), turn(mlp), attention, feedforward)


def attention_alone(h, attn, mlp, attention, feedforward):
    return h + attn.gate[:, None] * attention(modulate(h, attn.shift, attn.scale))


def by_counter(net, *inputs):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*inputs)
    return counter.get_total_flops() // 2


def _of(layer, given, out, attention=2, groups=True, transposed=True, power=2):
    """The multiply-adds of one call of a layer."""
    x = given[0]
    if isinstance(layer, nn.Linear):
        return x.numel() * layer.out_features
    if isinstance(layer, nn.Conv2d):
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        return out.numel() * kernel * layer.in_channels // (layer.groups if groups else 1)
    if isinstance(layer, nn.ConvTranspose2d):
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        return (x if transposed else out).numel() * kernel * layer.out_channels // layer.groups
    if isinstance(layer, DiTBlock):
        return attention * x.shape[0] * x.shape[1] ** power * x.shape[2]
    if isinstance(layer, Attention):
        return attention * x.shape[0] * (x.shape[2] * x.shape[3]) ** power * x.shape[1]
    return 0


def _counter(kinds=object, **options):
    def count_operations(net, *inputs):
        total = 0

        def hook(layer, given, out):
            nonlocal total
            total += _of(layer, given, out, **options)

        handles = [m.register_forward_hook(hook) for m in net.modules() if isinstance(m, kinds)]
        try:
            net(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        return total

    return count_operations


by_hooks = _counter()


def by_dict(net, *inputs):
    counts, handles = {}, []
    for name, module in net.named_modules():

        def hook(layer, given, out, name=name):
            counts[name] = counts.get(name, 0) + _of(layer, given, out)

        handles.append(module.register_forward_hook(hook))
    with torch.inference_mode():
        net(*inputs)
    [handle.remove() for handle in handles]
    return torch.tensor(sum(counts.values()))


def by_one_global_hook(net, *inputs):
    counts = []
    handle = nn.modules.module.register_module_forward_hook(lambda layer, given, out: counts.append(_of(layer, given, out)))
    net(*inputs)
    handle.remove()
    return float(sum(counts))


def of_parameters(net, *inputs):
    kinds = nn.Linear, nn.Conv2d, nn.ConvTranspose2d
    return sum(m.weight.numel() for m in net.modules() if isinstance(m, kinds))


def doubled(net, *inputs):
    return 2 * by_hooks(net, *inputs)


def left_behind(net, *inputs):
    counts = []
    for m in net.modules():
        m.register_forward_hook(lambda layer, given, out: counts.append(_of(layer, given, out)))
    net(*inputs)
    return sum(counts)


def per_member(net, *inputs):
    return by_hooks(net, *inputs) // len(inputs[0])


RIGHT = {
    "patchify": [patchify, by_unfold, by_slices, by_unfolding_sides, by_einsum],
    "dit_block": [with_modulate, with_unsqueeze, by_hand, with_a_module, _block()],
    "count_operations": [by_hooks, by_counter, by_dict, by_one_global_hook, _counter((nn.Module,))],
}
WRONG = {
    "patchify": [
        ("runs of its memory", reshaped),
        ("the channels come first", channels_first),
        ("the patches go column by column", by_columns),
        ("the pixels of a patch go column by column", pixels_by_columns),
        ("the shape is", tokens_last),
    ],
    "dit_block": [
        ("no gate at all", ungated),
        ("a 1 added", gated_from_one),
        ("the 1 is missing", scale_alone),
        ("from before attention", in_parallel),
        ("shift and scale", swapped),
    ],
    "count_operations": [
        ("the parameters are counted", of_parameters),
        ("the products of attention are missing", _counter((nn.Linear, nn.Conv2d, nn.ConvTranspose2d))),
        ("two products", _counter(attention=1)),
        ("the square of the tokens", _counter(power=1)),
        ("counted apart", doubled),
    ],
}
TRIED = {
    "patchify": [
        *WRONG["patchify"],
        ("rows and columns of the picture", turned),
        ("pixel and patch", pixels_of_all),
        ("parts a side", in_parts),
        ("", overlapping),
        ("", first_patch),
    ],
    "dit_block": [
        *WRONG["dit_block"],
        ("the scales are missing", without_scale),
        ("both skip connections", without_skip),
        ("the norm is missing", without_norm),
        ("the norm is over the tokens", over_tokens),
        ("the two records", exchanged),
        ("the MLP comes first", mlp_first),
        ("", attention_alone),
    ],
    "count_operations": [
        *WRONG["count_operations"],
        ("for each input", _counter(transposed=False)),
        ("the groups", _counter(groups=False)),
        ("the hooks stay", left_behind),
        ("one member", per_member),
        ("transposed convolutions are missing", _counter((nn.Linear, nn.Conv2d, DiTBlock, Attention))),
    ],
}
