"""Lesson 16."""

import torch
from torch.nn.functional import mse_loss, scaled_dot_product_attention

from course_lib.nets.mmdit import joint_attention
from course_lib.process import RectifiedFlow


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


def flow_by_process(net, x0, t, eps):
    return mse_loss(net(RectifiedFlow().add_noise(x0, t, eps), t), eps - x0)


def flow_in_float64(net, x0, t, eps):
    x0, eps, t = x0.double(), eps.double(), t.double()
    x_t = torch.einsum("b,b...->b...", 1 - t, x0) + torch.einsum("b,b...->b...", t, eps)
    error = (net(x_t, t) - eps + x0).flatten()
    return error @ error / error.numel()


def flow_of_noise_and_picture(net, x0, t, eps):
    """The velocity's error by that of the way from x_t to the noise."""
    t_ = t[(...,) + (None,) * (x0.ndim - 1)]
    return ((net(x0 - t_ * (x0 - eps), t) + x0 - eps) ** 2).flatten(1).mean(1).mean(0)


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


def of_picture(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), x0)


def by_cos_and_sin(net, x0, t, eps):
    angle = _wide(t, x0) * torch.pi / 2
    return mse_loss(net(torch.cos(angle) * x0 + torch.sin(angle) * eps, t), eps - x0)


def not_faded(net, x0, t, eps):
    return mse_loss(net(x0 + _wide(t, x0) * eps, t), eps - x0)


def of_clean(net, x0, t, eps):
    return mse_loss(net(x0, t), eps - x0)


def in_thousands(net, x0, t, eps):
    """As diffusers' SD3, whose net is given t in 0..1000."""
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t * 1000), eps - x0)


def turned_time(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), 1 - t), eps - x0)


def summed(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), eps - x0, reduction="sum")


def summed_by_picture(net, x0, t, eps):
    return (net(torch.lerp(x0, eps, _wide(t, x0)), t) - eps + x0).pow(2).flatten(1).sum(1).mean()


def one_time(net, x0, t, eps):
    t = torch.full_like(t, t[0].item())
    return mse_loss(net((1 - t[0]) * x0 + t[0] * eps, t), eps - x0)


def rooted(net, x0, t, eps):
    return torch.sqrt(flow_by_mse(net, x0, t, eps))


def detached(net, x0, t, eps):
    with torch.no_grad():
        return flow_by_mse(net, x0, t, eps)


def broadcast_wrongly(net, x0, t, eps):
    return mse_loss(net((1 - t) * x0 + t * eps, t), eps - x0)


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


def joint_with_silent_padding(picture, text, mask):
    """What padding attends to is set to 0, as some do."""
    places, words = joint_by_library(picture, text, mask)
    return places, words * mask[:, None, :, None]


def joint_without_padding(picture, text, mask):
    """Each of the batch by itself, without its padding."""
    places, words = [], torch.zeros_like(text[2])
    for b in range(len(mask)):
        n = int(mask[b].sum())
        q, k, v = (torch.cat([i[b], j[b, :, :n]], 1) for i, j in zip(picture, text))
        out = (q @ k.mT / k.shape[-1] ** 0.5).softmax(-1) @ v
        places.append(out[:, :-n])
        words[b, :, :n] = out[:, -n:]
    return torch.stack(places), words


def joint_in_float64(picture, text, mask):
    q, k, v = (torch.cat([a, b], 2).double() for a, b in zip(picture, text))
    bias = torch.zeros(len(mask), 1, 1, k.shape[2], dtype=torch.float64)
    bias[..., picture[0].shape[2] :] = (~mask).double()[:, None, None] * -1e30
    out = torch.softmax(torch.matmul(q, k.transpose(2, 3)) * q.size(-1) ** -0.5 + bias, dim=-1) @ v
    return out[:, :, : -mask.shape[1]].numpy(), out[:, :, -mask.shape[1] :].numpy()


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


def places_are_blind(picture, text, mask):
    return apart(picture, text, mask)[0], joint_by_library(picture, text, mask)[1]


