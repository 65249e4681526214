"""Lesson 18."""

import numpy as np
import torch

from course_lib.methods.distillation import pseudo_huber
from course_lib.samplers import consistency, result


def by_ours(F, x_t, a, b, sigma_data):
    """Multiplied out: no division by a."""
    width = b**2 + a**2 * sigma_data**2
    return (a * sigma_data**2 * x_t + b * sigma_data * width.sqrt() * F) / width


def by_shares(F, x_t, a, b, sigma_data):
    """As the mean of x_0 given x_t, and the rest that is left to say."""
    gain = a * sigma_data**2 / (b**2 + a**2 * sigma_data**2)
    rest = sigma_data * (1 - a * gain).clamp(min=0).sqrt()
    return gain * x_t + rest * F


def by_names(F, x_t, a, b, sigma_data):
    sigma, x = b / a, x_t / a
    return sigma_data**2 / (sigma_data**2 + sigma**2) * x + sigma_data * sigma / torch.sqrt(sigma_data**2 + sigma**2) * F


def by_numpy(F, x_t, a, b, sigma_data):
    F, x, a, b = (v.double().numpy() for v in (F, x_t, a, b))
    variance = np.square(b / a) + sigma_data**2
    return sigma_data**2 / variance * x / a + b / a * sigma_data / np.sqrt(variance) * F


def by_angle(F, x_t, a, b, sigma_data):
    """c_skip and c_out / sigma_data are cos^2 and sin of one angle."""
    angle = torch.atan2(b, a * sigma_data)
    return angle.cos() ** 2 * x_t / a + sigma_data * angle.sin() * F


def one_by_one(F, x_t, a, b, sigma_data):
    a, b = (v.expand(len(x_t), *v.shape[1:]) for v in (a, b))
    return torch.stack([by_ours(*row, sigma_data) for row in zip(F, x_t, a, b)])


def not_divided(F, x_t, a, b, sigma_data):
    return by_names(F, x_t * a, a, b, sigma_data)


def by_b(F, x_t, a, b, sigma_data):
    return by_names(F, x_t, torch.ones_like(a), b, sigma_data)


def turned(F, x_t, a, b, sigma_data):
    return by_ours(-F, x_t, a, b, sigma_data)


def free(F, x_t, a, b, sigma_data):
    return F


def of_width_one(F, x_t, a, b, sigma_data):
    return by_ours(F, x_t, a, b, 1.0)


def _shares(x_t, a, b, sigma_data):
    sigma = b / a
    total = sigma**2 + sigma_data**2
    return sigma, sigma_data**2 / total, sigma * sigma_data / total.sqrt()


def as_v(F, x_t, a, b, sigma_data):
    return a * x_t - b * F


def as_noise(F, x_t, a, b, sigma_data):
    return (x_t - b * F) / a


def no_root(F, x_t, a, b, sigma_data):
    sigma = b / a
    return sigma_data**2 / (sigma**2 + sigma_data**2) * x_t / a + sigma * sigma_data / (sigma**2 + sigma_data**2) * F


def no_sigma_data(F, x_t, a, b, sigma_data):
    sigma, skip, out = _shares(x_t, a, b, sigma_data)
    return skip * (x_t / a) + sigma / torch.sqrt(sigma**2 + sigma_data**2) * F


def swapped(F, x_t, a, b, sigma_data):
    _, skip, out = _shares(x_t, a, b, sigma_data)
    return out * (x_t / a) + skip * F


def not_squared(F, x_t, a, b, sigma_data):
    sigma, _, out = _shares(x_t, a, b, sigma_data)
    return sigma_data / (sigma_data + sigma) * (x_t / a) + out * F


def all_divided(F, x_t, a, b, sigma_data):
    return by_names(F / a, x_t, a, b, sigma_data)


def upside_down(F, x_t, a, b, sigma_data):
    sigma = a / b
    skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    return skip * x_t / a + out * F


def as_published(F, x_t, a, b, sigma_data, epsilon=0.002):
    """With the boundary at their smallest noise, as in their code and in diffusers'."""
    sigma = b / a
    skip = sigma_data**2 / ((sigma - epsilon) ** 2 + sigma_data**2)
    out = sigma_data * (sigma - epsilon) / torch.sqrt(sigma_data**2 + sigma**2)
    return skip * x_t / a + out * F


# consistency_distillation


