"""Lesson 06."""

from itertools import pairwise

import torch
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, mse_loss

from course_lib.methods.cascades import augmented
from course_lib.methods.cascades import cascade as library_cascade
from course_lib.methods.cascades import upsampler_loss as library_loss
from course_lib.process import randn_like
from course_lib.samplers import ddim, ddpm, result, sample
from course_lib.training import denoising_loss


def by_reshape(process, x0, s, eps):
    B, C, H, W = x0.shape
    low = x0.reshape(B, C, H // 2, 2, W // 2, 2).mean((3, 5))
    a, b = process.signal(s).float().view(-1, 1, 1, 1), process.noise(s).float().view(-1, 1, 1, 1)
    return a * low + b * eps, s.double() / process.T


def by_interpolation(process, x0, s, eps):
    low = interpolate(x0, scale_factor=0.5, mode="bilinear", align_corners=False)
    return process.add_noise(low, s, eps), s / process.T


def by_alpha_bar(process, x0, s, eps):
    bar = process.alpha_bar(s).view(-1, 1, 1, 1).float()
    low = (x0[:, :, ::2, ::2] + x0[:, :, 1::2, ::2] + x0[:, :, ::2, 1::2] + x0[:, :, 1::2, 1::2]) / 4
    return bar.sqrt() * low + (1 - bar).sqrt() * eps, torch.tensor([float(v) / process.T for v in s])


def _augmented(process, x0, s, eps, halve=lambda x: avg_pool2d(x, 2), told=None, noise=1.0):
    low = halve(x0)
    return process.add_noise(low, s, noise * eps), s / process.T if told is None else told(s)


def wrong(**changed):
    return lambda *args: _augmented(*args, **changed)


def loss_by_hand(network, x0, label, rng, max_s):
    """All in one, with the noises drawn in another order."""
    process = network.process
    eps, t = randn_like(x0, rng), process.sample_t(len(x0), rng)
    low = avg_pool2d(x0, 2)
    z, s = randn_like(low, rng), (torch.rand(len(x0), generator=rng) * (max_s + 1)).long()
    given = network.given((process.add_noise(low, s, z), s / process.T, label))
    return ((given(process.add_noise(x0, t, eps), t).value - network.target(x0, t, eps)) ** 2).mean()


def loss_by_view(network, x0, label, rng, max_s):
    """Through the view by its name."""
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    low = interpolate(x0, scale_factor=0.5, mode="area")
    given = network.given((network.process.add_noise(low, s, randn_like(low, rng)), s / network.process.T, label))
    t, eps = network.process.sample_t(len(x0), rng), randn_like(x0, rng)
    a, b = network.process.coefficients(t, x0)
    return (given(network.process.add_noise(x0, t, eps), t).v - (a * eps - b * x0)).square().mean()


def loss_by_library(network, x0, label, rng, max_s):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng)
    low = avg_pool2d(x0, 2)
    return denoising_loss(
        network.given((network.process.add_noise(low, s, randn_like(low, rng)), s / network.process.T, label)), x0, rng
    )


def _loss(network, x0, label, rng, max_s, s=None, told=lambda s: s, noise=1.0, times=1.0, halve=lambda x: avg_pool2d(x, 2)):
    s = torch.randint(max_s + 1, (len(x0),), generator=rng) if s is None else s(x0, rng, max_s)
    low = halve(x0)
    noisy = network.process.add_noise(low, s, noise * randn_like(low, rng))
    return times * denoising_loss(network.given((noisy, told(s) / network.process.T, label)), x0, rng)


def wrong_loss(**changed):
    return lambda *args: _loss(*args, **changed)


