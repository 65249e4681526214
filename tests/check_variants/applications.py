"""Lesson 19."""

import numpy as np
import torch

from course_lib.methods import editing

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


def by_index(process, x_s, known, keep, s, eps):
    new, where = x_s.clone(), (keep == 1).expand_as(x_s)
    new[where] = process.add_noise(known, s, eps)[where]
    return new


def by_lerp(process, x_s, known, keep, s, eps):
    noisy = process.signal(s).float() * known + process.noise(s).float() * eps
    return torch.lerp(x_s, noisy, keep.expand_as(x_s))


def in_numpy(process, x_s, known, keep, s, eps):
    noisy = np.sqrt(float(process.alpha_bar(s))) * known.numpy() + float(process.noise(s)) * eps.numpy()
    return np.where(keep.numpy() > 0, noisy, x_s.numpy())


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


def added(process, x_s, known, keep, s, eps):
    return x_s + keep * process.add_noise(known, s, eps)


def new_part_lost(process, x_s, known, keep, s, eps):
    return keep * process.add_noise(known, s, eps)


def masked_before_noise(process, x_s, known, keep, s, eps):
    return process.add_noise(keep * known, s, eps) + (1 - keep) * x_s


def without_roots(process, x_s, known, keep, s, eps):
    bar = process.alpha_bar(s)
    return torch.where(keep == 1, bar * known + (1 - bar) * eps, x_s.double())


def of_alpha(process, x_s, known, keep, s, eps):
    alpha = float(process.alpha(s))
    return torch.where(keep == 1, alpha**0.5 * known + (1 - alpha) ** 0.5 * eps, x_s)


def of_full_noise(process, x_s, known, keep, s, eps):
    return torch.where(keep == 1, float(process.signal(s)) * known + eps, x_s)


def one_step_further(process, x_s, known, keep, s, eps):
    return by_where(process, x_s, process.add_noise(known, s + 1, eps), keep, 0, eps)


def one_step_less(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), process.add_noise(known, s - 1, eps), x_s)


def exchanged(process, x_s, known, keep, s, eps):
    a, b = process.coefficients(s, known)
    return torch.where(keep.bool(), b * known + a * eps, x_s)


def mixed(process, x_s, known, keep, s, eps):
    return torch.where(keep.bool(), (process.add_noise(known, s, eps) + x_s) / 2, x_s)


def own_noise(process, x_s, known, keep, s, eps):
    return by_where(process, x_s, known, keep, s, torch.randn(eps.shape, generator=torch.Generator().manual_seed(0)))


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


def one_step_at_a_time(process, x_s, s, t, eps):
    """Each step's share of one noise, by its variance."""
    kept, variance = 1.0, 0.0
    for step in range(s + 1, t + 1):
        kept, variance = (
            kept * float(process.alpha(step)) ** 0.5,
            variance * float(process.alpha(step)) + float(process.beta(step)),
        )
    return kept * x_s + variance**0.5 * eps


def further_in_numpy(process, x_s, s, t, eps):
    alpha = float(process.alpha_bar(t)) / float(process.alpha_bar(s))
    return np.sqrt(alpha) * x_s.double().numpy() + np.sqrt(1 - alpha) * eps.double().numpy()


def further_in_a_batch(process, x_s, s, t, eps):
    t, s = (torch.full((len(x_s),), time).view(-1, *[1] * (x_s.ndim - 1)) for time in (t, s))
    alpha = process.alpha_bar(t).div(process.alpha_bar(s)).float()
    return torch.addcmul(alpha.sqrt() * x_s, torch.sqrt(1 - alpha), eps)


def as_if_clean(process, x_s, s, t, eps):
    return process.add_noise(x_s, t, eps)


def no_fading(process, x_s, s, t, eps):
    return x_s + (1 - process.alpha_bar(t) / process.alpha_bar(s)).sqrt() * eps


def no_roots(process, x_s, s, t, eps):
    share = process.alpha_bar(t) / process.alpha_bar(s)
    return share * x_s + (1 - share) * eps


def all_the_noise(process, x_s, s, t, eps):
    return process.signal(t) / process.signal(s) * x_s + process.noise(t) * eps


def of_t_minus_s(process, x_s, s, t, eps):
    return process.add_noise(x_s, t - s, eps)


def of_one_step(process, x_s, s, t, eps):
    return process.alpha(t) ** 0.5 * x_s + process.beta(t) ** 0.5 * eps


def upside_down(process, x_s, s, t, eps):
    share = process.alpha_bar(s) / process.alpha_bar(t)
    return share**0.5 * x_s + (1 - share) ** 0.5 * eps


