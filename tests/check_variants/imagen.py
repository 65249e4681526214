"""Lesson 13."""

from itertools import pairwise

import numpy as np
import torch

from course_lib.datasets import captions
from course_lib.denoisers import NULL
from course_lib.guidance import ClassifierFree, classifier_free
from course_lib.nets.language import MASK
from course_lib.samplers import ddim, result


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


def text_to_image(base, upsampler, captions, noises, times, w, s, eps, threshold, noisy=True, level=None, both=True, fits=True):
    """Two loops, by x_0 and the noise that fits it."""
    x, T = noises[0], base.process.T
    times = times.tolist()
    for i in range(len(times) - 1):
        pred, null = base.given(captions)(x, times[i]), base.given(NULL)(x, times[i])
        raw = (1 - w) * null.x0 + w * pred.x0
        x0 = threshold(raw)
        a, b = base.process.coefficients(times[i], x)
        x = base.process.add_noise(x0, times[i + 1], (x - a * (x0 if fits else raw)) / b)
    a, b = base.process.coefficients(s, x)
    low = a * x + b * eps if noisy else x
    network = upsampler.given((low, torch.full((len(x),), s / T if level is None else level)))
    x = noises[1]
    for t, t_next in zip(times, times[1:]):
        pred = network(x, t)
        pred = pred.replace(x0=threshold(pred.x0)) if both else pred
        x = base.process.add_noise(pred.x0, t_next, pred.eps)
    return x


class Within:
    """A denoiser whose predicted picture is thresholded."""

    def __init__(self, denoiser, threshold):
        self.process, self.denoiser, self.threshold = denoiser.process, denoiser, threshold

    def __call__(self, x, t):
        pred = self.denoiser(x, t)
        return pred.replace(x0=self.threshold(pred.x0))


def by_the_library(base, upsampler, captions, noises, times, w, s, eps, threshold):
    small = result(ddim(Within(classifier_free(base, captions, w), threshold), noises[0], times))
    low = base.process.add_noise(small, s, eps)
    return result(ddim(Within(upsampler.given((low, s / base.process.T)), threshold), noises[1], times))


def by_recursion(base, upsampler, captions, noises, times, w, s, eps, threshold):
    def down(predict, x, times):
        if len(times) == 1:
            return x
        x0 = threshold(predict(x, times[0]))
        a, b = base.process.signal(times[0]), base.process.noise(times[0])
        noise = (x - float(a) * x0) / float(b)
        return down(predict, base.process.add_noise(x0, times[1], noise), times[1:])

    def guided(x, t):
        eps = base.given(NULL)(x, t).eps.lerp(base.given(captions)(x, t).eps, w)
        return (x - float(base.process.noise(t)) * eps) / float(base.process.signal(t))

    small = down(guided, noises[0], times.tolist())
    up = upsampler.given((upsampler.process.add_noise(small, s, eps), s / upsampler.process.T))
    return down(lambda x, t: up(x, t).x0, noises[1], times.tolist())


def in_steps(*args):
    """Its answer is a list."""
    return text_to_image(*args).tolist()


def by_numpy_at_the_end(*args):
    return text_to_image(*args).double().numpy()


def wrong_image(**changed):
    return lambda *args: text_to_image(*args, **changed)


def image_with(change):
    """The chain with other arguments."""
    return lambda *args: text_to_image(*change(*args))


def no_threshold(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return base, upsampler, captions, noises, times, w, s, eps, lambda x0: x0


def only_at_the_end(*args):
    return args[-1](text_to_image(*no_threshold(*args)))


def without_captions(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return base, upsampler, NULL, noises, times, w, s, eps, threshold


def not_guided(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return base, upsampler, captions, noises, times, 1.0, s, eps, threshold


def papers_w(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return base, upsampler, captions, noises, times, 1 + w, s, eps, threshold


def small_alone(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return result(ddim(Within(classifier_free(base, captions, w), threshold), noises[0], times))


def one_step_less(base, upsampler, captions, noises, times, w, s, eps, threshold):
    return base, upsampler, captions, noises, times[:-1], w, s, eps, threshold


def threshold_before_mixing(base, upsampler, captions, noises, times, w, s, eps, threshold):
    mixed = ClassifierFree(Within(base.given(captions), threshold), Within(base.given(NULL), threshold), w)
    small = noises[0]
    for t, t_next in pairwise(times.tolist()):
        x0, (a, b) = mixed(small, t).x0, base.process.coefficients(t, small)
        small = base.process.add_noise(x0, t_next, (small - a * x0) / b)
    low = base.process.add_noise(small, s, eps)
    return result(ddim(Within(upsampler.given((low, s / base.process.T)), threshold), noises[1], times))


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
    "text_to_image": [text_to_image, by_the_library, by_recursion, in_steps, by_numpy_at_the_end],
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
    "text_to_image": [
        ("nothing is thresholded", image_with(no_threshold)),
        ("only the finished picture", only_at_the_end),
        ("the upsampler's predictions are not thresholded", wrong_image(both=False)),
        ("before the guided mix", threshold_before_mixing),
        ("the step keeps the noise", wrong_image(fits=False)),
        ("no noise is added to the small picture", wrong_image(noisy=False)),
    ],
    "hidden_words": [
        ("becomes MASK; one in ten", wrong_hidden(bound=1.1)),
        ("only the chosen ones may change", anything),
        ("no word stays as it is", wrong_hidden(swap=1.1)),
        ("no word becomes another", wrong_hidden(swap=0.8)),
        ("the padding stands where MASK belongs", wrong_hidden(mask=captions.PAD)),
        ("is written into", writes),
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
    "text_to_image": [
        *WRONG["text_to_image"],
        ("given level 0", wrong_image(level=0.0)),
        ("w is forgotten", image_with(not_guided)),
        ("Ho and Salimans' w", image_with(papers_w)),
        ("the small picture is returned", small_alone),
        ("the last step is left out", image_with(one_step_less)),
        ("", image_with(without_captions)),
    ],
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
