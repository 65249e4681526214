"""Lessons 07 and 08: guidance by a classifier, and without one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_lib import guidance, training
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.guidance import ClassifierFree, ClassifierGuided, ExactClassifier
from course_lib.mixtures import GaussianMixture
from course_lib.process import DDPM, randn_like
from course_lib.schedules import cosine_beta, linear_beta

PROCESS = DDPM(cosine_beta(50))
MIXTURE = GaussianMixture(
    [0.3, 0.4, 0.3], torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]), [0.5, 0.4, 0.6], torch.tensor([0, 1, 0])
)
EXACT, BAYES = ExactDenoiser(MIXTURE, PROCESS), ExactClassifier(MIXTURE, PROCESS)
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PICTURES = torch.randn(4, 2, 5, 4, generator=torch.Generator().manual_seed(2))
WEIGHTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(3))
DENOISER = Network(lambda x, time: 0.6 * x + time.view(-1, *[1] * (x.ndim - 1)) - 0.3, PROCESS)


def _odds(x: Tensor, t) -> Tensor:
    """Log-odds (B, 3) of pictures, which are not normalised."""
    return (x * x + x).flatten(1) @ WEIGHTS / 10 + 2.0


# guided_score


def _score_with(
    log_p=lambda log_odds: log_odds.log_softmax(1),
    push=lambda w: w,
    start=lambda pred, w: pred.score,
    total=lambda chosen: chosen.sum(),
    off: bool = False,
) -> Callable:
    """guided_score with another log-likelihood, another weight, another start, or gradients left off."""

    def guided_score(denoiser, classifier, x_t, t, label, w):
        with torch.set_grad_enabled(torch.is_grad_enabled() or not off):
            x = x_t.detach().clone().requires_grad_()
            rows = torch.arange(len(x))
            chosen = log_p(classifier(x, t))[rows, torch.as_tensor(label)]
            (gradient,) = torch.autograd.grad(total(chosen), x)
        return start(denoiser(x_t, t), w) + push(w) * gradient

    return guided_score


def _reference_score(denoiser, classifier, x_t, t, label, w) -> Tensor:
    """score + w grad log P(label | x_t). Dhariwal and Nichol 2021, eq. 13."""
    return ClassifierGuided(denoiser, classifier, label, w)(x_t, t).score


def _without_gradients(fn: Callable) -> Tensor:
    with torch.no_grad():
        return on(EXACT, BAYES, POINTS, 20, 0, 2.0)(fn)


def _x_t_after(fn: Callable) -> Tensor:
    x_t = POINTS.clone()
    fn(EXACT, BAYES, x_t, 20, 0, 2.0)
    return torch.cat([x_t.detach().flatten(), torch.tensor([float(x_t.requires_grad)])])


guided_score = Check(
    "guided_score",
    _reference_score,
    cases=[
        Case("w = 0: the denoiser's own score", on(EXACT, BAYES, POINTS, 20, 0, 0.0)),
        Case("w = 1, all exact: the conditional score", on(EXACT, BAYES, POINTS, 20, 0, 1.0)),
        Case("w = 3: three times the classifier's push", on(EXACT, BAYES, POINTS, 20, 1, 3.0)),
        Case("pictures (B, C, H, W), and a classifier that gives log-odds", on(DENOISER, _odds, PICTURES, 30, 2, 2.0)),
        Case("a label for each of the batch", on(DENOISER, _odds, PICTURES, 30, torch.tensor([0, 1, 2, 1]), 2.0)),
        Case("under torch.no_grad, as samplers run", _without_gradients),
        Case("x_t is left as it was", _x_t_after),
    ],
    mistakes=[
        (
            "the gradient is of P, not of log P: take the log_softmax of the log-odds",
            _score_with(log_p=lambda log_odds: log_odds.softmax(1)),
        ),
        (
            "the gradient is of the log-odds themselves; log P is their log_softmax, in which the other classes count, too",
            _score_with(log_p=lambda log_odds: log_odds),
        ),
        ("the push points away from the class: its sign is turned", _score_with(push=lambda w: -w)),
        ("w is forgotten: the push is always that of w = 1", _score_with(push=lambda w: 1)),
        ("w multiplies the denoiser's score as well", _score_with(start=lambda pred, w: w * pred.score)),
        ("only the classifier's push is returned; the denoiser's score is missing", _score_with(start=lambda pred, w: 0)),
        ("the push is added to the denoiser's noise eps, not to its score", _score_with(start=lambda pred, w: pred.eps)),
        (
            "log P is averaged over the batch, not summed, before it is differentiated: each push is B times too small",
            _score_with(total=lambda chosen: chosen.mean()),
        ),
        (
            "gradients are off: samplers run under torch.no_grad, so switch them on, `with torch.enable_grad():`",
            _score_with(off=True),
        ),
        (
            "uncond and cond are mixed up: the push is w - 1 times the gradient, as if the denoiser were conditional",
            _score_with(push=lambda w: w - 1),
        ),
    ],
    hint="with torch.enable_grad(): x = x_t.detach().requires_grad_(); log_p = classifier(x, t).log_softmax(1); pick each "
    "member's label, sum, torch.autograd.grad(..., x)[0]; then denoiser(x_t, t).score + w * gradient.",
    shown=(guidance.ClassifierGuided, guidance.uphill),
)


# classifier_loss. As in lesson 02 the classifier tells what it was shown.

GENTLE = DDPM(linear_beta(50, end=0.005))  # what is left of x_0 at T still counts
MANY = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, -0.5])
CLASSES = (MANY[:, 0] > 1).long() + (MANY[:, 1] > 0).long()
SHOWN = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])


class _Answering:
    """A classifier that remembers what it was shown, x_t (B, ...) and t (B,), and what it said."""

    process = GENTLE

    def __init__(self):
        self.weight, self.shown = torch.tensor(1.5, requires_grad=True), None

    def __call__(self, x: Tensor, t) -> Tensor:
        t = torch.as_tensor(t).expand(len(x))
        said = self.weight * (x.flatten(1)[:, :2] @ SHOWN + 0.02 * t[:, None].float() * SHOWN[0])
        self.shown = x.detach(), t, said
        return said


class _Heard:
    """What a student's loss came out as, `value`, and what the classifier was shown: t (B,), and the noise in it."""

    def __init__(self, loss: Callable, x0: Tensor = MANY, label: Tensor = CLASSES):
        classifier = _Answering()
        self.weight, self.x0 = classifier.weight, x0.clone()
        self.value = torch.as_tensor(loss(classifier, self.x0, label.clone(), torch.Generator().manual_seed(7)))
        if classifier.shown is None:
            raise ValueError("the classifier is never asked: classifier(x_t, t) are its log-odds")
        x_t, self.t, said = classifier.shown
        a, b = GENTLE.coefficients(self.t.clamp(min=1), x_t)
        self.eps, self.clean = (x_t - a * x0) / b, x0
        self.right = cross_entropy(said, label)


