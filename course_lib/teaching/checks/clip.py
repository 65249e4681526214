"""Lesson 10: CLIP."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from course_lib.methods import clip_guidance
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, minus, on
from course_lib.teaching.checks.spy import DENOISER, PICTURES, normal
from course_lib.zoo.recipes import clip as recipe

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


# train_clip
class _Encoders(nn.Module):
    """A linear CLIP, whose embeddings are not of length 1."""

    def __init__(self, scale: float = 1 / 0.07):
        super().__init__()
        self.image, self.text = (nn.Parameter(normal(5, 3, seed=seed)) for seed in (5, 6))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float32))

    def encode_image(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.image

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.text[tokens].mean(1)


_CHOICES = torch.randint(0, 5, (4, 6, 4), generator=seeded(7))
_BATCHES = [(normal(6, 1, 1, 5, seed=10 + i), tokens) for i, tokens in enumerate(_CHOICES)]


class _Trained:
    """A training on `bright` times the pictures of four batches: `losses` (4,) and how far the parameters moved.

    If `aligned`, each picture's embedding is at first its text's, so that no gradient lowers the inverse temperature.
    """

    def __init__(self, train: Callable, scale: float = 1 / 0.07, bright: float = 1.0, aligned: bool = False):
        clip, start = _Encoders(scale), _Encoders(scale)
        optimizer = torch.optim.SGD(clip.parameters(), 0.05)
        with torch.no_grad():
            own = [start.encode_text(tokens) @ torch.linalg.pinv(start.image) for _, tokens in _BATCHES]
        batches = ((y if aligned else bright * x, tokens.clone()) for y, (x, tokens) in zip(own, _BATCHES))
        losses = train(clip, lambda *args: _contrastive_loss(*args), optimizer, batches)
        self.losses = losses if isinstance(losses, Tensor) else torch.tensor([float(loss) for loss in losses])
        self.image, self.text = clip.image - start.image, clip.text - start.text
        self.scale = clip.log_scale.exp()


def _train_clip(clip: nn.Module, loss: Callable, optimizer: torch.optim.Optimizer, batches: Iterable) -> Tensor:
    """The loss of each step (steps,). Radford et al. 2021, figure 3 and section 2.5."""
    losses = []
    for pictures, tokens in batches:
        f = torch.nn.functional.normalize(clip.encode_image(pictures), dim=1)
        g = torch.nn.functional.normalize(clip.encode_text(tokens), dim=1)
        value = loss(f, g, clip.log_scale.exp())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            clip.log_scale.clamp_(max=math.log(100))
        losses.append(value.item())
    return torch.tensor(losses)


_STEP = "value.backward()\n        optimizer.step()"

train_clip = Check(
    "train_clip",
    _train_clip,
    cases=[
        Case("the loss of each of four steps", lambda f: _Trained(f).losses),
        Case("how the image encoder's weights moved", lambda f: _Trained(f).image),
        Case("how the text encoder's weights moved", lambda f: _Trained(f).text),
        Case("the inverse temperature after four steps from 1 / 0.07", lambda f: _Trained(f).scale),
        Case("brighter pictures give the same losses: the vectors have length 1", lambda f: _Trained(f, bright=5.0).losses),
        Case("an inverse temperature of 120 is brought down to 100", lambda f: _Trained(f, 120.0, aligned=True).scale < 100.1),
    ],
    mistakes={
        "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
        "optimizer.step() finds no gradient of this step: value.backward() must come just before it": [
            {_STEP: "optimizer.step()\n        value.backward()"},
            {_STEP: "value.backward()\n        optimizer.zero_grad()\n        optimizer.step()"},
        ],
        "the inverse temperature is given as its logarithm: take clip.log_scale.exp()": {".log_scale.exp()": ".log_scale"},
        "the temperature is given, not its inverse": {"clip.log_scale.exp()": "(-clip.log_scale).exp()"},
        "the temperature stays as it was: no gradient reaches clip.log_scale": [
            {".exp()": ".detach().exp()"},
            {".exp()": ".exp().item()"},
            {"clip.log_scale.exp()": "1 / 0.07"},
        ],
        "the inverse temperature is not held at 100 or less": [
            {"clip.log_scale.clamp_(max=math.log(100))": "pass"},
            {"math.log(100)": "100"},
        ],
        "clip.log_scale is replaced, and the optimizer goes on with the old one: clamp it in place, by clamp_": {
            "clip.log_scale.clamp_(max=math.log(100))": "clip.log_scale = nn.Parameter(clip.log_scale.clamp(max=4.60517))"
        },
        "the vectors of pictures and texts are not divided by their lengths": {
            "torch.nn.functional.normalize(clip.encode_image(pictures), dim=1)": "clip.encode_image(pictures)",
            "torch.nn.functional.normalize(clip.encode_text(tokens), dim=1)": "clip.encode_text(tokens)",
        },
        "the vectors of the texts are not divided by their lengths": {
            "torch.nn.functional.normalize(clip.encode_text(tokens), dim=1)": "clip.encode_text(tokens)"
        },
        "the vectors of the pictures are not divided by their lengths": {
            "torch.nn.functional.normalize(clip.encode_image(pictures), dim=1)": "clip.encode_image(pictures)"
        },
        "the lengths are taken over the batch; a vector's own length is over dim=1": {
            "(pictures), dim=1": "(pictures), dim=0",
            "(tokens), dim=1": "(tokens), dim=0",
        },
        "only the first batch is used: `return` stands inside the loop": {"in batches": "in [next(iter(batches))]"},
        "the loss of the last step is returned, not the losses of all steps": {"tensor(losses)": "tensor(losses[-1:])"},
        "the text encoder is not trained: its vectors are cut off from their gradient": {
            "clip.encode_text(tokens)": "clip.encode_text(tokens).detach()"
        },
        "the image encoder is not trained: its vectors are cut off from their gradient": {
            "clip.encode_image(pictures)": "clip.encode_image(pictures).detach()"
        },
    },
    hint="For each batch: normalise both embeddings, value = loss(f, g, clip.log_scale.exp()); then zero_grad(), backward(), "
    "step(); then, without gradients, clip.log_scale.clamp_(max=math.log(100)); and keep value.item().",
    shown=(recipe.train_clip,),
)

# clip_guided_eps
TEXT, MATRIX = normalize(normal(6, seed=3), dim=0), normal(40, 6, seed=4)


def _encode(x: Tensor, t: int) -> Tensor:
    """Embeddings (B, 6) of pictures at time t, not of length 1."""
    return 2 * torch.tanh(x.flatten(1) @ MATRIX / 4 + t / 20)


def _clip_guided_eps(denoiser, encode, text, x_t, t, w):
    """The noise eps whose score is moved by w a times the gradient of the cosine similarity. Nichol et al. 2022, eq. 7."""
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        similarity = torch.cosine_similarity(encode(x, t), text, dim=-1)
        (gradient,) = torch.autograd.grad(similarity.sum(), x)
    a, b = denoiser.process.signal(t), denoiser.process.noise(t)
    return denoiser(x_t, t).eps - w * a * b * gradient


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
        "the signal a is missing: without it the shift of the predicted picture is divided by a": {" * a *": " *"},
        "both factors, a and b, are missing": {"w * a * b *": "w *"},
        "b^2 multiplies the gradient; b is right for eps": {"noise(t)": "noise(t) ** 2"},
        "a^2 multiplies the gradient; one factor is the noise b": {"process.noise": "process.signal"},
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
    "text).sum(), x)[0]; then eps - w a b gradient, with a, b = denoiser.process.signal(t), denoiser.process.noise(t).",
    shown=(clip_guidance.ClipGuided,),
)
