"""Right and wrong answers to the exercises of lesson 27."""

import torch
from torch.nn.functional import conv2d, unfold

from course_lib.training import denoising_loss

# low_rank


def by_weights(x, layer, down, up, strength):
    """The merged weight first, and the output with it."""
    weight = layer.weight + strength * torch.einsum("or,r...->o...", up, down)
    return conv2d(x, weight, layer.bias, layer.stride, layer.padding), weight


def by_einsum(x, layer, down, up, strength):
    low = conv2d(x, down, None, layer.stride, layer.padding)
    y = layer(x) + torch.einsum("brhw,or->bohw", low, up * strength)
    return y, layer.weight + (up * strength @ down.reshape(len(down), -1)).reshape(layer.weight.shape)


def by_tensordot(x, layer, down, up, strength):
    delta = strength * torch.tensordot(up, down, dims=1)
    y = layer(x) + conv2d(x, delta, None, layer.stride, layer.padding)
    return [y, layer.weight + delta]


def by_rank(x, layer, down, up, strength):
    """One rank after the other."""
    y, weight = layer(x), layer.weight.clone()
    for r in range(len(down)):
        low = conv2d(x, down[r : r + 1], stride=layer.stride, padding=layer.padding)
        y = y + strength * low * up[:, r].view(1, -1, 1, 1)
        weight = weight + strength * up[:, r].view(-1, 1, 1, 1) * down[r]
    return y, weight


