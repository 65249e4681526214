"""Lesson 11."""

import numpy as np
import torch
from torch.nn.functional import l1_loss, mse_loss, normalize

from course_lib.methods import interpolation


def by_mse(prior, process, z, y, t, eps):
    return mse_loss(prior(process.add_noise(z, t, eps), t, y), z, reduction="sum") / len(z)


def by_hand(prior, process, z, y, t, eps):
    a, b = process.signal(t)[:, None], process.noise(t)[:, None]
    error = prior((a * z + b * eps).float(), t, y) - z
    return (error * error).sum(-1).mean()


def by_columns(prior, process, z, y, t, eps):
    error = prior(process.add_noise(z, t, eps), t, y) - z
    return sum(error[:, k].square().mean() for k in range(z.shape[1]))


def by_length(prior, process, z, y, t, eps):
    z, eps = z.double(), eps.double()
    bar = process.alpha_bar(t).unsqueeze(-1)
    return torch.linalg.vector_norm(prior((bar.sqrt() * z + (1 - bar).sqrt() * eps).float(), t, y) - z, dim=-1).pow(2).mean()


def one_embedding_at_a_time(prior, process, z, y, t, eps):
    each = [prior(process.add_noise(z, t, eps), t, y)[i] - z[i] for i in range(len(z))]
    return float(sum(e @ e for e in each)) / len(z)


def by_einsum(prior, process, z, y, t, eps):
    off = z - prior(process.add_noise(z, t, eps), t, y)
    return torch.einsum("bd,bd->", off, off) / z.shape[0]


def predicts_noise(prior, process, z, y, t, eps):
    return (prior(process.add_noise(z, t, eps), t, y) - eps).pow(2).sum(1).mean()


def sees_the_answer(prior, process, z, y, t, eps):
    return (prior(z, t, y) - z).pow(2).sum(1).mean()


def unscaled(prior, process, z, y, t, eps):
    return (prior(z + process.noise(t)[:, None].float() * eps, t, y) - z).pow(2).sum(1).mean()


def averaged(prior, process, z, y, t, eps):
    return mse_loss(prior(process.add_noise(z, t, eps), t, y), z)


def deaf(prior, process, z, y, t, eps):
    return (prior(process.add_noise(z, t, eps), t, 0 * y) - z).pow(2).sum(1).mean()


def swapped(prior, process, z, y, t, eps):
    a, b = process.coefficients(t, z)
    return (prior(b * z + a * eps, t, y) - z).pow(2).sum(-1).mean()


def not_averaged(prior, process, z, y, t, eps):
    return mse_loss(prior(process.add_noise(z, t, eps), t, y), z, reduction="sum")


def by_norm(prior, process, z, y, t, eps):
    return torch.norm(prior(process.add_noise(z, t, eps), t, y) - z, dim=1).mean()


def by_l1(prior, process, z, y, t, eps):
    return l1_loss(prior(process.add_noise(z, t, eps), t, y), z, reduction="none").sum(1).mean()


def no_roots(prior, process, z, y, t, eps):
    bar = process.alpha_bar(t)[:, None].float()
    return (prior(bar * z + (1 - bar) * eps, t, y) - z).pow(2).sum(-1).mean()


def predicts_v(prior, process, z, y, t, eps):
    bar = process.alpha_bar(t)[:, None].float()
    v = bar.sqrt() * eps - (1 - bar).sqrt() * z
    return (prior(process.add_noise(z, t, eps), t, y) - v).pow(2).sum(-1).mean()


def relative_time(prior, process, z, y, t, eps):
    return (prior(process.add_noise(z, t, eps), t.float() / process.T, y) - z).pow(2).sum(-1).mean()


def counted_from_zero(prior, process, z, y, t, eps):
    return mse_loss(prior(process.add_noise(z, t - 1, eps), t, y), z, reduction="none").sum(1).mean()


def by_cosine(prior, process, z, y, t, eps):
    guess = prior(process.add_noise(z, t, eps), t, y)
    return 1 - (normalize(guess, dim=1) * normalize(z, dim=1)).sum(1).mean()