def difference_of_stds(process, x_s, s, t, eps):
    kept = process.signal(t) / process.signal(s)
    return kept * x_s + (process.noise(t) - process.noise(s)) * eps


def rest_of_the_std(process, x_s, s, t, eps):
    kept = process.signal(t) / process.signal(s)
    return kept * x_s + (process.noise(t) - kept * process.noise(s)) * eps


def difference_of_bars(process, x_s, s, t, eps):
    kept = process.signal(t) / process.signal(s)
    return kept * x_s + (process.alpha_bar(s) - process.alpha_bar(t)) ** 0.5 * eps


def with_step_s(process, x_s, s, t, eps):
    share = torch.prod(torch.stack([process.alpha(step) for step in range(s, t + 1)]))
    return share.sqrt() * x_s + (1 - share).sqrt() * eps


def without_step_t(process, x_s, s, t, eps):
    share = np.prod([float(process.alpha(step)) for step in range(s + 1, t)])
    return share**0.5 * x_s + (1 - share) ** 0.5 * eps


def variance_of_noise(process, x_s, s, t, eps):
    share = process.alpha_bar(t) / process.alpha_bar(s)
    return share.sqrt() * x_s + (1 - share) * eps


def further_exchanged(process, x_s, s, t, eps):
    share = process.alpha_bar(t) / process.alpha_bar(s)
    return (1 - share).sqrt() * x_s + share.sqrt() * eps


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


def one_by_one(x0, y, A, back):
    return torch.cat([x0[i : i + 1] - back(A(x0[i : i + 1]) - y[i : i + 1]) for i in range(len(x0))])


def in_float64(x0, y, A, back):
    x0 = x0.double()
    return back(y.double()).add(x0).sub(back(A(x0)))


def by_projection(x0, y, A, back):
    project = lambda x: back(A(x))
    return project(back(y)) + x0 - project(x0)


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


def correction_alone(x0, y, A, back):
    return back(y - A(x0))


def y_itself(x0, y, A, back):
    return x0 - back(A(x0)) + y


def A_of_x0_itself(x0, y, A, back):
    return x0 - A(x0) + back(y)


def range_kept(x0, y, A, back):
    return back(y) + back(A(x0))


def untouched(x0, y, A, back):
    return x0


def corrected_twice(x0, y, A, back):
    correction = back(y - A(x0))
    return x0 + correction + correction


def clipped(x0, y, A, back):
    return by_residual(x0, y, A, back).clamp(-1, 1)


def A_for_back(x0, y, A, back):
    return x0 - A(A(x0) - y)


def mean_of_both(x0, y, A, back):
    return 0.5 * x0 + 0.5 * back(y)


RIGHT = {
    "inpaint_step": [by_where, by_coefficients, by_tables, by_index, by_lerp, in_numpy],
    "noised_further": [
        editing.noised_further,
        by_steps,
        by_signal,
        by_variances,
        one_step_at_a_time,
        further_in_numpy,
        further_in_a_batch,
    ],
    "consistent": [by_parts, by_residual, in_two_steps, one_by_one, in_float64, by_projection],
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
TRIED = {
    "inpaint_step": [
        *WRONG["inpaint_step"],
        ("the known picture is added", added),
        ("the new part is lost", new_part_lost),
        ("where nothing is known, too", masked_before_noise),
        ("the square roots are missing", without_roots),
        ("the bar is lost", of_alpha),
        ("has its full size", of_full_noise),
        ("to s + 1", one_step_further),
        ("to s - 1", one_step_less),
        ("signal and noise have changed places", exchanged),
        ("half and half", mixed),
        ("", own_noise),
    ],
    "noised_further": [
        *WRONG["noised_further"],
        ("alpha_bar of t - s steps", of_t_minus_s),
        ("only one step's alpha_t", of_one_step),
        ("turned over", upside_down),
        ("b_t - b_s", difference_of_stds),
        ("of both standard deviations", rest_of_the_std),
        ("alpha_bar_s - alpha_bar_t", difference_of_bars),
        ("one step too many", with_step_s),
        ("one step too few", without_step_t),
        ("over the noise's factor", variance_of_noise),
        ("have changed places", further_exchanged),
    ],
    "consistent": [
        *WRONG["consistent"],
        ("the correction alone", correction_alone),
        ("y itself is added", y_itself),
        ("A x_0 itself", A_of_x0_itself),
        ("the rest is lost", range_kept),
        ("y is not used", untouched),
        ("twice", corrected_twice),
        ("clipped", clipped),
        ("A is applied where", A_for_back),
        ("the mean of x_0", mean_of_both),
    ],
}
