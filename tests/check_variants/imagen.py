"""Lesson 13."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy, nll_loss

from course_lib.datasets import captions
from course_lib.nets.language import MASK, masked_loss


def hidden_in_place(tokens, chosen, lot, others):
    shown = tokens.clone()
    shown[chosen & (lot < 0.8)] = MASK
    swapped = chosen & (lot >= 0.8) & (lot < 0.9)
    shown[swapped] = others[swapped]
    return shown


def hidden_by_loop(tokens, chosen, lot, others):
    rows = []
    for row in zip(tokens.tolist(), chosen.tolist(), lot.tolist(), others.tolist()):
        rows.append([MASK if c and u < 0.8 else o if c and u < 0.9 else t for t, c, u, o in zip(*row)])
    return torch.tensor(rows)


def hidden_by_parts(tokens, chosen, lot, others):
    mask, swap = chosen * (lot < 0.8), chosen * ((lot - 0.85).abs() <= 0.05) * (lot < 0.9) * (lot >= 0.8)
    return tokens * ~(mask | swap) + MASK * mask + others * swap


def hidden_by_numpy(tokens, chosen, lot, others):
    t, c, u, o = (v.numpy() for v in (tokens, chosen, lot, others))
    return np.select([c & (u < 0.8), c & (u < 0.9)], [MASK, o], t)


def hidden_by_fill(tokens, chosen, lot, others):
    return tokens.where(~chosen | (lot >= 0.9), others).masked_fill(chosen & (lot < 0.8), MASK)


def mask_words(tokens, chosen, lot, others, bound=0.8, swap=0.9, mask=MASK):
    return torch.where(chosen & (lot < bound), mask, torch.where(chosen & (lot >= bound) & (lot < swap), others, tokens))


def wrong_hidden(**changed):
    return lambda *args: mask_words(*args, **changed)


def anything(tokens, chosen, lot, others):
    return mask_words(tokens, torch.ones_like(chosen), lot, others)


def writes(tokens, chosen, lot, others):
    tokens[chosen & (lot < 0.8)] = MASK
    swapped = chosen & (lot >= 0.8) & (lot < 0.9)
    tokens[swapped] = others[swapped]
    return tokens


def from_the_other_end(tokens, chosen, lot, others):
    """Ten in a hundred stay, ten are replaced, the rest is masked: the right shares, but of the wrong lots."""
    new = torch.where(lot < 0.1, tokens, torch.where(lot < 0.2, others, torch.full_like(tokens, MASK)))
    return torch.where(chosen, new, tokens)


def one_minus(tokens, chosen, lot, others):
    return mask_words(tokens, chosen, lot, others, bound=0.2, swap=0.3)


def overwritten(tokens, chosen, lot, others):
    shown = tokens.masked_fill(chosen & (lot < 0.8), MASK)
    return torch.where(chosen & (lot < 0.9), others, shown)


def not_chosen(tokens, chosen, lot, others):
    return mask_words(tokens, chosen.logical_not(), lot, others)


def swapped(tokens, chosen, lot, others):
    shown = tokens.clone()
    shown[chosen & (lot < 0.8)] = others[chosen & (lot < 0.8)]
    shown[chosen & (lot >= 0.8) & (lot < 0.9)] = MASK
    return shown


def masks_anything(tokens, chosen, lot, others):
    shown = torch.where(lot < 0.8, torch.full_like(tokens, MASK), tokens)
    return torch.where(chosen & (lot >= 0.8) & (lot < 0.9), others, shown)


def chosen_alone(tokens, chosen, lot, others):
    return mask_words(tokens, chosen, lot, others)[chosen]


def own_lot(tokens, chosen, lot, others):
    return mask_words(tokens, chosen, torch.rand(lot.shape, generator=torch.Generator().manual_seed(0)), others)


def masked_by_log_softmax(logits, tokens, chosen):
    return -logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0][chosen].mean()


def masked_by_weights(logits, tokens, chosen):
    each = cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)
    return (each * chosen).sum() / chosen.sum()


def masked_by_ignoring(logits, tokens, chosen):
    return cross_entropy(logits.transpose(1, 2), torch.where(chosen, tokens, -100))


def masked_by_loops(logits, tokens, chosen):
    losses = []
    for b in range(tokens.shape[0]):
        for place in chosen[b].nonzero()[:, 0].tolist():
            losses.append(-torch.log(torch.softmax(logits[b, place].double(), 0)[tokens[b, place]]))
    return sum(losses).item() / len(losses)


def masked_by_one_hot(logits, tokens, chosen):
    right = torch.nn.functional.one_hot(tokens, logits.shape[-1])
    log_p = logits - logits.logsumexp(-1, keepdim=True)
    return -(log_p * right * chosen[..., None]).sum() / chosen.float().sum()


def over_real_words(logits, tokens, chosen):
    mask = (tokens > captions.PAD) & ~chosen
    return cross_entropy(logits[mask], tokens[mask])


def over_all_words(logits, tokens, chosen):
    return cross_entropy(logits.transpose(1, 2), tokens, ignore_index=captions.PAD)


def over_captions(logits, tokens, chosen):
    each = cross_entropy(logits.transpose(1, 2), tokens, reduction="none") * chosen
    return each.sum() / len(tokens)


def per_caption(logits, tokens, chosen):
    each = cross_entropy(logits.transpose(1, 2), tokens, reduction="none") * chosen
    return (each.sum(1) / chosen.sum(1)).mean()


def not_averaged(logits, tokens, chosen):
    return cross_entropy(logits[chosen], tokens[chosen], reduction="none")


def set_to_zero(logits, tokens, chosen):
    return cross_entropy((logits * chosen.unsqueeze(-1)).view(-1, logits.shape[-1]), tokens.view(-1))


def softmax_before(logits, tokens, chosen):
    return cross_entropy(logits[chosen].softmax(dim=-1), tokens[chosen])


def no_logarithm(logits, tokens, chosen):
    return nll_loss(logits[chosen].softmax(-1), tokens[chosen])


def one_minus_p(logits, tokens, chosen):
    return 1 - logits.softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)[chosen].mean()


def log_of_the_mean(logits, tokens, chosen):
    return -logits.softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)[chosen].mean().log()


def over_places(logits, tokens, chosen):
    log_p = torch.log_softmax(logits, dim=1)
    return nll_loss(log_p[chosen], tokens[chosen])


def next_word(logits, tokens, chosen):
    """As GPT does."""
    mask = chosen[:, 1:].reshape(-1)
    return cross_entropy(logits[:, :-1].flatten(0, 1)[mask], tokens[:, 1:].flatten()[mask])


def threshold_by_sorting(x0, p):
    rows = []
    for x in x0:
        values, at = x.abs().flatten().sort().values, p * (x.numel() - 1)
        low = int(at)
        s = values[low] + (at - low) * (values[min(low + 1, x.numel() - 1)] - values[low])
        s = max(float(s), 1.0)
        rows.append(x.clip(-s, s) / s)
    return torch.stack(rows)


def threshold_by_max(x0, p):
    s = torch.quantile(x0.abs().reshape(len(x0), -1), p, dim=1, keepdim=True)[..., None, None]
    s = torch.maximum(s, torch.ones_like(s))
    return torch.minimum(torch.maximum(x0, -s), s) / s


def threshold_after_dividing(x0, p):
    s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return (x0 / s).clamp(-1, 1)


def threshold_of_rank(x0, p):
    """The smallest number that a share p does not exceed: no interpolation."""
    size = x0.abs().flatten(1)
    k = max(1, int(np.ceil(p * size.shape[1])))
    s = size.kthvalue(k, dim=1).values.clamp(min=1)
    return torch.einsum("bchw,b->bchw", x0.clamp(-s[:, None, None, None], s[:, None, None, None]), 1 / s)


def threshold_by_numpy(x0, p):
    x = x0.double().numpy()
    s = np.maximum(np.quantile(np.abs(x).reshape(len(x), -1), p, axis=1, method="lower"), 1.0)[:, None, None, None]
    return np.clip(x, -s, s) / s


def threshold_nearest(x0, p):
    s = x0.abs().flatten(start_dim=1).quantile(p, dim=-1, interpolation="nearest").clamp(min=1)[(...,) + (None,) * 3]
    return torch.where(x0.abs() > s, x0.sign(), x0 / s)


def static(x0, p):
    return x0.clamp(-1, 1)


def unscaled(x0, p):
    s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return x0.clamp(-s, s)


def one_s(x0, p):
    s = x0.abs().quantile(p).clamp(min=1)
    return x0.clamp(-s, s) / s


def no_floor(x0, p):
    s = x0.abs().flatten(1).quantile(p, dim=1).view(-1, 1, 1, 1)
    return x0.clamp(-s, s) / s


def by_channel(x0, p):
    s = x0.abs().flatten(2).quantile(p, dim=2).clamp(min=1)[..., None, None]
    return x0.clamp(-s, s) / s


def by_the_largest(x0, p):
    return x0 / x0.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)


def not_clipped(x0, p):
    s = torch.quantile(x0.abs().flatten(1), p, dim=1).clamp_min(1.0)
    return x0 / s[:, None, None, None]


def clipped_to_one(x0, p):
    s = torch.quantile(x0.abs().flatten(1), p, dim=1).clamp_min(1.0)
    return x0.clip(-1, 1) / s[:, None, None, None]


def as_diffusers(x0, p):
    """diffusers' default has sample_max_value = 1, which makes it static."""
    s = torch.quantile(x0.reshape(len(x0), -1).abs(), p, dim=1)
    s = torch.clamp(s, min=1, max=1.0)[:, None, None, None]
    return torch.clamp(x0, -s, s) / s