def by_arc(a, b, share):
    angle = _angle(a, b)
    return (torch.sin(angle - share * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def by_basis(a, b, share):
    """Along the great circle: turn a towards the part of b that is at a right angle to it, then stretch each."""
    angle = _angle(a, b)
    u = normalize(a, dim=1)
    v = normalize(normalize(b, dim=1) - angle.cos() * u, dim=1)
    ends = (a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True))
    first, second = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    return first * ends[0] * u + second * ends[1] * (angle.cos() * u + angle.sin() * v)


def one_by_one(a, b, share):
    return torch.cat([by_arc(a[i : i + 1], b[i : i + 1], share) for i in range(len(a))])


def by_numpy(a, b, share):
    x, y = a.double().numpy(), b.double().numpy()
    cosine = (x * y).sum(1, keepdims=True) / np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(y, axis=1, keepdims=True)
    angle = np.maximum(np.arccos(np.clip(cosine, -1, 1)), 1e-6)
    return (np.sin((1 - share) * angle) * x + np.sin(share * angle) * y) / np.sin(angle)


def straight_where_near(a, b, share):
    cosine = torch.einsum("bd,bd->b", normalize(a), normalize(b)).clamp(-1, 1)[:, None]
    angle = cosine.acos()
    arc = ((angle - share * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
    return torch.where(cosine > 0.99999, (1 - share) * a + share * b, arc)


def _angle(a, b):
    return torch.arccos((normalize(a, dim=1) * normalize(b, dim=1)).sum(1, keepdim=True).clamp(-1, 1)).clamp(min=1e-4)


def straight(a, b, share):
    return torch.lerp(a, b, share)


def backwards(a, b, share):
    return by_arc(b, a, share)


def one_angle(a, b, share):
    angle = torch.arccos(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def undivided(a, b, share):
    angle = _angle(a, b)
    return torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b


def no_arccos(a, b, share):
    angle = torch.cosine_similarity(a, b, dim=1)[:, None]
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def _plain_angle(a, b):
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return torch.acos(cosine.clamp(-1, 1))[:, None]


def _weighted(a, b, share, angle):
    return torch.sin((1 - share) * angle) / torch.sin(angle) * a + torch.sin(share * angle) / torch.sin(angle) * b


def shares_outside_the_sine(a, b, share):
    angle = _angle(a, b)
    return ((1 - share) * torch.sin(angle) * a + share * torch.sin(angle) * b) / torch.sin(angle)


def by_columns_of_both(a, b, share):
    angle = torch.acos((normalize(a, dim=0) * normalize(b, dim=0)).sum(0).clamp(-1, 1)).clamp(min=1e-4)
    return _weighted(a, b, share, angle)


def product(a, b, share):
    return _weighted(a, b, share, torch.acos((a * b).sum(1, keepdim=True)))


def product_cut_off(a, b, share):
    return _weighted(a, b, share, torch.acos(torch.einsum("bd,bd->b", a, b).clamp(-1, 1)).clamp(min=1e-4)[:, None])


def unit_vectors(a, b, share):
    return _weighted(normalize(a, dim=1), normalize(b, dim=1), share, _angle(a, b))


def unguarded(a, b, share):
    return _weighted(a, b, share, _plain_angle(a, b))


def by_cos_and_sin(a, b, share):
    angle = _angle(a, b) * share
    return angle.cos() * a + angle.sin() * b


def by_variance(a, b, share):
    return (1 - share) ** 0.5 * a + share**0.5 * b


def stretched(a, b, share):
    length = (1 - share) * a.norm(dim=1, keepdim=True) + share * b.norm(dim=1, keepdim=True)
    return normalize((1 - share) * a + share * b, dim=1) * length


RIGHT = {
    "prior_loss": [by_mse, by_hand, by_columns, by_length, one_embedding_at_a_time, by_einsum],
    "slerp": [interpolation.slerp, by_arc, by_basis, one_by_one, by_numpy, straight_where_near],
}
WRONG = {
    "prior_loss": [
        ("the prior predicts the clean vector", predicts_noise),
        ("which it needs only to copy", sees_the_answer),
        ("without its signal being scaled", unscaled),
        ("the mean over components is taken", averaged),
        ("the caption does not reach the prior", deaf),
    ],
    "slerp": [
        ("it goes straight", straight),
        ("it starts at b and ends at a", backwards),
        ("all pairs share one angle", one_angle),
        ("not divided by sin(angle)", undivided),
        ("arccos is missing", no_arccos),
    ],
}
TRIED = {
    "prior_loss": [
        *WRONG["prior_loss"],
        ("have changed places", swapped),
        ("the batch is summed", not_averaged),
        ("the length is not squared", by_norm),
        ("(L1)", by_l1),
        ("the square roots are missing", no_roots),
        ("compared with v", predicts_v),
        ("is given t / T", relative_time),
        ("one step too little", counted_from_zero),
        ("the cosine of both", by_cosine),
    ],
    "slerp": [
        *WRONG["slerp"],
        ("it goes straight", shares_outside_the_sine),
        ("each component has an angle", by_columns_of_both),
        ("the product of the vectors is taken", product),
        ("cut off at 1", product_cut_off),
        ("divided by their lengths first", unit_vectors),
        ("0 is divided by 0", unguarded),
        ("are cos and sin", by_cos_and_sin),
        ("are sqrt(1 - s)", by_variance),
        ("is stretched", stretched),
    ],
}
