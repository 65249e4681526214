"""Lesson 19."""

import torch

# inpaint_step


def by_where(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), process.add_noise(known, s, eps), x_s)


def by_coefficients(process, x_s, known, keep, s, eps):
    a, b = process.coefficients(s, known)
    return x_s + keep * (a * known + b * eps - x_s)


def by_tables(process, x_s, known, keep, s, eps):
    bar = process.alpha_bar(s)
    noisy = (bar**0.5 * known.double() + (1 - bar) ** 0.5 * eps.double()).float()
    return noisy * keep + x_s * (1 - keep)


def clean(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), known, x_s)


def turned(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), x_s, process.add_noise(known, s, eps))


def unfaded(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), known + float(process.noise(s)) * eps, x_s)


def noiseless(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), float(process.signal(s)) * known, x_s)


def noised_everywhere(process, x_s, known, keep, s, eps):
    return process.add_noise(torch.where(keep.bool(), known, x_s), s, eps)


# noised_further


def by_steps(process, x_s, s, t, eps):
    """Through the product of the alphas."""
    share = 1.0
    for step in range(s + 1, t + 1):
        share *= float(process.alpha(step))
    return share**0.5 * x_s + (1 - share) ** 0.5 * eps


def by_signal(process, x_s, s, t, eps):
    kept = float(process.signal(t) / process.signal(s))
    return kept * x_s + (1 - kept**2) ** 0.5 * eps


def by_variances(process, x_s, s, t, eps):
    kept = process.signal(t) / process.signal(s)
    return kept * x_s + (process.noise(t) ** 2 - kept**2 * process.noise(s) ** 2).sqrt() * eps


def as_if_clean(process, x_s, s, t, eps):
    return process.add_noise(x_s, t, eps)


def no_fading(process, x_s, s, t, eps):
    return x_s + (1 - process.alpha_bar(t) / process.alpha_bar(s)).sqrt() * eps


def no_roots(process, x_s, s, t, eps):
    share = process.alpha_bar(t) / process.alpha_bar(s)
    return share * x_s + (1 - share) * eps


def all_the_noise(process, x_s, s, t, eps):
    return process.signal(t) / process.signal(s) * x_s + process.noise(t) * eps


# consistent


def by_parts(x0, y, A, back):
    """The null space of x_0, and the range of y."""
    return back(y) + (x0 - back(A(x0)))


def by_residual(x0, y, A, back):
    missing = y - A(x0)
    return x0 + back(missing)


def in_two_steps(x0, y, A, back):
    blind = x0 - back(A(x0))
    return blind - back(A(blind)) + back(y)


def away(x0, y, A, back):
    return x0 - back(y - A(x0))


def only_y(x0, y, A, back):
    return back(y)


def twice_seen(x0, y, A, back):
    return back(y) + x0


def without_y(x0, y, A, back):
    return x0 - back(A(x0))


def by_half(x0, y, A, back):
    return (x0 + by_parts(x0, y, A, back)) / 2


RIGHT = {
    "inpaint_step": [by_where, by_coefficients, by_tables],
    "noised_further": [by_steps, by_signal, by_variances],
    "consistent": [by_parts, by_residual, in_two_steps],
}
WRONG = {
    "inpaint_step": [
        ("the known picture goes in clean", clean),
        ("the mask is turned", turned),
        ("does not fade", unfaded),
        ("but has no noise", noiseless),
        ("the new part is noised, too", noised_everywhere),
    ],
    "noised_further": [
        ("x_s is treated as a clean picture", as_if_clean),
        ("x_s does not fade", no_fading),
        ("the square roots are missing", no_roots),
        ("the noise is that of all t steps", all_the_noise),
    ],
    "consistent": [
        ("has the wrong sign", away),
        ("only A^+ y is left", only_y),
        ("A^+ y is added to all of x_0", twice_seen),
        ("y is not put in its place", without_y),
        ("is made by half", by_half),
    ],
}
