"""Lesson 20."""

import numpy as np
import torch

# memorisation_score


def by_sorting(x, known, n):
    nearest = torch.cdist(x.flatten(1), known.flatten(1)).sort(dim=1).values[:, :n]
    return nearest[:, 0] / nearest.mean(1)


def by_loops(x, known, n):
    scores = []
    for picture in x:
        distance = sorted(float((picture - other).square().sum().sqrt()) for other in known)
        scores.append(distance[0] / (sum(distance[:n]) / n))
    return torch.tensor(scores)


def by_numpy(x, known, n):
    x, known = x.flatten(1).numpy(), known.flatten(1).numpy()
    distance = np.sort(np.sqrt(((x[:, None] - known[None]) ** 2).sum(-1)), 1)[:, :n]
    return torch.from_numpy(distance[:, 0] / distance.mean(1))


def squared(x, known, n):
    nearest = ((x.flatten(1)[:, None] - known.flatten(1)) ** 2).sum(-1).sort(dim=1).values[:, :n]
    return nearest[:, 0] / nearest.mean(1)


def over_all(x, known, n):
    distance = torch.cdist(x.flatten(1), known.flatten(1))
    return distance.min(1).values / distance.mean(1)


def turned_over(x, known, n):
    return 1 / by_sorting(x, known, n)


def over_the_last(x, known, n):
    nearest = torch.cdist(x.flatten(1), known.flatten(1)).sort(dim=1).values
    return nearest[:, 0] / nearest[:, n - 1]


def not_relative(x, known, n):
    return torch.cdist(x.flatten(1), known.flatten(1)).min(1).values


# detection_limit


def by_torch(scores, rate):
    return torch.quantile(scores, 1 - rate)


def by_numpys_quantile(scores, rate):
    return np.quantile(scores.numpy(), 1 - rate)


def by_interpolation(scores, rate):
    ordered = scores.sort().values.double()
    at = (1 - rate) * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def wrong_end(scores, rate):
    return torch.quantile(scores, rate)


def largest(scores, rate):
    return scores.sort().values[-1]


def like_a_gaussian(scores, rate):
    return scores.mean() + scores.std() * 2**0.5 * torch.erfinv(torch.tensor(1 - 2 * rate))


def share_of_the_score(scores, rate):
    return scores.max() * (1 - rate)


# mark_noise


def by_mask(noise, value):
    frequencies = torch.fft.fft2(noise, norm="ortho")
    frequencies[..., value != 0] = value[value != 0].to(frequencies.dtype)
    return torch.fft.ifft2(frequencies, norm="ortho").real


def by_the_difference(noise, value):
    mask = (value != 0).float()
    change = mask * (value - torch.fft.fft2(noise, norm="ortho"))
    return noise + torch.fft.ifft2(change, norm="ortho").real


def in_plain_units(noise, value):
    side = (value.shape[0] * value.shape[1]) ** 0.5
    frequencies = torch.fft.fft2(noise)
    return torch.fft.ifft2(torch.where(value != 0, (side * value).to(frequencies.dtype), frequencies)).real


def added(noise, value):
    return noise + torch.fft.ifft2(value.to(torch.complex64), norm="ortho").real


def too_weak(noise, value):
    frequencies = torch.fft.fft2(noise)
    return torch.fft.ifft2(torch.where(value != 0, value.to(frequencies.dtype), frequencies)).real


def only_the_key(noise, value):
    return torch.fft.ifft2(value.to(torch.complex64).expand(noise.shape), norm="ortho").real


def in_the_pixels(noise, value):
    return torch.where(value != 0, value.real, noise)


RIGHT = {
    "memorisation_score": [by_sorting, by_loops, by_numpy],
    "detection_limit": [by_torch, by_numpys_quantile, by_interpolation],
    "mark_noise": [by_mask, by_the_difference, in_plain_units],
}
WRONG = {
    "memorisation_score": [
        ("the distances are squared", squared),
        ("over all that is known", over_all),
        ("the ratio is turned over", turned_over),
        ("compared with the n-th alone", over_the_last),
        ("the distance to the nearest alone", not_relative),
    ],
    "detection_limit": [
        ("at the wrong end", wrong_end),
        ("the largest score", largest),
        ("taken for a Gaussian's", like_a_gaussian),
        ("a share of the largest score", share_of_the_score),
    ],
    "mark_noise": [
        ("the key is added", added),
        ("the key has no strength", too_weak),
        ("all other frequencies are lost", only_the_key),
        ("into the noise itself", in_the_pixels),
    ],
}
