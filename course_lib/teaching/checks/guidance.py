"""Lesson 07: guidance by a classifier."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import guidance, samplers, training
from course_lib.denoisers import Denoiser, ExactDenoiser
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
        "log P is normalised over the batch, not over the classes: log_softmax(1)": {"log_softmax(1)": "log_softmax(0)"},
        "the gradient is that of the likeliest class; it should be that of the label": {
            "chosen = log_p[torch.arange(len(x)), torch.as_tensor(label)]": "chosen = log_p.max(1).values"
        },
        "the gradients of all classes are added; only the label's is asked for": {
            "chosen = log_p[torch.arange(len(x)), torch.as_tensor(label)]": "chosen = log_p"
        },
        "the gradient is multiplied by sqrt(1 - alpha_bar): that belongs to the noise eps, not to the score": {
            "+ w * gradient": "+ w * denoiser.process.noise(t) * gradient"
        },
        "the gradient is multiplied by the variance, as for a step's mean; a score takes it as it is": {
            "+ w * gradient": "+ w * denoiser.process.noise(t) ** 2 * gradient"
        },
        "the two scores are blended, (1 - w) score + w gradient; the score keeps its weight 1": {
            "return denoiser": "return (1 - w) * denoiser"
        },
        "the classifier is given t = 0, as if x_t were clean": {"classifier(x, t)": "classifier(x, 0)"},
        "w multiplies the denoiser's score as well": {"return denoiser": "return w * denoiser"},
        "only the classifier's gradient is returned; the denoiser's score is missing": {"denoiser(x_t, t).score + ": ""},
        "the gradient is added to the denoiser's noise eps, not to its score": {".score": ".eps"},
        "log P is averaged over the batch, not summed, so that each gradient is divided by B": {".sum()": ".mean()"},
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
        self.error = cross_entropy(classifier.output, CLASSES)


def _classifier_loss(classifier, x0: Tensor, label: Tensor, rng: torch.Generator) -> Tensor:
    """The mean cross-entropy of the labels, for noisy x_t. Dhariwal and Nichol 2021, section 4."""
    process = classifier.process
    t = process.sample_t(len(x0), rng)
    x_t = process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label)


_X_T = "process.add_noise(x0, t, randn_like(x0, rng))"

_ROOTLESS = "(a := process.coefficients(t, x0)[0]) ** 2 * x0 + (1 - a**2) * randn_like(x0, rng)"

classifier_loss = Check(
    "classifier_loss",
    _classifier_loss,
    cases=[
        Case("the loss is the mean cross-entropy of the label", lambda f: _Record(f).ratio, 1e-3),
        Case("each t that the classifier is given lies in 1 .. T", lambda f: _Record(f).out_of_range(50)),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: _Record(f).counts(50), 0.2),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Record(f).noise, 0.04),
        Case("the gradient of the loss reaches the classifier", lambda f: _Record(f).slope, 0.02),
        Case("the same rng gives the same loss", lambda f: torch.equal(_Record(f).value, _Record(f).value)),
        Case("x0 is left as it was", after(_Classifier(), CLOUD[:100], CLASSES[:100], seeded(7))),
    ],
    mistakes={
        "the classifier is given clean pictures; guidance needs its gradient for noisy pictures": {_X_T: "x0"},
        "the classifier is given t = 0 however noisy its picture is": {"(x_t, t)": "(x_t, 0 * t)"},
        "one t is drawn for the whole batch; draw one for each picture": {"_t(len(x0), rng)": "_t(1, rng).expand(len(x0))"},
        "t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T": {"len(x0), rng)": "len(x0), rng) - 1"},
        "the noise is uniform (torch.rand), not normal (randn)": {"randn_like(x0, rng)": "torch.rand(x0.shape, generator=rng)"},
        "the mean squared error of the probabilities is taken; cross-entropy is asked for": {
            "cross_entropy(classifier(x_t, t), label)": "(classifier(x_t, t).softmax(1) "
            "- torch.nn.functional.one_hot(label, 3)).square().mean()"
        },
        "the logits of the labels are averaged; they must be normalised first, by log_softmax": {
            "cross_entropy(": "torch.nn.functional.nll_loss("
        },
        "the labels are smoothed": {
            "cross_entropy(classifier(x_t, t), label)": "cross_entropy(classifier(x_t, t), label, label_smoothing=0.1)"
        },
        "the loss is one number for each of the batch; its mean is asked for": {"t), label)": "t), label, reduction='none')"},
        "the loss is cut off from the classifier (.detach(), .item() or no_grad)": {"t), label)": "t), label).item()"},
        "alpha_bar is taken for the picture's factor; its root is asked for": {_X_T: _ROOTLESS},
        "the classifier is given t - 1, as if t were counted from 0": {"(x_t, t)": "(x_t, t - 1)"},
        "noise is added, but the picture is not made smaller by the signal": {
            _X_T: "x0 + process.coefficients(t, x0)[1] * randn_like(x0, rng)"
        },
        "the likelihood is maximised: the sign is turned": {"return": "return -"},
        "the mean of P is taken, not of -log P": {
            "cross_entropy(classifier(x_t, t)": "torch.nn.functional.nll_loss(classifier(x_t, t).softmax(1)"
        },
        "the cross-entropies are summed, not averaged: the loss grows with the batch": {
            "label)\n": "label, reduction='sum')\n"
        },
        "the softmax is taken twice: cross_entropy takes logits as they are": {"t), label": "t).softmax(1), label"},
        "the noise is not drawn from rng: pass generator=rng": {"randn_like(x0, rng)": "torch.randn_like(x0)"},
    },
    hint="t = classifier.process.sample_t(len(x0), rng); x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng)); "
    "cross_entropy(classifier(x_t, t), label).",
    shown=(training.classifier_loss,),
)

# guided_sampling
my_guided_score = _guided_score
"""What the answer to `guided_sampling` calls: in the lesson it is the reader's own."""
TIMES = torch.tensor([50, 36, 20, 7, 0])


