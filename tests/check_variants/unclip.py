"""Lesson 11."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import l1_loss, mse_loss, normalize

from course_lib import samplers
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree, classifier_free
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
    return sum(e @ e for e in each) / len(z)


def by_einsum(prior, process, z, y, t, eps):
    off = z - prior(process.add_noise(z, t, eps), t, y)
    return torch.einsum("bd,bd->", off, off) / z.shape[0]


def without_a_gradient(prior, process, z, y, t, eps):
    return (prior(process.add_noise(z, t, eps), t, y) - z).pow(2).sum(1).mean().item()


def in_numpy(prior, process, z, y, t, eps):
    error = prior(process.add_noise(z, t, eps), t, y).detach().numpy() - z.numpy()
    return (error**2).sum(1).mean()


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


def _ddim(denoiser, x, steps):
    times = denoiser.process.times(steps).tolist()
    for t, s in zip(times, times[1:]):
        pred = denoiser(x, t)
        x = denoiser.process.add_noise(pred.x0, s, pred.eps)
    return x


def by_the_library(prior, decoder, y, z, x, steps, w):
    z = samplers.sample(prior.given(y), z, steps)
    return samplers.sample(classifier_free(decoder, z, w), x, steps)


def by_two_loops(prior, decoder, y, z, x, steps, w):
    z = _ddim(prior.given(y), z, steps)
    return _ddim(ClassifierFree(decoder.given(z), decoder.given(NULL), w), x, steps)


def by_coefficients(prior, decoder, y, z, x, steps, w):
    for model, stage in (("prior", prior), ("decoder", decoder)):
        times = stage.process.times(steps)
        for t, s in zip(times[:-1].tolist(), times[1:].tolist()):
            now = z if model == "prior" else x
            a, b = stage.process.coefficients(t, now)
            next_a, next_b = stage.process.coefficients(s, now)
            if model == "prior":
                x0 = prior.given(y)(z, t).x0
                z = next_a * x0 + next_b * (z - a * x0) / b
            else:
                x0 = w * decoder.given(z)(x, t).x0 + (1 - w) * decoder.given(NULL)(x, t).x0
                x = next_a * x0 + next_b * (x - a * x0) / b
    return x


def null_by_hand(prior, decoder, y, z, x, steps, w):
    z = samplers.result(samplers.ddim(prior.given(y), z, prior.process.times(steps)))
    for t, s in pairwise(decoder.process.times(steps).tolist()):
        one, other = decoder.given(z)(x, t), decoder.given(torch.zeros_like(z))(x, t)
        x = decoder.process.add_noise(torch.lerp(other.x0, one.x0, w), s, torch.lerp(other.eps, one.eps, w))
    return x


def as_a_list(prior, decoder, y, z, x, steps, w):
    vectors, pictures = [z], [x]
    for t, s in pairwise(prior.process.times(steps).tolist()):
        pred = prior.given(y)(vectors[-1], t)
        vectors.append(prior.process.add_noise(pred.x0, s, pred.eps))
    guided = ClassifierFree(decoder.given(vectors[-1]), decoder.given(NULL), w)
    for t, s in pairwise(decoder.process.times(steps).tolist()):
        pred = guided(pictures[-1], t)
        pictures.append(decoder.process.add_noise(pred.x0, s, pred.eps))
    return pictures[-1]


def no_prior(prior, decoder, y, z, x, steps, w):
    return samplers.sample(classifier_free(decoder, z, w), x, steps)


def one_step_of_the_prior(prior, decoder, y, z, x, steps, w):
    z = prior.given(y)(z, prior.process.T).x0
    return samplers.sample(classifier_free(decoder, z, w), x, steps)


def caption_to_the_decoder(prior, decoder, y, z, x, steps, w):
    return samplers.sample(classifier_free(decoder, y, w), x, steps)


def without_the_caption(prior, decoder, y, z, x, steps, w):
    z = _ddim(prior.given(NULL), z, steps)
    return samplers.sample(classifier_free(decoder, z, w), x, steps)


def unguided(prior, decoder, y, z, x, steps, w):
    return _ddim(decoder.given(_ddim(prior.given(y), z, steps)), x, steps)


def never_given(prior, decoder, y, z, x, steps, w):
    return _ddim(decoder.given(NULL), x, steps)


def returns_the_vector(prior, decoder, y, z, x, steps, w):
    return _ddim(prior.given(y), z, steps)


def stays_noisy(prior, decoder, y, z, x, steps, w):
    cond = decoder.given(_ddim(prior.given(y), z, steps))
    for t in decoder.process.times(steps)[:-1].tolist():
        pred = ClassifierFree(cond, decoder.given(NULL), w)(x, t)
        x = decoder.process.add_noise(pred.x0, t, pred.eps)
    return x


def _decoded(prior, decoder, y, z, x, steps, mix):
    z = _ddim(prior.given(y), z, steps)
    for t, s in pairwise(decoder.process.times(steps).tolist()):
        c, u = decoder.given(z)(x, t), decoder.given(NULL)(x, t)
        x = decoder.process.add_noise(*mix(c, u, s))
    return x


def turned(prior, decoder, y, z, x, steps, w):
    return _decoded(prior, decoder, y, z, x, steps, lambda c, u, s: (u.x0 - w * (c.x0 - u.x0), s, u.eps - w * (c.eps - u.eps)))


def their_w(prior, decoder, y, z, x, steps, w):
    mix = lambda c, u, s: ((1 + w) * c.x0 - w * u.x0, s, (1 + w) * c.eps - w * u.eps)
    return _decoded(prior, decoder, y, z, x, steps, mix)


def eps_alone(prior, decoder, y, z, x, steps, w):
    return _decoded(prior, decoder, y, z, x, steps, lambda c, u, s: (c.x0, s, u.eps + w * (c.eps - u.eps)))


def one_process(prior, decoder, y, z, x, steps, w):
    z = _ddim(prior.given(y), z, steps)
    for t, s in pairwise(prior.process.times(steps).tolist()):
        c, u = decoder.given(z)(x, t), decoder.given(NULL)(x, t)
        x = prior.process.add_noise(u.x0 + w * (c.x0 - u.x0), s, u.eps + w * (c.eps - u.eps))
    return x


RIGHT = {
    "prior_loss": [by_mse, by_hand, by_columns, by_length, one_embedding_at_a_time, by_einsum],
    "slerp": [interpolation.slerp, by_arc, by_basis, one_by_one, by_numpy, straight_where_near],
    "unclip_sampling": [by_the_library, by_two_loops, by_coefficients, null_by_hand, as_a_list],
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
    "unclip_sampling": [
        ("the prior's steps do not change z", no_prior),
        ("it is given NULL", without_the_caption),
        ("w is forgotten", unguided),
        ("as noisy as it was", stays_noisy),
        ("the decoder has its own", one_process),
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
        ("no gradient flows", without_a_gradient),
        ("no gradient flows", in_numpy),
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
    "unclip_sampling": [
        *WRONG["unclip_sampling"],
        ("", one_step_of_the_prior),
        ("", caption_to_the_decoder),
        ("never given z", never_given),
        ("z is returned", returns_the_vector),
        ("leads away", turned),
        ("(1 + w) cond", their_w),
        ("only eps is guided", eps_alone),
    ],
}
