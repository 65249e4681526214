"""Lesson 26."""

import torch
from torch.nn.functional import cross_entropy, nll_loss

from course_lib.methods.masked import mask_tokens, parallel_decoding

# masking


def by_bernoulli(x0, t, mask, rng):
    hidden = torch.bernoulli(t[:, None].expand(x0.shape), generator=rng).bool()
    return x0.masked_fill(hidden, mask)


def by_index(x0, t, mask, rng):
    z = x0.clone()
    z[torch.rand(x0.shape, generator=rng) < t.view(-1, 1)] = mask
    return z


def by_sentence(x0, t, mask, rng):
    rows = []
    for row, share in zip(x0, t):
        keep = (torch.rand(len(row), generator=rng) >= share).long()
        rows.append(keep * row + (1 - keep) * mask)
    return torch.stack(rows)


def by_signal(x0, t, mask, rng):
    alpha = 1 - t
    return torch.where(torch.rand(x0.shape, generator=rng) < alpha[:, None], x0, torch.full_like(x0, mask))


def by_word(x0, t, mask, rng):
    z = torch.empty_like(x0)
    for i in range(x0.shape[1]):
        u = torch.rand(len(x0), generator=rng)
        z[:, i] = torch.where(u < t, mask, x0[:, i])
    return z


def signal_masked(x0, t, mask, rng):
    return by_index(x0, 1 - t, mask, rng)


def whole_sentences(x0, t, mask, rng):
    return torch.where((torch.rand(len(x0), generator=rng) < t)[:, None], mask, x0)


def same_masks(x0, t, mask, rng):
    return torch.where(torch.rand(x0.shape[1], generator=rng) < t[:, None], mask, x0)


def exact_count(x0, t, mask, rng):
    rank = torch.rand(x0.shape, generator=rng).argsort(1).argsort(1)
    return torch.where(rank < (t * x0.shape[1]).round()[:, None], mask, x0)


def zero_mask(x0, t, mask, rng):
    return torch.where(torch.rand(x0.shape, generator=rng) < t[:, None], 0, x0)


def random_words(x0, t, mask, rng):
    hidden = torch.rand(x0.shape, generator=rng) < t[:, None]
    return torch.where(hidden, torch.randint(4, x0.shape, generator=rng), x0)


def own_generator(x0, t, mask, rng):
    return torch.where(torch.rand(x0.shape) < t[:, None], mask, x0)


def in_place(x0, t, mask, rng):
    x0[torch.rand(x0.shape, generator=rng) < t[:, None]] = mask
    return x0


def of_first(x0, t, mask, rng):
    return by_index(x0, t[:1].expand(len(x0)), mask, rng)


def squared(x0, t, mask, rng):
    return by_index(x0, t**2, mask, rng)


# word_loss


def by_cross_entropy(net, x0, z, t, mask):
    loss = cross_entropy(net(z).transpose(1, 2), x0, reduction="none")
    return (loss * (z == mask) / t[:, None]).sum(1).mean()


def by_nll(net, x0, z, t, mask):
    log_p = torch.log_softmax(net(z), -1).flatten(0, 1)
    each = nll_loss(log_p, x0.flatten(), reduction="none").view(x0.shape)
    return ((z == mask).float() * each).sum(-1).div(t).mean()


def by_loop(net, x0, z, t, mask):
    logits, total = net(z), 0.0
    for b in range(len(x0)):
        for i in range(x0.shape[1]):
            if z[b, i] == mask:
                total = total - logits[b, i].log_softmax(0)[x0[b, i]] / t[b]
    return total / len(x0) + 0 * logits.sum()


def by_chosen(net, x0, z, t, mask):
    hidden = z == mask
    weight = (1 / t)[:, None].expand(x0.shape)[hidden]
    return (weight * cross_entropy(net(z)[hidden], x0[hidden], reduction="none")).sum() / len(x0)


