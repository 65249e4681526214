"""Lesson 10."""

import math

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, logsigmoid, nll_loss, normalize

from course_lib.nets.clip import contrastive_loss


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


def by_one_hot(pictures, texts, scale):
    table, own = pictures.double() @ texts.double().T * scale, torch.eye(len(texts), dtype=torch.float64)
    return (cross_entropy(table, own) + cross_entropy(table.T, own)) / 2


def by_numpy(pictures, texts, scale):
    table = np.exp(scale * pictures.numpy() @ texts.numpy().T)
    return float(-np.log(np.diag(table) ** 2 / table.sum(0) / table.sum(1)).mean() / 2)


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


def texts_choose(pictures, texts, scale):
    return _both(scale * texts @ pictures.T)[0]


def not_transposed(pictures, texts, scale):
    table, n = torch.einsum("id,jd->ij", pictures, texts) * scale, torch.arange(len(texts))
    return 0.5 * cross_entropy(table, n) + 0.5 * cross_entropy(table, n)


def not_averaged(pictures, texts, scale):
    table, n = scale * pictures @ texts.T, torch.arange(len(texts))
    return (cross_entropy(table, n, reduction="sum") + cross_entropy(table.T, n, reduction="sum")) / 2


def softmax_before(pictures, texts, scale):
    table, n = scale * pictures @ texts.T, torch.arange(len(texts))
    return (cross_entropy(torch.softmax(table, dim=1), n) + cross_entropy(torch.softmax(table.T, dim=1), n)) / 2


def probabilities(pictures, texts, scale):
    table, n = scale * pictures @ texts.T, torch.arange(len(texts))
    return (nll_loss(table.softmax(-1), n) + nll_loss(table.T.softmax(-1), n)) / 2


def openai_scale(pictures, texts, scale):
    """As in OpenAI's code, where the parameter is the logarithm of the scale."""
    return sum(_both(math.exp(scale) * pictures @ texts.T)) / 2


def siglip(pictures, texts, scale):
    sign = torch.full((len(pictures), len(texts)), -1.0).fill_diagonal_(1)
    return -logsigmoid(sign * (scale * pictures @ texts.T)).sum() / len(pictures)


def to_the_identity(pictures, texts, scale):
    return torch.nn.functional.mse_loss(pictures @ texts.T, torch.eye(len(pictures)))


def only_own(pictures, texts, scale):
    return 1 - (pictures * texts).sum(1).mean()


def _uphill(climb, x_t):
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        climb(x).backward()
    return x.grad


def _move(denoiser, x_t, t, by):
    a, b = denoiser.process.signal(t).item(), denoiser.process.noise(t).item()
    return denoiser(x_t, t).eps - a * b * by


def by_backward(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).sum(), x_t))


def by_score(denoiser, encode, text, x_t, t, w):
    pred = denoiser(x_t, t)
    gradient = _uphill(lambda x: (encode(x, t) / encode(x, t).norm(dim=1, keepdim=True) @ (text / text.norm())).sum(), x_t)
    return pred.replace(score=pred.score + w * denoiser.process.signal(t) * gradient).eps


def one_by_one(denoiser, encode, text, x_t, t, w):
    rows = [_uphill(lambda x: cosine_similarity(encode(x, t)[0], text, dim=0), x_t[i : i + 1]) for i in range(len(x_t))]
    return _move(denoiser, x_t, t, w * torch.cat(rows))


def as_a_loss(denoiser, encode, text, x_t, t, w):
    """Down the distance 1 - cos, in float64."""
    down = _uphill(lambda x: (1 - cosine_similarity(encode(x, t).double(), text.double(), dim=-1)).sum(), x_t)
    alpha_bar = denoiser.process.alpha_bar(t)
    return denoiser(x_t, t).eps + (alpha_bar * (1 - alpha_bar)).sqrt() * w * down


def by_the_mean(denoiser, encode, text, x_t, t, w):
    up = len(x_t) * _uphill(lambda x: (normalize(encode(x, t), dim=1) @ normalize(text, dim=0)).mean(), x_t)
    a, b = denoiser.process.coefficients(t, x_t)
    return torch.sub(denoiser(x_t, t).eps, a * b * up, alpha=w)


def away(denoiser, encode, text, x_t, t, w):
    return by_backward(denoiser, encode, text, x_t, t, -w)


def no_b(denoiser, encode, text, x_t, t, w):
    return by_backward(denoiser, encode, text, x_t, t, w / denoiser.process.noise(t).item())


def no_a(denoiser, encode, text, x_t, t, w):
    """As in GLIDE's eq. 7."""
    return by_backward(denoiser, encode, text, x_t, t, w / denoiser.process.signal(t).item())