RIGHT = {
    "augmented": [by_reshape, by_interpolation, by_alpha_bar],
    "upsampler_loss": [loss_by_hand, loss_by_view, loss_by_library],
}
WRONG = {
    "augmented": [
        ("every second pixel is taken", wrong(halve=lambda x: x[..., ::2, ::2])),
        ("no noise is added", lambda process, x0, s, eps: (avg_pool2d(x0, 2), s / process.T)),
        ("given in steps", wrong(told=lambda s: s)),
        ("always 0", wrong(told=torch.zeros_like)),
        ("✗ only the noise", wrong(noise=2.0)),
        ("must return a pair", lambda process, x0, s, eps: process.add_noise(avg_pool2d(x0, 2), s, eps)),
        (
            "its signal is missing",
            lambda p, x0, s, eps: (avg_pool2d(x0, 2) + p.noise(s).view(-1, 1, 1, 1).float() * eps, s / p.T),
        ),
    ],
    "upsampler_loss": [
        ("the level is not given", wrong_loss(told=lambda s: 0 * s)),
        ("s is always 0", wrong_loss(s=lambda x0, rng, max_s: torch.zeros(len(x0), dtype=torch.long))),
        ("s is always `max_s`", wrong_loss(s=lambda x0, rng, max_s: torch.full((len(x0),), max_s))),
        ("✗ s is given", wrong_loss(s=lambda x0, rng, max_s: torch.randint(max_s + 1, (1,), generator=rng).expand(len(x0)))),
        ("✗ the noise in the small pictures has the size", wrong_loss(noise=0.5)),
        ("✗ it is the mean squared error", wrong_loss(times=16.0)),
        ("✗ without augmentation", wrong_loss(halve=lambda x: x[..., ::2, ::2])),
    ],
}


# What was tried: whole functions, as they would stand in the cell


def every_second(process, x0, s, eps):
    return process.add_noise(x0[..., ::2, ::2], s, eps), s / process.T


def nearest(process, x0, s, eps):
    low = interpolate(x0, scale_factor=0.5)
    return process.add_noise(low, s, eps), s / process.T


def the_largest(process, x0, s, eps):
    return process.add_noise(max_pool2d(x0, 2), s, eps), s / process.T


def in_steps(process, x0, s, eps):
    return process.add_noise(avg_pool2d(x0, 2), s, eps), s


def as_alpha_bar(process, x0, s, eps):
    return process.add_noise(avg_pool2d(x0, 2), s, eps), process.alpha_bar(s)


def as_noise_level(process, x0, s, eps):
    return process.add_noise(avg_pool2d(x0, 2), s, eps), process.noise(s)


def from_0_to_1(process, x0, s, eps):
    return process.add_noise(avg_pool2d(x0, 2), s, eps), s / (process.T - 1)


def other_order(process, x0, s, eps):
    return s / process.T, process.add_noise(avg_pool2d(x0, 2), s, eps)


def added_on_top(process, x0, s, eps):
    return avg_pool2d(x0, 2) + process.noise(s).float().view(-1, 1, 1, 1) * eps, s / process.T


def variances(process, x0, s, eps):
    bar = process.alpha_bar(s).float().view(-1, 1, 1, 1)
    return bar * avg_pool2d(x0, 2) + (1 - bar) * eps, s / process.T


def never_noisy(process, x0, s, eps):
    return avg_pool2d(x0, 2), s / process.T


def noise_of_its_own(process, x0, s, eps):
    low = avg_pool2d(x0, 2)
    return process.add_noise(low, s, torch.randn_like(low)), s / process.T


def picture_alone(process, x0, s, eps):
    return process.add_noise(avg_pool2d(x0, 2), s, eps)