def by_logsumexp(net, x0, z, t, mask):
    logits = net(z)
    gap = logits.logsumexp(2) - logits.gather(2, x0.unsqueeze(2)).squeeze(2)
    return (gap * (z == mask)).sum(1).dot(1 / t) / len(t)


def _weighed(weight=lambda t: 1 / t, where=lambda z, mask: z == mask, end=lambda each: each.sum(1).mean()):
    def word_loss(net, x0, z, t, mask):
        each = cross_entropy(net(z).transpose(1, 2), x0, reduction="none")
        return end(each * where(z, mask) * weight(t)[:, None])

    return word_loss


unweighted = _weighed(torch.ones_like)
by_time = _weighed(lambda t: t)
all_words = _weighed(where=lambda z, mask: torch.ones_like(z))
seen_words = _weighed(where=lambda z, mask: z != mask)
per_word = _weighed(end=lambda each: each.mean())
summed = _weighed(end=lambda each: each.sum())
negative = _weighed(end=lambda each: -each.sum(1).mean())


def per_masked_word(net, x0, z, t, mask):
    hidden = z == mask
    each = cross_entropy(net(z).transpose(1, 2), x0, reduction="none")
    return (each * hidden / t[:, None]).sum() / hidden.sum()


def clean_input(net, x0, z, t, mask):
    each = cross_entropy(net(x0).transpose(1, 2), x0, reduction="none")
    return (each * (z == mask) / t[:, None]).sum(1).mean()


def without_softmax(net, x0, z, t, mask):
    return -(net(z).gather(2, x0[..., None])[..., 0] * (z == mask) / t[:, None]).sum(1).mean()


def mean_weight(net, x0, z, t, mask):
    each = cross_entropy(net(z).transpose(1, 2), x0, reduction="none")
    return (each * (z == mask)).sum(1).mean() / t.mean()


# confidence_decoding


def by_library(net, z, n, mask, rng):
    return list(parallel_decoding(net, z, n, mask, "confidence", rng))[-1].z


def _decode(
    score=lambda p, drawn: p.gather(2, drawn[..., None])[..., 0],
    draw=lambda p, rng: torch.multinomial(p.flatten(0, 1), 1, generator=rng).view(p.shape[:2]),
    left=lambda m, length, k, n: m * (n - k) // n,
    best=True,
):
    """One sentence after the other, by lists of positions."""

    def confidence_decoding(net, z, n, mask, rng):
        z = z.clone()
        total = (z == mask).sum(1).tolist()
        for k in range(1, n + 1):
            p = torch.softmax(net(z), -1)
            drawn = draw(p, rng)
            sure = score(p, drawn)
            for b in range(len(z)):
                open_ = [i for i in range(z.shape[1]) if z[b, i] == mask]
                open_.sort(key=lambda i: float(sure[b, i]), reverse=best)
                for i in open_[: max(0, len(open_) - left(total[b], z.shape[1], k, n))]:
                    z[b, i] = drawn[b, i]
        return z

    return confidence_decoding


by_lists = _decode()


def by_topk(net, z, n, mask, rng):
    total = (z == mask).sum(1)
    for k in range(n):
        p = net(z).softmax(-1)
        drawn = torch.distributions.Categorical(p).sample() if rng is None else _inverse(p, rng)
        sure = p.gather(2, drawn.unsqueeze(2)).squeeze(2).masked_fill(z != mask, -torch.inf)
        z = z.clone()
        for b in range(len(z)):
            count = int((z[b] == mask).sum()) - int(total[b]) * (n - k - 1) // n
            chosen = sure[b].topk(count).indices
            z[b, chosen] = drawn[b, chosen]
    return z


def _inverse(p, rng):
    u = torch.rand(*p.shape[:2], 1, generator=rng)
    return (u > p.cumsum(2)).sum(2).clamp(max=p.shape[2] - 1)


