"""Lesson 10: CLIP."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from course_lib.methods import clip_guidance
from course_lib.teaching.checks.check import Case, Check, after, minus, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, normal

# contrastive_loss
IMAGES, TEXTS = normalize(normal(6, 4), dim=1), normalize(normal(6, 4, seed=1), dim=1)


def _contrastive_loss(pictures, texts, scale):
    """The mean cross-entropy of finding each picture's text, and each text's picture. Radford et al. 2021, figure 3."""
    logits = scale * pictures @ texts.T
    target = torch.arange(len(pictures), device=logits.device)
    of_pictures = torch.nn.functional.cross_entropy(logits, target)
    of_texts = torch.nn.functional.cross_entropy(logits.T, target)
    return (of_pictures + of_texts) / 2


def _sigmoid_loss(pictures, texts, scale):
    logits = scale * pictures @ texts.T
    return -torch.nn.functional.logsigmoid(logits * (2 * torch.eye(len(logits)) - 1)).sum(1).mean()


contrastive_loss = Check(
    "contrastive_loss",
    _contrastive_loss,
    cases=[
        Case("six pairs at scale 1", on(IMAGES, TEXTS, 1.0)),
        Case("the scale multiplies the similarities: six pairs at scale 20", on(IMAGES, TEXTS, 20.0)),
        Case(
            "where each is most similar to its own, it is near 0",
            lambda fn: torch.as_tensor(on(torch.eye(5), torch.eye(5), 30.0)(fn)).exp(),
        ),
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
        "the scale is taken for its logarithm: its exp multiplies, where the scale itself should": {
            "scale * pictures": "torch.tensor(scale).exp() * pictures"
        },
        "own pairs are pushed apart: the sign of the similarity is turned": {"scale *": "-scale *"},
        "the last text is taken for the first picture's: own pairs lie on the diagonal": {"device)": "device).flip(0)"},
        "the losses of all pairs are summed; their mean is asked for": {" / 2": " / 2 * len(pictures)"},
        "the softmax is taken twice: cross_entropy takes the logits themselves": {
            "(logits, target)": "(logits.softmax(1), target)",
            "(logits.T, target)": "(logits.T.softmax(1), target)",
        },
        "the logarithm is missing: the loss of a pair is -log p, not -p": {
            "torch.nn.functional.cross_entropy(logits, target)": "-logits.softmax(1).diagonal().mean()",
            "torch.nn.functional.cross_entropy(logits.T, target)": "-logits.softmax(0).diagonal().mean()",
        },
        "each pair is classified alone, by a sigmoid (SigLIP); here it is classified among all N, by a softmax": (
            _sigmoid_loss
        ),
        "the cosines are compared with 1 and 0 by their squared error; the cross-entropy over each row is asked for": {
            "return": "return (logits / scale - torch.eye(len(logits))).square().mean()\n    return"
        },
        "the cosines of own pairs alone count: nothing keeps a picture away from the other texts": {
            "return": "return (1 - logits.diagonal() / scale).mean()\n    return"
        },
    },
    hint="logits = scale * pictures @ texts.T; target = torch.arange(N); the mean of cross_entropy(logits, target) and "
    "cross_entropy(logits.T, target).",
)

# clip_guided_eps
TEXT, MATRIX = normalize(normal(6, seed=3), dim=0), normal(40, 6, seed=4)


def _encode(x: Tensor, t: int) -> Tensor:
    """Embeddings (B, 6) of pictures at time t, not of length 1."""
    return 2 * torch.tanh(x.flatten(1) @ MATRIX / 4 + t / 20)


def _clip_guided_eps(denoiser, encode, text, x_t, t, w):
    """The noise eps whose score is moved by w times the gradient of the cosine similarity. Nichol et al. 2022, eq. 7."""
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        similarity = torch.cosine_similarity(encode(x, t), text, dim=-1)
        (gradient,) = torch.autograd.grad(similarity.sum(), x)
    b = denoiser.process.noise(t)
    return denoiser(x_t, t).eps - w * b * gradient


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
        Case("x_t and text are left as they were", after(DENOISER, _encode, TEXT, PICTURES, 30, 1.0)),
    ],
    mistakes={
        "the sign is turned: it steers away from the caption": {"- w": "+ w"},
        "the factor b is missing: the gradient moves the score, and eps = -b score": {" * b *": " *"},
        "b^2 multiplies the gradient; b is right for eps": {"noise(t)": "noise(t) ** 2"},
        "the signal a multiplies the gradient, where the noise b should": {"process.noise": "process.signal"},
        "the gradient is of the product of the vectors; divide by their lengths, for a cosine": {
            "torch.cosine_similarity(encode(x, t), text, dim=-1)": "encode(x, t) @ text"
        },
        "only CLIP's vector of the picture is divided by its length; for a cosine, divide the text's, too": {
            "text, dim=-1)": "text, dim=-1) * text.norm()"
        },
        "only the text's vector is divided by its length; for a cosine, divide the picture's, too": {
            "torch.cosine_similarity(encode(x, t), text, dim=-1)": "encode(x, t) @ text / text.norm()"
        },
        "the mean over the batch is taken, which divides each gradient by the batch size; take the sum": {"sum()": "mean()"},
        "the encoder is given t = 0, as if the picture were clean": {"encode(x, t)": "encode(x, 0)"},
        "CLIP is given the predicted picture; its gradient at x_t itself is asked for": {
            "encode(x, t)": "encode(denoiser(x, t).x0, t)"
        },
        "the gradient is divided by its length, which belongs to the formula: guidance is weak where the similarity is flat": {
            "* gradient": "* torch.nn.functional.normalize(gradient.flatten(1), dim=1).view_as(x_t)"
        },
        "gradients are not switched on: a sampler switches them off, and then there is none": {
            "with torch.enable_grad():": "if True:"
        },
        "x_t itself is made to require a gradient: take a copy, x_t.detach().clone()": {
            "x_t.detach().clone().requires_grad_()": "x_t.requires_grad_()"
        },
        "the shift alone is returned: it is subtracted from the eps of the denoiser": {"denoiser(x_t, t).eps -": "-"},
    },
    hint="with torch.enable_grad(): x = x_t.detach().requires_grad_(); gradient = torch.autograd.grad(cosine(encode(x, t), "
    "text).sum(), x)[0]; then eps - w b gradient, b = denoiser.process.noise(t).",
    shown=(clip_guidance.ClipGuided,),
)