def _slope(loss: Callable) -> Tensor:
    heard = _Heard(loss)
    (mine,), (right,) = (torch.autograd.grad(v, heard.weight, retain_graph=True) for v in (heard.value, heard.right))
    return mine / right


def _noise(loss: Callable) -> Tensor:
    """Mean and spread of what should be noise, and how much of x_0 there is in it: 0, 1, 0."""
    heard = _Heard(loss)
    return torch.stack([heard.eps.mean(), heard.eps.std(0).mean(), (heard.eps * (heard.clean - heard.clean.mean(0))).mean()])


def _loss_with(
    draw_t=lambda process, x0, rng: process.sample_t(len(x0), rng),
    add_noise=lambda process, x0, t, eps: process.add_noise(x0, t, eps),
    told=lambda t: t,
    compare=lambda log_odds, label: cross_entropy(log_odds, label),
    draw_eps=randn_like,
) -> Callable:
    """classifier_loss with another t, another x_t, another time told, or another comparison."""

    def classifier_loss(classifier, x0, label, rng):
        t = draw_t(classifier.process, x0, rng)
        x_t = add_noise(classifier.process, x0, t, draw_eps(x0, rng))
        return compare(classifier(x_t, told(t)), label)

    return classifier_loss


_picked = lambda p, label: p[torch.arange(len(p)), label]

