"""Lesson 13."""

import torch
from torch.nn.functional import cross_entropy

from course_lib.datasets import captions
from course_lib.nets.language import MASK


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


def masked_by_log_softmax(logits, tokens, chosen):
    return -logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0][chosen].mean()


def masked_by_weights(logits, tokens, chosen):
    each = cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)
    return (each * chosen).sum() / chosen.sum()


def masked_by_ignoring(logits, tokens, chosen):
    return cross_entropy(logits.transpose(1, 2), torch.where(chosen, tokens, -100))


def over_real_words(logits, tokens, chosen):
    mask = (tokens > captions.PAD) & ~chosen
    return cross_entropy(logits[mask], tokens[mask])


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


RIGHT = {
    "hidden_words": [hidden_in_place, hidden_by_loop, hidden_by_parts],
    "masked_loss": [masked_by_log_softmax, masked_by_weights, masked_by_ignoring],
    "dynamic_threshold": [threshold_by_sorting, threshold_by_max, threshold_after_dividing],
}
WRONG = {
    "hidden_words": [
        ("becomes MASK; one in ten", wrong_hidden(bound=1.1)),
        ("only the chosen ones may change", anything),
        ("no word stays as it is", wrong_hidden(swap=1.1)),
        ("no word becomes another", wrong_hidden(swap=0.8)),
        ("the padding stands where MASK belongs", wrong_hidden(mask=captions.PAD)),
        ("✗ the tokens are left as they were", writes),
    ],
    "masked_loss": [
        ("all places count", lambda logits, tokens, chosen: cross_entropy(logits.flatten(0, 1), tokens.flatten())),
        ("words not chosen count", over_real_words),
        ("not by the number of chosen words", lambda odds, t, c: masked_by_log_softmax(odds, t, c) * c.sum() / c.numel()),
        ("the words are summed", lambda odds, t, c: masked_by_log_softmax(odds, t, c) * c.sum()),
        ("✗ one word: -", lambda odds, t, c: -masked_by_log_softmax(odds, t, c)),
    ],
    "dynamic_threshold": [
        ("it is static", static),
        ("not divided by it", unscaled),
        ("all pictures share one s", one_s),
        ("s may fall under 1", no_floor),
        ("each channel has its own s", by_channel),
        ("✗ each picture has its own s", by_the_largest),
    ],
}