def below_max_s(network, x0, label, rng, max_s):
    s = torch.randint(0, max(max_s, 1), (len(x0),), generator=rng)
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def randint_without_the_last(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s, (len(x0),), generator=rng)
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def one_s(network, x0, label, rng, max_s):
    s = int(torch.randint(0, max_s + 1, (1,), generator=rng))
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def always_the_most(network, x0, label, rng, max_s):
    s = torch.full((len(x0),), max_s)
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def never_augmented(network, x0, label, rng, max_s):
    s = torch.zeros(len(x0), dtype=torch.long)
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def level_left_out(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    low, _ = augmented(network.process, avg_pool2d(x0, 2), s, rng)
    return denoising_loss(network.given(low), x0, rng)


def class_left_out(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    return denoising_loss(network.given(augmented(network.process, avg_pool2d(x0, 2), s, rng)), x0, rng)


def clean_with_a_level(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    return denoising_loss(network.given((avg_pool2d(x0, 2), s / network.process.T, label)), x0, rng)


def level_in_steps(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    low, _ = augmented(network.process, avg_pool2d(x0, 2), s, rng)
    return denoising_loss(network.given((low, s.float(), label)), x0, rng)


def strided(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    return denoising_loss(network.given((*augmented(network.process, x0[:, :, ::2, ::2], s, rng), label)), x0, rng)


def s_without_rng(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),))
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def all_without_rng(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (len(x0),))
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s), label)), x0)


def of_the_noise(network, x0, label, rng, max_s):
    process = network.process
    s = torch.randint(0, max_s + 1, (len(x0),), generator=rng)
    t, eps = process.sample_t(len(x0), rng), randn_like(x0, rng)
    given = network.given((*augmented(process, avg_pool2d(x0, 2), s, rng), label))
    return (given(process.add_noise(x0, t, eps), t).value - eps).square().mean()


def s_is_t(network, x0, label, rng, max_s):
    process = network.process
    t, eps = process.sample_t(len(x0), rng), randn_like(x0, rng)
    given = network.given((*augmented(process, avg_pool2d(x0, 2), t, rng), label))
    return (given(process.add_noise(x0, t, eps), t).value - network.target(x0, t, eps)).square().mean()


TRIED = {
    "augmented": [
        ("every second pixel", every_second),
        ("every second pixel", nearest),
        ("the largest", the_largest),
        ("given in steps", in_steps),
        ("alpha_bar_s", as_alpha_bar),
        ("standard deviation is given", as_noise_level),
        ("T - 1", from_0_to_1),
        ("have changed places", other_order),
        ("its signal is missing", added_on_top),
        ("the square roots are missing", variances),
        ("no noise", never_noisy),
        ("", noise_of_its_own),
        ("", picture_alone),
    ],
    "upsampler_loss": [
        ("below max_s", below_max_s),
        ("below max_s", randint_without_the_last),
        ("one s is drawn", one_s),
        ("always `max_s`", always_the_most),
        ("s is always 0", never_augmented),
        ("neither level nor class", level_left_out),
        ("the class is not given", class_left_out),
        ("the small pictures are clean", clean_with_a_level),
        ("given in steps", level_in_steps),
        ("every second pixel", strided),
        ("not drawn from rng", s_without_rng),
        ("not drawn from rng", all_without_rng),
        ("network's own view", of_the_noise),
        ("s is t", s_is_t),
    ],
}


def by_two_means(process, x0, s, eps):
    low = (x0[..., ::2] + x0[..., 1::2]) / 2
    low = (low[:, :, ::2] + low[:, :, 1::2]) / 2
    return process.add_noise(low, s, eps), s.double() / process.T


def in_float64(process, x0, s, eps):
    low, bar = avg_pool2d(x0.double(), 2), process.alpha_bar(s)[:, None, None, None]
    return bar.sqrt() * low + (1 - bar).sqrt() * eps, (s / process.T).float()


def one_by_one(process, x0, s, eps):
    noisy = [
        process.add_noise(interpolate(x[None], scale_factor=0.5, mode="area"), int(t), e[None]) for x, t, e in zip(x0, s, eps)
    ]
    return [torch.cat(noisy), s.float().div(process.T)]


def loss_with_the_librarys_parts(network, x0, label, rng, max_s):
    s = torch.randint(0, max_s + 1, (x0.shape[0],), generator=rng)
    return denoising_loss(network.given((*augmented(network.process, avg_pool2d(x0, 2), s, rng), label)), x0, rng)


