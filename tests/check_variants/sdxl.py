"""Lesson 15."""

import math

import torch

from course_lib.methods import sdxl
from course_lib.methods.sdxl import crop_pictures
from course_lib.nets.embeddings import sinusoidal
from course_lib.nets.sdxl import micro_embedding
from course_lib.process import randn_like


def embedded_by_flattening(micro, dim):
    return sinusoidal(micro.flatten().float(), dim).view(len(micro), 3 * dim)


def embedded_by_hand(micro, dim):
    frequency = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))
    angle = micro[:, :, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 2).flatten(1)


def embedded_by_columns(micro, dim):
    side, top, left = micro.double().T
    return torch.hstack([sinusoidal(side, dim), sinusoidal(top, dim), sinusoidal(left, dim)])


def embedded_by_loop(micro, dim):
    out = torch.zeros(len(micro), 3 * dim, dtype=torch.float64)
    for i in range(3):
        out[:, i * dim : (i + 1) * dim] = sinusoidal(micro[:, i], dim)
    return out


def embedded_by_stacking(micro, dim):
    return torch.stack([sinusoidal(number.float(), dim) for number in micro.T], dim=1).reshape(-1, 3 * dim)


def embedded_each_by_itself(micro, dim):
    return torch.stack([sinusoidal(row.float(), dim).flatten() for row in micro])


def added(micro, dim):
    return sinusoidal(micro[:, 0], dim) + sinusoidal(micro[:, 1], dim) + sinusoidal(micro[:, 2], dim)


def averaged(micro, dim):
    return torch.stack([sinusoidal(number.float(), dim) for number in micro.T]).mean(0)