classifier_loss = Check(
    "classifier_loss",
    training.classifier_loss,
    cases=[
        Case("the loss is the mean cross-entropy of the label", lambda loss: (h := _Heard(loss)).value / h.right, 1e-3),
        Case("no t is told but 1 .. T", lambda loss: ((t := _Heard(loss).t) < 1).any() | (t > GENTLE.T).any()),
        Case(
            "each of the batch has its own t, and every t is as likely as any other",
            lambda loss: torch.bincount(_Heard(loss).t, minlength=51)[1:].sort().values * 50 / len(MANY),
            0.2,
        ),
        Case("beside its share of x_0 there is standard normal noise in x_t, as much as its t says", _noise, 0.04),
        Case("the slope of the loss reaches the classifier", _slope, 0.02),
        Case("the same rng gives the same loss", lambda loss: torch.equal(_Heard(loss).value, _Heard(loss).value)),
        Case("x0 is left as it was", lambda loss: _Heard(loss, MANY[:100], CLASSES[:100]).x0),
    ],
    mistakes=[
        (
            "the classifier is shown clean pictures: what it learns is worth nothing where guidance asks it",
            _loss_with(add_noise=lambda process, x0, t, eps: x0),
        ),
        (
            "the classifier is told t = 0 however noisy its picture is",
            _loss_with(told=lambda t: 0 * t),
        ),
        (
            "one t is drawn for the whole batch; draw one for each picture",
            _loss_with(draw_t=lambda process, x0, rng: process.sample_t(1, rng).expand(len(x0))),
        ),
        (
            "t is drawn from 0 .. T - 1; here data is at t = 0, and noise at 1 .. T",
            _loss_with(draw_t=lambda process, x0, rng: torch.randint(0, process.T, (len(x0),), generator=rng)),
        ),
        ("noise is added, but the picture is not made smaller by the signal", _loss_with(
            add_noise=lambda process, x0, t, eps: x0 + process.coefficients(t, x0)[1] * eps)),
        (
            "the likelihood is maximised: the sign is turned",
            _loss_with(compare=lambda log_odds, label: -cross_entropy(log_odds, label)),
        ),
        (
            "the mean of P is taken, not of -log P",
            _loss_with(compare=lambda log_odds, label: -_picked(log_odds.softmax(1), label).mean()),
        ),
        (
            "the cross-entropies are summed, not averaged: the loss grows with the batch",
            _loss_with(compare=lambda log_odds, label: cross_entropy(log_odds, label, reduction="sum")),
        ),
        (
            "the softmax is taken twice: cross_entropy takes log-odds as they are",
            _loss_with(compare=lambda log_odds, label: cross_entropy(log_odds.softmax(1), label)),
        ),
        ("the noise is not drawn from rng: pass generator=rng", _loss_with(draw_eps=lambda x0, rng: torch.randn_like(x0))),
    ],
    hint="t = classifier.process.sample_t(len(x0), rng); x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng)); "
    "cross_entropy(classifier(x_t, t), label).",
)  # fmt: skip


# label_dropout

LABELS = torch.arange(30_000) % 10
NULL_LABEL = 10


def _reference_dropout(label: Tensor, null: int, p: float, rng: torch.Generator) -> Tensor:
    """Each label, on its own, made `null` with probability p. Ho and Salimans 2022, Algorithm 1, line 3."""
    return torch.where(torch.rand(len(label), generator=rng) < p, null, label)


def _drop_with(
    drop=lambda label, p, rng: torch.rand(len(label), generator=rng) < p, null=lambda null: null, inplace: bool = False
):
    """label_dropout with another choice of who is dropped, or another thing put in its place."""

    def label_dropout(label, null_label, p, rng):
        out = label if inplace else label.clone()
        out[drop(label, p, rng)] = null(null_label)
        return out

    return label_dropout


def _dropped(fn: Callable, p: float = 0.3) -> Tensor:
    return torch.as_tensor(fn(LABELS.clone(), NULL_LABEL, p, torch.Generator().manual_seed(0)))


def _neighbours(fn: Callable) -> Tensor:
    """How often two neighbours, and two a hundred apart, are dropped together, over what chance would have it: 1 and 1."""
    gone = (_dropped(fn) == NULL_LABEL).double()
    return torch.stack([(gone * gone.roll(k)).mean() for k in (1, 100)]) / 0.09


def _labels_after(fn: Callable) -> Tensor:
    label = LABELS.clone()
    fn(label, NULL_LABEL, 0.5, torch.Generator().manual_seed(0))
    return label


def _kept(fn: Callable) -> Tensor:
    made = _dropped(fn)
    return ((made == LABELS) | (made == NULL_LABEL)).all()


