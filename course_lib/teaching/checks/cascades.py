"""Lesson 06: cascades."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.denoisers import Network
from course_lib.methods import cascades
from course_lib.nets.embeddings import LabelEmbedding
from course_lib.nets.upsampler import Upsampler
from course_lib.process import Process, randn_like
from course_lib.teaching.checks import spy
from course_lib.teaching.checks.check import Case, Check, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PROCESS, normal
from course_lib.training import denoising_loss

# augmented: the small picture, and the level that the network is given
PICTURES, EPS, S = normal(3, 2, 6, 8, seed=1), normal(3, 2, 3, 4, seed=2), torch.tensor([0, 10, 40])


def _augmented(process: Process, x0: Tensor, s: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """x0 at half its size with noise eps of times s, and s as a fraction of T. Ho et al. 2022, section 3.3."""
    low = avg_pool2d(x0, 2)
    a, b = process.coefficients(s, low)
    return a * low + b * eps, s / process.T


def _of(part: int, x0: Tensor, s: Tensor, eps: Tensor) -> Callable[[Callable], Tensor]:
    """A case's run: the picture (part 0) or the level (part 1) of what the function gives."""

    def run(augmented):
        both = on(PROCESS, x0, s, eps)(augmented)
        if not isinstance(both, (tuple, list)) or len(both) != 2:
            raise Refused("it must return a pair: the small noisy picture, and its level")
        return both[part]

    return run


augmented = Check(
    "augmented",
    _augmented,
    cases=[
        Case("s = 0: the halves themselves", _of(0, PICTURES, 0 * S, EPS)),
        Case("each picture with its own s", _of(0, PICTURES, S, EPS)),
        Case("only the noise: black pictures", _of(0, 0 * PICTURES, S, EPS)),
        Case("s = T: noise, and almost nothing else", _of(0, 0 * PICTURES + 9, 0 * S + 50, EPS)),
        Case("the level: s as a fraction of T", _of(1, PICTURES, S, EPS)),
    ],
    mistakes={
        "every second pixel is taken; the mean of each 2 x 2 is asked for": {"avg_pool2d(x0, 2)": "x0[:, :, ::2, ::2]"},
        "the largest of each 2 x 2 is taken; their mean is asked for": {
            "avg_pool2d(x0, 2)": "torch.nn.functional.max_pool2d(x0, 2)"
        },
        "the sum of each 2 x 2 is taken; their mean is asked for": {"avg_pool2d(x0, 2)": "4 * avg_pool2d(x0, 2)"},
        "the small picture is not scaled: its signal is missing": {"a * low": "low"},
        "signal and noise have changed places": {"a * low + b * eps": "b * low + a * eps"},
        "the square roots are missing: alpha_bar and 1 - alpha_bar are variances": {"a * low + b": "a**2 * low + b**2"},
        "alpha_s stands where alpha_bar_s belongs: that is the noise of a single step": {
            "return": "a = process.alpha(s.clamp(min=1)).where(s > 0, 1).sqrt().to(low).view(-1, 1, 1, 1)\n"
            "    b = (1 - a**2).sqrt()\n    return"
        },
        "picture and level have changed places": {
            "return a * low + b * eps, s / process.T": "return s / process.T, a * low + b * eps"
        },
        "no noise is added": {"a * low + b * eps": "low"},
        "the variance of the noise multiplies it; it should be the standard deviation": {"b * eps": "b**2 * eps"},
        "all pictures get the noise of the first one's s": {"(s, low)": "(s[0], low)"},
        "the level is given in steps; a network's times are fractions of T": {" / process.T": ""},
        "the level is s / (T - 1); it is s / T": {"/ process.T": "/ (process.T - 1)"},
        "the level counts from the noisy end: 1 - s / T": {"s / process.T": "1 - s / process.T"},
        "the level is alpha_bar_s; the time is asked for": {"s / process.T": "process.alpha_bar(s)"},
        "the level that is given is always 0": {"s / process.T": "0.0 * s"},
        "the standard deviation is given where the time is asked for": {"s / process.T": "process.noise(s)"},
    },
    hint="low = avg_pool2d(x0, 2); return process.add_noise(low, s, eps), s / process.T.",
    shown=(cascades.augmented,),
)

# upsampler_loss. As with denoising_loss, the network records its input.
LARGE, LABEL, MAX_S = normal(4000, 1, 4, 4, seed=3), torch.arange(4000) % 10, 30