def _joint(picture, text, mask, weigh):
    """Joint attention with weights `weigh(scores, seen)`, of scores q k^T."""
    q, k, v = (torch.cat([a, b], 2) for a, b in zip(picture, text))
    P, L = picture[0].shape[2], text[0].shape[2]
    return (weigh(q @ k.transpose(2, 3), _seen(P, mask)) @ v).split([P, L], dim=2)


def unscaled(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: torch.where(seen, s, -1e9).softmax(-1))


def scaled_by_d(picture, text, mask):
    d = picture[0].shape[-1]
    return _joint(picture, text, mask, lambda s, seen: torch.where(seen, s / d, -1e9).softmax(-1))


def scaled_by_width(picture, text, mask):
    width = picture[0].shape[1] * picture[0].shape[3]
    return _joint(picture, text, mask, lambda s, seen: torch.where(seen, s / width**0.5, -1e9).softmax(-1))


def over_queries(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: (s / 2).masked_fill(~seen, -torch.inf).softmax(dim=2))


def masked_after(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: torch.softmax(s / 2, -1) * seen)


def masked_by_zero(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: torch.softmax(s / 2 * seen, -1))


def mask_added(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: (s / 2 + seen.float()).softmax(-1))


def mask_turned(picture, text, mask):
    """As the key_padding_mask of torch's MultiheadAttention, where True is padding."""
    hidden = torch.cat([torch.zeros(len(mask), picture[0].shape[2], dtype=torch.bool), mask], 1)
    return _joint(picture, text, mask, lambda s, seen: (s / 2).masked_fill(hidden[:, None, None], -torch.inf).softmax(-1))


def words_first(picture, text, mask):
    """Joined as in Flux, text first."""
    q, k, v = (torch.cat([b, a], 2) for a, b in zip(picture, text))
    seen = torch.cat([mask, torch.ones(len(mask), picture[0].shape[2], dtype=torch.bool)], 1)
    out = scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
    return out[:, :, : picture[0].shape[2]], out[:, :, picture[0].shape[2] :]


def no_softmax(picture, text, mask):
    return _joint(picture, text, mask, lambda s, seen: s / 2 * seen)


def along_the_heads(picture, text, mask):
    q, k, v = (torch.cat([a, b], 1) for a, b in zip(picture, text))
    return scaled_dot_product_attention(q, k, v).chunk(2, 1)


RIGHT = {
    "flow_loss": [
        flow_by_mse,
        flow_by_way,
        flow_one_by_one,
        flow_by_process,
        flow_in_float64,
        flow_of_noise_and_picture,
    ],
    "joint_attention": [
        joint_attention,
        joint_by_library,
        joint_by_hand,
        joint_by_einsum,
        joint_with_silent_padding,
        joint_without_padding,
        joint_in_float64,
    ],
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
TRIED = {
    "flow_loss": [
        *WRONG["flow_loss"],
        ("the target is the picture", of_picture),
        ("cos(pi t / 2)", by_cos_and_sin),
        ("keeps all of the picture", not_faded),
        ("the clean picture", of_clean),
        ("1,000 t", in_thousands),
        ("is given 1 - t", turned_time),
        ("the errors are summed", summed),
        ("over the batch alone", summed_by_picture),
        ("the first one's time", one_time),
        ("the root of the mean", rooted),
        ("has no gradient", detached),
        ("", broadcast_wrongly),
    ],
    "joint_attention": [
        *WRONG["joint_attention"],
        ("the picture only to places", places_are_blind),
        ("the scale is missing", unscaled),
        ("divided by d;", scaled_by_d),
        ("the whole width", scaled_by_width),
        ("over the queries", over_queries),
        ("after the softmax", masked_after),
        ("set to 0 before the softmax", masked_by_zero),
        ("the mask is added", mask_added),
        ("the mask is turned", mask_turned),
        ("parted as if they stood behind", words_first),
        ("the softmax is missing", no_softmax),
        ("", along_the_heads),
    ],
}