def _guided_sampling(
    denoiser: Denoiser, classifier: Callable, x: Tensor, times: Tensor, label: int | Tensor, w: float
) -> Tensor:
    """Samples from the noise x. Dhariwal and Nichol 2021, Algorithm 2 (DDIM), with their s as w."""
    process, steps = denoiser.process, times.tolist()
    for t, t_next in zip(steps, steps[1:]):
        a, b = process.coefficients(t, x)
        score = my_guided_score(denoiser, classifier, x, t, label, w)
        eps = -b * score
        x0 = (x - b * eps) / a
        x = process.add_noise(x0, t_next, eps)
    return x


def _along(fn: Callable, times: Tensor = TIMES, label: int = 1, w: float = 2.0) -> Tensor:
    return on(EXACT, BAYES, POINTS, times, label, w)(fn)


guided_sampling = Check(
    "guided_sampling",
    _guided_sampling,
    cases=[
        Case("w = 0: plain DDIM", lambda fn: _along(fn, w=0.0)),
        Case("w = 1, all exact: DDIM with the conditional score", lambda fn: _along(fn, w=1.0)),
        Case("w = 3: three times the classifier's gradient", lambda fn: _along(fn, w=3.0)),
        Case("one move, from T to 0, gives the predicted clean points", lambda fn: _along(fn, TIMES[[0, -1]])),
        Case("the moves are those of the times given", lambda fn: _along(fn, torch.tensor([50, 49, 20, 0]), 0)),
        Case("pictures, with a label for each", on(DENOISER, _logits, PICTURES, TIMES, torch.tensor([0, 1, 2]), 2.0)),
        Case("under torch.no_grad", torch.no_grad()(_along)),
        Case("the noise is left as it was", after(EXACT, BAYES, POINTS, TIMES, 0, 2.0)),
    ],
    mistakes={
        "guidance is left out: the score is the denoiser's own": {
            "my_guided_score(denoiser, classifier, x, t, label, w)": "denoiser(x, t).score"
        },
        "the predicted picture is the denoiser's own; it must be computed from the guided noise": {
            "(x - b * eps) / a": "denoiser(x, t).x0"
        },
        "the noise that is added back is the denoiser's own; it should be the guided one": {
            "(x0, t_next, eps)": "(x0, t_next, denoiser(x, t).eps)"
        },
        "the sign of eps is turned: eps is minus b times the score": {"-b * score": "b * score"},
        "the score is taken for minus the noise; eps is minus b times the score": {"-b * score": "-score"},
        "the score is multiplied by the variance b squared; its root b is asked for": {"-b * score": "-(b**2) * score"},
        "w is multiplied by b, and then the score again: the score is guided already": {
            "label, w)\n": "label, float(b) * w)\n"
        },
        "w is forgotten: the gradient always has the weight of w = 1": {"label, w)\n": "label, 1.0)\n"},
        "the gradient has the weight w - 1, as if the denoiser were conditional": {"label, w)\n": "label, w - 1)\n"},
        "the label is ignored: class 0 is always asked for": {"label, w)\n": "0 * label, w)\n"},
        "x stays at its time: add the noise of the time after the move": {"(x0, t_next, eps)": "(x0, t, eps)"},
        "the score is taken at the time after the move; x is at the time before": {"x, t, label": "x, max(t_next, 1), label"},
        "the loop ends before the last move": {"zip(steps, steps[1:])": "zip(steps[:-1], steps[1:-1])"},
        "each move ends at the predicted picture, without noise": {"process.add_noise(x0, t_next, eps)": "x0"},
        "the predicted picture is not divided by a": {"(x - b * eps) / a": "x - b * eps"},
        "noise is added to x, not to the predicted picture": {"(x0, t_next, eps)": "(x, t_next, eps)"},
    },
    hint="for t, t_next in zip(times.tolist(), times.tolist()[1:]): eps is -b times my_guided_score(...), x0 is "
    "(x - b * eps) / a, and x becomes process.add_noise(x0, t_next, eps).",
    shown=(guidance.ClassifierGuided, samplers.ddim),
)