def at_most_one(x0, p):
    s = torch.quantile(x0.abs().flatten(1), p, dim=1).clamp_max(1.0)[:, None, None, None]
    return x0.clip(-s, s) / s


def signed(x0, p):
    s = torch.quantile(x0.flatten(1), p, dim=1).clamp_min(1.0)[:, None, None, None]
    return x0.clip(-s, s) / s


def wrong_end(x0, p):
    s = torch.quantile(x0.abs().flatten(1), 1 - p, dim=1).clamp_min(1.0)[:, None, None, None]
    return x0.clip(-s, s) / s


def by_place(x0, p):
    s = torch.quantile(x0.abs(), p, dim=0).clamp_min(1.0)
    return x0.clip(-s, s) / s


RIGHT = {
    "hidden_words": [hidden_in_place, hidden_by_loop, hidden_by_parts, hidden_by_numpy, hidden_by_fill],
    "masked_loss": [
        masked_loss,
        masked_by_log_softmax,
        masked_by_weights,
        masked_by_ignoring,
        masked_by_loops,
        masked_by_one_hot,
    ],
    "dynamic_threshold": [
        threshold_by_sorting,
        threshold_by_max,
        threshold_after_dividing,
        threshold_of_rank,
        threshold_by_numpy,
        threshold_nearest,
    ],
}
WRONG = {
    "hidden_words": [
        ("becomes MASK; one in ten", wrong_hidden(bound=1.1)),
        ("only the chosen ones may change", anything),
        ("no word stays as it is", wrong_hidden(swap=1.1)),
        ("no word becomes another", wrong_hidden(swap=0.8)),
        ("the padding stands where MASK belongs", wrong_hidden(mask=captions.PAD)),
        ("is written into", writes),
    ],
    "masked_loss": [
        ("all places count", lambda logits, tokens, chosen: cross_entropy(logits.flatten(0, 1), tokens.flatten())),
        ("words not chosen count", over_real_words),
        ("not by the number of chosen words", lambda odds, t, c: masked_by_log_softmax(odds, t, c) * c.sum() / c.numel()),
        ("the words are summed", lambda odds, t, c: masked_by_log_softmax(odds, t, c) * c.sum()),
        ("the sign is turned", lambda odds, t, c: -masked_by_log_softmax(odds, t, c)),
    ],
    "dynamic_threshold": [
        ("it is static", static),
        ("not divided by it", unscaled),
        ("all pictures share one s", one_s),
        ("s may fall under 1", no_floor),
        ("each channel has its own s", by_channel),
        ("the largest value is taken", by_the_largest),
    ],
}
TRIED = {
    "hidden_words": [
        *WRONG["hidden_words"],
        ("from the other end", from_the_other_end),
        ("20 % are masked", one_minus),
        ("another word overwrites MASK", overwritten),
        ("were not chosen change", not_chosen),
        ("MASK and the other words are swapped", swapped),
        ("chosen or not", masks_anything),
        ("the chosen words alone", chosen_alone),
        ("", own_lot),
    ],
    "masked_loss": [
        *WRONG["masked_loss"],
        ("all words count", over_all_words),
        ("the number of captions", over_captions),
        ("each caption counts the same", per_caption),
        ("a loss of its own", not_averaged),
        ("set to 0, and still count", set_to_zero),
        ("the softmax is taken twice", softmax_before),
        ("the logarithm is missing", no_logarithm),
        ("1 - p", one_minus_p),
        ("of the mean probability", log_of_the_mean),
        ("over the places of a caption", over_places),
        ("the next word", next_word),
    ],
    "dynamic_threshold": [
        *WRONG["dynamic_threshold"],
        ("not clipped before", not_clipped),
        ("clipped to [-1, 1], and then divided", clipped_to_one),
        ("it is static", as_diffusers),
        ("is cut from above", at_most_one),
        ("not of |x0|", signed),
        ("at 1 - p", wrong_end),
        ("each place has its own s", by_place),
    ],
}
