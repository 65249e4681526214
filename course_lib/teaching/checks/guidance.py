"""Lessons 07 and 08: guidance by a classifier, and without one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from course_lib import guidance, training
from course_lib.denoisers import Denoiser, ExactDenoiser, Network
from course_lib.guidance import ExactClassifier
from course_lib.mixtures import GaussianMixture
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks import spy
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import CLOUD, DENOISER, PICTURES, PROCESS, normal

MIXTURE = GaussianMixture(
    [0.3, 0.4, 0.3], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.5, 0.4, 0.6], torch.tensor([0, 1, 0])
)
EXACT, BAYES = ExactDenoiser(MIXTURE, PROCESS), ExactClassifier(MIXTURE, PROCESS)
POINTS, WEIGHTS = normal(6, 2, seed=1).double(), normal(40, 3, seed=3)


def _logits(x: Tensor, t) -> Tensor:
    """Logits (B, 3) of pictures, which are not normalised."""
    return (x * x + x).flatten(1) @ WEIGHTS / 10 + 2.0


def _guided_score(denoiser: Denoiser, classifier: Callable, x_t: Tensor, t: int, label: int | Tensor, w: float) -> Tensor:
    """score + w grad log P(label | x_t). Dhariwal and Nichol 2021, eq. 13."""
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        log_p = classifier(x, t).log_softmax(1)
        chosen = log_p[torch.arange(len(x)), torch.as_tensor(label)]
        (gradient,) = torch.autograd.grad(chosen.sum(), x)
    return denoiser(x_t, t).score + w * gradient


guided_score = Check(
    "guided_score",
    _guided_score,
    cases=[
        Case("w = 0: the denoiser's own score", on(EXACT, BAYES, POINTS, 20, 0, 0.0)),
        Case("w = 1, all exact: the conditional score", on(EXACT, BAYES, POINTS, 20, 0, 1.0)),
        Case("w = 3: three times the classifier's gradient", on(EXACT, BAYES, POINTS, 20, 1, 3.0)),
        Case("pictures (B, C, H, W), and a classifier that gives logits", on(DENOISER, _logits, PICTURES, 30, 2, 2.0)),
        Case("a label for each of the batch", on(DENOISER, _logits, PICTURES, 30, torch.tensor([0, 1, 2]), 2.0)),
        Case("under torch.no_grad, as samplers run", torch.no_grad()(on(EXACT, BAYES, POINTS, 20, 0, 2.0))),
        Case("x_t is left as it was", after(EXACT, BAYES, POINTS, 20, 0, 2.0)),
    ],
    mistakes={
        "the gradient is of P, not of log P: take the log_softmax of the logits": {".log_softmax(1)": ".softmax(1)"},
        "the gradient is of the logits themselves; log P is their log_softmax, which normalises them": {".log_softmax(1)": ""},
        "the gradient points away from the class: its sign is turned": {"+ w *": "- w *"},
        "w is forgotten: the gradient always has the weight of w = 1": {"+ w *": "+"},
        "w multiplies the denoiser's score as well": {"return denoiser": "return w * denoiser"},
        "only the classifier's gradient is returned; the denoiser's score is missing": {"denoiser(x_t, t).score + ": ""},
        "the gradient is added to the denoiser's noise eps, not to its score": {".score": ".eps"},
        "log P is averaged over the batch, not summed: each gradient is B times too small": {".sum()": ".mean()"},
        "gradients are off in samplers: switch them on, `with torch.enable_grad():`": {"with torch.enable_grad()": "if True"},
        "the gradient has the weight w - 1, as if the denoiser were conditional": {"w * gradient": "(w - 1) * gradient"},
    },
    hint="with torch.enable_grad(): x = x_t.detach().requires_grad_(); log_p = classifier(x, t).log_softmax(1); pick each "
    "member's label, sum, torch.autograd.grad(..., x)[0]; then denoiser(x_t, t).score + w * gradient.",
    shown=(guidance.ClassifierGuided, guidance.grad_log_p),
)

# classifier_loss. As in lesson 02 the classifier records its input.
CLASSES = (CLOUD[:, 0] > 1).long() + (CLOUD[:, 1] > 0).long()
TO_LOGITS = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])


class _Classifier(spy.Spy):
    """A classifier of x_t (B, 2) at t (B,), with a process, that records its input."""

    def __init__(self):
        self.process = deepcopy(PROCESS)
        super().__init__(lambda weight, x, time: weight * (x @ TO_LOGITS + time[:, None] * TO_LOGITS[0]))

    def __call__(self, x: Tensor, t) -> Tensor:
        return super().__call__(x, torch.as_tensor(t).expand(len(x)) / self.process.T)


class _Record(spy.Record):
    call = "its logits are classifier(x_t, t)"

    def __init__(self, loss: Callable):
        classifier = _Classifier()
        self.value = torch.as_tensor(loss(classifier, CLOUD.clone(), CLASSES.clone(), seeded(7)))
        self._read(classifier, classifier, CLOUD)
        self.error = functional.cross_entropy(classifier.output, CLASSES)


def _classifier_loss(classifier, x0: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """The mean cross-entropy of the labels, for noisy x_t. Dhariwal and Nichol 2021, section 4."""
    process = classifier.process
    t = process.sample_t(len(x0), rng)
    eps = randn_like(x0, rng)
    a, b = process.coefficients(t, x0)
    logits = classifier(a * x0 + b * eps, t)
    return functional.cross_entropy(logits, label)


classifier_loss = Check(
    "classifier_loss",
    _classifier_loss,
    cases=[
        Case("the loss is the mean cross-entropy of the label", lambda f: _Record(f).ratio, 1e-3),
        Case("each t that the classifier is given lies in 1 .. T", lambda f: _Record(f).out_of_range(50)),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: _Record(f).counts(50), 0.2),
        Case("x_t is signal(t) x_0 plus standard normal noise of the size of t", lambda f: _Record(f).noise, 0.04),
        Case("the slope of the loss reaches the classifier", lambda f: _Record(f).slope, 0.02),
        Case("the same rng gives the same loss", lambda f: torch.equal(_Record(f).value, _Record(f).value)),
        Case("x0 is left as it was", after(_Classifier(), CLOUD[:100], CLASSES[:100], seeded(7))),
    ],
    mistakes={
        "the classifier is given clean pictures; guidance needs its gradient for noisy pictures": {"a * x0 + b * eps": "x0"},
        "the classifier is given t = 0 however noisy its picture is": {"eps, t)": "eps, 0 * t)"},
        "one t is drawn for the whole batch; draw one for each picture": {"_t(len(x0), rng)": "_t(1, rng).expand(len(x0))"},
        "t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T": {"len(x0), rng)": "len(x0), rng) - 1"},
        "noise is added, but the picture is not made smaller by the signal": {"a * x0": "x0"},
        "the likelihood is maximised: the sign is turned": {"return": "return -"},
        "the mean of P is taken, not of -log P": {"cross_entropy(logits": "nll_loss(logits.softmax(1)"},
        "the cross-entropies are summed, not averaged: the loss grows with the batch": {"label)": "label, reduction='sum')"},
        "the softmax is taken twice: cross_entropy takes logits as they are": {"(logits,": "(logits.softmax(1),"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x0, rng)": "torch.randn_like(x0)"},
    },
    hint="t = classifier.process.sample_t(len(x0), rng); x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng)); "
    "cross_entropy(classifier(x_t, t), label).",
    shown=(training.classifier_loss,),
)

# label_dropout
LABELS = torch.arange(120_000) % 10  # so many that chance is within the tolerances by six standard errors
NULL_LABEL = 10


def _label_dropout(label: Tensor, null: int, p: float, rng: torch.Generator) -> Tensor:
    """Each label made `null` with probability p, independently. Ho and Salimans 2022, Algorithm 1, line 3."""
    u = torch.rand(len(label), generator=rng)
    return torch.where(u < p, null, label)


def _dropped(fn: Callable, p: float = 0.3) -> Tensor:
    return torch.as_tensor(on(LABELS, NULL_LABEL, p, seeded(0))(fn))


def _gone(fn: Callable) -> Tensor:
    return (_dropped(fn) == NULL_LABEL).double()


def _neighbours(fn: Callable) -> Tensor:
    """How often two neighbours, and two a hundred apart, are dropped together, over what chance would have it: 1 and 1."""
    gone = _gone(fn)
    return torch.stack([(gone * gone.roll(k)).mean() for k in (1, 100)]) / 0.09


def _follows_rng(fn: Callable) -> Tensor:
    """Whether one seed drops the same labels again, and whether the next batch from one generator drops others."""
    rng = seeded(0)
    first, second = (torch.as_tensor(fn(LABELS.clone(), NULL_LABEL, 0.3, rng)) for _ in range(2))
    return torch.stack([(_dropped(fn) == _dropped(fn)).all(), (first != second).any()])


label_dropout = Check(
    "label_dropout",
    _label_dropout,
    cases=[
        Case("p = 0 drops nothing", lambda fn: _dropped(fn, 0.0)),
        Case("p = 1 drops all", lambda fn: _dropped(fn, 1.0)),
        Case("at p = 0.3 three in ten are null", lambda fn: _gone(fn).mean(), 0.05),
        Case("what is not null is as it was", lambda fn: (((d := _dropped(fn)) == LABELS) | (d == NULL_LABEL)).all()),
        Case("every class is dropped as often as any other", lambda fn: _gone(fn).view(-1, 10).mean(0), 0.12),
        Case("each label is dropped independently of its neighbours", _neighbours, 0.1),
        Case("the same rng drops the same labels, another batch others", _follows_rng),
        Case("the labels that were given are left as they were", after(LABELS, NULL_LABEL, 0.5, seeded(0))),
    ],
    mistakes={
        "p is the share that stays; it should be the share that goes": {"< p": ">= p"},
        "one chance is drawn for the whole batch: all go or none": {"rand(len(label)": "rand(1"},
        "the labels are written into, and are lost for the next epoch": {"return": "label[u < p] = null\n    return"},
        "dropped labels become 0, which is a class; null has a number of its own": {"null, label)": "0, label)"},
        "always the first of the batch are dropped": {"u < p": "torch.arange(len(u)) < p * len(u)"},
        "nothing is ever dropped": {"torch.where(u < p, null, label)": "label.clone()"},
        "the chances are not drawn from rng: pass generator=rng": {", generator=rng": ""},
    },
    hint="torch.rand(len(label), generator=rng) < p says who is dropped; torch.where(dropped, null, label) does the rest.",
    shown=(Network.drop_condition,),
)

# guided_mix
CONDITIONAL = EXACT.given(0)


def _guided_mix(cond: Denoiser, uncond: Denoiser, x_t: Tensor, t: int, w: float) -> Tensor:
    """uncond + w (cond - uncond), of the two noises. Ho and Salimans 2022, eq. 6, with w for their 1 + w."""
    c, u = cond(x_t, t).eps, uncond(x_t, t).eps
    return u + w * (c - u)


guided_mix = Check(
    "guided_mix",
    _guided_mix,
    cases=[
        Case("w = 0: the unconditional noise", on(CONDITIONAL, EXACT, POINTS, 20, 0.0)),
        Case("w = 1: the conditional noise", on(CONDITIONAL, EXACT, POINTS, 20, 1.0)),
        Case("w = 3: three times the difference", on(CONDITIONAL, EXACT, POINTS, 20, 3.0)),
        Case("w = 0.5: half way", on(CONDITIONAL, EXACT, POINTS, 40, 0.5)),
        Case(
            "pictures (B, C, H, W)",
            on(DENOISER, Network(spy.Spy(lambda _, x, time: 0.2 * x + 0.5), PROCESS), PICTURES, 30, 2.0),
        ),
    ],
    mistakes={
        "this is Ho and Salimans' w, (1 + w) cond - w uncond; ours is theirs + 1": {"u + w * (": "c + w * ("},
        "cond and uncond are swapped": {"u + w * (c - u)": "c + w * (u - c)"},
        "the difference is turned: it leads away from the class": {"(c - u)": "(u - c)"},
        "the unconditional noise is missing: only w (cond - uncond) is left": {"return u +": "return"},
        "w cond + uncond: the weights must sum to 1": {"(c - u)": "c"},
        "w is forgotten": {"u + w * (c - u)": "c"},
        "the predicted pictures are mixed; this exercise asks for the noise": {".eps, u": ".x0, u", ".eps": ".x0"},
    },
    hint="u, c = uncond(x_t, t).eps, cond(x_t, t).eps; u + w * (c - u).",
    shown=(guidance.ClassifierFree,),
)
