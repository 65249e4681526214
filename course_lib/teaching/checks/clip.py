"""Lesson 10: CLIP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from course_lib.denoisers import Denoiser
from course_lib.methods import clip_guidance
from course_lib.nets import clip
from course_lib.teaching.checks.check import Case, Check, minus, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, normal

# contrastive_loss
IMAGES, TEXTS = normalize(normal(6, 4), dim=1), normalize(normal(6, 4, seed=1), dim=1)

contrastive_loss = Check(
    "contrastive_loss",
    clip.contrastive_loss,
    cases=[
        Case("six pairs at scale 1", on(IMAGES, TEXTS, 1.0)),
        Case("the scale multiplies the similarities: six pairs at scale 20", on(IMAGES, TEXTS, 20.0)),
        Case("where each is most similar to its own, it is near 0", lambda f: torch.exp(f(torch.eye(5), torch.eye(5), 30.0))),
        Case("where all are alike, it is log N", on(torch.ones(8, 1), torch.ones(8, 1), 5.0)),
        Case("pictures and texts may change places", on(TEXTS, IMAGES, 20.0)),
        Case("the order of the pairs does not matter", on(IMAGES.flip(0), TEXTS.flip(0), 20.0)),
    ],
    mistakes={
        "only the text of each picture is classified; classify the picture of each text, too": {"logits.T": "logits"},
        "only the picture of each text is classified; classify the text of each picture, too": {"(logits,": "(logits.T,"},
        "both halves are added; their mean is asked for": {" / 2": ""},
        "the scale is forgotten": {"scale * ": ""},
        "the scale divides; it is one over the temperature": {"scale * pictures": "pictures / scale"},
        "own pairs are pushed apart: the sign of the similarity is turned": {"scale *": "-scale *"},
        "the last text is taken for the first picture's: own pairs lie on the diagonal": {"device)": "device).flip(0)"},
        "the losses of all pairs are summed; their mean is asked for": {" / 2": " / 2 * len(pictures)"},
    },
    hint="logits = scale * pictures @ texts.T; target = torch.arange(N); the mean of cross_entropy(logits, target) and "
    "cross_entropy(logits.T, target).",
)

# clip_guided_eps
TEXT, MATRIX = normalize(normal(6, seed=3), dim=0), normal(40, 6, seed=4)


def _encode(x: Tensor, t: int) -> Tensor:
    """Embeddings (B, 6) of pictures at time t, not of length 1."""
    return 2 * torch.tanh(x.flatten(1) @ MATRIX / 4 + t / 20)


def _clip_guided_eps(denoiser: Denoiser, encode: Callable, text: Tensor, x_t: Tensor, t: int, w: float) -> Tensor:
    """The noise eps whose score is moved by w times the gradient of the cosine similarity. Nichol et al. 2022, eq. 7."""
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        similarity = cosine_similarity(encode(x, t), text[None])
        (gradient,) = torch.autograd.grad(similarity.sum(), x)
    return denoiser(x_t, t).eps - w * denoiser.process.noise(t) * gradient


def _guided(w: float, t: int = 30, text: Tensor = TEXT, x_t: Tensor = PICTURES) -> Callable:
    return on(DENOISER, _encode, text, x_t, t, w)


clip_guided_eps = Check(
    "clip_guided_eps",
    _clip_guided_eps,
    cases=[
        Case("w = 0 is the denoiser's own eps", _guided(0.0)),
        Case("w = 1, half way", _guided(1.0)),
        Case("what guidance adds, at little noise", minus(_guided(5.0, 2), _guided(0.0, 2))),
        Case("twice the w adds twice as much", _guided(2.0)),
        Case("a longer text vector changes nothing: a cosine is meant", _guided(1.0, text=7 * TEXT)),
        Case("members of a batch do not mix", _guided(1.0, x_t=PICTURES[1:2])),
        Case("where gradients are switched off, as in a sampler", torch.no_grad()(_guided(1.0, 10))),
    ],
    mistakes={
        "the sign is turned: it steers away from the caption": {"- w": "+ w"},
        "the factor b is missing: the gradient moves the score, and eps = -b score": {" * denoiser.process.noise(t)": ""},
        "b^2 multiplies the gradient; b is right for eps": {"noise(t)": "noise(t) ** 2"},
        "the gradient is of the product of the vectors; divide by their lengths, for a cosine": {
            "cosine_similarity(encode(x, t), text[None])": "encode(x, t) @ text"
        },
        "the mean over the batch is taken, which divides each gradient by the batch size; take the sum": {"sum()": "mean()"},
        "the encoder is given t = 0, as if the picture were clean": {"encode(x, t)": "encode(x, 0)"},
    },
    hint="with torch.enable_grad(): x = x_t.detach().requires_grad_(); gradient = torch.autograd.grad(cosine(encode(x, t), "
    "text).sum(), x)[0]; then eps - w b gradient, b = denoiser.process.noise(t).",
    shown=(clip_guidance.ClipGuided,),
)