def plain(denoiser, encode, text, x_t, t, w):
    return denoiser(x_t, t).eps - w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).sum(), x_t)


def product(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: (encode(x, t) * text).sum(), x_t))


def mean(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).mean(), x_t))


def thinks_it_clean(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(x, 0), text[None]).sum(), x_t))


def of_variance(denoiser, encode, text, x_t, t, w):
    return by_backward(denoiser, encode, text, x_t, t, w * denoiser.process.noise(t).item())


def of_signal(denoiser, encode, text, x_t, t, w):
    a, b = denoiser.process.coefficients(t, x_t)
    return by_backward(denoiser, encode, text, x_t, t, w * float(a / b))


def text_as_it_is(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: (normalize(encode(x, t), dim=-1) * text).sum(), x_t))


def picture_as_it_is(denoiser, encode, text, x_t, t, w):
    return _move(denoiser, x_t, t, w * _uphill(lambda x: (encode(x, t) * normalize(text, dim=-1)).sum(), x_t))


def of_the_prediction(denoiser, encode, text, x_t, t, w):
    return _move(
        denoiser, x_t, t, w * _uphill(lambda x: cosine_similarity(encode(denoiser(x, t).x0, t), text[None]).sum(), x_t)
    )


def of_one_length(denoiser, encode, text, x_t, t, w):
    up = _uphill(lambda x: cosine_similarity(encode(x, t), text[None]).sum(), x_t)
    return _move(denoiser, x_t, t, w * up / up.flatten(1).norm(dim=1).view(-1, *[1] * (x_t.ndim - 1)))


def without_gradients(denoiser, encode, text, x_t, t, w):
    x = x_t.clone().requires_grad_(True)
    cosine_similarity(encode(x, t), text.unsqueeze(0), dim=1).sum().backward()
    return denoiser(x_t, t).eps - w * denoiser.process.signal(t) * denoiser.process.noise(t) * x.grad


def in_x_t_itself(denoiser, encode, text, x_t, t, w):
    x_t.requires_grad_(True)
    with torch.enable_grad():
        (up,) = torch.autograd.grad(cosine_similarity(encode(x_t, t), text[None], dim=1).sum(), x_t)
    return denoiser(x_t, t).eps - w * denoiser.process.signal(t) * denoiser.process.noise(t) * up


def shift_alone(denoiser, encode, text, x_t, t, w):
    return by_backward(denoiser, encode, text, x_t, t, w) - denoiser(x_t, t).eps


def in_one_expression(clip, loss, optimizer, batches):
    """As the recipe of Radford et al. 2021, figure 3, with l2_normalize in full."""
    log = []
    for x, words in batches:
        optimizer.zero_grad(set_to_none=True)
        image, text = clip.encode_image(x), clip.encode_text(words)
        now = loss(image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True), clip.log_scale.exp())
        now.backward()
        optimizer.step()
        clip.log_scale.data.clamp_(max=math.log(100))
        log.append(float(now))
    return log


def listed(clip, loss, optimizer, batches):
    """All batches first; the losses as tensors; the limit as a minimum."""
    values = []
    for x, words in list(batches):
        value = loss(normalize(clip.encode_image(x), dim=-1), normalize(clip.encode_text(words), dim=-1), clip.log_scale.exp())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        clip.log_scale.data = torch.minimum(clip.log_scale.data, torch.tensor(100.0).log())
        values.append(value.detach())
    return torch.stack(values)


def with_a_step(clip, loss, optimizer, batches):
    def step(x, words):
        f, g = (normalize(v, dim=1) for v in (clip.encode_image(x), clip.encode_text(words)))
        value = loss(f, g, torch.exp(clip.log_scale))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            clip.log_scale.copy_(clip.log_scale.clamp(max=np.log(100)))
        return value.item()

    return [step(*batch) for batch in batches]


def by_cosines(clip, loss, optimizer, batches):
    """With the loss written out."""
    losses = []
    for x, words in batches:
        table = cosine_similarity(clip.encode_image(x)[:, None], clip.encode_text(words)[None], dim=2)
        value = sum(_both(clip.log_scale.exp() * table)) / 2
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        clip.log_scale.detach().clamp_(max=math.log(100))
        losses.append(value.item())
    return np.array(losses)


def zero_after(clip, loss, optimizer, batches):
    losses = torch.zeros(0)
    for x, words in batches:
        value = loss(normalize(clip.encode_image(x)), normalize(clip.encode_text(words)), clip.log_scale.exp())
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            clip.log_scale.clamp_(0, math.log(100))
        losses = torch.cat([losses, value.detach()[None]])
    return losses


