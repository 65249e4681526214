"""Lesson 07."""

import torch
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from course_lib.guidance import ClassifierGuided
from course_lib.process import randn_like
from course_lib.samplers import ddim, result

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


RIGHT = {
    "guided_score": [by_hand, by_cross_entropy, through_eps, by_library],
    "classifier_loss": [loss_by_hand, noise_first, one_hot],
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
}


# What was tried: whole functions, as they would stand in the cell


def of_probabilities(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        p = classifier(x, t).softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(p.sum(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def of_logits(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        gradient = torch.autograd.grad(classifier(x, t)[range(len(x)), label].sum(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def of_the_mean(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.mean(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def by_the_loss(denoiser, classifier, x_t, t, label, w):
    """The gradient of the cross-entropy, which is minus log P."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        loss = cross_entropy(classifier(x, t), torch.as_tensor(label).expand(len(x)), reduction="sum")
        gradient = torch.autograd.grad(loss, x)[0]
    return denoiser(x_t, t).score + w * gradient


def where_gradients_are_off(denoiser, classifier, x_t, t, label, w):
    x = x_t.detach().requires_grad_()
    log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
    return denoiser(x_t, t).score + w * torch.autograd.grad(log_p.sum(), x)[0]


def eps_plus_gradient(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.sum(), x)[0]
    return denoiser(x_t, t).eps + w * gradient


def scaled_as_for_eps(denoiser, classifier, x_t, t, label, w):
    """sqrt(1 - alpha_bar) of Algorithm 2, where no eps is."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.sum(), x)[0]
    return denoiser(x_t, t).score + w * denoiser.process.noise(t) * gradient


def w_less_one(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.sum(), x)[0]
    return denoiser(x_t, t).score + (w - 1) * gradient


def gradient_alone(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        return w * torch.autograd.grad(log_p.sum(), x)[0]


def likeliest(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)
        gradient = torch.autograd.grad(log_p.amax(1).sum(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def over_the_batch(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(0)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.sum(), x)[0]
    return denoiser(x_t, t).score + w * gradient


def blended(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)[range(len(x)), label]
        gradient = torch.autograd.grad(log_p.sum(), x)[0]
    return (1 - w) * denoiser(x_t, t).score + w * gradient


def on_x_t_itself(denoiser, classifier, x_t, t, label, w):
    x_t.requires_grad_()
    with torch.enable_grad():
        log_p = classifier(x_t, t).log_softmax(1)[range(len(x_t)), label]
        gradient = torch.autograd.grad(log_p.sum(), x_t)[0]
    return denoiser(x_t, t).score + w * gradient


def of_clean_pictures(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    return cross_entropy(classifier(x0, t), label)


def always_time_0(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, 0), label)


def randint_from_0(classifier, x0, label, rng):
    t = torch.randint(0, classifier.process.T, (len(x0),), generator=rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label)


def one_t_for_all(classifier, x0, label, rng):
    t = int(classifier.process.sample_t(1, rng))
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label)


def without_rng(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, torch.randn_like(x0))
    return cross_entropy(classifier(x_t, t), label)


def softmax_first(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(torch.softmax(classifier(x_t, t), dim=1), label)


def of_all_labels(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label, reduction="sum")


def each_one(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label, reduction="none")


def nll_of_logits(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return nll_loss(classifier(x_t, t), label)


def squares_of_one_hot(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    p = classifier(x_t, t).softmax(1)
    return ((p - torch.nn.functional.one_hot(label, p.shape[1])) ** 2).mean()


def plain_number(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label).item()


def likelihood(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return classifier(x_t, t).log_softmax(1)[range(len(x0)), label].mean()


def fractions(classifier, x0, label, rng):
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t / classifier.process.T), label)


TRIED = {
    "guided_score": [
        ("of P, not of log P", of_probabilities),
        ("of the logits themselves", of_logits),
        ("averaged over the batch", of_the_mean),
        ("its sign is turned", by_the_loss),
        ("gradients are off", where_gradients_are_off),
        ("the denoiser's noise eps", eps_plus_gradient),
        ("belongs to the noise eps", scaled_as_for_eps),
        ("w - 1", w_less_one),
        ("only the classifier's gradient", gradient_alone),
        ("likeliest class", likeliest),
        ("over the batch", over_the_batch),
        ("blended", blended),
        ("", on_x_t_itself),
    ],
    "classifier_loss": [
        ("given clean pictures", of_clean_pictures),
        ("given t = 0", always_time_0),
        ("drawn from 0 .. T - 1", randint_from_0),
        ("one t is drawn", one_t_for_all),
        ("not drawn from rng", without_rng),
        ("the softmax is taken twice", softmax_first),
        ("summed, not averaged", of_all_labels),
        ("one number for each", each_one),
        ("must be normalised", nll_of_logits),
        ("mean squared error", squares_of_one_hot),
        ("cut off", plain_number),
        ("the sign is turned", likelihood),
        ("", fractions),
    ],
}


def by_gather(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_(True)
        log_p = torch.log_softmax(classifier(x, t), dim=-1)
        index = torch.as_tensor(label).expand(len(x))[:, None]
        log_p.gather(1, index).sum().backward()
    return denoiser(x_t, t).score + w * x.grad


def by_one_hot(denoiser, classifier, x_t, t, label, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        logits = classifier(x, t)
        chosen = (logits * torch.nn.functional.one_hot(torch.as_tensor(label), logits.shape[1])).sum(1)
        return denoiser(x_t, t).score.detach() + w * torch.autograd.grad((chosen - logits.logsumexp(1)).sum(), x)[0]


def one_gradient_each(denoiser, classifier, x_t, t, label, w):
    labels, gradients = torch.as_tensor(label).expand(len(x_t)).tolist(), []
    for one, c in zip(x_t, labels):
        with torch.enable_grad():
            x = one[None].detach().requires_grad_()
            gradients.append(torch.autograd.grad(classifier(x, t).log_softmax(1)[0, c], x)[0])
    return denoiser(x_t, t).score + w * torch.cat(gradients)


def by_logsumexp(classifier, x0, label, rng):
    t, eps = classifier.process.sample_t(len(x0), rng), torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
    logits = classifier(classifier.process.add_noise(x0, t, eps), t)
    return (logits.logsumexp(1) - logits[torch.arange(len(x0)), label]).mean()


def summed_and_divided(classifier, x0, label, rng):
    t, eps = classifier.process.sample_t(len(x0), rng), randn_like(x0, rng)
    x_t = classifier.process.add_noise(x0, t, eps)
    return cross_entropy(classifier(x_t, t).double(), label, reduction="sum") / len(x0)


def by_gathered_logarithms(classifier, x0, label, rng):
    process = classifier.process
    t = (1 + torch.rand(len(x0), generator=rng) * process.T).long().clamp(max=process.T)
    a, b = process.coefficients(t, x0)
    p = classifier(a * x0 + b * torch.empty_like(x0).normal_(generator=rng), t).softmax(-1)
    return -p.gather(1, label[:, None]).log().mean()


RIGHT["guided_score"] += [by_gather, by_one_hot, one_gradient_each]
RIGHT["classifier_loss"] += [by_logsumexp, summed_and_divided, by_gathered_logarithms]


# guided_sampling


def walk(move, times=lambda times: times, score=through_eps):
    """A loop of moves x = move(process, score, pred, x, t, after)."""

    def sampling(denoiser, classifier, x, its, label, w):
        row = times(its.tolist())
        for t, after in zip(row, row[1:]):
            guided = score(denoiser, classifier, x, t, label, w)
            x = move(denoiser.process, guided, denoiser(x, t), x, t, after)
        return x

    return sampling


def x0_of(process, score, x, t):
    a, b = process.coefficients(t, x)
    return (x + b**2 * score) / a


def eps_of(process, score, x, t):
    return -process.coefficients(t, x)[1] * score


def both(process, score, x, t):
    return x0_of(process, score, x, t), eps_of(process, score, x, t)


def ddim_move(process, score, pred, x, t, after):
    x0, eps = both(process, score, x, t)
    return process.add_noise(x0, after, eps)


def by_the_librarys_guide(denoiser, classifier, x, times, label, w):
    return result(ddim(ClassifierGuided(denoiser, classifier, label, w), x, times))


def by_replace(process, score, pred, x, t, after):
    guided = pred.replace(score=score)
    return process.add_noise(guided.x0, after, guided.eps)


def algorithm_2(denoiser, classifier, x, times, label, w):
    """As it is printed, with the roots of alpha_bar, one move at a time, backwards through an index."""
    bar = denoiser.process.alpha_bar
    for i in range(len(times) - 1):
        t, after = int(times[i]), int(times[i + 1])
        with torch.enable_grad():
            inside = x.detach().clone().requires_grad_()
            log_p = classifier(inside, t).log_softmax(1)[range(len(x)), label].sum()
            (gradient,) = torch.autograd.grad(log_p, inside)
        eps = denoiser(x, t).eps - w * float((1 - bar(t)) ** 0.5) * gradient
        x0 = (x - float((1 - bar(t)) ** 0.5) * eps) / float(bar(t) ** 0.5)
        x = float(bar(after) ** 0.5) * x0 + float((1 - bar(after)) ** 0.5) * eps
    return x


def all_steps_kept(denoiser, classifier, x, times, label, w):
    xs = [x]
    for t, after in zip(times[:-1].tolist(), times[1:].tolist()):
        guided = denoiser(xs[-1], t).replace(score=through_eps(denoiser, classifier, xs[-1], t, label, w))
        xs.append(denoiser.process.add_noise(guided.x0, after, guided.eps))
    return xs[-1]


def with_end(denoiser, classifier, x, times, label, w):
    """The last move apart: it ends at the predicted picture."""
    *row, last, _ = times.tolist()
    x = walk(ddim_move)(denoiser, classifier, x, torch.tensor([*row, last]), label, w) if row else x
    return x0_of(denoiser.process, through_eps(denoiser, classifier, x, last, label, w), x, last)


def of_the_label_at(weight):
    return lambda denoiser, classifier, x, t, label, w: through_eps(denoiser, classifier, x, t, label, weight(denoiser, t, w))


def guide_is_forgotten(denoiser, classifier, x, times, label, w):
    return result(ddim(denoiser, x, times))


def score_step(denoiser, classifier, x, times, label, w):
    """Gradient ascent on log q instead of a sampler."""
    for t in times.tolist()[:-1]:
        x = x + denoiser.process.coefficients(t, x)[1] ** 2 * through_eps(denoiser, classifier, x, t, label, w)
    return x


def x_t_in_place(denoiser, classifier, x, times, label, w):
    x.copy_(walk(ddim_move)(denoiser, classifier, x.clone(), times, label, w))
    return x


RIGHT["guided_sampling"] = [
    walk(ddim_move),
    walk(by_replace, score=by_hand),
    by_the_librarys_guide,
    algorithm_2,
    all_steps_kept,
    with_end,
]
UNMOVED_X0 = walk(lambda p, score, pred, x, t, after: p.add_noise(pred.x0, after, eps_of(p, score, x, t)))
UNMOVED_EPS = walk(lambda p, score, pred, x, t, after: p.add_noise(x0_of(p, score, x, t), after, pred.eps))
WRONG["guided_sampling"] = [
    ("guidance is left out", guide_is_forgotten),
    ("the predicted picture is the denoiser's own", UNMOVED_X0),
    ("the noise that is added back is the denoiser's own", UNMOVED_EPS),
    ("ends before the last move", walk(ddim_move, times=lambda row: row[:-1])),
]
TRIED["guided_sampling"] = [
    ("guidance is left out", guide_is_forgotten),
    ("the predicted picture is the denoiser's own", UNMOVED_X0),
    ("the noise that is added back is the denoiser's own", UNMOVED_EPS),
    ("ends before the last move", walk(ddim_move, times=lambda row: row[:-1])),
    (
        "stays at its time",
        walk(lambda p, score, pred, x, t, after: p.add_noise(*both(p, score, x, t)[:1], t, eps_of(p, score, x, t))),
    ),
    ("at the predicted picture", walk(lambda p, score, pred, x, t, after: x0_of(p, score, x, t))),
    ("the sign of eps is turned", walk(lambda p, s, pred, x, t, after: ddim_move(p, -s, pred, x, t, after))),
    ("w is multiplied by b", walk(ddim_move, score=of_the_label_at(lambda d, t, w: w * float(d.process.noise(t))))),
    ("the weight of w = 1", walk(ddim_move, score=of_the_label_at(lambda d, t, w: 1.0))),
    ("the weight w - 1", walk(ddim_move, score=of_the_label_at(lambda d, t, w: w - 1))),
    ("noise is added to x", walk(lambda p, s, pred, x, t, after: p.add_noise(x, after, eps_of(p, s, x, t)))),
    ("", walk(lambda p, s, pred, x, t, after: p.add_noise(x0_of(p, s, x, t), after, torch.randn_like(x)))),
    ("", score_step),
    ("", x_t_in_place),
]
