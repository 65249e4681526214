"""Lesson 20: ethics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import metrics, samplers
from course_lib.denoisers import Denoiser, Network
from course_lib.methods import watermark
from course_lib.process import seeded
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.spy import PROCESS, Spy

# memorisation_score

KNOWN = torch.randn(40, 1, 4, 4, generator=seeded(1))
SAMPLES = torch.cat([KNOWN[:3] + 0.02, torch.randn(4, 1, 4, 4, generator=seeded(2))])
POINTS = torch.randn(30, 2, generator=seeded(3))


def _memorisation_score(x, known, n):
    """The distance to the nearest over the mean distance to the n nearest (Carlini et al. 2023, section 5.1)."""
    distance = torch.cdist(x.flatten(1), known.flatten(1)).sort(dim=1).values
    return distance[:, 0] / distance[:, :n].mean(1)


memorisation_score = Check(
    "memorisation_score",
    _memorisation_score,
    cases=[
        Case("three copies among seven samples, n = 10", on(SAMPLES, KNOWN, 10)),
        Case("more neighbours, n = 30", on(SAMPLES, KNOWN, 30)),
        Case("known pictures among the samples", on(torch.cat([KNOWN[:2], SAMPLES]), KNOWN, 10), 2e-3),
        Case("twice as large pictures have the same score", on(2 * SAMPLES, 2 * KNOWN, 10)),
        Case("points (B, 2), as well as pictures", on(POINTS[:5], POINTS[5:], 8)),
    ],
    mistakes={
        "the distances are squared": {".sort(": ".square().sort("},
        "distances are summed along the axes (L1); Euclidean ones are meant": {"known.flatten(1)": "known.flatten(1), p=1"},
        "each distance is the largest difference of a pixel; Euclidean ones are meant": {
            "known.flatten(1)": "known.flatten(1), p=torch.inf"
        },
        "pictures are compared by their angle (cosine); Euclidean distances are meant": {
            "torch.cdist(x.flatten(1), known.flatten(1))": (
                "(1 - torch.cosine_similarity(x.flatten(1)[:, None], known.flatten(1), dim=2))"
            )
        },
        "the mean is taken over all that is known, not over the n nearest": {"[:, :n]": ""},
        "the n farthest are taken; the nearest are meant": {":n": "-n:"},
        "the first n known pictures are taken; the n nearest are meant": {
            "return distance[:, 0] / distance[:, :n]": "first = torch.cdist(x.flatten(1), known.flatten(1))\n"
            "    return distance[:, 0] / first[:, :n]"
        },
        "the mean leaves the nearest out, and has one neighbour more; the n nearest begin with it": {":n]": "1 : n + 1]"},
        "the mean leaves the nearest out; the n nearest begin with it": {":n]": "1:n]"},
        "the median of the n nearest stands where their mean belongs": {".mean(1)": ".median(1).values"},
        "the sum of the n distances stands where their mean belongs": {".mean(1)": ".sum(1)"},
        "the ratio is turned over": {"return ": "return 1 / (", ".mean(1)": ".mean(1))"},
        "the mean is multiplied by 0.5, as in Carlini et al.; the score above has no such factor": {
            "distance[:, 0] /": "2 * distance[:, 0] /"
        },
        "the difference is taken, where the ratio belongs: what is near depends on the picture": {
            "distance[:, 0] /": "distance[:, 0] -"
        },
        "the score is 1 less the ratio: near 0 should be a copy": {"return ": "return 1 - "},
        "the nearest is compared with the n-th alone, not with the mean of n": {":n].mean(1)": "n - 1]"},
        "it is the distance to the nearest alone; what is near depends on the picture": {" / distance[:, :n].mean(1)": ""},
        "it is the mean of the n distances alone; the distance to the nearest is divided by it": {"distance[:, 0] / ": ""},
        "one mean is taken for all samples; each has a neighbourhood of its own": {".mean(1)": ".mean()"},
    },
    hint="torch.cdist(x.flatten(1), known.flatten(1)).topk(n, dim=1, largest=False).values are the n nearest, in order.",
    shown=(metrics.memorisation,),
)


# mark_noise

NOISE = torch.randn(3, 2, 8, 8, generator=seeded(5))
KEY = watermark.draw_key(8, 1, 2.5, seed=1, pattern="rand").value
TWO_WAVES = watermark.draw_key(8, 1, 1.1, seed=2, pattern="rand").value


def _mark_noise(noise, value):
    """Noise whose frequencies are `value` wherever that is not 0 (Wen et al. 2023, section 3)."""
    f = torch.fft.fft2(noise, norm="ortho")
    f = torch.where(value != 0, value.to(f.dtype), f)
    return torch.fft.ifft2(f, norm="ortho").real


def _frequencies(mask: Tensor) -> Callable:
    """A case's `run`: the real and imaginary parts of the marked noise at these frequencies."""
    return lambda fn: torch.view_as_real(torch.fft.fft2(torch.as_tensor(on(NOISE, KEY)(fn)), norm="ortho")[..., mask])


