"""Lesson 23."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import mse_loss

from course_lib.methods.flow_matching import optimal_transport


def _wide(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 1))


def by_mse(net, x0, eps, t, path):
    a, b, da, db = (_wide(v, x0) for v in path(t))
    return mse_loss(net(a * x0 + b * eps, t), da * x0 + db * eps)


def by_einsum(net, x0, eps, t, path):
    a, b, da, db = path(t)
    mix = lambda p, q: torch.einsum("b,b...->b...", p, x0) + torch.einsum("b,b...->b...", q, eps)
    error = net(mix(a, b), t) - mix(da, db)
    return (error**2).flatten(1).mean(1).mean()


def by_derivative(net, x0, eps, t, path):
    """The target as the derivative of x_t."""
    at = lambda t: (lambda a, b, *_: _wide(a, x0) * x0 + _wide(b, x0) * eps)(*path(t))
    x_t, target = torch.func.jvp(at, (t,), (torch.ones_like(t),))
    return (net(x_t, t) - target).pow(2).mean()


def _loss(target, point=lambda a, b, da, db, x0, eps: a * x0 + b * eps, end=lambda error: error.square().mean()):
    def velocity_loss(net, x0, eps, t, path):
        parts = [_wide(v, x0) for v in path(t)]
        return end(net(point(*parts, x0, eps), t) - target(*parts, x0, eps))

    return velocity_loss


of_line = _loss(lambda a, b, da, db, x0, eps: eps - x0)
not_derived = _loss(lambda a, b, da, db, x0, eps: a * x0 + b * eps)
of_noise = _loss(lambda a, b, da, db, x0, eps: eps)
swapped = _loss(lambda a, b, da, db, x0, eps: da * eps + db * x0, lambda a, b, da, db, x0, eps: a * eps + b * x0)
unsquared = _loss(lambda a, b, da, db, x0, eps: da * x0 + db * eps, end=lambda error: error.abs().mean())
summed = _loss(lambda a, b, da, db, x0, eps: da * x0 + db * eps, end=lambda error: error.square().sum())
of_data = _loss(lambda a, b, da, db, x0, eps: x0)


def broadcast_wrongly(net, x0, eps, t, path):
    a, b, da, db = path(t)
    return mse_loss(net(a * x0 + b * eps, t), da * x0 + db * eps)


def without_gradient(net, x0, eps, t, path):
    return by_mse(torch.no_grad()(net), x0, eps, t, path)


def rooted(net, x0, eps, t, path):
    return by_mse(net, x0, eps, t, path).sqrt()


def other_time(net, x0, eps, t, path):
    a, b, da, db = (_wide(v, x0) for v in path(t))
    return mse_loss(net(a * x0 + b * eps, 1 - t), da * x0 + db * eps)


def of_clean(net, x0, eps, t, path):
    _, _, da, db = (_wide(v, x0) for v in path(t))
    return mse_loss(net(x0, t), da * x0 + db * eps)


def by_numpy(x0, eps, size):
    order = np.arange(len(x0))
    for start in range(0, len(x0), size):
        a, b = (v[start : start + size].reshape(len(v[start : start + size]), -1).numpy() for v in (x0, eps))
        rows, columns = linear_sum_assignment(((a[:, None] - b[None]) ** 2).sum(-1))
        order[start + rows] = start + columns
    return eps[torch.as_tensor(order)]


def by_split(x0, eps, size):
    groups = []
    for a, b in zip(x0.split(size), eps.split(size)):
        cost = torch.cdist(a.flatten(1).double(), b.flatten(1).double()).square()
        groups.append(b[linear_sum_assignment(cost)[1]])
    return torch.cat(groups)


def by_product(x0, eps, size):
    """The least sum of squares is the largest sum of products."""
    groups = []
    for a, b in zip(x0.split(size), eps.split(size)):
        groups.append(b[linear_sum_assignment((a.flatten(1) @ b.flatten(1).T).numpy(), maximize=True)[1]])
    return torch.cat(groups)


def _coupled(choose, squared=True):
    def coupling(x0, eps, size):
        groups = []
        for a, b in zip(x0.split(size), eps.split(size)):
            distance = torch.cdist(a.flatten(1), b.flatten(1))
            groups.append(b[choose(distance.square() if squared else distance)])
        return torch.cat(groups)

    return coupling


nearest = _coupled(lambda cost: cost.argmin(1))
unsquared_distances = _coupled(lambda cost: torch.from_numpy(linear_sum_assignment(cost.numpy())[1]), squared=False)
other_way_round = _coupled(lambda cost: torch.from_numpy(linear_sum_assignment(cost.numpy().T)[1]))
farthest = _coupled(lambda cost: torch.from_numpy(linear_sum_assignment(-cost.numpy())[1]))
by_rows = _coupled(lambda cost: torch.from_numpy(linear_sum_assignment(cost.numpy())[0]))


def all_at_once(x0, eps, size):
    return by_split(x0, eps, len(x0))


def greedy(x0, eps, size):
    groups = []
    for a, b in zip(x0.split(size), eps.split(size)):
        cost, mine = torch.cdist(a.flatten(1), b.flatten(1)), []
        for i in range(len(a)):
            mine.append(min(set(range(len(b))) - set(mine), key=lambda j: float(cost[i, j])))
        groups.append(b[mine])
    return torch.cat(groups)


def without_the_start(x0, eps, size):
    order = []
    for a, b in zip(x0.split(size), eps.split(size)):
        order.append(torch.from_numpy(linear_sum_assignment(torch.cdist(a.flatten(1), b.flatten(1)).square())[1]))
    return eps[torch.cat(order)]


def permuted(x0, eps, size):
    return eps[torch.randperm(len(eps), generator=torch.Generator().manual_seed(0))]


def data_back(x0, eps, size):
    return by_split(eps, x0, size)


def _samples(flow, eps, times, dt):
    x = eps.clone()
    with torch.no_grad():
        for t in times:
            x = x - dt * flow(x, torch.full((len(x),), float(t)))
    return x


def reflow_by_index(flow, fit, eps, steps, rounds):
    flows = [flow]
    for r in range(rounds):
        x0 = _samples(flows[r], eps, torch.linspace(1, 0, steps + 1)[:-1], 1 / steps)
        flows.append(fit(flows[r], x0, eps))
    return flows


def reflow_in_place(flow, fit, eps, steps, rounds):
    found = (flow,)
    while len(found) <= rounds:
        flow = fit(flow, _samples(flow, eps, [1 - k / steps for k in range(steps)], 1 / steps), eps)
        found += (flow,)
    return found


def reflow_detached(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        x = eps
        for t in torch.linspace(1, 0, steps + 1)[:-1]:
            x = (x - flows[-1](x, t.expand(len(x))) / steps).detach()
        flows += [fit(flows[-1], x, eps)]
    return flows


def _rounds(pair=lambda x, eps: (x, eps), source=lambda flows: flows[-1], kept=lambda flows: flows, start=lambda x, eps: eps):
    def reflow(flow, fit, eps, steps, rounds):
        flows, x = [flow], eps
        for _ in range(rounds):
            x = _samples(source(flows), start(x, eps), torch.linspace(1, 0, steps + 1)[:-1], 1 / steps)
            flows.append(fit(flows[-1], *pair(x, eps)))
        return kept(flows)

    return reflow


def with_gradient(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        x = eps
        for t in torch.linspace(1, 0, steps + 1)[:-1]:
            x = x - flows[-1](x, t.expand(len(x))) / steps
        flows.append(fit(flows[-1], x, eps))
    return flows


fits_without_gradients = torch.no_grad()(reflow_by_index)


def upwards(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        flows.append(fit(flows[-1], _samples(flows[-1], eps, torch.linspace(0, 1, steps + 1)[1:], 1 / steps), eps))
    return flows


def whole_length(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        flows.append(fit(flows[-1], _samples(flows[-1], eps, torch.linspace(1, 0, steps + 1)[:-1], 1.0), eps))
    return flows


def at_the_end(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        flows.append(fit(flows[-1], _samples(flows[-1], eps, torch.linspace(1, 0, steps + 1)[1:], 1 / steps), eps))
    return flows


def towards_noise(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        flows.append(fit(flows[-1], _samples(flows[-1], eps, torch.linspace(1, 0, steps + 1)[:-1], -1 / steps), eps))
    return flows


def fits_the_first(flow, fit, eps, steps, rounds):
    flows = [flow]
    for _ in range(rounds):
        flows.append(fit(flow, _samples(flows[-1], eps, torch.linspace(1, 0, steps + 1)[:-1], 1 / steps), eps))
    return flows


from_the_first = _rounds(source=lambda flows: flows[0])
turned_pairs = _rounds(lambda x, eps: (eps, x))
with_itself = _rounds(lambda x, eps: (x, x))
other_noises = _rounds(lambda x, eps: (x, torch.randn(eps.shape, generator=torch.Generator().manual_seed(0))))
last_alone = _rounds(kept=lambda flows: flows[-1])
without_the_first = _rounds(kept=lambda flows: flows[1:])
from_samples = _rounds(start=lambda x, eps: x)


def by_member(net, x0, eps, t, path):
    """One member of the batch after the other."""
    each = [by_mse(net, x0[i : i + 1], eps[i : i + 1], t[i : i + 1], path) for i in range(len(x0))]
    return torch.stack(each).mean()


def by_norm(net, x0, eps, t, path):
    a, b, da, db = (_wide(v, x0) for v in path(t))
    error = (net(a * x0 + b * eps, t) - da * x0 - db * eps).flatten(1)
    return (error.norm(dim=1) ** 2).mean() / error.shape[1]


def by_cost_expanded(x0, eps, size):
    """|x|^2 + |y|^2 - 2 x y, and the order as a list."""
    order = []
    for start in range(0, len(x0), size):
        a, b = (v[start : start + size].flatten(1).double() for v in (x0, eps))
        cost = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
        order += [start + int(k) for k in linear_sum_assignment(cost.numpy())[1]]
    return eps[order]


def reflow_recursive(flow, fit, eps, steps, rounds):
    if rounds == 0:
        return [flow]
    x = eps
    with torch.no_grad():
        for t in torch.linspace(1, 0, steps + 1)[:-1]:
            x = x - flow(x, t.expand(len(x))) / steps
    return [flow, *reflow_recursive(fit(flow, x, eps), fit, eps, steps, rounds - 1)]


def reflow_with_a_sampler(flow, fit, eps, steps, rounds):
    @torch.no_grad()
    def ends(flow):
        x = eps.clone()
        for k in range(steps):
            x += flow(x, torch.full((len(x),), 1 - k / steps)) * (-1 / steps)
        return x

    flows = (flow,)
    while len(flows) <= rounds:
        flows += (fit(flows[-1], ends(flows[-1]), eps),)
    return flows


RIGHT = {
    "velocity_loss": [by_mse, by_einsum, by_derivative, by_member, by_norm],
    "coupling": [optimal_transport, by_numpy, by_split, by_product, by_cost_expanded],
    "reflow": [reflow_by_index, reflow_in_place, reflow_detached, reflow_recursive, reflow_with_a_sampler],
}
WRONG = {
    "velocity_loss": [
        ("eps - x_0 on every path", of_line),
        ("in the place of their derivatives", not_derived),
        ("change places", swapped),
        ("the errors are summed", summed),
    ],
    "coupling": [
        ("its nearest noise", nearest),
        ("not that of their squares", unsquared_distances),
        ("row by row of x_0", other_way_round),
        ("the largest sum", farthest),
        ("the groups are ignored", all_at_once),
    ],
    "reflow": [
        ("from the first flow", from_the_first),
        ("change places", turned_pairs),
        ("paired with itself", with_itself),
        ("starts from the samples", from_samples),
        ("carry a gradient", with_gradient),
        ("under torch.no_grad()", fits_without_gradients),
    ],
}
TRIED = {
    "velocity_loss": [
        *WRONG["velocity_loss"],
        ("the target is the noise", of_noise),
        ("not squared", unsquared),
        ("the root", rooted),
        ("is given 1 - t", other_time),
        ("is given x_0", of_clean),
        ("", of_data),
        ("", broadcast_wrongly),
        ("", without_gradient),
    ],
    "coupling": [
        *WRONG["coupling"],
        ("greedy", greedy),
        ("the start of the group", without_the_start),
        ("", by_rows),
        ("", permuted),
        ("x_0 are returned", data_back),
    ],
    "reflow": [
        *WRONG["reflow"],
        ("the times rise", upwards),
        ("the length of the whole path", whole_length),
        ("the end of the step", at_the_end),
        ("the sign of the step", towards_noise),
        ("trains the first flow anew", fits_the_first),
        ("", other_noises),
        ("", last_alone),
        ("the first flow is missing", without_the_first),
    ],
}