def loss_by_the_library(network, x0, label, rng, max_s):
    return library_loss(network, x0, rng, max_s, label)


def loss_by_target(network, x0, label, rng, max_s):
    process = network.process
    s = torch.floor(torch.rand(len(x0), generator=rng) * (max_s + 1)).clamp(max=max_s).long()
    pair = augmented(process, interpolate(x0, scale_factor=0.5, mode="bilinear"), s, rng)
    t, eps = torch.randint(1, process.T + 1, (len(x0),), generator=rng), torch.randn(x0.shape, generator=rng)
    output = network.given((*pair, label))(process.add_noise(x0, t, eps), t).value
    return mse_loss(output, network.target(x0, t, eps))


RIGHT["augmented"] += [by_two_means, in_float64, one_by_one]
RIGHT["upsampler_loss"] += [loss_with_the_librarys_parts, loss_by_the_library, loss_by_target]


# cascade


def run(denoiser, x, times, end=None):
    for t, after in list(pairwise(times.tolist()))[:end]:
        pred = denoiser(x, t)
        x = denoiser.process.add_noise(pred.x0, after, pred.eps)
    return x


def in_two_loops(base, upsampler, label, noises, times, s, rng):
    x = noises[0]
    first, times = base.given(label), [int(t) for t in times]
    for i in range(len(times) - 1):
        pred = first(x, times[i])
        x = base.process.add_noise(pred.x0, times[i + 1], pred.eps)
    second = upsampler.given((*augmented(base.process, x, s, rng), label))
    x = noises[1]
    for i in range(len(times) - 1):
        pred = second(x, times[i])
        x = upsampler.process.add_noise(pred.x0, times[i + 1], pred.eps)
    return x


def by_result(base, upsampler, label, noises, times, s, rng):
    small = run(base.given(label), noises[0], times)
    level = torch.full((len(small),), s / base.process.T)
    noisy = base.process.add_noise(small, torch.full((len(small),), s), randn_like(small, rng))
    return run(upsampler.given((noisy, level, label)), noises[1], times)


def by_the_librarys_ddim(base, upsampler, label, noises, times, s, rng):
    small = result(ddim(base.given(label), noises[0], times))
    return result(ddim(upsampler.given((*augmented(base.process, small, s, rng), label)), noises[1], times))


def by_the_library(base, upsampler, label, noises, times, s, rng):
    return list(library_cascade(base.given(label), upsampler, noises, times, s, rng=rng, label=label))[-1].x


def by_formula(base, upsampler, label, noises, times, s, rng):
    """Signal and noise written out; the last move is the predicted picture."""
    process, made = base.process, None
    for network in (base, upsampler):
        first = made is None
        if not first:
            a, b = float(process.signal(s)), float(process.noise(s))
            made = a * made + b * torch.randn(made.shape, generator=rng), torch.tensor([s / process.T]), label
        denoiser, x = (network.given(label), noises[0]) if first else (network.given(made), noises[1])
        for t, after in zip(times[:-1].tolist(), times[1:].tolist()):
            pred = denoiser(x, t)
            x = pred.x0 if after == 0 else process.signal(after).float() * pred.x0 + process.noise(after).float() * pred.eps
        made = x
    return made


def _wrong(second=lambda small, noisy, level, label: (noisy, level, label), start=lambda small, noises: noises[1], **options):
    """A cascade with another condition or another start of the upsampler, or other moves (`draw`)."""
    draw = options.get("draw", run)

    def wrong(base, upsampler, label, noises, times, s, rng):
        small = draw(base.given(label), noises[0], times)
        noisy, level = augmented(base.process, small, s, rng)
        return draw(upsampler.given(second(small, noisy, level, label)), start(small, noises), times)

    return wrong


