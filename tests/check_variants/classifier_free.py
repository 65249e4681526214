"""Lesson 08."""

import torch
from torch.nn.functional import mse_loss

from course_lib.guidance import ClassifierFree
from course_lib.process import randn_like
from course_lib.samplers import ddim, result

# dropout_training


def training(drop, loss=None):
    """A training loop with drop(label, p, null, rng) and loss(network, x0, rng)."""

    def dropout_training(network, draw, optimizer, steps, p, null, rng):
        losses = []
        for _ in range(steps):
            x0, label = draw(rng)
            value = (loss or of_noise)(network.given(drop(label, p, null, rng)), x0, rng)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        return losses

    dropout_training.__name__ = (loss or drop).__name__
    return dropout_training


def of_noise(denoiser, x0, rng):
    t, eps = denoiser.process.sample_t(len(x0), rng), randn_like(x0, rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def chances(label, rng):
    return torch.rand(label.shape, generator=rng)


def by_where(label, p, null, rng):
    return torch.where(chances(label, rng) < p, null, label)


def by_fill(label, p, null, rng):
    return label.masked_fill(chances(label, rng) < p, null)


def by_bernoulli(label, p, null, rng):
    label = label.clone()
    label[torch.bernoulli(torch.full(label.shape, p), generator=rng).bool()] = null
    return label


def by_arithmetic(label, p, null, rng):
    dropped = (chances(label, rng) < p).long()
    return label * (1 - dropped) + null * dropped


def in_place(label, p, null, rng):
    label[chances(label, rng) < p] = null
    return label


def one_at_a_time(label, p, null, rng):
    return torch.tensor([null if u < p else c for u, c in zip(chances(label, rng).tolist(), label.tolist())])


def noise_first(denoiser, x0, rng):
    eps = torch.randn(x0.shape, generator=rng)
    t = torch.randint(1, denoiser.process.T + 1, (len(x0),), generator=rng)
    a, b = denoiser.process.coefficients(t, x0)
    return (eps - denoiser(a * x0 + b * eps, t).eps).pow(2).mean()


def keeps_p(label, p, null, rng):
    return torch.where(chances(label, rng) < p, label, null)


def all_or_none(label, p, null, rng):
    return torch.full_like(label, null) if torch.rand(1, generator=rng) < p else label


def to_zero(label, p, null, rng):
    return label * (chances(label, rng) >= p)


def to_a_class(label, p, null, rng):
    u = chances(label, rng)
    return torch.where(u < p, torch.randint(null, label.shape, generator=rng), label)


def unseeded(label, p, null, rng):
    return torch.where(torch.rand(label.shape) < p, null, label)


def own_seed(label, p, null, rng):
    return torch.where(chances(label, torch.Generator().manual_seed(0)) < p, null, label)


def a_fixed_number(label, p, null, rng):
    label = label.clone()
    label[torch.randperm(len(label), generator=rng)[: round(p * len(label))]] = null
    return label


def the_first_ones(label, p, null, rng):
    label = label.clone()
    label[: round(p * len(label))] = null
    return label


def never(label, p, null, rng):
    return label


def always(label, p, null, rng):
    return torch.full_like(label, null)


def against_x_t(denoiser, x0, rng):
    t, eps = denoiser.process.sample_t(len(x0), rng), randn_like(x0, rng)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return mse_loss(denoiser(x_t, t).eps, x_t)


def of_clean_pictures(denoiser, x0, rng):
    t, eps = denoiser.process.sample_t(len(x0), rng), randn_like(x0, rng)
    return mse_loss(denoiser(x0, t).eps, eps)


def one_time(denoiser, x0, rng):
    t, eps = int(denoiser.process.sample_t(1, rng)), randn_like(x0, rng)
    return mse_loss(denoiser(denoiser.process.add_noise(x0, t, eps), t).eps, eps)


def pictures_left_out(network, draw, optimizer, steps, p, null, rng):
    losses = []
    for _ in range(steps):
        x0, label = draw(rng)
        keep = chances(label, rng) >= p
        loss = of_noise(network.given(label[keep]), x0[keep], rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def never_cleared(network, draw, optimizer, steps, p, null, rng):
    losses = []
    for _ in range(steps):
        x0, label = draw(rng)
        loss = of_noise(network.given(by_where(label, p, null, rng)), x0, rng)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def one_batch(network, draw, optimizer, steps, p, null, rng):
    x0, label = draw(rng)
    return training(by_where)(network, lambda rng: (x0, label.clone()), optimizer, steps, p, null, rng)


def last_loss(network, draw, optimizer, steps, p, null, rng):
    return training(by_where)(network, draw, optimizer, steps, p, null, rng)[-1]


# classifier_free_sampling


def sampling(step):
    """A sampler of x = step(cond, uncond, x, t, s, w)."""

    def classifier_free_sampling(cond, uncond, x, times, w):
        for t, s in zip(times[:-1].tolist(), times[1:].tolist()):
            x = step(cond, uncond, x, t, s, w)
        return x

    classifier_free_sampling.__name__ = step.__name__
    return classifier_free_sampling


def both_views(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise(w * c.x0 + (1 - w) * u.x0, s, w * c.eps + (1 - w) * u.eps)


def through_eps(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    guided = u.replace(eps=u.eps + w * (c.eps - u.eps))
    return cond.process.add_noise(guided.x0, s, guided.eps)


def by_hand(cond, uncond, x, t, s, w):
    (a, b), (a_s, b_s) = cond.process.coefficients(t, x), cond.process.coefficients(s, x)
    eps = uncond(x, t).eps + w * (cond(x, t).eps - uncond(x, t).eps)
    return a_s * (x - b * eps) / a + b_s * eps


def by_lerp(cond, uncond, x, t, s, w):
    guided = uncond(x, t).lerp(cond(x, t), w)
    return cond.process.add_noise(guided.x0, s, guided.eps)


def beyond_the_conditional(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise(c.x0 + (w - 1) * (c.x0 - u.x0), s, c.eps + (w - 1) * (c.eps - u.eps))


def by_the_library(cond, uncond, x, times, w):
    return result(ddim(ClassifierFree(cond, uncond, w), x, times))


def _step(mix):
    """A step of mix(c, u, w) of both views."""

    def step(cond, uncond, x, t, s, w):
        c, u = cond(x, t), uncond(x, t)
        return cond.process.add_noise(mix(c.x0, u.x0, w), s, mix(c.eps, u.eps, w))

    return sampling(step)


def only_eps(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise(c.x0, s, u.eps + w * (c.eps - u.eps))


def only_x0(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise(u.x0 + w * (c.x0 - u.x0), s, u.eps)


def to_t(cond, uncond, x, t, s, w):
    return both_views(cond, uncond, x, t, t, w)


def clamped(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise((u.x0 + w * (c.x0 - u.x0)).clamp(-1, 1), s, u.eps + w * (c.eps - u.eps))


def noised_again(cond, uncond, x, t, s, w):
    c, u = cond(x, t), uncond(x, t)
    return cond.process.add_noise(u.x0 + w * (c.x0 - u.x0), s, torch.randn_like(x))


def upwards(cond, uncond, x, times, w):
    return sampling(both_views)(cond, uncond, x, times.flip(0), w)


def not_carried_on(cond, uncond, x, times, w):
    for t, s in zip(times[:-1].tolist(), times[1:].tolist()):
        end = both_views(cond, uncond, x, t, s, w)
    return end


# identity_residual


def by_einsum(scores, score, p):
    return torch.einsum("bc,bcd->bd", p, scores - score[:, None])


def mean_less_score(scores, score, p):
    return (p.unsqueeze(-1) * scores).sum(1) - score


def by_bmm(scores, score, p):
    return torch.bmm(p[:, None], scores - score.unsqueeze(1))[:, 0]


def class_by_class(scores, score, p):
    total = torch.zeros_like(score)
    for c in range(scores.shape[1]):
        total += p[:, c, None] * (scores[:, c] - score)
    return total


def by_matmul(scores, score, p):
    return (p[:, None] @ scores).squeeze(1) - score * p.sum(1, keepdim=True)


def equal_weights(scores, score, p):
    return (scores - score[:, None]).mean(1)


def without_p(scores, score, p):
    return (scores - score[:, None]).sum(1)


def without_score(scores, score, p):
    return (p[:, :, None] * scores).sum(1)


def turned(scores, score, p):
    return score - (p[:, :, None] * scores).sum(1)


def over_the_batch(scores, score, p):
    return (p[:, :, None] * (scores - score[:, None])).sum(0)


def over_the_components(scores, score, p):
    return (p[:, :, None] * (scores - score[:, None])).sum(-1)


def mean_of_weighted(scores, score, p):
    return (p[:, :, None] * (scores - score[:, None])).mean(1)


def likeliest(scores, score, p):
    return scores[range(len(p)), p.argmax(1)] - score


def softmax_of_p(scores, score, p):
    return (p.softmax(1)[:, :, None] * (scores - score[:, None])).sum(1)


def lengths(scores, score, p):
    return (p[:, :, None] * (scores - score[:, None])).sum(1).norm(dim=-1)


def with_log_p(scores, score, p):
    return (p.log()[:, :, None] * (scores - score[:, None])).sum(1)


def written_into_scores(scores, score, p):
    scores -= score[:, None]
    return (p[:, :, None] * scores).sum(1)


RIGHT = {
    "dropout_training": [
        *map(training, (by_where, by_fill, by_bernoulli, by_arithmetic, in_place, one_at_a_time)),
        training(by_where, noise_first),
    ],
    "classifier_free_sampling": [
        *map(sampling, (both_views, through_eps, by_hand, by_lerp, beyond_the_conditional)),
        by_the_library,
    ],
    "identity_residual": [by_einsum, mean_less_score, by_bmm, class_by_class, by_matmul],
}
WRONG = {
    "dropout_training": [
        ("drop is the share that is kept", training(keeps_p)),
        ("become 0, which is a class", training(to_zero)),
        ("the network must be given all 10000 of the batch", pictures_left_out),
    ],
    "classifier_free_sampling": [
        ("Ho and Salimans' w", _step(lambda c, u, w: (1 + w) * c - w * u)),
        ("x_0 is the conditional model's", sampling(only_eps)),
        ("✗ w = 3: guided samples", sampling(noised_again)),
    ],
    "identity_residual": [
        ("each has the weight P", equal_weights),
        ("✗ what is given is left as it was", written_into_scores),
    ],
}
TRIED = {
    "dropout_training": [
        ("drop is the share that is kept", training(keeps_p)),
        ("all labels are dropped, or none", training(all_or_none)),
        ("become 0", training(to_zero)),
        ("become another class", training(to_a_class)),
        ("pass generator=rng", training(unseeded)),
        ("the same labels are dropped", training(own_seed)),
        ("exactly the share drop", training(a_fixed_number)),
        ("always the first", training(the_first_ones)),
        ("nothing is ever dropped", training(never)),
        ("every label is dropped", training(always)),
        ("left out", pictures_left_out),
        ("zero_grad() is missing", never_cleared),
        ("one batch", one_batch),
        ("the loss of the last step", last_loss),
        ("the noisy picture x_t", training(by_where, against_x_t)),
        ("the clean picture x_0, not x_t", training(by_where, of_clean_pictures)),
        ("one t is drawn", training(by_where, one_time)),
    ],
    "classifier_free_sampling": [
        ("Ho and Salimans' w", _step(lambda c, u, w: (1 + w) * c - w * u)),
        ("cond and uncond are swapped", _step(lambda c, u, w: c + w * (u - c))),
        ("the difference is turned", _step(lambda c, u, w: u + w * (u - c))),
        ("the unconditional prediction is missing", _step(lambda c, u, w: w * (c - u))),
        ("the weights must sum to 1", _step(lambda c, u, w: u + w * c)),
        ("w is forgotten", _step(lambda c, u, w: c)),
        ("w - 1", _step(lambda c, u, w: u + (w - 1) * (c - u))),
        ("w is clipped", _step(lambda c, u, w: u + min(w, 1) * (c - u))),
        ("x_0 is the conditional model's", sampling(only_eps)),
        ("eps is the unconditional model's", sampling(only_x0)),
        ("go on to the next time", sampling(to_t)),
        ("clamped", sampling(clamped)),
        ("", sampling(noised_again)),
        ("upwards", upwards),
        ("x is not carried on", not_carried_on),
    ],
    "identity_residual": [
        ("each has the weight P", equal_weights),
        ("without P", without_p),
        ("not subtracted", without_score),
        ("the sign is turned", turned),
        ("over the batch", over_the_batch),
        ("over the components", over_the_components),
        ("the mean over classes", mean_of_weighted),
        ("likeliest class", likeliest),
        ("taken for logits", softmax_of_p),
        ("the length of the sum", lengths),
        ("logarithm of P", with_log_p),
        ("", written_into_scores),
    ],
}