def by_gumbel(net, z, n, mask, rng):
    total = (z == mask).sum(1, keepdim=True)
    for k in range(1, n + 1):
        logits = net(z)
        gumbel = -torch.log(-torch.log(torch.rand(logits.shape, generator=rng).clamp(1e-20, 1 - 1e-7)))
        drawn = (logits + gumbel).argmax(2)
        sure = logits.softmax(2).gather(2, drawn[..., None])[..., 0]
        sure = torch.where(z == mask, sure, torch.inf)
        rank = sure.argsort(1).argsort(1)  # 0 for the least confident
        filled = torch.where(z == mask, drawn, z)
        z = torch.where(rank < total * (n - k) // n, mask, filled)
    return z


def by_threshold(net, z, n, mask, rng):
    total = (z == mask).sum(1, keepdim=True)
    for k in range(1, n + 1):
        hidden, p = z == mask, net(z).softmax(2)
        drawn = _inverse(p, rng)
        sure = torch.where(hidden, p.gather(2, drawn[..., None])[..., 0], 2.0)
        ranked = sure.argsort(dim=1, stable=True)
        rank = torch.zeros_like(ranked).scatter(1, ranked, torch.arange(z.shape[1]).expand(z.shape))
        z = torch.where(hidden & (rank >= total * (n - k) // n), drawn, z)
    return z


least_confident = _decode(best=False)
most_probable = _decode(draw=lambda p, rng: p.argmax(2))
by_position = _decode(score=lambda p, drawn: p.amax(2))
from_the_left = _decode(score=lambda p, drawn: -torch.arange(p.shape[1]).expand(drawn.shape).float())
at_once = _decode(left=lambda m, length, k, n: 0)
one_short = _decode(left=lambda m, length, k, n: m * (n - k + 1) // n)
of_all = _decode(left=lambda m, length, k, n: length * (n - k) // n)
at_random = _decode(score=lambda p, drawn: torch.rand(drawn.shape, generator=torch.Generator().manual_seed(3)))
rounded_up = _decode(left=lambda m, length, k, n: -(-m * (n - k) // n))


def overwrites(net, z, n, mask, rng):
    return by_lists(net, torch.full_like(z, mask), n, mask, rng)


def uniform_words(net, z, n, mask, rng):
    return _decode(draw=lambda p, rng: torch.randint(p.shape[2], p.shape[:2], generator=rng))(net, z, n, mask, rng)


RIGHT = {
    "masking": [mask_tokens, by_bernoulli, by_index, by_sentence, by_signal, by_word],
    "word_loss": [by_cross_entropy, by_nll, by_loop, by_chosen, by_logsumexp],
    "confidence_decoding": [by_library, by_lists, by_topk, by_gumbel, by_threshold],
}
WRONG = {
    "masking": [
        ("the signal's share", signal_masked),
        ("draw a number for each word", whole_sentences),
        ("all sentences have the same masks", same_masks),
        ("masked words become 0", zero_mask),
        ("masked words become random words", random_words),
    ],
    "word_loss": [
        ("the weight 1 / t is missing", unweighted),
        ("the weight is t", by_time),
        ("only masked words count", all_words),
        ("the masked ones should", seen_words),
        ("became a mean", per_word),
        ("the mean over sentences became a sum", summed),
    ],
    "confidence_decoding": [
        ("the least confident", least_confident),
        ("the most probable word is taken", most_probable),
        ("not by the word that was drawn", by_position),
        ("from left to right", from_the_left),
        ("must stay masked", at_once),
    ],
}
TRIED = {
    "masking": [
        *WRONG["masking"],
        ("of the first", of_first),
        ("t squared", squared),
        ("", exact_count),
        ("", own_generator),
        ("", in_place),
    ],
    "word_loss": [
        *WRONG["word_loss"],
        ("the sign is turned", negative),
        ("over the masked words", per_masked_word),
        ("given x_0", clean_input),
        ("not normalised", without_softmax),
        ("", mean_weight),
    ],
    "confidence_decoding": [
        *WRONG["confidence_decoding"],
        ("the last words stay masked", one_short),
        ("of those masked at the start", of_all),
        ("", at_random),
        ("rounded up", rounded_up),
        ("given words are written over", overwrites),
        ("", uniform_words),
    ],
}
