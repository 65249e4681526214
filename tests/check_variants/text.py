"""Lesson 09."""

import math

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention


def split(x, heads):
    B, n, C = x.shape
    return x.view(B, n, heads, C // heads).permute(0, 2, 1, 3)


def joined(x):
    B, heads, n, d = x.shape
    return x.permute(0, 2, 1, 3).reshape(B, n, heads * d)


def projected(picture, text, query, key, value, heads):
    return split(query(picture), heads), split(key(text), heads), split(value(text), heads)


def scores_of(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def without(scores, mask, number=float("-inf")):
    return scores.masked_fill(~mask[:, None, None, :], number)


# Right


def by_library(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]))


def by_einsum(picture, text, mask, query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (query(picture), key(text), value(text)))
    scores = torch.einsum("bphd,blhd->bhpl", q, k) / math.sqrt(q.shape[-1])
    weight = torch.exp(scores - scores.amax(-1, keepdim=True)) * mask[:, None, None]
    return torch.einsum("bhpl,blhd->bphd", weight / weight.sum(-1, keepdim=True), v).flatten(2)


def one_by_one(picture, text, mask, query, key, value, heads):
    rows = []
    for b in range(len(picture)):
        real = text[b][mask[b]]  # padding is cut off
        parts = zip(query(picture[b]).chunk(heads, -1), key(real).chunk(heads, -1), value(real).chunk(heads, -1))
        rows.append(torch.cat([(q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v for q, k, v in parts], 1))
    return torch.stack(rows)


def head_by_head(picture, text, mask, query, key, value, heads):
    q, k, v = query(picture), key(text), value(text)
    d, out = q.shape[-1] // heads, []
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / d**0.5
        out.append(torch.softmax(torch.where(mask[:, None], scores, torch.tensor(-1e9)), -1) @ v[..., part])
    return torch.cat(out, -1)


def in_float64(picture, text, mask, query, key, value, heads):
    q, k, v = (x.double() for x in projected(picture, text, query, key, value, heads))
    weights = scores_of(q, k).exp() * mask[:, None, None]
    return joined(weights @ v / weights.sum(-1, keepdim=True))


def by_index(weights, words, cover):
    maps = weights[torch.arange(len(words)).unsqueeze(1), words]
    return torch.einsum("bnhw,bhw->bn", maps, cover) / maps.sum(dim=(-1, -2))


def by_gather(weights, words, cover):
    maps = weights.gather(1, words[:, :, None, None].expand(-1, -1, *weights.shape[2:])).flatten(2)
    return (maps / maps.sum(-1, keepdim=True) * cover.flatten(1)[:, None]).sum(-1)


def by_loops(weights, words, cover):
    share = lambda b, i: float((weights[b, i] * cover[b]).sum() / weights[b, i].sum())
    return torch.tensor([[share(b, i) for i in row] for b, row in enumerate(words.tolist())])


def by_numpy(weights, words, cover):
    maps = np.stack([w[i] for w, i in zip(weights.numpy(), words.numpy())])
    return (maps * cover.numpy()[:, None]).sum((2, 3)) / maps.sum((2, 3))


def by_all_words(weights, words, cover):
    shares = (weights * cover[:, None]).sum((2, 3)) / weights.sum((2, 3))
    return shares.gather(1, words)


# Wrong


def words_ask(picture, text, mask, query, key, value, heads):
    q, k, v = projected(text, picture, query, key, value, heads)
    return joined(scores_of(q, k).softmax(-1) @ v)


def unscaled(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(q @ k.mT, mask).softmax(-1) @ v)


def never_masked(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(scores_of(q, k).softmax(-1) @ v)


def masked_to_zero(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(scores_of(q, k), mask, 0).softmax(-1) @ v)


def masked_to_a_small_number(picture, text, mask, query, key, value, heads):
    """1e-9, where -1e9 was meant."""
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(scores_of(q, k), mask, 1e-9).softmax(-1) @ v)


def over_the_places(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(scores_of(q, k), mask).softmax(2).nan_to_num() @ v)


def over_the_heads(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(scores_of(q, k), mask).softmax(1) @ v)


def single_head(picture, text, mask, query, key, value, heads):
    q, k, v = query(picture), key(text), value(text)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask[:, None], -torch.inf)
    return scores.softmax(-1) @ v


def over_d(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(q @ k.mT / q.shape[-1], mask).softmax(-1) @ v)


def over_the_full_width(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(q @ k.mT / math.sqrt(picture.shape[-1]), mask).softmax(-1) @ v)


def by_the_number_of_words(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(q @ k.mT / math.sqrt(text.shape[1]), mask).softmax(-1) @ v)


