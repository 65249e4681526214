"""Lesson 28: right and wrong answers to `interval_guidance`, `particle_sampler` and `dpo_loss`."""

from itertools import pairwise

import torch
from torch.nn.functional import logsigmoid, softplus

# interval_guidance


def by_lerp(main, guide, x, t, sigma, w, low, high):
    if sigma <= low or sigma > high:
        return main(x, t)
    return torch.lerp(guide(x, t), main(x, t), w)


def by_weights(main, guide, x, t, sigma, w, low, high):
    strong = main(x, t)
    return w * strong + (1 - w) * guide(x, t) if low < sigma and sigma <= high else strong


def by_weight_of_the_level(main, guide, x, t, sigma, w, low, high):
    w = w if low < sigma <= high else 1.0
    strong = main(x, t)
    if w == 1.0 and not low < sigma <= high:
        return strong
    return strong + (w - 1) * (strong - guide(x, t))


def by_early_return(main, guide, x, t, sigma, w, low, high):
    prediction = main(x, t)
    if not (low < sigma <= high):
        return prediction
    weak = guide(x, t)
    return weak.add(prediction - weak, alpha=w)


def by_tensors(main, guide, x, t, sigma, w, low, high):
    models = [main] + [guide] * bool(low < sigma <= high)
    found = torch.stack([model(x, t) for model in models])
    factors = torch.tensor([w, 1 - w] if len(models) == 2 else [1.0])
    return torch.tensordot(factors, found, 1)


def _interval(inside=lambda t, s, low, high: low < s <= high, mix=lambda m, g, w: g + w * (m - g), outside=lambda m, g: m):
    def interval_guidance(main, guide, x, t, sigma, w, low, high):
        if inside(t, sigma, low, high):
            return mix(main(x, t), guide(x, t), w)
        return outside(lambda: main(x, t), lambda: guide(x, t))()

    return interval_guidance


everywhere = _interval(lambda t, s, low, high: True)
outside_alone = _interval(lambda t, s, low, high: not low < s <= high)
only_high = _interval(lambda t, s, low, high: s <= high)
only_low = _interval(lambda t, s, low, high: s > low)
of_time = _interval(lambda t, s, low, high: low < t <= high)
turned = _interval(mix=lambda m, g, w: m + w * (g - m))
papers_w = _interval(mix=lambda m, g, w: m + w * (m - g))
no_w = _interval(mix=lambda m, g, w: g + (m - g))
guide_outside = _interval(outside=lambda m, g: g)
averaged = _interval(mix=lambda m, g, w: (m + w * g) / (1 + w))
closed = _interval(lambda t, s, low, high: low <= s <= high)
opened = _interval(lambda t, s, low, high: low < s < high)


def always_both(main, guide, x, t, sigma, w, low, high):
    strong, weak = main(x, t), guide(x, t)
    return weak + w * (strong - weak) if low < sigma <= high else strong


# particle_sampler


def by_pairs(denoiser, x, times, reward, beta, move, resample):
    last = 0.0
    for t, s in pairwise(times):
        x0 = denoiser(x, t)
        now = reward(x0)
        i = resample(torch.exp((now - last) / beta))
        x, last = move(x[i], x0[i], t, s), now[i]
    return x[resample(torch.exp((reward(x) - last) / beta))]


def by_softmax(denoiser, x, times, reward, beta, move, resample):
    last = x.new_zeros(len(x))
    for k in range(len(times) - 1):
        x0 = denoiser(x, times[k])
        value = reward(x0)
        i = resample(torch.softmax((value - last) / beta, 0))
        x = move(x[i], x0[i], times[k], times[k + 1])
        last = value[i]
    return x[resample(torch.softmax((reward(x) - last) / beta, 0))]


def by_potentials(denoiser, x, times, reward, beta, move, resample):
    """Quotients of exp(r / beta)."""
    before = torch.ones(len(x))
    for t, s in pairwise(times):
        x0 = denoiser(x, t)
        potential = (reward(x0) / beta).exp()
        i = resample(potential / before)
        x, before = move(x[i], x0[i], t, s), potential[i]
    return x[resample((reward(x) / beta).exp() / before)]


