"""Lesson 09."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention


def by_library(picture, text, query, key, value, mask):
    q, k, v = (part[:, None] for part in (picture @ query, text @ key, text @ value))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])[:, 0]


def by_einsum(picture, text, query, key, value, mask):
    q, k, v = torch.einsum("bpc,cd->bpd", picture, query), text @ key, text @ value
    looks = torch.einsum("bpd,bld->bpl", q, k) / math.sqrt(query.shape[1])
    weight = torch.exp(looks - looks.amax(-1, keepdim=True)) * mask[:, None]
    return torch.einsum("bpl,bld->bpd", weight / weight.sum(-1, keepdim=True), v)


def one_by_one(picture, text, query, key, value, mask):
    rows = []
    for b in range(len(picture)):
        real = text[b][mask[b]]  # padding is cut off
        looks = (picture[b] @ query) @ (real @ key).T / query.shape[1] ** 0.5
        rows.append(looks.softmax(1) @ (real @ value))
    return torch.stack(rows)


def words_ask(picture, text, query, key, value, mask):
    looks = (text @ query) @ (picture @ key).transpose(1, 2) / query.shape[1] ** 0.5
    return looks.softmax(-1) @ (picture @ value)


def _looks(picture, text, query, key):
    return (picture @ query) @ (text @ key).transpose(1, 2)


def unscaled(picture, text, query, key, value, mask):
    looks = _looks(picture, text, query, key).masked_fill(~mask[:, None], -1e9)
    return looks.softmax(-1) @ (text @ value)


def sees_padding(picture, text, query, key, value, mask):
    return (_looks(picture, text, query, key) / query.shape[1] ** 0.5).softmax(-1) @ (text @ value)


def zeroed_padding(picture, text, query, key, value, mask):
    looks = _looks(picture, text, query, key) / query.shape[1] ** 0.5
    return (looks * mask[:, None]).softmax(-1) @ (text @ value)


def over_places(picture, text, query, key, value, mask):
    looks = _looks(picture, text, query, key) / query.shape[1] ** 0.5
    return looks.masked_fill(~mask[:, None], -torch.inf).softmax(1).nan_to_num() @ (text @ value)


def drop_by_mask(tokens, empty, u, p):
    out = tokens.clone()
    out[u < p] = empty
    return out


def drop_by_list(tokens, empty, u, p):
    return torch.stack([empty if chance < p else row for row, chance in zip(tokens, u.tolist())])


def drop_by_arithmetic(tokens, empty, u, p):
    drop = (u < p).long()[:, None]
    return drop * empty + (1 - drop) * tokens


def keeps_p(tokens, empty, u, p):
    return drop_by_mask(tokens, empty, 1 - u, 1 - p)


def zeros(tokens, empty, u, p):
    return drop_by_mask(tokens, torch.zeros_like(empty), u, p)


def all_or_none(tokens, empty, u, p):
    return empty.expand_as(tokens) if u[0] < p else tokens


def the_first(tokens, empty, u, p):
    return torch.cat([empty.expand(math.ceil(p * len(tokens)), -1), tokens[math.ceil(p * len(tokens)) :]])


def never(tokens, empty, u, p):
    return tokens + 0


RIGHT = {
    "cross_attention": [by_library, by_einsum, one_by_one],
    "text_dropout": [drop_by_mask, drop_by_list, drop_by_arithmetic],
}
WRONG = {
    "cross_attention": [
        ("queries come from the words", words_ask),
        ("the scale is missing", unscaled),
        ("padding has weight", sees_padding),
        ("scores of padding are set to 0", zeroed_padding),
        ("the softmax runs over the places", over_places),
    ],
    "text_dropout": [
        ("the fraction p is kept", keeps_p),
        ("filled with zeros", zeros),
        ("one random number decides for the whole batch", all_or_none),
        ("u is not used", the_first),
        ("nothing is ever dropped", never),
    ],
}
