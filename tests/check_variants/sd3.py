"""Lesson 16."""

from itertools import pairwise

import torch
from torch.nn.functional import mse_loss, scaled_dot_product_attention

from course_lib.nets.mmdit import joint_attention
from course_lib.prediction import Prediction
from course_lib.process import RectifiedFlow
from course_lib.samplers import rectified_flow, result


def _wide(t, x):
    return t.reshape(-1, *[1] * (x.ndim - 1))


def loop_of(loss, times=lambda n, rng: torch.sigmoid(torch.randn(n, generator=rng))):
    """A training loop on loss(net, x0, t, eps)."""

    def flow_training(net, draw, optimizer, steps, rng):
        losses = []
        for _ in range(steps):
            x0, eps = draw(rng)
            value = loss(net, x0, times(len(x0), rng), eps)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return losses

    flow_training.__name__ = loss.__name__
    return flow_training


def flow_by_mse(net, x0, t, eps):
    return mse_loss(net(torch.lerp(x0, eps, _wide(t, x0)), t), eps - x0)


def flow_by_way(net, x0, t, eps):
    way = eps - x0
    return (net(x0 + _wide(t, x0) * way, t) - way).pow(2).mean()


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
        value = flow_by_mse(net, x0, t, eps)
    return value.requires_grad_()


def broadcast_wrongly(net, x0, t, eps):
    return mse_loss(net((1 - t) * x0 + t * eps, t), eps - x0)


def _uniform(n, rng):
    return torch.rand(n, generator=rng)


def _sigmoid_of_uniform(n, rng):
    return torch.rand(n, generator=rng).sigmoid()


def _by_logit(n, rng):
    u = torch.randn(n, generator=rng)
    return 1 / (1 + torch.exp(-u))


