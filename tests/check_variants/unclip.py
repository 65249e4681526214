"""Lesson 11."""

import torch
from torch.nn.functional import mse_loss, normalize


def by_mse(prior, process, z, y, t, eps):
    return mse_loss(prior(process.add_noise(z, t, eps), t, y), z, reduction="sum") / len(z)


def by_hand(prior, process, z, y, t, eps):
    a, b = process.signal(t)[:, None], process.noise(t)[:, None]
    error = prior((a * z + b * eps).float(), t, y) - z
    return (error * error).sum(-1).mean()


def by_columns(prior, process, z, y, t, eps):
    error = prior(process.add_noise(z, t, eps), t, y) - z
    return sum(error[:, k].square().mean() for k in range(z.shape[1]))


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


RIGHT = {"prior_loss": [by_mse, by_hand, by_columns], "slerp": [by_arc, by_basis, one_by_one]}
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