LIMIT = math.log(100)


def _loop(zero=True, scale=lambda s: s.exp(), f=normalize, g=normalize, limit=LIMIT, keep=slice(None), first=None):
    """A training loop with one thing changed."""

    def train(clip, loss, optimizer, batches):
        losses = []
        for x, words in batches:
            value = loss(f(clip.encode_image(x)), g(clip.encode_text(words)), scale(clip.log_scale))
            if zero:
                optimizer.zero_grad()
            value.backward()
            optimizer.step()
            with torch.no_grad():
                clip.log_scale.clamp_(max=limit)
            losses.append(value.item())
            if first:
                break
        return torch.tensor(losses[keep])

    return train


def replaced(clip, loss, optimizer, batches):
    """The parameter that the optimizer trains is no longer the CLIP's."""
    losses = []
    for x, words in batches:
        value = loss(normalize(clip.encode_image(x)), normalize(clip.encode_text(words)), clip.log_scale.exp())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        clip.log_scale = torch.nn.Parameter(clip.log_scale.detach().clamp(max=LIMIT))
        losses.append(value.item())
    return losses


RIGHT = {
    "train_clip": [in_one_expression, listed, with_a_step, by_cosines, zero_after],
    "contrastive_loss": [contrastive_loss, by_log_softmax, by_diagonal, by_loops, by_one_hot, by_numpy],
    "clip_guided_eps": [by_backward, by_score, one_by_one, as_a_loss, by_the_mean],
}
WRONG = {
    "contrastive_loss": [
        ("only the text of each picture is classified", pictures_choose),
        ("both halves are added", summed),
        ("the scale is forgotten", unscaled),
        ("the scale divides", temperature),
        ("own pairs are pushed apart", pushed_apart),
    ],
    "train_clip": [
        ("the gradients of all steps add up", _loop(zero=False)),
        ("the inverse temperature is given as its logarithm", _loop(scale=lambda s: s)),
        ("the temperature is given, not its inverse", _loop(scale=lambda s: 1 / s.exp())),
        ("the temperature stays as it was", _loop(scale=lambda s: s.exp().item())),
        ("the vectors of pictures and texts are not divided", _loop(f=lambda v: v, g=lambda v: v)),
    ],
    "clip_guided_eps": [
        ("it steers away from the caption", away),
        ("the factor b is missing", no_b),
        ("the gradient is of the product of the vectors", product),
        ("the mean over the batch is taken", mean),
        ("the encoder is given t = 0", thinks_it_clean),
    ],
}
TRIED = {
    "contrastive_loss": [
        *WRONG["contrastive_loss"],
        ("only the picture of each text is classified", texts_choose),
        ("only the text of each picture is classified", not_transposed),
        ("the losses of all pairs are summed", not_averaged),
        ("the softmax is taken twice", softmax_before),
        ("the logarithm is missing", probabilities),
        ("the scale is taken for its logarithm", openai_scale),
        ("by a sigmoid", siglip),
        ("by their squared error", to_the_identity),
        ("own pairs alone", only_own),
    ],
    "train_clip": [
        *WRONG["train_clip"],
        ("the lengths are taken over the batch", _loop(f=lambda v: normalize(v, dim=0), g=lambda v: normalize(v, dim=0))),
        ("the vectors of the texts are not divided", _loop(g=lambda v: v)),
        ("the vectors of the pictures are not divided", _loop(f=lambda v: v)),
        ("the loss of the last step is returned", _loop(keep=slice(-1, None))),
        ("only the first batch is used", _loop(first=True)),
        ("the text encoder is not trained", _loop(g=lambda v: normalize(v).detach())),
        ("the image encoder is not trained", _loop(f=lambda v: normalize(v.detach()))),
        ("the inverse temperature is not held", _loop(limit=100)),
        ("clip.log_scale is replaced", replaced),
    ],
    "clip_guided_eps": [
        *WRONG["clip_guided_eps"],
        ("b^2 multiplies the gradient", of_variance),
        ("a^2 multiplies the gradient", of_signal),
        ("the signal a is missing", no_a),
        ("both factors, a and b, are missing", plain),
        ("only CLIP's vector of the picture", text_as_it_is),
        ("only the text's vector", picture_as_it_is),
        ("CLIP is given the predicted picture", of_the_prediction),
        ("the gradient is divided by its length", of_one_length),
        ("gradients are not switched on", without_gradients),
        ("x_t itself is made to require", in_x_t_itself),
        ("the shift alone", shift_alone),
    ],
}