def by_unfold(x, layer, down, up, strength):
    y = layer(x)
    patches = unfold(x, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    low = up @ (down.flatten(1) @ patches)
    return y + strength * low.view(y.shape), layer.weight + strength * (up @ down.flatten(1)).view_as(layer.weight)


def _changed(y=lambda own, low, s: own + s * low, w=lambda own, d, s: own + s * d):
    def answer(x, layer, down, up, strength):
        low = conv2d(conv2d(x, down, None, layer.stride, layer.padding), up[:, :, None, None])
        delta = (up @ down.flatten(1)).view_as(layer.weight)
        return y(layer(x), low, strength), w(layer.weight, delta, strength)

    return answer


without_the_layer = _changed(y=lambda own, low, s: s * low)
no_strength = _changed(lambda own, low, s: own + low, lambda own, d, s: own + d)
no_strength_in_y = _changed(lambda own, low, s: own + low)
no_strength_in_w = _changed(w=lambda own, d, s: own + d)
update_alone = _changed(w=lambda own, d, s: s * d)
own_weight = _changed(w=lambda own, d, s: own)
subtracted = _changed(lambda own, low, s: own - s * low)
doubled = _changed(lambda own, low, s: own + 2 * s * low)
over_the_rank = _changed(lambda own, low, s: own + s / 2 * low, lambda own, d, s: own + s / 2 * d)


def in_place(x, layer, down, up, strength):
    """It writes into the layer's weight."""
    layer.weight.data += strength * (up @ down.flatten(1)).view_as(layer.weight)
    return layer(x), layer.weight


def no_padding(x, layer, down, up, strength):
    low = conv2d(x, down, stride=layer.stride)
    return layer(x) + strength * conv2d(low, up[:, :, None, None]), layer.weight


def output_alone(x, layer, down, up, strength):
    return by_rank(x, layer, down, up, strength)[0]


# preserved_training


def _loop(step):
    """A training whose loss in each step is step(network, new, prior, weight, rng)."""

    def answer(network, new, prior, optimizer, steps, weight, rng):
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = step(network, new, prior, weight, rng)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    return answer


def _error(network, draw, rng, power=lambda e: e.square().mean()):
    captions, x0 = draw(rng)
    t = network.process.sample_t(len(x0), rng)
    eps = torch.randn(x0.shape, generator=rng)
    return power(network.given(captions)(network.process.add_noise(x0, t, eps), t).x0 - x0)


with_denoising_loss = _loop(
    lambda net, new, prior, weight, rng: sum(
        w * denoising_loss(net.given(c), x0, rng) for w, (c, x0) in ((1, new(rng)), (weight, prior(rng)))
    )
)
prior_first = _loop(lambda net, new, prior, weight, rng: weight * _error(net, prior, rng) + _error(net, new, rng))


def _together(net, new, prior, weight, rng):
    """One call of the network for both, with a weight for each picture."""
    (c1, x1), (c2, x2) = new(rng), prior(rng)
    x0 = torch.cat([x1, x2])
    each = torch.cat([torch.full((len(x1),), 1 / len(x1)), torch.full((len(x2),), weight / len(x2))])
    t = net.process.sample_t(len(x0), rng)
    x_t = net.process.add_noise(x0, t, torch.randn(x0.shape, generator=rng))
    error = net.given(torch.cat([c1, c2]))(x_t, t).x0 - x0
    return (each * error.square().flatten(1).mean(1)).sum()


together = _loop(_together)


def two_backwards(network, new, prior, optimizer, steps, weight, rng):
    """The gradients of both losses are added one after the other."""
    losses = torch.zeros(steps)
    for i in range(steps):
        optimizer.zero_grad(set_to_none=False)
        for draw, w in ((new, 1.0), (prior, weight)):
            loss = w * _error(network, draw, rng)
            loss.backward()
            losses[i] += loss.detach()
        optimizer.step()
    return losses


def by_hand(network, new, prior, optimizer, steps, weight, rng):
    def half(draw):
        c, x0 = draw(rng)
        t = torch.randint(1, network.process.T + 1, (len(x0),), generator=rng)
        a, b = network.process.coefficients(t, x0)
        x_t = a * x0 + b * torch.randn(x0.shape, generator=rng)
        return ((network.given(c)(x_t, t).value - x0) ** 2).mean()

    found = []
    while len(found) < steps:
        loss = half(new) + weight * half(prior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found)


weight_of_one = _loop(lambda net, new, prior, weight, rng: _error(net, new, rng) + _error(net, prior, rng))
weight_of_new = _loop(lambda net, new, prior, weight, rng: weight * _error(net, new, rng) + _error(net, prior, rng))
weight_of_both = _loop(lambda net, new, prior, weight, rng: weight * (_error(net, new, rng) + _error(net, prior, rng)))
averaged = _loop(lambda net, new, prior, weight, rng: (_error(net, new, rng) + weight * _error(net, prior, rng)) / 2)
without_prior = _loop(lambda net, new, prior, weight, rng: _error(net, new, rng) + 0 * _error(net, prior, rng))
new_alone = _loop(lambda net, new, prior, weight, rng: _error(net, new, rng))
absolute = _loop(
    lambda net, new, prior, weight, rng: (
        _error(net, new, rng, lambda e: e.abs().mean()) + weight * _error(net, prior, rng, lambda e: e.abs().mean())
    )
)
same_pictures = _loop(lambda net, new, prior, weight, rng: _error(net, new, rng) + weight * _error(net, new, rng))


def _shared(own_times, own_noise):
    """A training in which the prior pictures of a step have the times or the noise of the new ones."""

    def step(net, new, prior, weight, rng):
        (c1, x1), (c2, x2) = new(rng), prior(rng)
        t, eps = net.process.sample_t(len(x1), rng), torch.randn(x1.shape, generator=rng)
        t_2 = net.process.sample_t(len(x2), rng) if own_times else t[: len(x2)]
        eps_2 = torch.randn(x2.shape, generator=rng) if own_noise else eps[: len(x2)]
        error = lambda c, x0, t, eps: (net.given(c)(net.process.add_noise(x0, t, eps), t).x0 - x0).square().mean()
        return error(c1, x1, t, eps) + weight * error(c2, x2, t_2, eps_2)

    return _loop(step)


shared_times, shared_noise, shared_both = _shared(False, True), _shared(True, False), _shared(False, False)


def never_cleared(network, new, prior, optimizer, steps, weight, rng):
    losses = []
    for _ in range(steps):
        loss = _error(network, new, rng) + weight * _error(network, prior, rng)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def last_loss(*args):
    return with_denoising_loss(*args)[-1:]


# zero_convolution


def in_lines(x, c, block, copy, enter, leave):
    h = x + enter(c)
    branch = leave(copy(h))
    return block(x) + branch


def added_first(x, c, block, copy, enter, leave):
    return torch.add(leave(copy(enter(c) + x)), block(x))


def in_sequence(x, c, block, copy, enter, leave):
    return block(x) + torch.nn.Sequential(copy, leave)(enter(c) + x)


def stacked(x, c, block, copy, enter, leave):
    return torch.stack([block(x), leave(copy(x + enter(c)))]).sum(0)


def by_member(x, c, block, copy, enter, leave):
    return torch.cat([block(a[None]) + leave(copy(a[None] + enter(b[None]))) for a, b in zip(x, c)])


RIGHT = {
    "low_rank": [by_weights, by_einsum, by_tensordot, by_rank, by_unfold],
    "preserved_training": [with_denoising_loss, prior_first, together, two_backwards, by_hand],
    "zero_convolution": [in_lines, added_first, in_sequence, stacked, by_member],
}
WRONG = {
    "low_rank": [
        ("own output is missing", without_the_layer),
        ("the strength is missing", no_strength),
        ("missing in the output", no_strength_in_y),
        ("missing in the merged weight", no_strength_in_w),
        ("the update alone", update_alone),
    ],
    "preserved_training": [
        ("has the weight 1", weight_of_one),
        ("multiplies the new", weight_of_new),
        ("multiplies both", weight_of_both),
        ("averaged", averaged),
        ("left out", without_prior),
    ],
    "zero_convolution": [
        ("own output is missing", lambda x, c, block, copy, enter, leave: leave(copy(x + enter(c)))),
        ("the fixed block is given the condition", lambda x, c, f, g, i, o: f(x + i(c)) + o(g(x + i(c)))),
        ("not given x", lambda x, c, f, g, i, o: f(x) + o(g(i(c)))),
        ("added without its zero convolution", lambda x, c, f, g, i, o: f(x) + o(g(x + c))),
        ("the fixed block is used twice", lambda x, c, f, g, i, o: f(x) + o(f(x + i(c)))),
    ],
}
TRIED = {
    "low_rank": [
        *WRONG["low_rank"],
        ("the layer's own", own_weight),
        ("subtracted", subtracted),
        ("twice", doubled),
        ("", over_the_rank),
        ("", in_place),
        ("", no_padding),
        ("", output_alone),
    ],
    "preserved_training": [
        *WRONG["preserved_training"],
        ("", new_alone),
        ("not squared", absolute),
        ("", same_pictures),
        ("share their times", shared_times),
        ("share their times", shared_noise),
        ("share their times", shared_both),
        ("add up", never_cleared),
        ("only the last loss", last_loss),
    ],
    "zero_convolution": [
        *WRONG["zero_convolution"],
        ("copy's output is added", lambda x, c, f, g, i, o: f(x) + g(x + i(c))),
        ("subtracted", lambda x, c, f, g, i, o: f(x) - o(g(x + i(c)))),
        ("added to the copy", lambda x, c, f, g, i, o: g(x) + o(g(x + i(c)))),
        ("", lambda x, c, f, g, i, o: f(x)),
        ("", lambda x, c, f, g, i, o: f(x) + o(i(c))),
    ],
}
