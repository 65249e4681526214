"""Lesson 20."""

import numpy as np
import torch

from course_lib.methods.watermark import Key, match
from course_lib.samplers import ddim, invert, result

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


def by_root_mean_square(x, known, n):
    """The size of a pixel cancels."""
    distance = ((x[:, None] - known[None]) ** 2).flatten(2).mean(2) ** 0.5
    nearest = distance.topk(n, largest=False, sorted=False).values
    return distance.amin(1) / nearest.mean(1)


def by_partition(x, known, n):
    x, known = x.flatten(1).double().numpy(), known.flatten(1).double().numpy()
    rows = [np.partition(np.linalg.norm(known - row, axis=1), n - 1)[:n] for row in x]
    return [row.min() * n / row.sum() for row in rows]


def by_kthvalue(x, known, n):
    distance = torch.cdist(x.flatten(1).double(), known.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
    limit = distance.kthvalue(n, dim=1, keepdim=True).values
    return distance.min(dim=1).values / torch.where(distance <= limit, distance, 0).sum(1) * n


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


def _nearest(x, known, n):
    return torch.cdist(x.flatten(1), known.flatten(1)).topk(n, dim=1, largest=False).values


def by_l1(x, known, n):
    nearest = (x.flatten(1)[:, None] - known.flatten(1)[None]).abs().sum(2).sort(dim=1).values[:, :n]
    return nearest[:, 0] / nearest.mean(1)


def by_the_largest_pixel(x, known, n):
    nearest = (x.flatten(1)[:, None] - known.flatten(1)[None]).abs().amax(2).sort(dim=1).values[:, :n]
    return nearest[:, 0] / nearest.mean(1)


def by_cosine(x, known, n):
    x, known = (torch.nn.functional.normalize(v.flatten(1), dim=1) for v in (x, known))
    nearest = (1 - x @ known.T).sort(dim=1).values[:, :n]
    return nearest[:, 0] / nearest.mean(1)


def of_the_farthest(x, known, n):
    distance = torch.cdist(x.flatten(1), known.flatten(1))
    return distance.min(1).values / distance.topk(n, dim=1).values.mean(1)


def of_the_first(x, known, n):
    distance = torch.cdist(x.flatten(1), known.flatten(1))
    return distance.min(1).values / distance[:, :n].mean(1)


def others_only(x, known, n):
    nearest = _nearest(x, known, n + 1) if n < len(known) else None
    return nearest[:, 0] / nearest[:, 1:].mean(1)


def of_the_rest(x, known, n):
    nearest = _nearest(x, known, n)
    return nearest[:, 0] / nearest[:, 1:].mean(1)


def by_median(x, known, n):
    nearest = _nearest(x, known, n)
    return nearest[:, 0] / nearest.median(dim=1).values


def by_sum(x, known, n):
    nearest = _nearest(x, known, n)
    return nearest[:, 0] / nearest.sum(1)


def as_published(x, known, n, alpha=0.5):
    """Carlini et al. 2023, with their factor."""
    nearest = _nearest(x, known, n)
    return nearest[:, 0] / (alpha * nearest.mean(1))


def difference(x, known, n):
    nearest = _nearest(x, known, n)
    return nearest[:, 0] - nearest.mean(1)


def similarity(x, known, n):
    return 1 - by_sorting(x, known, n)


def neighbourhood(x, known, n):
    return _nearest(x, known, n).mean(1)


def one_mean(x, known, n):
    nearest = _nearest(x, known, n)
    return nearest[:, 0] / nearest.mean()


def rows_exchanged(x, known, n):
    return by_sorting(known, x, min(n, len(x)))


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


def in_float64(noise, value):
    f = torch.fft.fftn(noise.double(), dim=(-2, -1), norm="ortho")
    keep = (value == 0).double()
    return torch.fft.ifftn(keep * f + value, dim=(-2, -1), norm="ortho").real


def mark_by_numpy(noise, value):
    f = np.fft.fft2(noise.numpy(), norm="ortho")
    f[..., value.numpy() != 0] = value.numpy()[value.numpy() != 0]
    return np.fft.ifft2(f, norm="ortho").real


def one_picture_at_a_time(noise, value):
    marked, free = torch.empty_like(noise), value == 0
    for b, c in np.ndindex(*noise.shape[:2]):
        f = torch.fft.fft(torch.fft.fft(noise[b, c], dim=0, norm="ortho"), dim=1, norm="ortho")
        marked[b, c] = torch.fft.ifft2(f.where(free, value.to(f.dtype)), norm="ortho").real
    return marked


def added(noise, value):
    return noise + torch.fft.ifft2(value.to(torch.complex64), norm="ortho").real


def too_weak(noise, value):
    frequencies = torch.fft.fft2(noise)
    return torch.fft.ifft2(torch.where(value != 0, value.to(frequencies.dtype), frequencies)).real


def only_the_key(noise, value):
    return torch.fft.ifft2(value.to(torch.complex64).expand(noise.shape), norm="ortho").real


def in_the_pixels(noise, value):
    return torch.where(value != 0, value.real, noise)


def multiplied(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(value != 0, f * value, f), norm="ortho").real


def norm_forgotten_on_the_way_back(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    f[:, :, value != 0] = value[value != 0].to(f.dtype)
    return torch.fft.ifft2(f).real


def norm_forgotten_on_the_way_there(noise, value):
    f = torch.fft.fft2(noise)
    f[:, :, value != 0] = value[value != 0].to(f.dtype)
    return torch.fft.ifft2(f, norm="ortho").real


def mask_turned(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(value == 0, value.to(f.dtype), f), norm="ortho").real


def shifted(noise, value):
    """As in Wen et al.'s code, whose key lies in a shifted transform."""
    f = torch.fft.fftshift(torch.fft.fft2(noise, norm="ortho"), dim=(-1, -2))
    f[:, :, value != 0] = value[value != 0].to(f.dtype)
    return torch.fft.ifft2(torch.fft.ifftshift(f, dim=(-1, -2)), norm="ortho").real


def real_key(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(value != 0, value.real.to(f.dtype), f), norm="ortho").real


def size_of_the_result(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.abs(torch.fft.ifft2(torch.where(value != 0, value.to(f.dtype), f), norm="ortho"))


def over_all_axes(noise, value):
    f = torch.fft.fftn(noise, norm="ortho")
    return torch.fft.ifftn(torch.where(value != 0, value.to(f.dtype), f), norm="ortho").real


def along_rows(noise, value):
    f = torch.fft.fft(noise, norm="ortho")
    return torch.fft.ifft(torch.where(value != 0, value.to(f.dtype), f), norm="ortho").real


def first_channel(noise, value):
    return torch.cat([by_mask(noise[:, :1], value), noise[:, 1:]], 1)


def not_back(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.where(value != 0, value.to(f.dtype), f).real


def complex_result(noise, value):
    f = torch.fft.fft2(noise, norm="ortho")
    return torch.fft.ifft2(torch.where(value != 0, value.to(f.dtype), f), norm="ortho")


# detect_mark


def _up(denoiser, x, times):
    return result(invert(denoiser, x, torch.tensor(times)))


def by_the_library(denoiser, x, value, times):
    return match(_up(denoiser, x, times), Key(value))


def by_vdot(denoiser, x, value, times):
    x, mask = _up(denoiser, x, times), value != 0
    scores = []
    for picture in torch.fft.fft2(x):  # without ortho: the size cancels
        found, key = picture[:, mask].flatten(), torch.cat([value[mask]] * len(picture))
        scores.append(torch.vdot(key, found).real / (found.norm() * key.norm()))
    return torch.stack(scores)


def as_one_cosine(denoiser, x, value, times):
    """Real and imaginary parts side by side are one real vector."""
    f = torch.fft.fft2(_up(denoiser, x, times), norm="ortho")[..., value != 0]
    found = torch.view_as_real(f).flatten(1)
    key = torch.view_as_real(value[value != 0].expand_as(f[0]).contiguous()).flatten()
    return torch.cosine_similarity(found, key[None], dim=1)


def by_the_whole_plane(denoiser, x, value, times):
    """Where the key is 0 it adds nothing; the found frequencies are set to 0 there."""
    for i in range(len(times) - 1, 0, -1):
        (a, b), (c, d) = (denoiser.process.coefficients(t, x) for t in (times[i], times[i - 1]))
        eps = denoiser(x, times[i]).eps
        x = c * (x - b * eps) / a + d * eps
    f = torch.fft.fft2(x, norm="ortho") * (value != 0)
    top = f.real * value.real + f.imag * value.imag
    size = (f.abs() ** 2).sum((1, 2, 3)) * (value.abs() ** 2).sum() * x.shape[1]
    return top.sum((1, 2, 3)) / size**0.5


def detect_by_numpy(denoiser, x, value, times):
    f, v = np.fft.fft2(_up(denoiser, x, times).numpy()), value.numpy()
    found, key = f[..., v != 0].reshape(len(x), -1), np.tile(v[v != 0], x.shape[1])
    return (found * key.conj()).real.sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(key)


def _matched(x, value, shift=False, key=None):
    f = torch.fft.fft2(x, norm="ortho")
    f = torch.fft.fftshift(f, dim=(2, 3)) if shift else f
    found, key = f[..., value != 0].flatten(1), value[value != 0].repeat(x.shape[1])
    return found, key


def detect_shifted(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value, shift=True)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_mean(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value)
    return (found * key.conj()).real.mean(1)


def detect_sum(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value)
    return (found * key.conj()).real.sum(1)


def detect_size(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value)
    return (found * key.conj()).sum(1).abs() / (found.norm(dim=1) * key.norm())


def detect_outside(denoiser, x, value, times):
    f = torch.fft.fft2(_up(denoiser, x, times), norm="ortho")
    f = f * torch.ones_like(f)
    free = (value == 0).to(f.dtype)
    size = f.flatten(1).norm(dim=1) * (free.sum() * x.shape[1]).abs().sqrt()
    return (f * free).real.sum((1, 2, 3)) / size


def detect_without_conjugate(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value)
    return (found * key).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_in_the_picture(denoiser, x, value, times):
    found, key = _matched(x, value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_by_sampling(denoiser, x, value, times):
    found, key = _matched(result(ddim(denoiser, x, torch.tensor(times))), value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_by_the_forward_chain(denoiser, x, value, times):
    bar = denoiser.process.alpha_bar
    for s, t in zip(times[:0:-1], times[-2::-1]):
        x = (bar(t) / bar(s)).sqrt() * x + (1 - bar(t) / bar(s)).sqrt() * denoiser(x, s).eps
    found, key = _matched(x, value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_a_step_late(denoiser, x, value, times):
    for t in times[-2::-1]:
        prediction = denoiser(x, t)
        x = denoiser.process.signal(t) * prediction.x0 + denoiser.process.noise(t) * prediction.eps
    found, key = _matched(x, value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


def detect_the_key_once(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times), value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * value.norm())


def detect_from_the_second(denoiser, x, value, times):
    found, key = _matched(_up(denoiser, x, times[:-1]) if len(times) > 2 else x, value)
    return (found * key.conj()).real.sum(1) / (found.norm(dim=1) * key.norm())


RIGHT = {
    "detect_mark": [by_the_library, by_vdot, as_one_cosine, by_the_whole_plane, detect_by_numpy],
    "memorisation_score": [by_sorting, by_loops, by_numpy, by_root_mean_square, by_partition, by_kthvalue],
    "mark_noise": [by_mask, by_the_difference, in_plain_units, in_float64, mark_by_numpy, one_picture_at_a_time],
}
WRONG = {
    "detect_mark": [
        ("(fftshift)", detect_shifted),
        ("the mean over the marked frequencies", detect_mean),
        ("the mask is turned", detect_outside),
        ("the moves go down", detect_by_sampling),
    ],
    "memorisation_score": [
        ("the distances are squared", squared),
        ("over all that is known", over_all),
        ("the ratio is turned over", turned_over),
        ("compared with the n-th alone", over_the_last),
        ("the distance to the nearest alone", not_relative),
    ],
    "mark_noise": [
        ("the key is added", added),
        ("the key has no strength", too_weak),
        ("all other frequencies are lost", only_the_key),
        ("into the noise itself", in_the_pixels),
    ],
}
TRIED = {
    "detect_mark": [
        *WRONG["detect_mark"],
        ("the sum over the marked frequencies", detect_sum),
        ("the size of the sum", detect_size),
        ("conjugate is missing", detect_without_conjugate),
        ("there is no inversion", detect_in_the_picture),
        ("the forward chain", detect_by_the_forward_chain),
        ("there is no inversion", detect_a_step_late),
        ("the key is counted once", detect_the_key_once),
        ("the first move", detect_from_the_second),
    ],
    "memorisation_score": [
        *WRONG["memorisation_score"],
        ("(L1)", by_l1),
        ("the largest difference of a pixel", by_the_largest_pixel),
        ("by their angle", by_cosine),
        ("the n farthest", of_the_farthest),
        ("the first n known", of_the_first),
        ("one neighbour more", others_only),
        ("leaves the nearest out;", of_the_rest),
        ("the median", by_median),
        ("the sum of the n distances", by_sum),
        ("multiplied by 0.5", as_published),
        ("the difference is taken", difference),
        ("1 less the ratio", similarity),
        ("the mean of the n distances alone", neighbourhood),
        ("one mean is taken for all", one_mean),
        ("", rows_exchanged),
    ],
    "mark_noise": [
        *WRONG["mark_noise"],
        ("the key multiplies", multiplied),
        ("the way back has another norm", norm_forgotten_on_the_way_back),
        ("the way there has another norm", norm_forgotten_on_the_way_there),
        ("the mask is turned", mask_turned),
        ("(fftshift)", shifted),
        ("only the real part", real_key),
        ("the size of the result", size_of_the_result),
        ("and the channels, too", over_all_axes),
        ("along the rows alone", along_rows),
        ("only the first channel", first_channel),
        ("the way back to noise is missing", not_back),
        ("", complex_result),
    ],
}