def parts(
    batch=None,
    draw_t=None,
    target_at=None,
    mine=None,
    update=None,
    clear=True,
    first="step",
    result=None,
    grads=(False, True),
    mean=None,
):
    """A loop of these parts; each is a way to write it, right or wrong."""
    batch, draw_t = batch or (lambda draw, rng: draw(rng)), draw_t or by_randint
    target_at, mine, update = (
        target_at or by_teacher,
        mine or (lambda student, target, x_t, t: student(x_t, t).x0),
        update or lerped,
    )
    result, mean = result or (lambda losses: losses), mean or (lambda x, y: pseudo_huber(x, y).mean())

    def loop(student, target, teacher, draw, optimizer, steps, times, mu, rng):
        losses = []
        for _ in range(steps):
            x0 = batch(draw, rng)
            t, s = draw_t(times, len(x0), rng)
            eps = torch.randn(x0.shape, generator=rng)
            x_t = student.process.add_noise(x0, t, eps)
            with torch.set_grad_enabled(grads[0]):
                goal = target_at(student, target, teacher, x_t, t, s, x0, eps)
            with torch.set_grad_enabled(grads[1]):
                picture = mine(student, target, x_t, t)
            loss = mean(picture, goal)
            if clear:
                optimizer.zero_grad()
            loss.backward()
            if first == "average":
                update(student, target, mu)
            optimizer.step()
            if first == "step":
                update(student, target, mu)
            losses.append(float(loss.detach()))
        return result(losses)

    return loop


def by_randint(times, n, rng):
    i = torch.randint(0, len(times) - 1, (n,), generator=rng)
    return times[i], times[i + 1]


def by_rand(times, n, rng):
    i = (torch.rand(n, generator=rng) * (len(times) - 1)).long()
    return times[:-1][i], times[1:][i]


def by_pairs(times, n, rng):
    pairs = torch.stack([times[:-1], times[1:]], 1)
    return pairs[torch.randint(len(pairs), (n,), generator=rng)].unbind(1)


def by_teacher(student, target, teacher, x_t, t, s, x0, eps):
    if teacher is not None:
        pred = teacher(x_t, t)
        x0, eps = pred.x0, pred.eps
    return target(student.process.add_noise(x0, s, eps), s).x0


def by_coefficients(student, target, teacher, x_t, t, s, x0, eps):
    (a, b), (a_s, b_s) = student.process.coefficients(t, x_t), student.process.coefficients(s, x_t)
    eps = eps if teacher is None else teacher(x_t, t).eps
    return target(a_s * (x_t - b * eps) / a + b_s * eps, s).x0


def detached(student, target, teacher, x_t, t, s, x0, eps):
    return by_teacher(student, target, teacher, x_t, t, s, x0, eps).detach()


def lerped(student, target, mu):
    with torch.no_grad():
        for slow, fast in zip(target.net.parameters(), student.net.parameters()):
            slow.copy_(mu * slow + (1 - mu) * fast)


def by_data(student, target, mu):
    for slow, fast in zip(target.net.parameters(), student.net.parameters()):
        slow.data.mul_(mu).add_(fast.data, alpha=1 - mu)


def by_state(student, target, mu):
    mine = student.net.state_dict()
    target.net.load_state_dict({name: mu * value + (1 - mu) * mine[name] for name, value in target.net.state_dict().items()})


def by_foreach(student, target, mu):
    with torch.no_grad():
        torch._foreach_lerp_(list(target.net.parameters()), list(student.net.parameters()), 1 - mu)