label_dropout = Check(
    "label_dropout",
    _reference_dropout,
    cases=[
        Case("p = 0 drops nothing", lambda fn: _dropped(fn, 0.0)),
        Case("p = 1 drops all", lambda fn: _dropped(fn, 1.0)),
        Case("at p = 0.3 three in ten are null", lambda fn: (_dropped(fn) == NULL_LABEL).double().mean(), 0.05),
        Case("what is not null is as it was", _kept),
        Case(
            "every class is dropped as often as any other",
            lambda fn: torch.bincount(LABELS[_dropped(fn) == NULL_LABEL], minlength=10) / 3000,
            0.12,
        ),
        Case("each label has its own chance: neighbours do not go together", _neighbours, 0.1),
        Case(
            "the same rng drops the same ones, another batch others",
            lambda fn: torch.stack([(_dropped(fn) == _dropped(fn)).all(), (_twice(fn)[0] != _twice(fn)[1]).any()]),
        ),
        Case("the labels that were given are left as they were", _labels_after),
    ],
    mistakes=[
        (
            "p is the share that stays; it should be the share that goes",
            _drop_with(drop=lambda label, p, rng: torch.rand(len(label), generator=rng) >= p),
        ),
        (
            "one chance is drawn for the whole batch: all go or none",
            _drop_with(drop=lambda label, p, rng: (torch.rand(1, generator=rng) < p).expand(len(label))),
        ),
        ("the labels are written into: a batch that comes again has lost them for good", _drop_with(inplace=True)),
        ("dropped labels become 0, which is a class; null has a number of its own", _drop_with(null=lambda null: 0)),
        (
            "always the first of the batch are dropped",
            _drop_with(drop=lambda label, p, rng: torch.arange(len(label)) < p * len(label)),
        ),
        ("nothing is ever dropped", _drop_with(drop=lambda label, p, rng: torch.zeros(len(label), dtype=torch.bool))),
        ("the chances are not drawn from rng: pass generator=rng", _drop_with(
            drop=lambda label, p, rng: torch.rand(len(label)) < p)),
    ],
    hint="torch.rand(len(label), generator=rng) < p says who is dropped; torch.where(dropped, null, label) does the rest.",
    shown=(Network.dropped,),
)  # fmt: skip


def _twice(fn: Callable) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.as_tensor(fn(LABELS.clone(), NULL_LABEL, 0.3, rng)) for _ in range(2))


# guided_mix

CONDITIONAL = EXACT.given(0)


def _mix_with(mix: Callable, view: str = "eps") -> Callable:
    """guided_mix with another formula, or another view."""
    return lambda cond, uncond, x_t, t, w: mix(cond(x_t, t).seen_as(view), uncond(x_t, t).seen_as(view), w)


def _reference_mix(cond, uncond, x_t: Tensor, t, w: float) -> Tensor:
    """uncond + w (cond - uncond), of the two noises. Ho and Salimans 2022, eq. 6, with w for their 1 + w."""
    return ClassifierFree(cond, uncond, w)(x_t, t).eps


guided_mix = Check(
    "guided_mix",
    _reference_mix,
    cases=[
        Case("w = 0: the unconditional noise", on(CONDITIONAL, EXACT, POINTS, 20, 0.0)),
        Case("w = 1: the conditional noise", on(CONDITIONAL, EXACT, POINTS, 20, 1.0)),
        Case("w = 3: as far again, twice", on(CONDITIONAL, EXACT, POINTS, 20, 3.0)),
        Case("w = 0.5: half way", on(CONDITIONAL, EXACT, POINTS, 40, 0.5)),
        Case("pictures (B, C, H, W)", on(DENOISER, Network(lambda x, time: 0.2 * x + 0.5, PROCESS), PICTURES, 30, 2.0)),
    ],
    mistakes=[
        ("this is Ho and Salimans' w, (1 + w) cond - w uncond; ours is theirs + 1", _mix_with(lambda c, u, w: c + w * (c - u))),
        ("cond and uncond are swapped", _mix_with(lambda c, u, w: c + w * (u - c))),
        ("the difference is turned: it leads away from the class", _mix_with(lambda c, u, w: u + w * (u - c))),
        ("the unconditional noise is missing: only w (cond - uncond) is left", _mix_with(lambda c, u, w: w * (c - u))),
        ("w cond + uncond: the weights must sum to 1", _mix_with(lambda c, u, w: w * c + u)),
        ("w is forgotten", _mix_with(lambda c, u, w: c)),
        ("the predicted pictures are mixed; this exercise asks for the noise", _mix_with(
            lambda c, u, w: u + w * (c - u), "x0")),
    ],
    hint="free, told = uncond(x_t, t).eps, cond(x_t, t).eps; free + w * (told - free).",
    shown=(guidance.ClassifierFree,),
)  # fmt: skip