def moves(step):
    """A loop of moves x = step(process, pred, x, t, after)."""

    def draw(denoiser, x, times):
        for t, after in pairwise(times.tolist()):
            x = step(denoiser.process, denoiser(x, t), x, t, after)
        return x

    return draw


def small_alone(base, upsampler, label, noises, times, s, rng):
    return run(base.given(label), noises[0], times)


def noise_without_rng(base, upsampler, label, noises, times, s, rng):
    small = run(base.given(label), noises[0], times)
    return run(upsampler.given((*augmented(base.process, small, s), label)), noises[1], times)


def on_top(base, upsampler, label, noises, times, s, rng):
    small = run(base.given(label), noises[0], times)
    noisy = small + base.process.noise(s).float() * torch.randn(small.shape, generator=rng)
    return run(upsampler.given((noisy, s / base.process.T, label)), noises[1], times)


def in_noises_place(base, upsampler, label, noises, times, s, rng):
    return run(upsampler.given((*augmented(base.process, noises[0], s, rng), label)), noises[1], times)


def fresh_noise(base, upsampler, label, noises, times, s, rng):
    def draw(denoiser, x):
        for t, after in pairwise(times.tolist()):
            x = base.process.add_noise(denoiser(x, t).x0, after, torch.randn(x.shape, generator=rng))
        return x

    small = draw(base.given(label), noises[0])
    return draw(upsampler.given((*augmented(base.process, small, s, rng), label)), noises[1])


def by_ddpm(base, upsampler, label, noises, times, s, rng):
    small = sample(base.given(label), noises[0], len(times) - 1, ddpm, batch=len(label), rng=rng)
    return result(ddpm(upsampler.given((*augmented(base.process, small, s, rng), label)), noises[1], times, rng))


enlarged = lambda x: interpolate(x, scale_factor=2)
RIGHT["cascade"] = [in_two_loops, by_result, by_the_librarys_ddim, by_the_library, by_formula]
WRONG["cascade"] = [
    ("small pictures stay clean", _wrong(second=lambda small, noisy, level, label: (small, level, label))),
    ("the level is not given", _wrong(second=lambda small, noisy, level, label: (noisy, 0.0, label))),
    ("starts from the small picture", _wrong(start=lambda small, noises: enlarged(small))),
    ("ends before the last move", _wrong(draw=lambda denoiser, x, times: run(denoiser, x, times, -1))),
]
TRIED["cascade"] = [
    ("small pictures stay clean", _wrong(second=lambda small, noisy, level, label: (small, level, label))),
    ("the level is not given", _wrong(second=lambda small, noisy, level, label: (noisy, 0.0, label))),
    ("in steps", _wrong(second=lambda small, noisy, level, label: (noisy, 1000 * level, label))),
    ("class is not given to the upsampler", _wrong(second=lambda small, noisy, level, label: (noisy, level))),
    ("neither level nor class", _wrong(second=lambda small, noisy, level, label: noisy)),
    ("starts from the small picture", _wrong(start=lambda small, noises: enlarged(small))),
    ("starts from the base's noise", _wrong(start=lambda small, noises: enlarged(noises[0]))),
    ("ends before the last move", _wrong(draw=lambda denoiser, x, times: run(denoiser, x, times, -1))),
    ("stays at its time", _wrong(draw=moves(lambda p, pred, x, t, after: p.add_noise(pred.x0, t, pred.eps)))),
    ("ends at the predicted picture", _wrong(draw=moves(lambda p, pred, x, t, after: pred.x0))),
    ("fresh noise", fresh_noise),
    ("", _wrong(draw=moves(lambda p, pred, x, t, after: p.add_noise(pred.x0, after, torch.randn_like(x))))),
    ("adds noise to x_t", _wrong(draw=moves(lambda p, pred, x, t, after: p.add_noise(x, after, pred.eps)))),
    ("not drawn from rng", noise_without_rng),
    ("on top", on_top),
    ("the small pictures are the noise", in_noises_place),
    ("", small_alone),
    ("", by_ddpm),
]