def as_diffusers(micro, dim):
    """diffusers' SDXL has flip_sin_to_cos: the cosines are first."""
    waves = sinusoidal(micro.flatten().float(), dim)
    return torch.cat([waves[:, dim // 2 :], waves[:, : dim // 2]], 1).reshape(len(micro), -1)


def divided(micro, dim):
    return torch.cat([sinusoidal(micro[:, i].float(), dim // 3) for i in range(3)], dim=-1)


def stacked(micro, dim):
    return sinusoidal(micro.flatten().float(), dim).view(len(micro), 3, dim)


def below(micro, dim):
    return torch.cat([sinusoidal(micro[:, i].float(), dim) for i in range(3)])


def interleaved(micro, dim):
    return torch.stack([sinusoidal(micro[:, i].float(), dim) for i in range(3)], dim=-1).flatten(1)


def transposed(micro, dim):
    return sinusoidal(micro.T.flatten().float(), dim).view(len(micro), -1)


def height_and_width(micro, dim):
    """left before top, as x before y."""
    return torch.cat([sinusoidal(micro[:, i].float(), dim) for i in (0, 2, 1)], dim=1)


def sum_embedded(micro, dim):
    return sinusoidal(micro.sum(1).float(), dim).repeat(1, 3)


def without_side(micro, dim):
    return embedded_by_flattening(micro, dim)[:, dim:]


def loss_by_view(denoiser, x0, last, rng):
    process = denoiser.process
    eps, t = randn_like(x0, rng), torch.randint(1, last + 1, (len(x0),), generator=rng)
    a, b = process.coefficients(t, x0)
    return ((denoiser(a * x0 + b * eps, t).v - (a * eps - b * x0)) ** 2).mean()


def loss_by_rand(denoiser, x0, last, rng):
    t = 1 + (torch.rand(len(x0), generator=rng) * last).long()
    eps = torch.randn(x0.shape, generator=rng)
    prompts = denoiser(denoiser.process.add_noise(x0, t, eps), t).value
    return torch.nn.functional.mse_loss(prompts, denoiser.target(x0, t, eps))


def loss_by_rows(denoiser, x0, last, rng):
    t = torch.arange(len(x0)).remainder(last)[torch.randperm(len(x0), generator=rng)] + 1
    eps = randn_like(x0, rng)
    off = denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)
    return off.square().flatten(1).mean(1).mean()


def loss_by_own_jump(denoiser, x0, last, rng):
    eps = torch.normal(0.0, 1.0, x0.shape, generator=rng)
    t = torch.multinomial(torch.ones(last), len(x0), replacement=True, generator=rng) + 1
    bar = denoiser.process.alpha_bar(t).view(-1, *[1] * (x0.ndim - 1))
    pred = denoiser((bar.sqrt() * x0 + (1 - bar).sqrt() * eps).float(), t)
    return torch.mean((pred.as_view(denoiser.view) - denoiser.target(x0, t, eps)) ** 2)


def loss_by_halves(denoiser, x0, last, rng):
    t, eps = torch.randint(low=1, high=last + 1, size=[len(x0)], generator=rng), randn_like(x0, rng)
    off = denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)
    return sum((row * row).mean() for row in off) / len(off)


def loss(denoiser, x0, last, rng, low=1, high=None, share=False, scale=1.0, noise=1):
    n = 1 if share else len(x0)
    t = torch.randint(low, (last if high is None else high) + 1, (n,), generator=rng).expand(len(x0))
    eps = noise * randn_like(x0, rng)
    off = denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)
    return scale * off.square().mean()


def _pair(denoiser, x0, last, rng):
    """Times, noise and the prediction, as they should be."""
    t, eps = torch.randint(1, last + 1, (len(x0),), generator=rng), torch.randn(x0.shape, generator=rng)
    return t, eps, denoiser(denoiser.process.add_noise(x0, t, eps), t)


def of_noise(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, rng)
    return torch.nn.functional.mse_loss(pred.value, eps)


def of_predicted_noise(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, rng)
    return torch.nn.functional.mse_loss(pred.eps, eps)


def of_picture(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, rng)
    return torch.nn.functional.mse_loss(pred.x0, x0)


def summed(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, rng)
    return ((pred.value - denoiser.target(x0, t, eps)) ** 2).sum()


def not_squared(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, rng)
    return torch.nn.functional.l1_loss(pred.value, denoiser.target(x0, t, eps))


def detached(denoiser, x0, last, rng):
    with torch.no_grad():
        t, eps, pred = _pair(denoiser, x0, last, rng)
        return (pred.value - denoiser.target(x0, t, eps)).square().mean()


def global_rng(denoiser, x0, last, rng):
    t, eps, pred = _pair(denoiser, x0, last, None)
    return (pred.value - denoiser.target(x0, t, eps)).square().mean()


def global_noise(denoiser, x0, last, rng):
    t, eps = torch.randint(1, last + 1, (len(x0),), generator=rng), torch.randn_like(x0)
    return (denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)).square().mean()


def seeded_anew(denoiser, x0, last, rng):
    torch.manual_seed(0)
    return global_rng(denoiser, x0, last, rng)


def uniform_noise(denoiser, x0, last, rng):
    t, eps = torch.randint(1, last + 1, (len(x0),), generator=rng), torch.rand(x0.shape, generator=rng)
    return (denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)).square().mean()


def one_noise(denoiser, x0, last, rng):
    t, eps = torch.randint(1, last + 1, (len(x0),), generator=rng), torch.randn(x0.shape[1:], generator=rng)
    eps = eps.repeat(len(x0), 1, 1, 1)
    return (denoiser(denoiser.process.add_noise(x0, t, eps), t).value - denoiser.target(x0, t, eps)).square().mean()


def micro_training(
    network, draw, optimizer, steps, most, drop, null, rng, crop=None, told=None, label_of=None, loss=None, corner=None
):
    """A training; what is wrong in it are functions of the same names as its steps."""
    losses = []
    for _ in range(steps):
        x, label, side = draw(rng)
        top, left = (corner or corners)(len(x), most, rng)
        x0 = (crop or crop_pictures)(x, top, left)
        micro = (told or by_columns)(side, top, left)
        keep = torch.rand(len(x), generator=rng) >= drop
        label, micro = (label_of or by_masks)(label, micro, keep, null)
        eps = torch.randn(x0.shape, generator=rng)
        t = network.process.sample_t(len(x0), rng)
        pred = network.given((label, micro))(network.process.add_noise(x0, t, eps), t)
        value = (loss or in_own_view)(network, pred, x0, t, eps, x)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def corners(B, most, rng):
    return torch.randint(0, most + 1, (2, B), generator=rng)


def by_columns(side, top, left):
    return torch.stack([side, top, left], dim=1)


def by_masks(label, micro, keep, null):
    return label.masked_fill(~keep, null), micro


def in_own_view(network, pred, x0, t, eps, x):
    return torch.nn.functional.mse_loss(pred.value, network.target(x0, t, eps))


def with_(**wrong):
    """The training with other steps, whose name says which."""
    made = lambda *given: micro_training(*given, **wrong)
    made.__name__ = "_".join(wrong)
    return made


def each_by_itself(network, draw, optimizer, steps, most, drop, null, rng):
    """Pictures are cut one at a time, v is written out, and gradients are cleared last."""
    losses = torch.zeros(steps)
    for step in range(steps):
        x, label, side = draw(rng)
        crop = (torch.rand(len(x), 2, generator=rng) * (most + 1)).long()
        x0 = torch.full_like(x, -1)
        for i, (top, left) in enumerate(crop.tolist()):
            x0[i, :, : x.shape[2] - top, : x.shape[3] - left] = x[i, :, top:, left:]
        label[torch.rand(len(x), generator=rng) < drop] = null
        t, eps = torch.randint(1, network.process.T + 1, (len(x),), generator=rng), randn_like(x0, rng)
        a, b = network.process.coefficients(t, x0)
        pred = network.given((label, torch.cat([side[:, None], crop], 1)))(a * x0 + b * eps, t)
        loss = (pred.v - (a * eps - b * x0)).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses[step] = loss.detach()
    return losses


def dropped_too(whole):
    def label_of(label, micro, keep, null):
        other = torch.tensor([8, 0, 0]) if whole else torch.zeros(3, dtype=torch.long)
        return label.masked_fill(~keep, null), torch.where(keep[:, None], micro, other)

    return label_of


def one_at_a_time(x, top, left):
    return torch.cat([crop_pictures(x[i : i + 1], top[i : i + 1], left[i : i + 1]) for i in range(len(x))])


def by_rand(B, most, rng):
    return (torch.rand(2, B, generator=rng) * (most + 1)).floor().long()


def by_cat(side, top, left):
    return torch.cat([side[:, None], top[:, None], left[:, None]], 1)


def by_v(network, pred, x0, t, eps, x):
    a, b = network.process.coefficients(t, x0)
    return (pred.v - a * eps + b * x0).square().mean()


def by_where(label, micro, keep, null):
    return torch.where(keep, label, torch.full_like(label, null)), micro


def whole(n, most, rng):
    return torch.randint(0, most + 1, (n,), generator=rng)


TRAININGS = [
    ("size and crop are dropped with the label", with_(label_of=dropped_too(True))),
    ("size and crop become 0", with_(label_of=dropped_too(False))),
    ("large and whole", with_(told=lambda side, top, left: torch.tensor([[8, 0, 0]]).expand(len(side), 3))),
    ("its side is what draw", with_(told=lambda side, top, left: torch.stack([0 * side + 8, top, left], 1))),
    ("the network is told 0, 0", with_(told=lambda side, top, left: torch.stack([side, 0 * top, 0 * left], 1))),
    ("the pictures are not cropped", with_(crop=lambda x, top, left: x)),
    ("have changed places", with_(told=lambda side, top, left: torch.stack([side, left, top], 1))),
    ("have changed places", with_(crop=lambda x, top, left: crop_pictures(x, left, top))),
    ("of other pictures", with_(told=lambda side, top, left: torch.stack([side, top, left], 1).roll(1, 0))),
    ("the side stands last", with_(told=lambda side, top, left: torch.stack([top, left, side], 1))),
    ("one number", with_(corner=lambda B, most, rng: torch.randint(0, most + 1, (B,), generator=rng).expand(2, B))),
    ("for the whole batch", with_(corner=lambda B, most, rng: torch.randint(0, most + 1, (2, 1), generator=rng).expand(2, B))),
    (
        "for the whole batch",
        with_(corner=lambda B, most, rng: torch.stack([whole(1, most, rng).expand(B), whole(B, most, rng)])),
    ),
    ("is never drawn: randint", with_(corner=lambda B, most, rng: torch.stack([whole(B, most - 1, rng), whole(B, most, rng)]))),
    ("is never drawn: randint", with_(corner=lambda B, most, rng: torch.randint(0, most, (2, B), generator=rng))),
    ("a crop of 0 is never drawn", with_(corner=lambda B, most, rng: torch.randint(1, most + 1, (2, B), generator=rng))),
    ("before it was cropped", with_(loss=lambda net, pred, x0, t, eps, x: in_own_view(net, pred, x, t, eps, x))),
    ("the noise is compared", with_(loss=lambda net, pred, x0, t, eps, x: (pred.eps - eps).square().mean())),
    ("the noise is compared", with_(loss=lambda net, pred, x0, t, eps, x: (pred.value - eps).square().mean())),
    ("the share that is kept", with_(label_of=lambda label, micro, keep, null: (label.masked_fill(keep, null), micro))),
    ("nothing is ever dropped", with_(label_of=lambda label, micro, keep, null: (label, micro))),
    ("dropped labels become 0", with_(label_of=lambda label, micro, keep, null: (label * keep, micro))),
]

RIGHT = {
    "micro_training": [
        micro_training,
        each_by_itself,
        with_(corner=by_rand, told=by_cat),
        with_(loss=by_v),
        with_(label_of=by_where, crop=one_at_a_time),
    ],
    "micro_embedding": [
        micro_embedding,
        embedded_by_flattening,
        embedded_by_hand,
        embedded_by_columns,
        embedded_by_loop,
        embedded_by_stacking,
        embedded_each_by_itself,
    ],
    "refiner_loss": [sdxl.refiner_loss, loss_by_view, loss_by_rand, loss_by_rows, loss_by_own_jump, loss_by_halves],
}
WRONG = {
    "micro_training": TRAININGS[:7],
    "micro_embedding": [
        ("put them side by side", lambda micro, dim: sinusoidal(micro.flatten().float(), dim).view(len(micro), 3, dim).sum(1)),
        ("only the side is embedded", lambda micro, dim: sinusoidal(micro[:, 0].float(), dim)),
        ("the order is reversed", lambda micro, dim: embedded_by_hand(micro[:, [2, 1, 0]], dim)),
        ("the bare numbers are given", lambda micro, dim: micro.double()),
        ("shares of 32", lambda micro, dim: embedded_by_hand(micro / 32, dim)),
        ("the top is embedded twice", lambda micro, dim: embedded_by_hand(micro[:, [0, 1, 1]], dim)),
    ],
    "refiner_loss": [
        ("as for the base", lambda d, x0, last, rng: loss(d, x0, last, rng, high=d.process.T)),
        ("those times are the base's", lambda d, x0, last, rng: loss(d, x0, last, rng, low=last + 1, high=d.process.T)),
        ("t is always last", lambda d, x0, last, rng: loss(d, x0, last, rng, low=last)),
        ("one t is drawn for the whole batch", lambda d, x0, last, rng: loss(d, x0, last, rng, share=True)),
        ("✗ it is the mean squared error", lambda d, x0, last, rng: loss(d, x0, last, rng, scale=9.0)),
    ],
}
TRIED = {
    "micro_training": TRAININGS,
    "micro_embedding": [
        *WRONG["micro_embedding"],
        ("the three are added", added),
        ("the three are averaged", averaged),
        ("cosines stand before sines", as_diffusers),
        ("dim is divided among", divided),
        ("in a dimension of their own", stacked),
        ("below one another", below),
        ("interleaved", interleaved),
        ("of different pictures", transposed),
        ("top and left have changed places", height_and_width),
        ("added before they are embedded", sum_embedded),
        ("the side is not embedded", without_side),
    ],
    "refiner_loss": [
        *[(word if "✗" not in word else "", fn) for word, fn in WRONG["refiner_loss"]],
        ("compared with the noise", of_noise),
        ("the predicted noise", of_predicted_noise),
        ("the predicted x_0", of_picture),
        ("summed", summed),
        ("not squared", not_squared),
        ("has no gradient", detached),
        ("times and noise come from torch's own", global_rng),
        ("the noise comes from torch's own", global_noise),
        ("seeded anew", seeded_anew),
        ("uniform on 0..1", uniform_noise),
        ("one noise is drawn", one_noise),
        ("last itself is never drawn", lambda d, x0, last, rng: loss(d, x0, last, rng, high=last - 1)),
        ("counted from 0", lambda d, x0, last, rng: loss(d, x0, last, rng, low=0, high=last - 1)),
        ("begins at 0", lambda d, x0, last, rng: loss(d, x0, last, rng, low=0)),
        ("no noise is added", lambda d, x0, last, rng: loss(d, x0, last, rng, noise=0)),
    ],
}