def by_one_loop(denoiser, x, times, reward, beta, move, resample):
    last = torch.zeros(len(x))
    for k, t in enumerate(times):
        x0 = denoiser(x, t) if k + 1 < len(times) else x
        value = reward(x0)
        i = resample(((value - last) / beta).exp())
        x, x0, last = x[i], x0[i], value[i]
        if k + 1 < len(times):
            x = move(x, x0, t, times[k + 1])
    return x


def by_index_select(denoiser, x, times, reward, beta, move, resample):
    scores = [torch.zeros(len(x))]
    for t, s in pairwise(times):
        x0 = denoiser(x, t)
        scores.append(reward(x0))
        i = resample(((scores[-1] - scores[-2]) / beta).exp())
        scores[-1] = scores[-1].index_select(0, i)
        x = move(x.index_select(0, i), x0.index_select(0, i), t, s)
    return x.index_select(0, resample(((reward(x) - scores[-1]) / beta).exp()))


def _particles(
    weight=lambda value, last, beta: ((value - last) / beta).exp(),
    take=lambda x, x0, value, i: (x[i], x0[i], value[i]),
    of=lambda x, x0: x0,
    end=lambda x, weights, resample: x[resample(weights)],
    final=None,
):
    def particle_sampler(denoiser, x, times, reward, beta, move, resample):
        last = torch.zeros(len(x))
        for t, s in pairwise(times):
            x0 = denoiser(x, t)
            value = reward(of(x, x0))
            x, x0, last = take(x, x0, value, resample(weight(value, last, beta)))
            x = move(x, x0, t, s)
        return end(x, (final or weight)(reward(x), last, beta), resample)

    return particle_sampler


counted_again = _particles(weight=lambda value, last, beta: (value / beta).exp())
rewards_stay = _particles(take=lambda x, x0, value, i: (x[i], x0[i], value))
predictions_stay = _particles(take=lambda x, x0, value, i: (x[i], x0, value[i]))
particles_stay = _particles(take=lambda x, x0, value, i: (x, x0[i], value[i]))
of_noisy = _particles(of=lambda x, x0: x)
no_last = _particles(end=lambda x, weights, resample: x)
last_alone_again = _particles(final=lambda value, last, beta: (value / beta).exp())
times_beta = _particles(weight=lambda value, last, beta: ((value - last) * beta).exp())
no_exponential = _particles(weight=lambda value, last, beta: (value - last) / beta)
turned_sign = _particles(weight=lambda value, last, beta: ((last - value) / beta).exp())
best_alone = _particles(end=lambda x, weights, resample: x[weights.argmax()][None])


def at_the_end(denoiser, x, times, reward, beta, move, resample):
    for t, s in pairwise(times):
        x = move(x, denoiser(x, t), t, s)
    return x[resample((reward(x) / beta).exp())]


# dpo_loss


def by_two_errors(model, reference, winner, loser, t, eps, add_noise, c):
    error = lambda net, x0: ((net(add_noise(x0, t, eps), t) - eps) ** 2).flatten(1).sum(1)
    with torch.no_grad():
        before = error(reference, winner) - error(reference, loser)
    return -logsigmoid(-c * (error(model, winner) - error(model, loser) - before)).mean()


def by_softplus(model, reference, winner, loser, t, eps, add_noise, c):
    difference = 0
    for sign, x0 in ((1, winner), (-1, loser)):
        x_t = add_noise(x0, t, eps)
        old = reference(x_t, t).detach()
        new = model(x_t, t)
        difference = difference + sign * ((new - eps).pow(2) - (old - eps).pow(2)).flatten(1).sum(1)
    return softplus(c * difference).mean()


def by_doubled_batch(model, reference, winner, loser, t, eps, add_noise, c):
    x0, eps, t = torch.cat([winner, loser]), torch.cat([eps, eps]), torch.cat([t, t])
    x_t = add_noise(x0, t, eps)
    with torch.no_grad():
        old = (reference(x_t, t) - eps).square().flatten(1).sum(1)
    won, lost = ((model(x_t, t) - eps).square().flatten(1).sum(1) - old).chunk(2)
    return -logsigmoid(c * (lost - won)).mean()


def by_norms(model, reference, winner, loser, t, eps, add_noise, c):
    def gain(x0):
        x_t = add_noise(x0, t, eps)
        return (eps - model(x_t, t)).flatten(1).norm(dim=1) ** 2 - (eps - reference(x_t, t).detach()).flatten(1).norm(
            dim=1
        ) ** 2

    return torch.stack([-logsigmoid(-c * g) for g in gain(winner) - gain(loser)]).mean()


