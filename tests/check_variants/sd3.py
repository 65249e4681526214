"""Lesson 16."""

import torch
from torch.nn.functional import mse_loss, scaled_dot_product_attention


def _wide(t, x):
    return t.reshape(-1, *[1] * (x.ndim - 1))


def flow_by_mse(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), eps - x0)


def flow_by_way(net, x0, t, eps):
    way = eps - x0
    return (net(x0 + _wide(t, x0) * way, t) - way).pow(2).mean()


def flow_one_by_one(net, x0, t, eps):
    errors = []
    for i in range(len(x0)):
        x_t = (1 - t[i]) * x0[i] + t[i] * eps[i]
        errors.append(x_t)
    prompts = net(torch.stack(errors), t)
    return torch.stack([((prompts[i] - eps[i] + x0[i]) ** 2).mean() for i in range(len(x0))]).mean()


def backwards(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), x0 - eps)


def of_noise(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), eps)


def other_way(net, x0, t, eps):
    return mse_loss(net(torch.lerp(eps, x0, _wide(t, x0)), t), eps - x0)


def on_the_arc(net, x0, t, eps):
    t_ = _wide(t, x0)
    return mse_loss(net((1 - t_) ** 0.5 * x0 + t_**0.5 * eps, t), eps - x0)


def unsquared(net, x0, t, eps):
    return (net(torch.lerp(x0, eps, _wide(t, x0)), t) - eps + x0).abs().mean()


def _seen(P, mask):
    return torch.cat([torch.ones(len(mask), P, dtype=torch.bool), mask], 1)[:, None, None]


def joint_by_library(picture, text, mask):
    q, k, v = (torch.cat([a, b], 2) for a, b in zip(picture, text))
    P, L = picture[0].shape[2], text[0].shape[2]
    return scaled_dot_product_attention(q, k, v, attn_mask=_seen(P, mask)).split([P, L], 2)


def joint_by_hand(picture, text, mask):
    (q, k, v), (r, o, u) = picture, text
    keys, values = torch.cat([k, o], 2), torch.cat([v, u], 2)
    hidden = ~_seen(q.shape[2], mask)
    look = lambda asks: (asks @ keys.mT / q.shape[-1] ** 0.5).masked_fill(hidden, float("-inf")).softmax(-1) @ values
    return look(q), look(r)


def joint_by_einsum(picture, text, mask):
    q, k, v = (torch.cat([a, b], -2) for a, b in zip(picture, text))
    looks = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    weight = torch.exp(looks - looks.amax(-1, keepdim=True)) * _seen(picture[0].shape[2], mask)
    out = torch.einsum("bhqk,bhkd->bhqd", weight / weight.sum(-1, keepdim=True), v)
    return [out[:, :, : picture[0].shape[2]], out[:, :, picture[0].shape[2] :]]


def apart(picture, text, mask):
    return scaled_dot_product_attention(*picture), scaled_dot_product_attention(*text, attn_mask=mask[:, None, None])


def crossed(picture, text, mask):
    (q, k, v), (r, o, u) = picture, text
    mask = mask[:, None, None]
    return scaled_dot_product_attention(q, o, u, attn_mask=mask), scaled_dot_product_attention(r, k, v)


def words_are_blind(picture, text, mask):
    return joint_by_library(picture, text, mask)[0], apart(picture, text, mask)[1]


def sees_padding(picture, text, mask):
    return joint_by_library(picture, text, torch.ones_like(mask))


def turned(picture, text, mask):
    return joint_by_hand(picture, text, mask)[::-1]


RIGHT = {
    "flow_loss": [flow_by_mse, flow_by_way, flow_one_by_one],
    "joint_attention": [joint_by_library, joint_by_hand, joint_by_einsum],
}
WRONG = {
    "flow_loss": [
        ("the velocity's sign is turned", backwards),
        ("the target is the noise", of_noise),
        ("time runs the other way", other_way),
        ("x_t lies on an arc", on_the_arc),
        ("the errors are not squared", unsquared),
    ],
    "joint_attention": [
        ("each stream attends to itself alone", apart),
        ("this is cross-attention, both ways", crossed),
        ("the words only to words", words_are_blind),
        ("padding is attended to: `mask`", sees_padding),
        ("the wrong way round", turned),
    ],
}