class _Spy(spy.Spy):
    """An upsampler of ten classes, whose condition has a channel each for picture, level and class."""

    as_condition = Upsampler.as_condition
    low = (1, 2, 2)
    label = SimpleNamespace(as_condition=partial(LabelEmbedding.as_condition, SimpleNamespace(null=10)))

    def __init__(self):
        super().__init__(lambda weight, x, time, cond: spy.affine(weight, x, time) - interpolate(cond[:, :1], scale_factor=2))


class _Record(spy.Record):
    call = "denoising_loss(network.given(...), x0, rng) does so"

    def __init__(self, loss: Callable, max_s: int = MAX_S):
        rng_last = lambda network, x0, rng: loss(network, x0, LABEL.clone(), rng, max_s)
        super().__init__(rng_last, LARGE, spy=_Spy(), process=PROCESS, view="v")
        (cond,) = self.cond
        self.low, (level, self.label) = cond[:, :1], cond[:, 1:, 0, 0].unbind(1)
        self.s = (level * PROCESS.T).round().long()
        signal, self.width = PROCESS.coefficients(self.s, self.low)
        self.low_noise = self.low - signal * avg_pool2d(LARGE, 2)  # what is in the small pictures beside their signal

    @property
    def low_noise_at_s(self) -> Tensor:
        """1 + mean and standard deviation of the small pictures' noise, in units of what their level says."""
        noise = (self.low_noise / self.width.clamp(min=1e-9))[self.s > 0]
        return torch.stack([1 + noise.mean(), noise.std()]) if noise.numel() else torch.zeros(2)

    @property
    def low_noise_at_0(self) -> Tensor:
        """1 + the mean square of the noise in the small pictures whose level is 0."""
        noise = self.low_noise[self.s == 0]
        return 1 + noise.square().sum() / max(noise.numel(), 1)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    return 1 + torch.corrcoef(torch.stack([x.flatten().float(), y.flatten().float()]))[0, 1].nan_to_num(0)


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_Record(loss).s, minlength=MAX_S + 1)[: MAX_S + 1] * (MAX_S + 1) / len(LARGE)


my_augmented = _augmented
"""What the answer to `upsampler_loss` calls: in the lesson it is the reader's own."""


def _upsampler_loss(network: Network, x0: Tensor, label: Tensor, rng: torch.Generator, max_s: int) -> Tensor:
    """The mean squared error in the network's view, given noisy small pictures and the class. Ho et al. 2022, section 3."""
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    eps = torch.randn(x0[:, :, ::2, ::2].shape, generator=rng).to(x0)
    small, level = my_augmented(network.process, x0, s, eps)
    return denoising_loss(network.given((small, level, label)), x0, rng)


def _every_second(x: Tensor) -> Tensor:
    """Pictures of which the means of 2 x 2 are every second pixel of x."""
    return interpolate(x[:, :, ::2, ::2], scale_factor=2)


def _longhand(s=None, noise=None, target=Network.target) -> Callable:
    """The loss without `denoising_loss`, where s may be made of t, and the small pictures' noise of the large ones'."""

    def loss(network, x0, label, rng, max_s):
        process, low = network.process, avg_pool2d(x0, 2)
        t, eps = process.sample_t(len(x0), rng), randn_like(x0, rng)
        level = s(t) if s else torch.randint(max_s + 1, t.shape, generator=rng)
        noisy = process.add_noise(low, level, noise(eps) if noise else randn_like(low, rng))
        output = network.given((noisy, level / process.T, label))(process.add_noise(x0, t, eps), t).value
        return (output - target(network, x0, t, eps)).square().mean()

    return loss


