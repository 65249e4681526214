"""Lesson 11: unCLIP."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.denoisers import NULL, Network
from course_lib.methods import unclip
from course_lib.process import DDPM
from course_lib.schedules import cosine_beta
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PROCESS, normal

# prior_loss
EMBEDDING, EPS, CAPTION, MATRIX = normal(5, 6), normal(5, 6, seed=1), normal(5, 3, seed=2), normal(10, 6, seed=3)
TIMES = torch.tensor([1, 12, 25, 38, 50])


def _prior(z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A small prior, a function of the noisy embedding, of the time and of the caption."""
    return _output(MATRIX, z_t, t, y)


def _output(matrix: Tensor, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(torch.cat([z_t, y, (t[:, None] / 50).to(z_t.dtype)], 1) @ matrix) + 0.5 * z_t


def _gradient(loss: Callable) -> Tensor:
    """The gradient of the loss with respect to the prior's weights. Raises Refused for a loss without one."""
    matrix = MATRIX.clone().requires_grad_()
    value = loss(lambda *given: _output(matrix, *given), *deepcopy((PROCESS, EMBEDDING, CAPTION, TIMES, EPS)))
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise Refused("no gradient flows through it: return a tensor, without .item(), .detach() or float()")
    return torch.autograd.grad(value.sum(), matrix)[0]


def _prior_loss(prior, process, z, y, t, eps):
    """The squared length of the error of the predicted embedding, mean over the batch. Ramesh et al. 2022, eq. 2."""
    a, b = process.coefficients(t, z)
    z_t = a * z + b * eps
    return (prior(z_t, t, y) - z).square().sum(1).mean()


prior_loss = Check(
    "prior_loss",
    _prior_loss,
    cases=[
        Case("five embeddings, each at a time of its own", on(_prior, PROCESS, EMBEDDING, CAPTION, TIMES, EPS)),
        Case("little noise", on(_prior, PROCESS, EMBEDDING, CAPTION, 0 * TIMES + 1, EPS)),
        Case("much noise", on(_prior, PROCESS, EMBEDDING, CAPTION, 0 * TIMES + 49, EPS)),
        Case("a batch of two", on(_prior, PROCESS, EMBEDDING[:2], CAPTION[:2], TIMES[1:3], EPS[:2])),
        Case(
            "6 where each of six components is off by 1", on(lambda *_: EMBEDDING + 1, PROCESS, EMBEDDING, CAPTION, TIMES, EPS)
        ),
        Case("other captions, another loss", on(_prior, PROCESS, EMBEDDING, CAPTION.flip(0), TIMES, EPS)),
        Case("its gradient, by which the prior is trained", _gradient),
    ],
    mistakes={
        "the prediction is compared with the noise; the prior predicts the clean vector": {" - z)": " - eps)"},
        "the prior is given the clean vector, which it needs only to copy": {"a * z + b * eps": "z"},
        "the vector is noised without its signal being scaled: z_t = a z + b eps": {"a * z +": "z +"},
        "signal and noise have changed places: z_t = a z + b eps": {"a * z + b * eps": "b * z + a * eps"},
        "the mean over components is taken; the squared length is their sum": {".sum(1)": ""},
        "the batch is summed; its mean is asked for": {".sum(1).mean()": ".sum()"},
        "the length is not squared": {".sum(1)": ".sum(1).sqrt()"},
        "absolute errors are summed (L1); the squared length is asked for": {"square()": "abs()"},
        "the square roots are missing: z_t = sqrt(alpha_bar) z + sqrt(1 - alpha_bar) eps": {
            "a * z + b * eps": "a**2 * z + b**2 * eps"
        },
        "the prediction is compared with v; the prior predicts the clean vector": {" - z)": " - (a * eps - b * z))"},
        "the prior is given t / T, where t itself is asked for": {"(z_t, t,": "(z_t, t / process.T,"},
        "the vector is noised one step too little, to t - 1": {"coefficients(t,": "coefficients(t - 1,"},
        "the cosine of both vectors is compared; the squared length of the error is asked for": {
            "return": "return (1 - torch.cosine_similarity(prior(z_t, t, y), z)).mean()\n    return"
        },
        "the caption does not reach the prior": {", y)": ", 0 * y)"},
        "the loss is a plain number, through which no gradient flows: leave .item(), .detach() and float() out": [
            {".mean()": ".mean().item()"},
            {".mean()": ".mean().detach()"},
        ],
    },
    hint="z_t = process.add_noise(z, t, eps); then (prior(z_t, t, y) - z).square().sum(1).mean().",
)

# slerp
A, B = normal(4, 6, seed=4), 3 * normal(4, 6, seed=5)

NEARLY = torch.eye(6)[:4]


def _slerp(a, b, share):
    """From a to b along the arc between them, each pair by its own angle. Shoemake 1985."""
    cosine = torch.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = torch.arccos(cosine).clamp(min=1e-4)[:, None]
    of_a, of_b = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return (of_a * a + of_b * b) / torch.sin(angle)


slerp = Check(
    "slerp",
    _slerp,
    cases=[
        Case("share 0 is a", on(A, B, 0.0)),
        Case("share 1 is b", on(A, B, 1.0)),
        Case("half way", on(A, B, 0.5)),
        Case("a third of the way", on(A, B, 1 / 3)),
        Case(
            "between two of one length it keeps the length", lambda fn: torch.as_tensor(on(A, A.flip(1), 0.3)(fn)).norm(dim=1)
        ),
        Case("one pair alone: each has its own angle", on(A[:1], B[:1], 0.25)),
        Case("where both are nearly one, it is neither NaN nor far", on(NEARLY, NEARLY + 1e-6 * B, 0.5), tolerance=1e-3),
        Case("a and b are left as they were", after(A, B, 0.5)),
    ],
    mistakes={
        "it goes straight: (1 - s) a + s b leaves the arc": {"return": "return a.lerp(b, share)\n    return"},
        "it starts at b and ends at a": {"cosine =": "share = 1 - share\n    cosine ="},
        "all pairs share one angle; each has its own": {
            "(a, b, dim=1)": "(a.flatten(), b.flatten(), dim=0)",
            ".clamp(min=1e-4)[:, None]": "",
        },
        "each component has an angle of its own; each pair of vectors, a row, has one": {"dim=1": "dim=0", "[:, None]": ""},
        "the product of the vectors is taken for the cosine; divide by their lengths": {
            "torch.cosine_similarity(a, b, dim=1).clamp(-1, 1)": "(a * b).sum(1)"
        },
        "the product of the vectors, cut off at 1, is taken for the cosine; divide by their lengths": {
            "torch.cosine_similarity(a, b, dim=1)": "(a * b).sum(1)"
        },
        "the weights are not divided by sin(angle)": {" / torch.sin(angle)": ""},
        "the cosine is taken for the angle; arccos is missing": {"torch.arccos(cosine).clamp(min=1e-4)": "cosine"},
        "both are divided by their lengths first: the result then starts at a / |a|, not at a": {
            "of_a * a + of_b * b": "of_a * a / a.norm(dim=1)[:, None] + of_b * b / b.norm(dim=1)[:, None]"
        },
        "where a and b are nearly one, 0 is divided by 0: keep the angle from 0": {".clamp(min=1e-4)": ""},
        "the weights are cos and sin of the angle, which is right only for vectors at a right angle": {
            "return": "return torch.cos(share * angle) * a + torch.sin(share * angle) * b\n    return"
        },
        "the weights are sqrt(1 - s) and sqrt(s), which is right only for vectors at a right angle": {
            "return": "return (1 - share) ** 0.5 * a + share**0.5 * b\n    return"
        },
        "the straight line is stretched to the length in between; on the arc equal shares are equal angles": {
            "return": "x = a.lerp(b, share)\n    length = a.norm(dim=1).lerp(b.norm(dim=1), share)\n"
            "    return x / x.norm(dim=1)[:, None] * length[:, None]\n    return"
        },
    },
    hint="angle = arccos(cosine_similarity(a, b)), one a pair; (sin((1 - s) angle) a + sin(s angle) b) / sin(angle); "
    "keep the angle from 0.",
)

# unclip_sampling. The two processes differ, so that neither can be taken for the other.
WORDS, WEIGHTS = normal(3, 3, seed=6), normal(6, 8, seed=7)
Z_T, X_T = normal(3, 6, seed=8), normal(3, 2, 2, 2, seed=9)


class _SmallPrior(nn.Module):
    """A network of embeddings (B, 6), given captions (B, 3)."""

    def as_condition(self, cond: Any) -> Tensor:
        if cond is NULL:
            return torch.zeros(1, 3)
        if not isinstance(cond, Tensor) or cond.shape[1:] != (3,):
            raise Refused("the prior is given the captions: prior.given(y)")
        return cond

    def forward(self, z_t: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        return torch.tanh(z_t @ WEIGHTS[:, :6] + cond @ MATRIX[6:9] + time[:, None].to(z_t.dtype))


class _SmallDecoder(nn.Module):
    """A network of pictures (B, 2, 2, 2), given embeddings (B, 6)."""

    def as_condition(self, cond: Any) -> Tensor:
        if cond is NULL:
            return torch.zeros(1, 6)
        if not isinstance(cond, Tensor) or cond.shape[1:] != (6,):
            raise Refused("the decoder is given an embedding: decoder.given(z)")
        return cond

    def forward(self, x_t: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        return 0.3 * x_t + torch.tanh(cond @ WEIGHTS).view(-1, 2, 2, 2) + time.view(-1, 1, 1, 1).to(x_t.dtype)


SMALL_PRIOR = Network(_SmallPrior(), PROCESS, "x0")
SMALL_DECODER = Network(_SmallDecoder(), DDPM(cosine_beta(50)), "x0")


def _unclip_sampling(prior, decoder, y, z, x, steps, w):
    """Pictures of the captions y, from the noises z and x. Ramesh et al. 2022, section 2, without their choice of two."""
    model = prior.given(y)
    for t, t_next in pairwise(prior.process.times(steps).tolist()):
        pred = model(z, t)
        z = prior.process.add_noise(pred.x0, t_next, pred.eps)
    cond, uncond = decoder.given(z), decoder.given(NULL)
    for t, t_next in pairwise(decoder.process.times(steps).tolist()):
        c, u = cond(x, t), uncond(x, t)
        x0 = u.x0 + w * (c.x0 - u.x0)
        eps = u.eps + w * (c.eps - u.eps)
        x = decoder.process.add_noise(x0, t_next, eps)
    return x


def _sampled(steps: int, w: float, y: Tensor = WORDS, z: Tensor = Z_T) -> Callable[[Callable], Tensor]:
    return on(SMALL_PRIOR, SMALL_DECODER, y, z, X_T, steps, w)


_PRIOR_STEP = "z = prior.process.add_noise(pred.x0, t_next, pred.eps)"

unclip_sampling = Check(
    "unclip_sampling",
    _unclip_sampling,
    cases=[
        Case("five steps at w = 2", _sampled(5, 2.0)),
        Case("w = 1: the conditional decoder", _sampled(5, 1.0)),
        Case("w = 0: the embedding has no influence", _sampled(4, 0.0)),
        Case("one step for each stage", _sampled(1, 2.0)),
        Case("other captions, other pictures", _sampled(5, 2.0, WORDS.flip(0))),
        Case("other noise for the prior, other pictures", _sampled(5, 2.0, z=Z_T.flip(0))),
        Case("captions and noises are left as they were", after(SMALL_PRIOR, SMALL_DECODER, WORDS, Z_T, X_T, 3, 2.0)),
    ],
    mistakes={
        "the prior's steps do not change z, so that the decoder is given noise: go on from t to the next time": [
            {_PRIOR_STEP: "z = z"},
            {"(pred.x0, t_next, pred.eps)": "(pred.x0, t, pred.eps)"},
        ],
        "the prior's predicted vector of one step is taken as z; go on from it to the next time": {
            _PRIOR_STEP: "z = z if t_next else pred.x0"
        },
        "the prior's vector and noise have changed places in its step": {
            "(pred.x0, t_next, pred.eps)": "(pred.eps, t_next, pred.x0)"
        },
        "the prior ignores the caption: it is given NULL": {"prior.given(y)": "prior.given(NULL)"},
        "the prior's process noises the pictures; the decoder has its own": {
            "x = decoder.process": "x = prior.process",
        },
        "the decoder's process noises the vectors; the prior has its own": {
            "z = prior.process": "z = decoder.process",
        },
        "the decoder is not guided: w is forgotten": {
            "u.x0 + w * (c.x0 - u.x0)": "c.x0",
            "u.eps + w * (c.eps - u.eps)": "c.eps",
        },
        "the decoder is never given z": {"decoder.given(z)": "decoder.given(NULL)"},
        "only eps is guided; x_0 is the conditional decoder's": {"u.x0 + w * (c.x0 - u.x0)": "c.x0"},
        "only x_0 is guided; eps is the conditional decoder's": {"u.eps + w * (c.eps - u.eps)": "c.eps"},
        "the guidance is turned: it leads away from z": {
            "u.x0 + w * (c.x0 - u.x0)": "u.x0 - w * (c.x0 - u.x0)",
            "u.eps + w * (c.eps - u.eps)": "u.eps - w * (c.eps - u.eps)",
        },
        "this is (1 + w) cond - w uncond; ours is uncond + w (cond - uncond)": {
            "u.x0 + w * (c.x0 - u.x0)": "c.x0 + w * (c.x0 - u.x0)",
            "u.eps + w * (c.eps - u.eps)": "c.eps + w * (c.eps - u.eps)",
        },
        "each step of the decoder makes the picture as noisy as it was: go on to the next time": {
            "(x0, t_next, eps)": "(x0, t, eps)"
        },
        "the embedding z is returned; the decoder's picture is asked for": {"return x": "return z"},
        "the predicted picture is clamped to -1 .. 1": {"(x0, t_next, eps)": "(x0.clamp(-1, 1), t_next, eps)"},
        "the prior takes `steps` moves, the decoder one less": {
            "decoder.process.times(steps)": "decoder.process.times(max(steps - 1, 1))"
        },
    },
    hint="First: pred = prior.given(y)(z, t); z = prior.process.add_noise(pred.x0, t_next, pred.eps). Then: mix x0 "
    "and eps of decoder.given(z) and decoder.given(NULL) by w; x = decoder.process.add_noise(x0, t_next, eps).",
    shown=(unclip.UnCLIP.sample_prior, unclip.UnCLIP.film),
)
