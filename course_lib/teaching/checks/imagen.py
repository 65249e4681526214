"""Lesson 13: Imagen's text encoder and its dynamic thresholding."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from course_lib import guidance
from course_lib.datasets import captions
from course_lib.denoisers import NULL, Network
from course_lib.methods import cascades
from course_lib.nets import language
from course_lib.nets.language import MASK
from course_lib.nets.upsampler import Upsampler
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PROCESS, Spy, affine, normal

TOKENS = captions.tokens(["a small red circle above a blue star", "three green squares", "a disc that is pink at the top left"])
SEVEN = [0, 0, 0, 1, 2, 2, 2], [2, 4, 7, 3, 1, 2, 5]
CHOSEN = torch.zeros_like(TOKENS, dtype=torch.bool)
CHOSEN[SEVEN] = True
LOT = torch.rand(TOKENS.shape, generator=seeded(1))
LOT[SEVEN] = torch.tensor([0.1, 0.85, 0.95, 0.5, 0.82, 0.3, 0.93])[torch.randperm(7, generator=seeded(2))]
OTHERS = (TOKENS + torch.randint(1, 9, TOKENS.shape, generator=seeded(3))) % len(captions.WORDS)


# hidden_words


def _hidden_words(tokens, chosen, lot, others):
    """Of the chosen words 80 % become MASK, 10 % another word, and 10 % stay (Devlin et al. 2019, section 3.1)."""
    new = torch.where(lot < 0.8, MASK, torch.where(lot < 0.9, others, tokens))
    return torch.where(chosen, new, tokens)


def _in_place(tokens, chosen, lot, others):
    changed = _hidden_words(tokens, chosen, lot, others)
    return tokens.copy_(changed)


hidden_words = Check(
    "hidden_words",
    _hidden_words,
    cases=[
        Case("a lot under 0.8: MASK", on(TOKENS, CHOSEN, 0 * LOT + 0.75, OTHERS)),
        Case("a lot from 0.8 to 0.9: another word", on(TOKENS, CHOSEN, 0 * LOT + 0.85, OTHERS)),
        Case("a lot from 0.9 on: the word stays", on(TOKENS, CHOSEN, 0 * LOT + 0.95, OTHERS)),
        Case("each word by its own lot", on(TOKENS, CHOSEN, LOT, OTHERS)),
        Case("where nothing is chosen, nothing is masked", on(TOKENS, CHOSEN & False, LOT, OTHERS)),
        Case("the tokens are left as they were", after(TOKENS, CHOSEN, LOT, OTHERS)),
    ],
    mistakes={
        "all that is chosen becomes MASK; one in ten becomes another word, one in ten stays": {"lot < 0.8": "lot < 1"},
        "every word is replaced by its lot: only the chosen ones may change": {"(chosen,": "(chosen | True,"},
        "no word stays as it is: the last tenth becomes another word, too": {"lot < 0.9": "lot < 1"},
        "no word becomes another: the second last tenth stays as it is": {"lot < 0.9": "lot < 0.8"},
        "words that were not chosen change, and the chosen ones stay": {"(chosen,": "(~chosen,"},
        "MASK and the other words are swapped: 80 % should be masked, 10 % replaced": {
            "MASK,": "others,",
            "others, tokens": "MASK, tokens",
        },
        "the shares are swapped: 20 % are masked": {"0.8": "0.2", "0.9": "0.3"},
        "the lots are read from the other end: MASK is for those under 0.8, and from 0.9 on the word stays": {
            "lot < 0.8": "lot >= 0.2",
            "lot < 0.9": "lot >= 0.1",
        },
        "another word overwrites MASK: lots under 0.8 are under 0.9, too": {"lot < 0.8": "lot < 0"},
        "MASK is drawn for each word, chosen or not; only chosen words may be masked": {
            "return torch.where(chosen, new, tokens)": "return torch.where(chosen | (lot < 0.8), new, tokens)"
        },
        "`tokens` itself is written into, and the loss needs it as it was: make a copy": _in_place,
        "the chosen words alone are returned; the whole text is asked for": {"torch.where(chosen, new, tokens)": "new[chosen]"},
        "the padding stands where MASK belongs: no word attends to padding": {"MASK": "captions.PAD"},
    },
    hint="new = torch.where(lot < 0.8, MASK, torch.where(lot < 0.9, others, tokens)); torch.where(chosen, new, tokens).",
    shown=(language.mask_words,),
)


# dynamic_threshold


def _in_steps(x0: Tensor) -> Tensor:
    """x0 with the sizes of each picture's 90 numbers in steps of five equal ones, so that quantiles of any kind agree."""
    size, order = x0.abs().flatten(1).sort(1)
    steps = size[:, ((torch.arange(size.shape[1]) + 2) // 5 * 5).clamp(max=size.shape[1] - 1)]
    return torch.empty_like(size).scatter(1, order, steps).view_as(x0) * x0.sign()


X0 = torch.randn(4, 3, 6, 5, generator=seeded(3)) * torch.tensor([0.2, 1.0, 2.0, 6.0]).view(4, 1, 1, 1)
X0, DARK = _in_steps(X0), _in_steps(X0 - 3)


def _dynamic_threshold(x0, p):
    """x0 clipped to [-s, s] and divided by s, the larger of 1 and the p-quantile of |x0| (Saharia et al. 2022, section 2.3)."""
    s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)
    return x0.clamp(-s, s) / s


dynamic_threshold = Check(
    "dynamic_threshold",
    _dynamic_threshold,
    cases=[
        Case("pictures within [-1, 1] are left as they are", on(0.9 * X0 / X0.abs().amax(), 0.995)),
        Case("each picture has its own s, at p = 0.9", on(X0, 0.9)),
        Case("pictures that are too dark, at p = 0.995", on(DARK, 0.995)),
        Case("p = 1: nothing is clipped, only scaled", on(X0, 1.0)),
        Case("all that is returned lies in [-1, 1]", lambda fn: torch.as_tensor(on(9 * X0, 0.8)(fn)).abs().amax((1, 2, 3))),
        Case("x0 is left as it was", after(X0, 0.9)),
    ],
    mistakes={
        "it is static: clipped to [-1, 1], where the rest of the picture is not scaled": {"clamp(min=1)": "clamp(1, 1)"},
        "all pictures share one s; each has its own": {"flatten(1)": "flatten().expand(len(x0), -1)"},
        "s may fall under 1: a picture that was in range is scaled up": {".clamp(min=1)": ""},
        "s is cut from above, at 1, where it should be cut from below": {"min=1": "max=1"},
        "it is clipped at s, and not divided by it": {" / s": ""},
        "it is divided by s, and not clipped before": {".clamp(-s, s)": ""},
        "it is clipped to [-1, 1], and then divided by s; clip to [-s, s]": {".clamp(-s, s)": ".clamp(-1, 1)"},
        "the quantile is that of x0, not of |x0|: values that are too dark do not count": {".abs()": ""},
        "the largest value is taken for s, whatever p; the p-quantile leaves the few largest out": {
            "quantile(p,": "quantile(1,"
        },
        "the quantile is taken at 1 - p": {"quantile(p,": "quantile(1 - p,"},
        "each channel has its own s, which changes colours; a picture has one": {
            "x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)": (
                "x0.abs().flatten(2).quantile(p, dim=2).clamp(min=1)[..., None, None]"
            )
        },
        "each place has its own s, over the batch; a picture has one, over all of its places": {
            "x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1).view(-1, 1, 1, 1)": "x0.abs().quantile(p, dim=0).clamp(min=1)"
        },
    },
    hint="s = x0.abs().flatten(1).quantile(p, dim=1).clamp(min=1), shaped (B, 1, 1, 1); x0.clamp(-s, s) / s.",
    shown=(guidance.DynamicThreshold,),
)


# text_to_image: the whole chain. The base takes a number for a caption, the upsampler a small picture and its level.


class _Base(Spy):
    def __init__(self):
        super().__init__(lambda weight, x, time, cond: affine(weight, x, time) + 0.4 * cond.view(-1, 1, 1, 1))

    def as_condition(self, cond) -> Tensor:
        return torch.zeros(1) if cond is NULL else torch.as_tensor(cond).float().reshape(-1)


class _Upsampler(Spy):
    as_condition, channels, label, low = Upsampler.as_condition, 2, None, (2, 5, 4)

    def __init__(self):
        super().__init__(
            lambda weight, x, time, cond: (
                affine(0.5 * weight, x, time) - interpolate(cond[:, :2], scale_factor=2) + 3 * cond[:, 2:, :1, :1]
            )
        )


BASE, UPSAMPLER = (Network(spy().requires_grad_(False), PROCESS) for spy in (_Base, _Upsampler))
CAPTIONS, NOISES = torch.tensor([1.0, 2.0, -1.0]), (normal(3, 2, 5, 4, seed=1), normal(3, 2, 10, 8, seed=2))
EPS, DOWN = normal(3, 2, 5, 4, seed=3), torch.tensor([50, 40, 25, 10, 0])


def _same(x0):
    return x0


def _clipped(x0):
    return x0.clamp(-0.4, 0.5)


def _run(w=2.0, s=20, threshold=_clipped, captions=CAPTIONS, times=DOWN):
    return on(BASE, UPSAMPLER, captions, NOISES, times, w, s, EPS, threshold)


def _text_to_image(base, upsampler, prompts, noises, times, w, s, eps, threshold):
    """Pictures (B, C, H, W) of the prompts, by a guided base and an upsampler. Saharia et al. 2022, sections 2.2 to 2.4."""
    process, cond, uncond = base.process, base.given(prompts), base.given(NULL)

    def guided(x, t):
        c, u = cond(x, t).x0, uncond(x, t).x0
        return u + w * (c - u)

    def sampled(predict, x):
        for t, t_next in pairwise(times.tolist()):
            x0 = threshold(predict(x, t))
            a, b = process.coefficients(t, x)
            x = process.add_noise(x0, t_next, (x - a * x0) / b)
        return x

    small = sampled(guided, noises[0])
    low = process.add_noise(small, s, eps)
    upsample = upsampler.given((low, s / process.T))
    return sampled(lambda x, t: upsample(x, t).x0, noises[1])


_LOOP, _UP = "x0 = threshold(predict(x, t))", "sampled(lambda x, t: upsample(x, t).x0, noises[1])"
_MIXED = "c, u = cond(x, t).x0, uncond(x, t).x0"
_STEP = "x = process.add_noise(x0, t_next, (x - a * x0) / b)"
_OLD_NOISE = {_LOOP: "raw = predict(x, t)\n            x0 = threshold(raw)", "(x - a * x0) / b": "(x - a * raw) / b"}

text_to_image = Check(
    "text_to_image",
    _text_to_image,
    cases=[
        Case("no threshold, w = 1, no noise in the small picture", _run(1.0, 0, _same)),
        Case("w = 0: the captions do not matter", _run(0.0, 0, _same, -CAPTIONS)),
        Case("w = 3: guided by the captions", _run(3.0, 0, _same)),
        Case("the small picture has noise of time s, and the upsampler is given s / T", _run(1.0, 20, _same)),
        Case("each predicted picture is thresholded, in both stages", _run()),
        Case("two steps", _run(times=torch.tensor([50, 20, 0]))),
        Case("what is given is left as it was", after(BASE, UPSAMPLER, CAPTIONS, NOISES, DOWN, 2.0, 20, EPS, _clipped)),
    ],
    mistakes={
        "nothing is thresholded": {_LOOP: "x0 = predict(x, t)"},
        "only the finished picture is thresholded; each predicted picture should be": {
            _LOOP: "x0 = predict(x, t)",
            "return " + _UP: "return threshold(" + _UP + ")",
        },
        "the upsampler's predictions are not thresholded": {
            "sampled(predict, x)": "sampled(predict, x, within=threshold)",
            _LOOP: "x0 = within(predict(x, t))",
            "noises[1])": "noises[1], within=lambda x0: x0)",
        },
        "both predictions are thresholded before the guided mix; threshold the mix": [
            {_MIXED: _MIXED.replace("cond(x, t).x0, uncond(x, t).x0", "threshold(cond(x, t).x0), threshold(uncond(x, t).x0)")},
            {
                _MIXED: _MIXED.replace(
                    "cond(x, t).x0, uncond(x, t).x0", "threshold(cond(x, t).x0), threshold(uncond(x, t).x0)"
                ),
                _LOOP: "x0 = predict(x, t) if predict is guided else threshold(predict(x, t))",
            },
        ],
        "the step keeps the noise of the picture before the threshold; it must fit the picture after it": [
            _OLD_NOISE,
            _OLD_NOISE | {"(x - a * x0) / b": "(x - a * (raw if predict is guided else x0)) / b"},
        ],
        "x_t is thresholded, not the predicted picture": {_LOOP: "x0, x = predict(x, t), threshold(x)"},
        "cond and uncond are swapped in the guided mix": {
            "c, u = cond(x, t).x0, uncond(x, t).x0": "u, c = cond(x, t).x0, uncond(x, t).x0"
        },
        "this is Ho and Salimans' w, (1 + w) cond - w uncond; ours is theirs + 1": {"u + w * (c - u)": "c + w * (c - u)"},
        "w is forgotten": {"u + w * (c - u)": "c"},
        "no noise is added to the small picture, though the upsampler is given its level": {
            "low = process.add_noise(small, s, eps)": "low = small"
        },
        "the upsampler is given level 0, though its small picture has noise": {"(low, s / process.T)": "(low, 0.0)"},
        "the small picture gets the noise of time T": {"add_noise(small, s, eps)": "add_noise(small, process.T, eps)"},
        "the noise is added to the small picture without scaling it: use add_noise": {
            "process.add_noise(small, s, eps)": "small + process.noise(s) * eps"
        },
        "the upsampler is given the noise that the base started from": {
            "add_noise(small, s, eps)": "add_noise(noises[0], s, eps)"
        },
        "the last step is left out": {"times.tolist()": "times[:-1].tolist()"},
        "the picture is made noisy again to the time t that it comes from": {"add_noise(x0, t_next": "add_noise(x0, t"},
        "the small picture is returned; the upsampler's is asked for": {"return " + _UP: "return small"},
        "the last predicted picture is not the result of the steps: x is not carried on": [
            {_STEP: "y = process.add_noise(x0, t_next, (x - a * x0) / b)", "return x\n": "return y\n"},
        ],
    },
    hint="In both stages: x0 = threshold(prediction), then add_noise(x0, t_next, (x - a x0) / b) with a, b = "
    "process.coefficients(t, x). Between them: low = add_noise(small, s, eps), upsampler.given((low, s / T)).",
    shown=(cascades.cascade, guidance.classifier_free),
)