mark_noise = Check(
    "mark_noise",
    _mark_noise,
    cases=[
        Case("a ring of frequencies, in noise (3, 2, 8, 8)", on(NOISE, KEY)),
        Case("two waves, in noise that is all 0", on(0 * NOISE, TWO_WAVES)),
        Case("at the key's frequencies stands the key", _frequencies(KEY != 0)),
        Case("the other frequencies stay as they were", _frequencies(KEY == 0)),
        Case("no key, no change", on(NOISE, 0 * KEY)),
        Case("the noise is left as it was", lambda fn: after(NOISE)(lambda noise: fn(noise, KEY.clone()))),
    ],
    mistakes={
        "the key is added to the noise's frequencies; it must take their place": {"value.to(f.dtype), f": "f + value, f"},
        'the key has no strength: without norm="ortho" a frequency of noise is as large as the side of the picture': {
            'noise, norm="ortho"': "noise",
            'f, norm="ortho"': "f",
        },
        'the way back has another norm than the way there: norm="ortho" for both': {'f, norm="ortho"': "f"},
        'the way there has another norm than the way back: norm="ortho" for both': {'noise, norm="ortho"': "noise"},
        "all other frequencies are lost": {"value.to(f.dtype), f": "value, 0 * f"},
        "the mask is turned: the noise's frequencies stay where the key should stand, and the others are lost": {
            "value.to(f.dtype), f": "f, 0 * f"
        },
        "the key multiplies the noise's frequencies; it must take their place": {"value.to(f.dtype), f": "value * f, f"},
        "the key is put into the noise itself, not its frequencies": lambda noise, value: noise.where(value == 0, value.real),
        "the key is shifted (fftshift): its frequencies are in fft2's own order": {
            "value != 0, value.to": "torch.fft.fftshift(value) != 0, torch.fft.fftshift(value).to"
        },
        "only the real part of the key is used; both parts make a frequency": {"value.to(": "value.real.to("},
        "the key's conjugate is put in": {"value.to(": "value.conj().to("},
        "the size of the result is taken, where its real part belongs": {".real": ".abs()"},
        "the imaginary part of the result is taken, where its real part belongs": {".real": ".imag"},
        "the transform runs over the batch and the channels, too; over height and width is meant": {
            "fft2(noise, norm": "fftn(noise, norm",
            "ifft2(f, norm": "ifftn(f, norm",
        },
        "the transform runs along the rows alone; over height and width is meant": {
            "fft2(noise, norm": "fft(noise, norm",
            "ifft2(f, norm": "ifft(f, norm",
        },
        "only the first channel is marked; the key belongs into all of them": {
            "f = torch.where(value != 0, value.to(f.dtype), f)": (
                "f[:, :1] = torch.where(value != 0, value.to(f.dtype), f[:, :1])"
            )
        },
        "only the first of the batch is marked; the key belongs into each": {
            "f = torch.where(value != 0, value.to(f.dtype), f)": "f[:1] = torch.where(value != 0, value.to(f.dtype), f[:1])"
        },
        "the frequencies are returned; the way back to noise is missing": {'torch.fft.ifft2(f, norm="ortho").real': "f.real"},
    },
    hint='f = torch.fft.fft2(noise, norm="ortho"); torch.where(value != 0, value.to(f.dtype), f); ifft2, same norm, .real.',
    shown=(watermark.add_mark,),
)


# detect_mark


def _detect_mark(denoiser: Denoiser, x: Tensor, value: Tensor, times: Sequence[int]) -> Tensor:
    """The correlation of the key with the noise that DDIM inversion finds for pictures x: Wen et al. 2023."""
    process = denoiser.process
    for s, t in pairwise(times[::-1]):
        prediction = denoiser(x, s)
        x = process.signal(t) * prediction.x0 + process.noise(t) * prediction.eps
    f = torch.fft.fft2(x, norm="ortho")
    found = f[..., value != 0].flatten(1)
    key = value[value != 0].repeat(x.shape[1])
    size = found.abs().square().sum(1).sqrt() * key.abs().square().sum().sqrt()
    return (found * key.conj()).real.sum(1) / size