def by_the_library(student, target, teacher, draw, optimizer, steps, times, mu, rng):
    """With the library's loss, whose times are those of a grid: only its DDIM step is taken."""
    losses = []
    for _ in range(steps):
        x0 = draw(rng)
        t, s = by_pairs(times, len(x0), rng)
        eps = torch.randn(x0.shape, generator=rng)
        x_t = student.process.add_noise(x0, t, eps)
        pred = teacher(x_t, t) if teacher else None
        x_s = student.process.add_noise(pred.x0 if pred else x0, s, pred.eps if pred else eps)
        loss = torch.mean(pseudo_huber(target(x_s.detach(), s).x0.detach(), student(x_t, t).x0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lerped(student, target, mu)
        losses.append(loss.detach())
    return torch.stack(losses)


def of_x_t(student, target, teacher, x_t, t, s, x0, eps):
    return target(x_t, t).x0


def with_t(student, target, teacher, x_t, t, s, x0, eps):
    pred = teacher(x_t, t) if teacher else None
    return target(student.process.add_noise(pred.x0 if pred else x0, s, pred.eps if pred else eps), t).x0


def of_data(student, target, teacher, x_t, t, s, x0, eps):
    return target(student.process.add_noise(x0, s, eps), s).x0


def with_true_x0(student, target, teacher, x_t, t, s, x0, eps):
    eps = teacher(x_t, t).eps if teacher else eps
    return target(student.process.add_noise(x0, s, eps), s).x0


def without_noise(student, target, teacher, x_t, t, s, x0, eps):
    return target(teacher(x_t, t).x0 if teacher else x0, s).x0


def by_itself(student, target, teacher, x_t, t, s, x0, eps):
    return by_teacher(student, target, teacher and student, x_t, t, s, x0, eps)


def of_itself(student, target, teacher, x_t, t, s, x0, eps):
    return by_teacher(student, student, teacher, x_t, t, s, x0, eps)


def of_the_teacher(student, target, teacher, x_t, t, s, x0, eps):
    return teacher(x_t, t).x0 if teacher else x0


def divided(x, y):
    return (pseudo_huber(x, y) / x[0].numel()).mean()


def swapped_mu(student, target, mu):
    lerped(student, target, 1 - mu)


def pulled(student, target, mu):
    lerped(target, student, mu)


def copied(student, target, mu):
    lerped(student, target, 0)


def one_t(times, n, rng):
    return [v.expand(n) for v in by_randint(times, 1, rng)]


def turned_times(times, n, rng):
    return by_randint(times, n, rng)[::-1]


# consistency_sampling


def jumps(step):
    """A sampler of x = step(f, x, t, s, rng)."""

    def sampler(f, x, times, rng):
        for i in range(len(times) - 1):
            x = step(f, x, times[i], times[i + 1], rng)
        return torch.as_tensor(x)

    return sampler


def _new(x, rng):
    return torch.randn(x.shape, generator=rng).to(x)


def jump_by_coefficients(f, x, t, s, rng):
    a, b = f.process.coefficients(s, x)
    return a * f(x, t).x0 + b * _new(x, rng)


def jump_by_alpha_bar(f, x, t, s, rng):
    bar = float(f.process.alpha_bar(s))
    return bar**0.5 * f(x, t).x0 + (1 - bar) ** 0.5 * _new(x, rng)


def jump_without_last_noise(f, x, t, s, rng):
    x0 = f(x, t).x0
    return f.process.add_noise(x0, s, _new(x, rng)) if s > 0 else x0


def jump_in_a_batch(f, x, t, s, rng):
    t, s = torch.full((len(x),), t), torch.full((len(x),), s)
    return f.process.add_noise(f(x, t).x0, s, _new(x, rng))


def jump_from_ddim(f, x, t, s, rng):
    """DDIM's step, whose noise is exchanged afterwards."""
    pred, b = f(x, t), float(f.process.noise(s))
    return f.process.add_noise(pred.x0, s, pred.eps) + b * (_new(x, rng) - pred.eps)


def sampler_of_the_library(f, x, times, rng):
    return result(consistency(f, x, torch.tensor(times), rng))


def noise_before_the_loop(f, x, times, rng):
    noises = [_new(x, rng) for _ in times[1:]]
    for t, s, z in zip(times, times[1:], noises):
        x = f.process.add_noise(f(x, t).x0, s, z)
    return x


def jump_by_ddim(f, x, t, s, rng):
    pred = f(x, t)
    return f.process.add_noise(pred.x0, s, pred.eps)


def jump_of_x_t(f, x, t, s, rng):
    f(x, t)
    return f.process.add_noise(x, s, _new(x, rng))


def jump_back(f, x, t, s, rng):
    return f.process.add_noise(f(x, t).x0, t, _new(x, rng))


def jump_without_noise(f, x, t, s, rng):
    return f.process.coefficients(s, x)[0] * f(x, t).x0


def jump_handed_on(f, x, t, s, rng):
    return f(x, t).x0


def jump_of_full_size(f, x, t, s, rng):
    return f(x, t).x0 + f.process.coefficients(s, x)[1] * _new(x, rng)


def jump_without_roots(f, x, t, s, rng):
    bar = float(f.process.alpha_bar(s))
    return bar * f(x, t).x0 + (1 - bar) * _new(x, rng)


def jump_of_full_noise(f, x, t, s, rng):
    return f.process.coefficients(s, x)[0] * f(x, t).x0 + _new(x, rng)


def jump_at_s(f, x, t, s, rng):
    return f.process.add_noise(f(x, max(s, 1)).x0, s, _new(x, rng))


def jump_exchanged(f, x, t, s, rng):
    return f.process.add_noise(_new(x, rng), s, f(x, t).x0)


def jump_clipped(f, x, t, s, rng):
    return f.process.add_noise(f(x, t).x0.clip(-1, 1), s, _new(x, rng))


def jump_with_one_noise(f, x, t, s, rng):
    return f.process.add_noise(f(x, t).x0, s, _new(x, torch.Generator().manual_seed(5)))


def jump_not_from_rng(f, x, t, s, rng):
    return f.process.add_noise(f(x, t).x0, s, torch.randn_like(x))


def not_to_the_end(f, x, times, rng):
    return jumps(jump_by_coefficients)(f, x, times[:-1], rng)


def always_from_the_start(f, x, times, rng):
    for t, s in zip(times, times[1:]):
        end = jump_by_coefficients(f, x, t, s, rng)
    return end


RIGHT = {
    "consistency_function": [by_ours, by_shares, by_names, by_numpy, by_angle, one_by_one],
    "consistency_distillation": [
        parts(draw_t=by_rand, update=by_data),
        parts(target_at=by_coefficients, update=by_state),
        parts(target_at=detached, update=by_foreach, grads=(True, True)),
        parts(draw_t=by_pairs, result=np.array),
        by_the_library,
    ],
    "consistency_sampling": [
        *map(jumps, (jump_by_coefficients, jump_by_alpha_bar, jump_without_last_noise, jump_in_a_batch, jump_from_ddim)),
        sampler_of_the_library,
        noise_before_the_loop,
    ],
}
WRONG = {
    "consistency_function": [
        ("x_t is taken as it is", not_divided),
        ("the noise is our b", by_b),
        ("v with its own sign", turned),
        ("nothing is kept of x_t", free),
        ("sigma_data is forgotten", of_width_one),
    ],
    "consistency_distillation": [
        ("stop-gradient is missing", parts(grads=(True, True))),
        ("stop-gradient is on the wrong side", parts(grads=(True, False))),
        (
            "student and target are swapped",
            parts(
                target_at=of_itself,
                mine=lambda student, target, x_t, t: target(x_t, t).x0,
            ),
        ),
        ("no step to s was made", parts(target_at=of_x_t)),
        ("the target never moves", parts(update=lambda student, target, mu: None)),
        ("divided by the number of values", parts(mean=divided)),
    ],
    "consistency_sampling": [
        ("that is DDIM", jumps(jump_by_ddim)),
        ("x_t is noised again", jumps(jump_of_x_t)),
        ("noised back to t", jumps(jump_back)),
        ("no noise is added", jumps(jump_without_noise)),
        ("its full size", jumps(jump_of_full_size)),
    ],
}
"""For each check, other ways to be right, and typical mistakes with a word that the verdict must contain."""
TRIED = {
    "consistency_function": [
        *WRONG["consistency_function"],
        ("that is v-prediction", as_v),
        ("read as the noise", as_noise),
        ("c_out lacks its root", no_root),
        ("c_out lacks sigma_data", no_sigma_data),
        ("have changed places", swapped),
        ("the squares are missing", not_squared),
        ("F is divided by a, too", all_divided),
        ("a / b stands", upside_down),
        ("sigma - 0.002", as_published),
    ],
    "consistency_distillation": [
        *WRONG["consistency_distillation"],
        ("is given time t", parts(target_at=with_t)),
        ("the teacher is not used", parts(target_at=of_data)),
        ("x_s has the true x_0", parts(target_at=with_true_x0)),
        ("without noise", parts(target_at=without_noise)),
        ("the student's own prediction", parts(target_at=by_itself)),
        ("", parts(target_at=of_itself)),
        ("", parts(target_at=of_the_teacher)),
        ("have changed places", parts(update=swapped_mu)),
        ("the wrong way", parts(update=pulled)),
        ("a copy of the student", parts(update=copied)),
        ("averaged before the optimizer steps", parts(first="average")),
        ("one t is drawn", parts(draw_t=one_t)),
        ("the earlier and s the later", parts(draw_t=turned_times)),
        ("zero_grad() is missing", parts(clear=False)),
        ("all steps train on one batch", parts(batch=lambda draw, rng: draw(torch.Generator().manual_seed(5)))),
        ("the loss of the last step", parts(result=lambda losses: losses[-1])),
    ],
    "consistency_sampling": [
        *WRONG["consistency_sampling"],
        ("handed on as it is", jumps(jump_handed_on)),
        ("the square roots are missing", jumps(jump_without_roots)),
        ("the noise keeps its full size", jumps(jump_of_full_noise)),
        ("as if x lay at s", jumps(jump_at_s)),
        ("have changed places", jumps(jump_exchanged)),
        ("is clipped", jumps(jump_clipped)),
        ("all jumps have the same noise", jumps(jump_with_one_noise)),
        ("not drawn from rng", jumps(jump_not_from_rng)),
        ("the last jump", not_to_the_end),
        ("from the first noise", always_from_the_start),
    ],
}