upsampler_loss = Check(
    "upsampler_loss",
    _upsampler_loss,
    cases=[
        Case("without augmentation (max_s = 0) the network is given the halves", lambda f: _Record(f, 0).low),
        Case("it is the mean squared error of the network's output", lambda f: _Record(f).ratio, 0.03),
        Case("s is given, and is uniform on 0..max_s", _counts, tolerance=0.4),
        Case("the class of each picture is given", lambda f: _Record(f).label),
        Case("the noise in the small pictures has the size of their level", lambda f: _Record(f).low_noise_at_s, 0.05),
        Case("and none where the level is 0", lambda f: _Record(f).low_noise_at_0, tolerance=0.2),
        Case("s is independent of t", lambda f: _correlation((r := _Record(f)).s, r.t), tolerance=0.1),
        Case("both noises are independent", lambda f: _correlation((r := _Record(f)).low_noise, avg_pool2d(r.eps, 2)), 0.1),
        Case("the large picture's noise is standard normal", lambda f: _Record(f).noise, 0.05),
        Case("t lies in 1..T", lambda f: _Record(f).out_of_range(50)),
        Case("the same rng gives the same loss", lambda f: torch.equal(_Record(f).value, _Record(f).value)),
    ],
    mistakes={
        "neither level nor class is given: `given` takes (picture, level, label)": {
            "given((small, level, label))": "given(small)"
        },
        "the class is not given": {"small, level, label": "small, level"},
        "the level is not given": {"small, level, label": "small, 0.0, label"},
        "the small pictures are clean, though a level is given": {"small, level, label": "avg_pool2d(x0, 2), level, label"},
        "s is drawn below max_s; max_s itself belongs to it": [
            {"(max_s + 1, (": "(max_s, ("},
            {"(max_s + 1, (": "(max(max_s, 1), ("},
        ],
        "s is never 0; clean small pictures belong to the training": {
            "(max_s + 1, (len(x0),)": "(min(1, max_s), max_s + 1, (len(x0),)"
        },
        "one s is drawn for the whole batch; draw one for each picture": {
            "(len(x0),), generator=rng)": "(1,), generator=rng).expand(len(x0))"
        },
        "every second pixel is taken; the mean of each 2 x 2 is asked for": {"process, x0, s": "process, _every_second(x0), s"},
        "the noise is not drawn from rng: pass generator=rng": [
            {"shape, generator=rng)": "shape)"},
            {"(len(x0),), generator=rng)": "(len(x0),))"},
            {"(len(x0),), generator=rng)": "(len(x0),))", "shape, generator=rng)": "shape)"},
        ],
        "the level is given in steps; a network's times are fractions of T": {"small, level, label": "small, s, label"},
        "the loss is a sum, not a mean": {"x0, rng)\n": "x0, rng) * x0.numel()\n"},
        "there is no augmentation: s is always 0": {"(max_s + 1, (": "(1, ("},
        "all pictures get the most noise: s is always `max_s`": {"torch.randint(max_s + 1,": "torch.randint(max_s, max_s + 1,"},
        "s is t: the small picture gets the time of the large one": _longhand(s=lambda t: t),
        "the small picture gets the noise of the large one, halved": _longhand(noise=lambda eps: 2 * avg_pool2d(eps, 2)),
        "the output is compared with the noise; the network's own view is asked for": _longhand(
            target=lambda network, x0, t, eps: eps
        ),
    },
    hint="s = torch.randint(max_s + 1, (len(x0),), generator=rng); low, level = my_augmented(network.process, x0, s, eps); "
    "denoising_loss(network.given((low, level, label)), x0, rng).",
    shown=(cascades.upsampler_loss,),
)

# cascade: two networks whose output depends on all of their input; the second records what it is given
CLASSES, FIRST, SECOND = torch.arange(2400) % 10, normal(2400, 1, 2, 2, seed=4), normal(2400, 1, 4, 4, seed=5)
TIMES, SOME_S = torch.tensor([50, 31, 12, 0]), 20


class _Base(spy.Spy):
    as_condition = partial(LabelEmbedding.as_condition, SimpleNamespace(null=10))


def _stages() -> tuple[Network, Network]:
    """A base and an upsampler."""
    base = _Base(lambda weight, x, time, label: spy.affine(weight / 2, x, time) + label.view(-1, 1, 1, 1) / 10)
    above = _Spy()
    above.rule = lambda weight, x, time, cond: (
        spy.affine(weight / 2, x, time) - interpolate(cond[:, :1] + cond[:, 1:2] + cond[:, 2:] / 10, scale_factor=2)
    )
    return tuple(Network(net.requires_grad_(False), deepcopy(PROCESS)) for net in (base, above))


def _cascaded(cascade: Callable, s: int) -> tuple[Tensor, Tensor]:
    """The large pictures of a cascade (2400, 1, 4, 4), and the condition of its upsampler (2400, 3, 2, 2)."""
    base, upsampler = _stages()
    noises = FIRST.clone(), SECOND.clone()
    made = cascade(base, upsampler, CLASSES.clone(), noises, TIMES.clone(), s, torch.Generator().manual_seed(7))
    if upsampler.net.input is None:
        raise Refused("the upsampler is never called")
    return made, upsampler.net.input[2]


