"""Lesson 10."""

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, nll_loss


def by_log_softmax(pictures, texts, scale):
    table = (texts @ pictures.T) * scale
    n = torch.arange(len(table))
    return 0.5 * nll_loss(table.log_softmax(0).T, n) + 0.5 * nll_loss(table.log_softmax(1), n)


def by_diagonal(pictures, texts, scale):
    table = scale * torch.einsum("nd,md->nm", pictures, texts)
    return ((table.logsumexp(0) + table.logsumexp(1)) / 2 - table.diagonal()).mean()


def by_loops(pictures, texts, scale):
    total = 0.0
    for i in range(len(pictures)):
        total += torch.logsumexp(scale * texts @ pictures[i], 0) - scale * pictures[i] @ texts[i]
        total += torch.logsumexp(scale * pictures @ texts[i], 0) - scale * pictures[i] @ texts[i]
    return total / (2 * len(pictures))


def _both(table):
    n = torch.arange(len(table))
    return cross_entropy(table, n), cross_entropy(table.T, n)


def pictures_choose(pictures, texts, scale):
    return _both(scale * pictures @ texts.T)[0]


def summed(pictures, texts, scale):
    return sum(_both(scale * pictures @ texts.T))


def unscaled(pictures, texts, scale):
    return sum(_both(pictures @ texts.T)) / 2


def temperature(pictures, texts, scale):
    return sum(_both(pictures @ texts.T / scale)) / 2


def pushed_apart(pictures, texts, scale):
    return sum(_both(-scale * pictures @ texts.T)) / 2


def _uphill(climb, x_t):
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        climb(x).backward()
    return x.grad


def _move(denoiser, x_t, t, by):
    return denoiser(x_t, t).eps - denoiser.process.noise(t).item() * by


def by_backward(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).sum(), x_t))


def by_score(denoiser, encode, text, x_t, t, w):
    pred = denoiser(x_t, t)
    gradient = _uphill(lambda x: (encode(x, t) / encode(x, t).norm(dim=1, keepdim=True) @ (text / text.norm())).sum(), x_t)
    return pred.replace(score=pred.score + w * gradient).eps


def one_by_one(denoiser, encode, text, x_t, t, w):
    rows = [_uphill(lambda x: cosine_similarity(encode(x, t)[0], text, dim=0), x_t[i : i + 1]) for i in range(len(x_t))]
    return _move(denoiser, x_t, t, w * torch.cat(rows))


def away(denoiser, encode, text, x_t, t, w):
    return by_backward(denoiser, encode, text, x_t, t, -w)


def no_b(denoiser, encode, text, x_t, t, w):
    return denoiser(x_t, t).eps - w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).sum(), x_t)


def product(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: (encode(x, t) * text).sum(), x_t))


def mean(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).mean(), x_t))


def thinks_it_clean(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, 0), text[None]).sum(), x_t))


RIGHT = {
    "contrastive_loss": [by_log_softmax, by_diagonal, by_loops],
    "clip_guided_eps": [by_backward, by_score, one_by_one],
}
WRONG = {
    "contrastive_loss": [
        ("only the text of each picture is classified", pictures_choose),
        ("both halves are added", summed),
        ("the scale is forgotten", unscaled),
        ("the scale divides", temperature),
        ("own pairs are pushed apart", pushed_apart),
    ],
    "clip_guided_eps": [
        ("it steers away from the caption", away),
        ("the factor b is missing", no_b),
        ("the gradient is of the product of the vectors", product),
        ("the mean over the batch is taken", mean),
        ("the encoder is given t = 0", thinks_it_clean),
    ],
}