def by_cross_entropy(model, reference, winner, loser, t, eps, add_noise, c):
    def gain(x0):
        x_t = add_noise(x0, t, eps)
        with torch.no_grad():
            old = reference(x_t, t)
        return torch.einsum("bi,bi->b", *[(model(x_t, t) - eps).flatten(1)] * 2) - (old - eps).flatten(1).pow(2).sum(1)

    logits = -c * (gain(winner) - gain(loser))
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def _dpo(
    argument=lambda won, lost, c: -c * (won - lost),
    end=lambda logits: -logsigmoid(logits).mean(),
    old=lambda error: error.detach(),
    reduce=lambda square: square.flatten(1).sum(1),
    given=lambda x0, x_t: x_t,
):
    def dpo_loss(model, reference, winner, loser, t, eps, add_noise, c):
        def gain(x0):
            x = given(x0, add_noise(x0, t, eps))
            return reduce((model(x, t) - eps).square()) - old(reduce((reference(x, t) - eps).square()))

        return end(argument(gain(winner), gain(loser), c))

    return dpo_loss


exchanged = _dpo(lambda won, lost, c: -c * (lost - won))
no_reference = _dpo(old=lambda error: 0)
winner_alone = _dpo(lambda won, lost, c: -c * won)
no_logarithm = _dpo(end=lambda logits: -torch.sigmoid(logits).mean())
no_minus = _dpo(end=lambda logits: logsigmoid(logits).mean())
mean_inside = _dpo(end=lambda logits: -logsigmoid(logits.mean()))
no_c = _dpo(lambda won, lost, c: -(won - lost))
summed = _dpo(end=lambda logits: -logsigmoid(logits).sum())
mean_over_numbers = _dpo(reduce=lambda square: square.flatten(1).mean(1))
of_clean = _dpo(given=lambda x0, x_t: x0)
reference_trained = _dpo(old=lambda error: error)
underflow = _dpo(end=lambda logits: -torch.sigmoid(logits).log().mean())
plain_difference = _dpo(end=lambda logits: -logits.mean())

RIGHT = {
    "interval_guidance": [by_lerp, by_weights, by_weight_of_the_level, by_early_return, by_tensors],
    "particle_sampler": [by_pairs, by_softmax, by_potentials, by_one_loop, by_index_select],
    "dpo_loss": [by_two_errors, by_softplus, by_doubled_batch, by_norms, by_cross_entropy],
}
WRONG = {
    "interval_guidance": [
        ("guidance is everywhere", everywhere),
        ("it belongs inside", outside_alone),
        ("compared with t", of_time),
        ("change places in the mix", turned),
        ("w = 1 would not give main", papers_w),
        ("evaluate it only where it is used", always_both),
    ],
    "particle_sampler": [
        ("counted again and again", counted_again),
        ("takes its own reward with it", rewards_stay),
        ("belongs to the predicted x_0", of_noisy),
        ("the sample itself, is missing", no_last),
        ("only at the end", at_the_end),
    ],
    "dpo_loss": [
        ("winner and loser change places", exchanged),
        ("the reference is left out", no_reference),
        ("only the winner counts", winner_alone),
        ("gradients reach the reference", reference_trained),
        ("use logsigmoid", underflow),
    ],
}
TRIED = {
    "interval_guidance": [
        *WRONG["interval_guidance"],
        ("only the upper end", only_high),
        ("only the lower end", only_low),
        ("w is left out", no_w),
        ("", guide_outside),
        ("averaged by w", averaged),
        ("", closed),
        ("", opened),
    ],
    "particle_sampler": [
        *WRONG["particle_sampler"],
        ("takes its own prediction with it", predictions_stay),
        ("the particles stay", particles_stay),
        ("was counted already", last_alone_again),
        ("multiplied by beta", times_beta),
        ("not exponentials", no_exponential),
        ("low rewards are drawn", turned_sign),
        ("returned alone", best_alone),
    ],
    "dpo_loss": [
        *WRONG["dpo_loss"],
        ("logarithm is missing", no_logarithm),
        ("the minus before", no_minus),
        ("inside of the sigmoid", mean_inside),
        ("c is left out", no_c),
        ("are summed", summed),
        ("over a picture's numbers", mean_over_numbers),
        ("given x_0", of_clean),
        ("", plain_difference),
    ],
}
