"""Lessons 07 and 08."""

import torch
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from course_lib.guidance import ClassifierFree, ClassifierGuided

# guided_score


def by_hand(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)
        chosen = log_p[range(len(x)), label]
        gradient = torch.autograd.grad(chosen.sum(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def by_cross_entropy(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.clone().detach().requires_grad_(True)
        loss = cross_entropy(classifier(x, t), torch.as_tensor(label).expand(len(x)), reduction="sum")
        loss.backward()
    return denoiser(x_t, t).score - w * x.grad


def through_eps(denoiser, classifier, x_t, t, label, w):
    """Algorithm 2: the noise is moved, and read as a score."""
    pred = denoiser(x_t, t)
    pushed = by_hand(denoiser, classifier, x_t, t, label, 1.0) - pred.score
    eps = pred.eps - w * pred.b * pushed
    return -eps / pred.b


def by_library(denoiser, classifier, x_t, t, label, w):
    return ClassifierGuided(denoiser, classifier, label, w)(x_t, t).score


def _gradient(classifier, x_t, t, label, f):
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        return torch.autograd.grad(f(classifier(x, t))[range(len(x)), label].sum(), x)[0]


def gradient_of_p(denoiser, classifier, x_t, t, label, w):
    return denoiser(x_t, t).score + w * _gradient(classifier, x_t, t, label, lambda odds: odds.softmax(1))


def gradient_of_odds(denoiser, classifier, x_t, t, label, w):
    return denoiser(x_t, t).score + w * _gradient(classifier, x_t, t, label, lambda odds: odds)


def away(denoiser, classifier, x_t, t, label, w):
    return denoiser(x_t, t).score - w * _gradient(classifier, x_t, t, label, lambda odds: odds.log_softmax(1))


def onto_eps(denoiser, classifier, x_t, t, label, w):
    return denoiser(x_t, t).eps + w * _gradient(classifier, x_t, t, label, lambda odds: odds.log_softmax(1))


def switched_off(denoiser, classifier, x_t, t, label, w):
    x = x_t.detach().clone().requires_grad_()
    chosen = classifier(x, t).log_softmax(1)[range(len(x)), label]
    return denoiser(x_t, t).score + w * torch.autograd.grad(chosen.sum(), x)[0]


# classifier_loss


def loss_by_hand(classifier, x0, label, rng):
    process = classifier.process
    t = torch.randint(1, process.T + 1, (len(x0),), generator=rng)
    eps = torch.randn(x0.shape, generator=rng)
    a = process.alpha_bar(t).sqrt().float().view(-1, *[1] * (x0.ndim - 1))
    return cross_entropy(classifier(a * x0 + (1 - a**2).sqrt() * eps, t), label)


def noise_first(classifier, x0, label, rng):
    eps = torch.randn(x0.shape, generator=rng)
    t = classifier.process.sample_t(len(x0), rng)
    log_p = log_softmax(classifier(classifier.process.add_noise(x0, t, eps), t), 1)
    return nll_loss(log_p, label)


def one_hot(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, torch.randn(x0.shape, generator=rng))
    log_p = classifier(x_t, t).log_softmax(1)
    return -(torch.nn.functional.one_hot(label, log_p.shape[1]) * log_p).sum(1).mean()


def never_noisy(classifier, x0, label, rng):
    return cross_entropy(classifier(x0, classifier.process.sample_t(len(x0), rng)), label)


def told_nothing(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, torch.randn(x0.shape, generator=rng))
    return cross_entropy(classifier(x_t, torch.zeros_like(t)), label)


def all_one_t(classifier, x0, label, rng):
    t = classifier.process.sample_t(1, rng).expand(len(x0))
    x_t = classifier.process.add_noise(x0, t, torch.randn(x0.shape, generator=rng))
    return cross_entropy(classifier(x_t, t), label)


def upside_down(classifier, x0, label, rng):
    return -loss_by_hand(classifier, x0, label, rng)


def double_softmax(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, torch.randn(x0.shape, generator=rng))
    return cross_entropy(classifier(x_t, t).softmax(1), label)


# label_dropout


def by_where(label, null, p, rng):
    return torch.where(torch.rand(label.shape, generator=rng) < p, null, label)


def by_fill(label, null, p, rng):
    return label.masked_fill(torch.rand(len(label), generator=rng) < p, null)


def by_bernoulli(label, null, p, rng):
    drop = torch.bernoulli(torch.full(label.shape, p), generator=rng).bool()
    out = label.clone()
    out[drop] = null
    return out


def keeps_p(label, null, p, rng):
    return torch.where(torch.rand(label.shape, generator=rng) < p, label, null)


def all_or_none(label, null, p, rng):
    return torch.full_like(label, null) if torch.rand(1, generator=rng) < p else label.clone()


def in_place(label, null, p, rng):
    label[torch.rand(label.shape, generator=rng) < p] = null
    return label


def to_zero(label, null, p, rng):
    return label * (torch.rand(label.shape, generator=rng) >= p)


def unseeded(label, null, p, rng):
    return torch.where(torch.rand(label.shape) < p, null, label)


# guided_mix


def mixed(cond, uncond, x_t, t, w):
    return uncond(x_t, t).eps + w * (cond(x_t, t).eps - uncond(x_t, t).eps)


def weighted(cond, uncond, x_t, t, w):
    return w * cond(x_t, t).eps + (1 - w) * uncond(x_t, t).eps


def by_lerp(cond, uncond, x_t, t, w):
    return torch.lerp(uncond(x_t, t).eps, cond(x_t, t).eps, w)


def mix_by_library(cond, uncond, x_t, t, w):
    return ClassifierFree(cond, uncond, w)(x_t, t).eps


def through_x0(cond, uncond, x_t, t, w):
    """All views are linear in each other: mixed pictures, read as noise."""
    uncond, cond = uncond(x_t, t), cond(x_t, t)
    return uncond.replace(x0=uncond.x0 + w * (cond.x0 - uncond.x0)).eps


def ho_and_salimans(cond, uncond, x_t, t, w):
    return (1 + w) * cond(x_t, t).eps - w * uncond(x_t, t).eps


def swapped(cond, uncond, x_t, t, w):
    return mixed(uncond, cond, x_t, t, w)


def turned(cond, uncond, x_t, t, w):
    return mixed(cond, uncond, x_t, t, -w)


def sum_of_both(cond, uncond, x_t, t, w):
    return uncond(x_t, t).eps + w * cond(x_t, t).eps


RIGHT = {
    "guided_score": [by_hand, by_cross_entropy, through_eps, by_library],
    "classifier_loss": [loss_by_hand, noise_first, one_hot],
    "label_dropout": [by_where, by_fill, by_bernoulli],
    "guided_mix": [mixed, weighted, by_lerp, mix_by_library, through_x0],
}
WRONG = {
    "guided_score": [
        ("the gradient is of P, not of log P", gradient_of_p),
        ("the gradient is of the logits themselves", gradient_of_odds),
        ("its sign is turned", away),
        ("added to the denoiser's noise eps", onto_eps),
        ("gradients are off", switched_off),
    ],
    "classifier_loss": [
        ("the classifier is given clean pictures", never_noisy),
        ("given t = 0 however noisy", told_nothing),
        ("one t is drawn for the whole batch", all_one_t),
        ("the sign is turned", upside_down),
        ("the softmax is taken twice", double_softmax),
    ],
    "label_dropout": [
        ("p is the share that stays", keeps_p),
        ("all go or none", all_or_none),
        ("the labels are written into", in_place),
        ("dropped labels become 0, which is a class", to_zero),
        ("not drawn from rng", unseeded),
    ],
    "guided_mix": [
        ("this is Ho and Salimans' w", ho_and_salimans),
        ("cond and uncond are swapped", swapped),
        ("the difference is turned", turned),
        ("the weights must sum to 1", sum_of_both),
    ],
}