def _local(weight: Tensor, x: Tensor, time: Tensor) -> Tensor:
    """A network that is not linear: a match depends neither on a factor nor on a constant."""
    return torch.tanh(weight * x) + time.view(-1, 1, 1, 1) * x.roll(1, -1).abs()


LOCAL = Network(Spy(_local).requires_grad_(False), PROCESS)
RINGS = watermark.draw_key(8, 1, 3.9, seed=3).value
TIMES = [50, 30, 10, 1]
_MATCH = "return (found * key.conj()).real.sum(1) / size"

detect_mark = Check(
    "detect_mark",
    _detect_mark,
    cases=[
        Case("rings, three moves from t = 1 to T, pictures (3, 2, 8, 8)", on(LOCAL, NOISE, RINGS, TIMES), 1e-3),
        Case("a random key, one move", on(LOCAL, NOISE, KEY, [40, 20]), 1e-3),
        Case("twice as strong a key has the same match", on(LOCAL, NOISE, 2 * KEY, [40, 20]), 1e-3),
        Case("one picture with one channel", on(LOCAL, NOISE[:1, :1], KEY, TIMES), 1e-3),
        Case("the pictures are left as they were", after(LOCAL, NOISE, KEY, [40, 20])),
    ],
    mistakes={
        "the frequencies are shifted (fftshift), and the key's are not: the key is in fft2's own order": {
            'torch.fft.fft2(x, norm="ortho")': 'torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1))'
        },
        "the mask is turned: the frequencies that carry no mark are compared": {
            "f[..., value != 0].flatten(1)": "f.flatten(1)",
            "value[value != 0].repeat": "torch.where(value == 0, 1, value * 0).flatten().repeat",
        },
        "it is the mean over the marked frequencies; divide by the sizes of both": [
            {"/ size": "/ found.shape[1]"},
            {"/ size": "/ len(value[value != 0])"},
        ],
        "it is the sum over the marked frequencies; divide by the sizes of both": {" / size": ""},
        "it is divided by the squares of the sizes; their roots are missing": {
            "found.abs().square().sum(1).sqrt() * key.abs().square().sum().sqrt()": (
                "found.abs().square().sum(1) * key.abs().square().sum()"
            )
        },
        "the key's conjugate is missing: a frequency does not match itself": {"key.conj()": "key"},
        "only the real parts are compared; both parts make a frequency": {
            _MATCH: "return (found.real * key.real).sum(1) / size"
        },
        "the size of the sum is taken, where its real part belongs: a key of the wrong sign would match": {
            "(found * key.conj()).real.sum(1)": "(found * key.conj()).sum(1).abs()"
        },
        "the moves go down: this is the sampler, not its inversion": {"pairwise(times[::-1])": "pairwise(times)"},
        "this is the forward chain, with the predicted noise as if it were new: x contains that noise already": {
            "x = process.signal(t) * prediction.x0 + process.noise(t) * prediction.eps": (
                "ratio = (process.signal(t) / process.signal(s)) ** 2\n"
                "        x = ratio.sqrt() * x + (1 - ratio).sqrt() * prediction.eps"
            )
        },
        "this is the forward process: new noise is added to the picture, which has no mark": {
            "process.noise(t) * prediction.eps": "process.noise(t) * torch.randn(x.shape, generator=seeded(0))"
        },
        "the noise found is the picture itself: there is no inversion, or each prediction is made at t, where s belongs": [
            {"in pairwise(times[::-1])": "in []"},
            {"denoiser(x, s)": "denoiser(x, t)"},
        ],
        "the key is counted once; with C channels it stands in each, and its size grows with them": {
            " * key.abs().square().sum().sqrt()": " * value.abs().square().sum().sqrt()"
        },
        "the first move, from the lowest time, is missing": {"times[::-1]": "times[-2::-1]"},
        "the last move, up to T, is missing": {"times[::-1]": "times[:0:-1]"},
        "the key is compared with the noise itself, not with its frequencies": {
            'torch.fft.fft2(x, norm="ortho")': "x.to(value.dtype)"
        },
        "all pictures are compared at once; each has a match of its own": {
            "found.abs().square().sum(1)": "found.abs().square().sum()",
            ".real.sum(1)": ".real.sum()",
        },
    },
    hint="For each pair s, t of neighbours from the last time up: prediction = denoiser(x, s); x = process.signal(t) * "
    'prediction.x0 + process.noise(t) * prediction.eps. Then f = torch.fft.fft2(x, norm="ortho"), and found * key.conj().',
    shown=(samplers.invert, watermark.match),
)