def mask_turned(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(without(scores_of(q, k), ~mask).softmax(-1) @ v)


def masked_after(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(scores_of(q, k).softmax(-1) * mask[:, None, None] @ v)


def masked_values(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return joined(scores_of(q, k).softmax(-1) @ (v * mask[:, None, :, None]))


def key_for_value(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, value, key, heads)
    return joined(without(scores_of(q, k), mask).softmax(-1) @ v)


def split_by_view_alone(picture, text, mask, query, key, value, heads):
    q, k, v = (x.view(len(x), heads, x.shape[1], -1) for x in (query(picture), key(text), value(text)))
    return joined(without(scores_of(q, k), mask).softmax(-1) @ v)


def joined_by_view_alone(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return (without(scores_of(q, k), mask).softmax(-1) @ v).reshape(picture.shape)


def heads_averaged(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return (without(scores_of(q, k), mask).softmax(-1) @ v).mean(1)


def with_the_picture(picture, text, mask, query, key, value, heads):
    q, k, v = projected(picture, text, query, key, value, heads)
    return picture + joined(without(scores_of(q, k), mask).softmax(-1) @ v)


def maps_of(weights, words):
    return weights[torch.arange(len(words))[:, None], words]


def on_the_object(weights, words, cover):
    return (maps_of(weights, words) * cover[:, None]).sum((2, 3))


def mean_on_the_object(weights, words, cover):
    return (maps_of(weights, words) * cover[:, None]).mean((2, 3))


def over_the_object(weights, words, cover):
    return on_the_object(weights, words, cover) / cover.sum((1, 2))[:, None]


def off_the_object(weights, words, cover):
    return 1 - on_the_object(weights, words, cover) / maps_of(weights, words).sum((2, 3))


def against_the_rest(weights, words, cover):
    on = on_the_object(weights, words, cover)
    return on / (maps_of(weights, words).sum((2, 3)) - on)


def of_all_words(weights, words, cover):
    return on_the_object(weights, words, cover) / weights.flatten(1).sum(1, keepdim=True)


def of_the_object(weights, words, cover):
    return on_the_object(weights, words, cover) / (weights * cover[:, None]).sum((1, 2, 3))[:, None]


def words_of_the_first(weights, words, cover):
    maps = weights[:, words[0]]
    return (maps * cover[:, None]).sum((2, 3)) / maps.sum((2, 3))


def object_of_the_first(weights, words, cover):
    return (maps_of(weights, words) * cover[0]).sum((2, 3)) / maps_of(weights, words).sum((2, 3))


def one_word_early(weights, words, cover):
    return by_index(weights, words - 1, cover)


def averaged_shares(weights, words, cover):
    return by_index(weights, words, cover).mean(0)


def scaled_in_place(weights, words, cover):
    weights /= weights.sum((2, 3), keepdim=True)
    return on_the_object(weights, words, cover)


RIGHT = {
    "cross_attention": [by_library, by_einsum, one_by_one, head_by_head, in_float64],
    "attention_share": [by_index, by_gather, by_loops, by_numpy, by_all_words],
}
WRONG = {
    "cross_attention": [
        ("queries come from the words", words_ask),
        ("the scale is missing", unscaled),
        ("padding has weight", never_masked),
        ("there is one head only", single_head),
        ("the softmax runs over the places", over_the_places),
    ],
    "attention_share": [
        ("a share is asked for", on_the_object),
        ("the area of the object", over_the_object),
        ("outside the object", off_the_object),
        ("counted from 1", one_word_early),
    ],
}
TRIED = {  # whole functions, as they would stand in the cell
    "cross_attention": [
        ("queries come from the words", words_ask),
        ("the scale is missing", unscaled),
        ("d divides where sqrt(d) belongs", over_d),
        ("the scale is that of all channels", over_the_full_width),
        ("the number of words", by_the_number_of_words),
        ("padding has weight", never_masked),
        ("the mask is turned round", mask_turned),
        ("e^0 = 1 still counts", masked_to_zero),
        ("e^0 = 1 still counts", masked_to_a_small_number),
        ("after the softmax", masked_after),
        ("after the softmax", masked_values),
        ("keys and values have changed places", key_for_value),
        ("the softmax runs over the places", over_the_places),
        ("the softmax runs over the heads", over_the_heads),
        ("one head only", single_head),
        ("the heads are cut out of the places", split_by_view_alone),
        ("joined before their axis is moved back", joined_by_view_alone),
        ("the heads are averaged", heads_averaged),
        ("the residual path", with_the_picture),
    ],
    "attention_share": [
        ("a share is asked for", on_the_object),
        ("the area of the picture", mean_on_the_object),
        ("the area of the object", over_the_object),
        ("outside the object", off_the_object),
        ("divided by that outside it", against_the_rest),
        ("the attention of all words", of_all_words),
        ("the share of the words", of_the_object),
        ("the words of the first picture", words_of_the_first),
        ("the object of the first picture", object_of_the_first),
        ("counted from 1", one_word_early),
        ("", averaged_shares),
        ("", scaled_in_place),
    ],
}
