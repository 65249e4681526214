"""Lesson 10: CLIP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from course_lib import clip_guidance
from course_lib.checks.check import Case, Check, on
from course_lib.denoisers import Denoiser, Network
from course_lib.nets import clip
from course_lib.process import DDPM
from course_lib.schedules import linear_beta


def _some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# contrastive_loss

SEEN, SAID = normalize(_some(6, 4), dim=1), normalize(_some(6, 4, seed=1), dim=1)


def _loss_with(
    likeness=lambda pictures, texts, scale: scale * pictures @ texts.T,
    own=lambda n: torch.arange(n),
    both=lambda rows, columns: (rows + columns) / 2,
    cost=cross_entropy,
) -> Callable:
    """contrastive_loss with another likeness, other pairs, one direction only, or another cost."""

    def contrastive_loss(pictures, texts, scale):
        table = likeness(pictures, texts, scale)
        return both(cost(table, own(len(table))), cost(table.T, own(len(table))))

    return contrastive_loss


contrastive_loss = Check(
    "contrastive_loss",
    clip.contrastive_loss,
    cases=[
        Case("six pairs at scale 1", on(SEEN, SAID, 1.0)),
        Case("the scale multiplies the likeness: six pairs at scale 20", on(SEEN, SAID, 20.0)),
        Case("where each finds its own, it is near 0", lambda fn: torch.exp(fn(torch.eye(5), torch.eye(5), 30.0))),
        Case("where all are alike, it is log N", on(torch.ones(8, 1), torch.ones(8, 1), 5.0)),
        Case("pictures and texts may change places", on(SAID, SEEN, 20.0)),
        Case("the order of the pairs does not matter", on(SEEN.flip(0), SAID.flip(0), 20.0)),
    ],
    mistakes=[
        (
            "only pictures choose among texts; texts must choose among pictures, too",
            _loss_with(both=lambda rows, columns: rows),
        ),
        (
            "only texts choose among pictures; pictures must choose among texts, too",
            _loss_with(both=lambda rows, columns: columns),
        ),
        ("both halves are added; their mean is meant", _loss_with(both=lambda rows, columns: rows + columns)),
        ("the scale is forgotten", _loss_with(likeness=lambda pictures, texts, scale: pictures @ texts.T)),
        ("the scale divides; it is one over the temperature", _loss_with(likeness=lambda p, t, scale: p @ t.T / scale)),
        ("own pairs are pushed apart: the sign of the likeness is turned", _loss_with(likeness=lambda p, t, s: -s * p @ t.T)),
        (
            "the last text is taken for the first picture's: own pairs lie on the diagonal",
            _loss_with(own=lambda n: torch.arange(n).flip(0)),
        ),
        (
            "the losses of all pairs are summed; their mean is meant",
            _loss_with(cost=lambda a, b: cross_entropy(a, b, reduction="sum")),
        ),
    ],
    hint="likeness = scale * pictures @ texts.T; own = torch.arange(N); the mean of cross_entropy(likeness, own) and "
    "cross_entropy(likeness.T, own).",
)


# clip_guided_eps

PROCESS = DDPM(linear_beta(50, end=0.02))
PICTURES, TEXT, MATRIX = _some(3, 2, 5, 4, seed=2), normalize(_some(6, seed=3), dim=0), _some(40, 6, seed=4)
DENOISER = Network(lambda x, time: 0.6 * x + time.view(-1, *[1] * (x.ndim - 1)) - 0.3, PROCESS)


def _encode(x: Tensor, t: int) -> Tensor:
    """A small encoder of pictures at time t, (B, 6), whose vectors are not of length 1."""
    return 2 * torch.tanh(x.flatten(1) @ MATRIX[: x[0].numel()] / 4 + t / 20)


def _guided_with(
    likeness=lambda seen, text: cosine_similarity(seen, text[None], dim=1).sum(),
    at=lambda t: t,
    by=lambda b: -b,
) -> Callable:
    """clip_guided_eps with another likeness, another time for the encoder, or another factor before the gradient."""

    def clip_guided_eps(denoiser, encode, text, x_t, t, w):
        with torch.enable_grad():
            x = x_t.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(likeness(encode(x, at(t)), text), x)
        return denoiser(x_t, t).eps + w * by(float(denoiser.process.noise(t))) * gradient

    return clip_guided_eps


def _reference_eps(denoiser: Denoiser, encode: Callable, text: Tensor, x_t: Tensor, t: int, w: float) -> Tensor:
    """Moves the score up the cosine of picture and text (Nichol et al. 2022, eq. 7), and so the noise by -b."""
    return _guided_with()(denoiser, encode, text, x_t, t, w)


clip_guided_eps = Check(
    "clip_guided_eps",
    _reference_eps,
    cases=[
        Case("w = 0 is the denoiser's own eps", on(DENOISER, _encode, TEXT, PICTURES, 30, 0.0)),
        Case("w = 1, half way", on(DENOISER, _encode, TEXT, PICTURES, 30, 1.0)),
        Case(
            "what guidance adds, at little noise",
            lambda fn: fn(DENOISER, _encode, TEXT, PICTURES.clone(), 2, 5.0) - DENOISER(PICTURES, 2).eps,
        ),
        Case("twice the w adds twice as much", on(DENOISER, _encode, TEXT, PICTURES, 30, 2.0)),
        Case("a longer text vector changes nothing: a cosine is meant", on(DENOISER, _encode, 7 * TEXT, PICTURES, 30, 1.0)),
        Case("members of a batch do not mix", on(DENOISER, _encode, TEXT, PICTURES[1:2], 30, 1.0)),
        Case("where gradients are switched off, as in a sampler", lambda fn: _without_gradients(fn)),
    ],
    mistakes=[
        ("the sign is turned: it steers away from the caption", _guided_with(by=lambda b: b)),
        ("the factor b is missing: the gradient moves the score, and eps = -b score", _guided_with(by=lambda b: -1)),
        ("b^2 multiplies the gradient; b is right for eps", _guided_with(by=lambda b: -(b**2))),
        (
            "the product of the vectors is climbed; divide by their lengths, for a cosine",
            _guided_with(likeness=lambda seen, text: (seen @ text).sum()),
        ),
        (
            "the mean over the batch is climbed, so that each picture moves the less the more there are; take the sum",
            _guided_with(likeness=lambda seen, text: cosine_similarity(seen, text[None], dim=1).mean()),
        ),
        ("the encoder is told that the picture is clean, t = 0", _guided_with(at=lambda t: 0)),
    ],
    hint="with torch.enable_grad(): x = x_t.detach().requires_grad_(); gradient = torch.autograd.grad(cosine(encode(x, t), "
    "text).sum(), x)[0]; then eps - w b gradient, b = denoiser.process.noise(t).",
    shown=(clip_guidance.ClipGuided,),
)


@torch.no_grad()
def _without_gradients(fn: Callable) -> Tensor:
    return fn(DENOISER, _encode, TEXT.clone(), PICTURES.clone(), 10, 1.0)
