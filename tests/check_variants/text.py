"""Lesson 09."""

import math

import numpy as np
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


# What was tried: whole functions, as they would stand in the cell


def as_on_the_slide(picture, text, query, key, value, mask):
    """Queries from the text, keys and values from the picture."""
    q, k, v = text @ query, picture @ key, picture @ value
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v


def without_scale(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    return torch.softmax((q @ k.mT).masked_fill(~mask[:, None, :], float("-inf")), dim=-1) @ v


def over_d(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    return torch.softmax((q @ k.mT / q.shape[-1]).masked_fill(~mask[:, None, :], float("-inf")), dim=-1) @ v


def over_the_pictures_width(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = q @ k.mT / math.sqrt(picture.shape[-1])
    return torch.softmax(scores.masked_fill(~mask[:, None, :], float("-inf")), dim=-1) @ v


def by_the_number_of_words(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = q @ k.mT / math.sqrt(text.shape[1])
    return torch.softmax(scores.masked_fill(~mask[:, None, :], float("-inf")), dim=-1) @ v


def never_masked(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v


def mask_turned(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(mask[:, None, :], float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def masked_to_zero(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return torch.softmax(scores.masked_fill(~mask[:, None, :], 0), dim=-1) @ v


def masked_to_a_small_number(picture, text, query, key, value, mask):
    """1e-9, where -1e9 was meant."""
    q, k, v = picture @ query, text @ key, text @ value
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return torch.softmax(scores.masked_fill(~mask[:, None, :], 1e-9), dim=-1) @ v


def masked_after(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) * mask[:, None, :] @ v


def masked_values(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value * mask[..., None]
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v


def key_for_value(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ value, text @ key
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask[:, None, :], float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def over_the_places(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask[:, None, :], float("-inf"))
    return torch.softmax(scores, dim=1) @ v


def p_is_kept(tokens, empty, u, p):
    return torch.where((u < p)[:, None], tokens, empty)


def less_than_one_minus_p(tokens, empty, u, p):
    return torch.where((u < 1 - p)[:, None], empty, tokens)


def times_keep(tokens, empty, u, p):
    return tokens * (u >= p)[:, None]


def not_broadcast(tokens, empty, u, p):
    return torch.where(u < p, empty, tokens)


def decided_at_once(tokens, empty, u, p):
    return torch.where(u.min() < p, empty, tokens) if u[0] < p else tokens


def over_the_captions(tokens, empty, u, p):
    tokens[u < p] = empty
    return tokens


def captions_left_out(tokens, empty, u, p):
    return tokens[u >= p]


def its_first_token(tokens, empty, u, p):
    return tokens.masked_fill((u < p)[:, None], empty[0].item())


def first_of_the_batch(tokens, empty, u, p):
    out = tokens.clone()
    out[: int(p * len(tokens))] = empty
    return out


def its_own_chances(tokens, empty, u, p):
    return torch.where(torch.rand(len(tokens), 1) < p, empty, tokens)


def start_of_a_caption(tokens, empty, u, p):
    out = tokens.clone()
    out[u < p, 0] = empty[0]
    return out


def mask_of_captions(tokens, empty, u, p):
    return u < p


def averaged(tokens, empty, u, p):
    return p * empty + (1 - p) * tokens


TRIED = {
    "cross_attention": [
        ("queries come from the words", as_on_the_slide),
        ("the scale is missing", without_scale),
        ("d divides where sqrt(d) belongs", over_d),
        ("the picture's vectors", over_the_pictures_width),
        ("the number of words", by_the_number_of_words),
        ("padding has weight", never_masked),
        ("the mask is turned round", mask_turned),
        ("e^0 = 1 still counts", masked_to_zero),
        ("e^0 = 1 still counts", masked_to_a_small_number),
        ("after the softmax", masked_after),
        ("after the softmax", masked_values),
        ("keys and values have changed places", key_for_value),
        ("the softmax runs over the places", over_the_places),
    ],
    "text_dropout": [
        ("the fraction p is kept", p_is_kept),
        ("the fraction p is kept", less_than_one_minus_p),
        ("filled with zeros", times_keep),
        ("", not_broadcast),
        ("one random number decides", decided_at_once),
        ("written into", over_the_captions),
        ("left out of the batch", captions_left_out),
        ("the first token of the empty caption", its_first_token),
        ("u is not used", first_of_the_batch),
        ("", its_own_chances),
        ("the first token alone", start_of_a_caption),
        ("the mask is returned", mask_of_captions),
        ("blended", averaged),
    ],
}


def with_a_large_number(picture, text, query, key, value, mask):
    q, k, v = picture @ query, text @ key, text @ value
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)
    return torch.softmax(torch.where(mask[:, None], scores, torch.tensor(-1e9)), -1) @ v


def with_an_added_mask(picture, text, query, key, value, mask):
    bias = torch.zeros(mask.shape).masked_fill(mask.logical_not(), -torch.inf).unsqueeze(1)
    return torch.baddbmm(bias, picture @ query / query.shape[1] ** 0.5, (text @ key).mT).softmax(2).bmm(text @ value)


def in_float64(picture, text, query, key, value, mask):
    q, k, v = picture.double() @ query.double(), text.double() @ key.double(), text.double() @ value.double()
    weights = ((q @ k.mT) / math.sqrt(k.shape[-1])).exp() * mask.unsqueeze(1)
    return weights @ v / weights.sum(-1, keepdim=True)


def drop_by_index(tokens, empty, u, p):
    return tokens.index_put((torch.nonzero(u < p).flatten(),), empty)


def drop_by_lerp(tokens, empty, u, p):
    keep = u.ge(p).unsqueeze(1)
    return tokens.masked_fill(~keep, 0) + empty.unsqueeze(0) * ~keep


def drop_in_numpy(tokens, empty, u, p):
    return np.where((u.numpy() < p)[:, None], empty.numpy(), tokens.numpy())


RIGHT["cross_attention"] += [with_a_large_number, with_an_added_mask, in_float64]
RIGHT["text_dropout"] += [drop_by_index, drop_by_lerp, drop_in_numpy]