def _noise_of_small(cascade: Callable) -> Tensor:
    """1 + mean, and standard deviation, of what the small pictures contain beside their signal, in units of their level."""
    (_, clean), (_, noisy) = _cascaded(cascade, 0), _cascaded(cascade, SOME_S)
    signal, width = PROCESS.coefficients(SOME_S, clean)
    noise = (noisy[:, :1] - signal * clean[:, :1]) / width
    return torch.stack([1 + noise.mean(), noise.std()])


def _cascade(
    base: Network,
    upsampler: Network,
    label: Tensor,
    noises: tuple[Tensor, Tensor],
    times: Tensor,
    s: int,
    rng: torch.Generator,
) -> Tensor:
    """Large pictures: the base's sample, with noise of time s, upsampled. Ho et al. 2022, section 3.3, with steps of DDIM."""
    process, steps = base.process, times.tolist()

    def draw(denoiser, x):
        for t, after in zip(steps, steps[1:]):
            pred = denoiser(x, t)
            x = process.add_noise(pred.x0, after, pred.eps)
        return x

    small = draw(base.given(label), noises[0])
    eps = torch.randn(small.shape, generator=rng).to(small)
    noisy = process.add_noise(small, s, eps)
    return draw(upsampler.given((noisy, s / process.T, label)), noises[1])


cascade = Check(
    "cascade",
    _cascade,
    cases=[
        Case("the upsampler is given the base's sample (s = 0)", lambda f: _cascaded(f, 0)[1][:, 0]),
        Case("the upsampler is given the class", lambda f: _cascaded(f, 0)[1][:, 2]),
        Case("the upsampler is given the level s / T", lambda f: _cascaded(f, SOME_S)[1][:, 1]),
        Case("the noise in the small pictures has the size of their level", _noise_of_small, tolerance=0.05),
        Case("the large pictures (s = 0)", lambda f: _cascaded(f, 0)[0]),
        Case("the same rng gives the same pictures", lambda f: torch.equal(_cascaded(f, SOME_S)[0], _cascaded(f, SOME_S)[0])),
    ],
    mistakes={
        "the small pictures stay clean, though a level is given": {"(noisy, s /": "(small, s /"},
        "the level is not given": {"s / process.T, label": "0.0, label"},
        "the level is given in steps; a network's times are fractions of T": {"s / process.T, label": "s, label"},
        "the class is not given to the upsampler": {"s / process.T, label": "s / process.T"},
        "the upsampler is given neither level nor class": {"given((noisy, s / process.T, label))": "given(noisy)"},
        "the loop ends before the last move, to time 0": {"steps[1:])": "steps[1:-1])"},
        "each move stays at its time: add noise of the next time": {"pred.x0, after": "pred.x0, t"},
        "each move ends at the predicted picture: add the predicted noise, of the next time": {
            "process.add_noise(pred.x0, after, pred.eps)": "pred.x0"
        },
        "each move adds fresh noise; the predicted noise is asked for": {
            "after, pred.eps)": "after, torch.randn(x.shape, generator=rng))"
        },
        "each move adds noise to x_t; add it to the predicted clean picture": {
            "add_noise(pred.x0, after": "add_noise(x, after"
        },
        "the upsampler starts from the small picture, enlarged; it starts from noise of its own": {
            "label)), noises[1])": "label)), interpolate(small, scale_factor=2))"
        },
        "the upsampler starts from the base's noise, enlarged; it starts from noise of its own": {
            "label)), noises[1])": "label)), interpolate(noises[0], scale_factor=2))"
        },
        "the noise is not drawn from rng: pass generator=rng": {
            "torch.randn(small.shape, generator=rng)": "torch.randn(small.shape)"
        },
        "the noise is added on top; the signal must shrink: `process.add_noise` does both": {
            "process.add_noise(small, s, eps)": "small + float(process.noise(s)) * eps"
        },
        "noise is added to the base's initial noise, not to its sample": {
            "base.given(label), noises[0])\n": "base.given(label), process.add_noise(noises[0], s, noises[0].flip(0)))\n"
        },
        "the small pictures are the noise that the base starts from": {
            "small = draw(base.given(label), noises[0])": "small = noises[0]"
        },
    },
    hint="def draw(denoiser, x): for t, after in zip(steps, steps[1:]): pred = denoiser(x, t); "
    "x = process.add_noise(pred.x0, after, pred.eps). Call it with base.given(label), then with upsampler.given(...).",
    shown=(cascades.cascade,),
)
