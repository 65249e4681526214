"""Masked diffusion of words: noise replaces words by a mask, and a network that fills masks is trained by the bound.

A denoiser is a function from words z (B, L), some of them `mask`, to logits (B, L, V) of the word at each position. It needs no
time. `mask` is a number that is no word; if it is below V, its logits are left out. Time t is the share of masked words: the
signal is alpha_t = 1 - t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import validate
from course_lib.process import rand

WordDenoiser = Callable[[Tensor], Tensor]
ORDERS = ("random", "confidence", "position")


@dataclass(frozen=True)
class WordStep:
    """A state of a decoder: words z (B, L), and the probability with which each was drawn, (B, L); 0 where it is masked.

    Words that were given have probability 1. `t` is the share of words that are masked, on average.
    """

    t: float
    z: Tensor
    probability: Tensor


def mask_tokens(x0: Tensor, t: Tensor, mask: int, rng: torch.Generator | None = None) -> Tensor:
    """Words x0 (B, L), each replaced by `mask` with probability t (B,), in [0, 1]: the forward process q(z_t | x_0).

    Austin et al. 2021 (D3PM), the absorbing state; Sahoo et al. 2024 (MDLM), with alpha_t = 1 - t.
    """
    validate.indices("x0", x0, "L")
    validate.at_least("mask", mask, 0)
    if len(validate.row("t", t)) != len(x0) or not 0 <= t.min() <= t.max() <= 1:
        raise ValueError(
            f"t must be {len(x0)} numbers in [0, 1], one for each sentence, got {len(t)}, up to {float(t.max()):g}"
        )
    return torch.where(rand(*x0.shape, rng=rng).to(x0.device) < t.to(x0.device)[:, None], mask, x0)


def masked_diffusion_loss(denoiser: WordDenoiser, x0: Tensor, mask: int, rng: torch.Generator | None = None) -> Tensor:
    """The bound on -log p(x_0), in nats per sentence, (): the cross-entropy of masked words, weighted by 1 / t.

    Sahoo et al. 2024 (MDLM) and Shi et al. 2024 (MD4), with alpha_t = 1 - t. The times are one from each of B equal
    parts of (0, 1].
    """
    B = len(validate.indices("x0", x0, "L"))
    t = 1 - (torch.arange(B, dtype=torch.float32, device="cpu") + rand(B, rng=rng)) / B
    z = mask_tokens(x0, t, mask, rng)
    log_p = log_probabilities(denoiser, z, mask).gather(2, x0[..., None])[..., 0]
    return (-log_p.masked_fill(z != mask, 0) / t.to(log_p)[:, None]).sum(1).mean()


def log_probabilities(denoiser: WordDenoiser, z: Tensor, mask: int) -> Tensor:
    """The logarithms of the probabilities of words, (B, L, V), from the denoiser's logits; that of the mask is minus infinity.

    Sahoo et al. 2024, `_subs_parameterization` of their code.
    """
    validate.indices("z", z, "L")
    logits = validate.floats("denoiser(z)", validate.function("denoiser", denoiser)(z), z.shape[1], "V")
    if validate.at_least("mask", mask, 0) < logits.shape[2]:
        logits = logits.index_fill(2, torch.tensor([mask], dtype=torch.long, device="cpu").to(logits.device), -torch.inf)
    return logits.log_softmax(2)


def guided_words(cond: WordDenoiser, uncond: WordDenoiser, w: float) -> WordDenoiser:
    """A denoiser with log p = log p_uncond + w (log p_cond - log p_uncond) + a constant, of each word on its own.

    Classifier-free guidance of discrete diffusion (Schiff et al. 2024, D-CFG); w = 1 is the conditional denoiser. The logits
    must be finite.
    """
    validate.function("cond", cond)
    validate.function("uncond", uncond)
    validate.finite("w", w)

    def denoiser(z: Tensor) -> Tensor:
        return torch.lerp(uncond(z).log_softmax(2), cond(z).log_softmax(2), w)

    return denoiser


@torch.no_grad()
def ancestral_words(
    denoiser: WordDenoiser, z: Tensor, n: int, mask: int, eta: float = 0.0, rng: torch.Generator | None = None
) -> Iterator[WordStep]:
    """Yields n + 1 states of ancestral sampling from words z (B, L), usually all masked, over even times from 1 to 0.

    From t to s a masked word is drawn with probability (t - s) / t (Sahoo et al. 2024, `_ddpm_update` of their code). With
    eta > 0 other words are masked again with probability sigma = eta min(1, s / (1 - t)), and more are drawn in turn: the
    sampler ReMDM, rescaled, of Wang et al. 2025 (diffusion.py of their code). Raises ValueError unless eta lies in [0, 1].
    """
    p = _given(z, mask)
    validate.finite("eta", eta, 0, 1)
    yield WordStep(1.0, z, p)
    for k in range(validate.at_least("n", n, 1), 0, -1):
        t, s = k / n, (k - 1) / n
        sigma, unmask = remasking(t, s, eta)
        drawn, chance = _draw(log_probabilities(denoiser, z, mask), rng)
        hidden, u = z == mask, rand(*z.shape, rng=rng).to(z.device)
        z = torch.where(hidden, torch.where(u < unmask, drawn, mask), torch.where(u < sigma, mask, z))
        p = torch.where(z == mask, 0, torch.where(hidden, chance, p))
        yield WordStep(s, z, p)


def remasking(t: float, s: float, eta: float) -> tuple[float, float]:
    """The probabilities, from t to s, that a word is masked again, and that a masked word is drawn (`ancestral_words`)."""
    sigma = eta * min(1.0, s / (1 - t)) if t < 1 else 0.0
    return sigma, (1 - s - (1 - sigma) * (1 - t)) / t


@torch.no_grad()
def parallel_decoding(
    denoiser: WordDenoiser, z: Tensor, n: int, mask: int, order: str = "confidence", rng: torch.Generator | None = None
) -> Iterator[WordStep]:
    """Yields n + 1 states: in each of n steps all masked words of z (B, L) are drawn, and the first in `order` are kept.

    Of M words that were masked at the start, floor(M (n - k) / n) are masked after step k. The order is by the probability of
    the word that was drawn ("confidence": Chang et al. 2022, MaskGIT), by that of the most probable word at the position, drawn
    or not ("position"), or "random". Raises ValueError for another order.
    """
    validate.choice("order", order, ORDERS)
    p = _given(z, mask)
    M = (z == mask).sum(1, keepdim=True)
    yield WordStep(1.0, z, p)
    for k in range(1, validate.at_least("n", n, 1) + 1):
        log_p, hidden = log_probabilities(denoiser, z, mask), z == mask
        drawn, chance = _draw(log_p, rng)
        score = {"confidence": chance, "position": log_p.amax(2).exp()}.get(order)
        rank = ranks(rand(*z.shape, rng=rng).to(z.device) if score is None else score, hidden)
        keep = hidden & (rank < hidden.sum(1, keepdim=True) - M * (n - k) // n)
        z, p = torch.where(keep, drawn, z), torch.where(keep, chance, p)
        yield WordStep(1 - k / n, z, p)


def ranks(score: Tensor, hidden: Tensor) -> Tensor:
    """The rank of each word (..., L) among the `hidden` ones, 0 for the highest score; words that are not hidden come last.

    Scores count to six digits; of equal ones, the left word comes first.
    """
    score = score.cpu().double().round(decimals=6)  # Apple's GPUs have no float64
    order = torch.where(hidden.cpu(), score, -1.0).argsort(dim=-1, descending=True, stable=True)
    place = torch.arange(order.shape[-1], dtype=torch.long, device="cpu")
    return torch.empty_like(order).scatter_(-1, order, place.expand_as(order)).to(hidden.device)


def _given(z: Tensor, mask: int) -> Tensor:
    """1 for the words that are given, (B, L), and 0 for the masks."""
    return (validate.indices("z", z, "L") != validate.at_least("mask", mask, 0)).float()


def _draw(log_p: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A word for each position, (B, L), and its probability, (B, L)."""
    u = rand(*log_p.shape[:2], 1, rng=validate.generator("rng", rng)).to(log_p.device)
    p = log_p.exp()
    drawn = (u * p.sum(2, keepdim=True) >= p.cumsum(2)).sum(2).clamp(max=p.shape[2] - 1)
    return drawn, p.gather(2, drawn[..., None])[..., 0]