def zero_after(net, draw, optimizer, steps, rng):
    losses = torch.zeros(steps)
    optimizer.zero_grad()
    for i in range(steps):
        x0, eps = draw(rng)
        loss = flow_by_way(net, x0, torch.randn(len(x0), generator=rng).sigmoid(), eps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses[i] = loss.detach()
    return losses


def without_zero(net, draw, optimizer, steps, rng):
    losses = []
    for _ in range(steps):
        x0, eps = draw(rng)
        loss = flow_by_mse(net, x0, torch.randn(len(x0), generator=rng).sigmoid(), eps)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def own_noise(net, draw, optimizer, steps, rng):
    def pair(rng):
        x0, _ = draw(rng)
        return x0, torch.randn(x0.shape, generator=rng)

    return loop_of(flow_by_mse)(net, pair, optimizer, steps, rng)


def by_library(net, x, times):
    class Denoiser:
        process = RectifiedFlow()

        def __call__(self, x, t):
            a, b = self.process.coefficients(t, x)
            return Prediction(x, a, b, "flow", net(x, torch.full((len(x),), t)))

    return result(rectified_flow(Denoiser(), x, torch.tensor(times)))


def by_index(net, x, times):
    for i in range(len(times) - 1):
        t = times[i] * torch.ones(x.shape[0])
        x = x - net(x, t) * (times[i] - times[i + 1])
    return x


def by_x0_and_eps(net, x, times):
    """DDIM's step on the straight path."""
    for t, s in pairwise(times):
        v = net(x, torch.full((len(x),), t))
        x = (1 - s) * (x - t * v) + s * (x + (1 - t) * v)
    return x


def all_points(net, x, times):
    points = [x]
    for t, s in zip(times, times[1:]):
        points.append(points[-1] + (s - t) * net(points[-1], x.new_tensor(t).expand(len(x))))
    return points[-1]


def in_place(net, x, times):
    x = x.clone()
    for t, s in pairwise(times):
        x += (s - t) * net(x, x.new_full((len(x),), t))
    return x


def _sampler(step):
    """The sampler of Euler steps step(net, x, t, s)."""

    def flow_sampler(net, x, times):
        for t, s in pairwise(times):
            x = step(lambda x, t: net(x, torch.full((len(x),), float(t))), x, t, s)
        return x

    return flow_sampler


towards_noise = _sampler(lambda net, x, t, s: x + (t - s) * net(x, t))
at_the_end = _sampler(lambda net, x, t, s: x + (s - t) * net(x, s))
told_other_time = _sampler(lambda net, x, t, s: x + (s - t) * net(x, 1 - t))
whole_length = _sampler(lambda net, x, t, s: x - net(x, t))
by_s = _sampler(lambda net, x, t, s: x - s * net(x, t))
for_eps = _sampler(lambda net, x, t, s: (lambda e: (1 - s) * (x - t * e) / max(1 - t, 1e-3) + s * e)(net(x, t)))
heun = _sampler(lambda net, x, t, s: x + (s - t) / 2 * (net(x, t) + net(x + (s - t) * net(x, t), s)))
halved = _sampler(lambda net, x, t, s: x + (s - t) / 2 * net(x, t))


def even_steps(net, x, times):
    n = len(times) - 1
    for t in times[:-1]:
        x = x - net(x, torch.full((len(x),), t)) / n
    return x


def last_missing(net, x, times):
    for t, s in pairwise(times[:-1]):
        x = x + (s - t) * net(x, torch.full((len(x),), t))
    return x


def upwards(net, x, times):
    for t, s in pairwise(sorted(times)):
        x = x + (s - t) * net(x, torch.full((len(x),), t))
    return x


def one_step(net, x, times):
    return x + (times[-1] - times[0]) * net(x, torch.full((len(x),), times[0]))


def to_the_end(net, x, times):
    for t in times[:-1]:
        x = x - t * net(x, torch.full((len(x),), t))
    return x


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


def words_alone(picture, text, mask):
    (q, _, _), (r, o, u) = picture, text
    mask = mask[:, None, None]
    return scaled_dot_product_attention(q, o, u, attn_mask=mask), scaled_dot_product_attention(r, o, u, attn_mask=mask)


def all_turned(picture, text, mask):
    P = picture[0].shape[2]
    return _joint(picture, text, mask, lambda scores, seen: scores.masked_fill(_seen(P, mask), -torch.inf).softmax(-1))


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


def padding_of_its_own(picture, text, mask):
    """Padding attends to itself alone; what it outputs is nobody's."""
    places, words = joint_by_library(picture, text, mask)
    return places, torch.where(mask[:, None, :, None], words, 100 * text[2])


def rows_of_padding_masked(picture, text, mask):
    return _joint(
        picture,
        text,
        mask,
        lambda s, seen: (s / 2).masked_fill(~(seen & seen.transpose(-1, -2)), -torch.inf).softmax(-1),
    )


RIGHT = {
    "flow_training": [
        zero_after,
        loop_of(flow_by_mse),
        loop_of(flow_by_way),
        loop_of(flow_by_process),
        loop_of(flow_in_float64),
        loop_of(flow_of_noise_and_picture),
        loop_of(flow_by_mse, _by_logit),
        loop_of(flow_by_mse, lambda n, rng: RectifiedFlow(logit_normal=(0.0, 1.0)).sample_t(n, rng).float()),
    ],
    "flow_sampler": [by_library, by_index, by_x0_and_eps, all_points, in_place],
    "joint_attention": [
        joint_attention,
        joint_by_library,
        joint_by_hand,
        joint_by_einsum,
        joint_with_silent_padding,
        joint_without_padding,
        joint_in_float64,
        padding_of_its_own,
    ],
}
WRONG = {
    "flow_training": [
        ("the velocity's sign is turned", loop_of(backwards)),
        ("the target is the noise", loop_of(of_noise)),
        ("time runs the other way", loop_of(other_way)),
        ("x_t lies on an arc", loop_of(on_the_arc)),
        ("t is uniform", loop_of(flow_by_mse, _uniform)),
        ("zero_grad() is missing", without_zero),
    ],
    "flow_sampler": [
        ("the sign of the step", towards_noise),
        ("the time at the end", at_the_end),
        ("is given 1 - t", told_other_time),
        ("the length of the whole path", whole_length),
        ("equally long", even_steps),
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
    "flow_training": [
        *WRONG["flow_training"],
        ("the errors are not squared", loop_of(unsquared)),
        ("the target is the picture", loop_of(of_picture)),
        ("cos(pi t / 2)", loop_of(by_cos_and_sin)),
        ("keeps all of the picture", loop_of(not_faded)),
        ("the clean picture", loop_of(of_clean)),
        ("", loop_of(in_thousands)),
        ("or the net is given 1 - t", loop_of(turned_time)),
        ("the errors are summed", loop_of(summed)),
        ("over the batch alone", loop_of(summed_by_picture)),
        ("", loop_of(one_time)),
        ("the root of the mean", loop_of(rooted)),
        ("finds no gradient", loop_of(detached)),
        ("", loop_of(broadcast_wrongly)),
        ("of uniform numbers", loop_of(flow_by_mse, _sigmoid_of_uniform)),
        ("the noise of the pair", own_noise),
    ],
    "flow_sampler": [
        *WRONG["flow_sampler"],
        ("multiplied by s", by_s),
        ("all the way to t = 0", to_the_end),
        ("the last step is missing", last_missing),
        ("from 0 to 1", upwards),
        ("after the first step", one_step),
        ("taken for the noise", for_eps),
        ("", heun),
        ("", halved),
    ],
    "joint_attention": [
        *WRONG["joint_attention"],
        ("the picture only to patches", places_are_blind),
        ("to the words alone", words_alone),
        ("give it ~visible", all_turned),
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
        ("is not finite", rows_of_padding_masked),
        ("", along_the_heads),
    ],
}
