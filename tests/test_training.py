"""Training learns, keeps to its budget, and loses nothing."""

import math
import re
import sys
import time

import pytest
import torch
from torch import nn

from course_lib.datasets import points
from course_lib.denoisers import ExactDenoiser, Network
from course_lib.nets.mlp import MLP
from course_lib.prediction import VIEWS
from course_lib.process import DDPM, seeded
from course_lib.schedules import linear_beta
from course_lib.training import (
    EMA,
    OneCycle,
    TrainingState,
    denoising_loss,
    one_cycle,
    pick_device,
    show_progress,
    train,
    warm_restarts,
)

process = DDPM(linear_beta(100))


class Oracle(nn.Module):
    """A network that answers as the exact denoiser does."""

    def __init__(self, view):
        super().__init__()
        self.exact, self.view = ExactDenoiser(points.ring(), process), view

    def forward(self, x, time):
        return self.exact(x, (time * process.T).round().long()).as_view(self.view)


@pytest.mark.parametrize("view", VIEWS)
def test_no_network_beats_the_exact_denoiser(view):
    x0, _ = points.ring().sample(20_000, seeded(0))
    loss = lambda net: denoising_loss(Network(net, process, view), x0, seeded(1)).item()
    best, oracle = loss(Oracle(view)), Oracle(view)
    oracle.forward = lambda x, time: 1.5 * Oracle.forward(oracle, x, time)
    assert best < loss(oracle)


def test_loss_of_a_network_that_outputs_0_is_the_variance_of_the_noise():
    x0, _ = points.ring().sample(20_000, seeded(0))
    silent = Network(lambda x, time: torch.zeros_like(x), process, "eps")
    assert denoising_loss(silent, x0, seeded(1)).item() == pytest.approx(1, abs=0.02)


def fit(steps=200, seed=0, **options):
    torch.manual_seed(seed)
    mixture, net = points.ring(), MLP(2, 32, 2)
    rng, denoiser = seeded(seed), Network(net, process)
    loss = lambda: denoising_loss(denoiser, mixture.sample(256, rng)[0], rng)
    return net, list(train(loss, net, steps, **options))


def test_it_learns_and_repeats():
    first, history = fit()
    again, _ = fit()
    assert history[-1].loss < 0.75 * history[0].loss and history[-1].step == 200 and history[-1].done == 1
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_seconds_end_it_with_the_rate_at_zero():
    begun = time.perf_counter()
    _, history = fit(steps=10**6, seconds=1.0)
    assert 0.9 < time.perf_counter() - begun < 5 and history[-1].done == 1
    assert one_cycle(1.0) == pytest.approx(0) and max(one_cycle(d / 100) for d in range(101)) == pytest.approx(1, abs=1e-3)


def test_time_left_is_honest():
    _, history = fit(steps=200)
    half = history[99]
    assert half.done == 0.5 and half.left == pytest.approx(half.elapsed)


def test_cycles_are_one_training_whose_rate_starts_anew():
    net, rates = nn.Linear(1, 1), []

    def cycle(k):
        weight = net.weight.detach().clone()
        yield from train(lambda: (net(torch.ones(1, 1)) - k).square().mean(), net, 10, lr=0.01)
        rates.append(float((net.weight - weight).detach().abs()))

    history = list(warm_restarts(cycle, 3))
    assert [progress.step for progress in history] == list(range(1, 31)) and min(rates) > 0
    assert [progress.done for progress in history] == pytest.approx([step / 30 for step in range(1, 31)])
    assert all(a.elapsed <= b.elapsed for a, b in zip(history, history[1:]))


def test_a_loop_of_ones_own_trains_as_train_does():
    def of_ones_own(steps=20, muon=0.02):
        torch.manual_seed(0)
        net, rng = MLP(2, 32, 2), seeded(0)
        ema, denoiser = EMA(net, 0.9), Network(net, process)
        optimizer = OneCycle(net, steps, muon=muon, ema=ema)
        for _ in range(steps):
            optimizer.zero_grad()
            denoising_loss(denoiser, points.ring().sample(256, rng)[0], rng).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        return net, ema.net

    torch.manual_seed(0)
    ema = EMA(MLP(2, 32, 2), 0.9)
    net, rng = ema.source, seeded(0)
    loss = lambda: denoising_loss(Network(net, process), points.ring().sample(256, rng)[0], rng)
    list(train(loss, net, 20, ema=ema, muon=0.02))
    for mine, theirs in zip(of_ones_own(), (net, ema.net)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_ema_follows_and_forgets_the_start():
    net = nn.Linear(1, 1)
    ema = EMA(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(5.0)
    for _ in range(200):
        ema.update()
    assert ema.net.weight.item() == pytest.approx(5.0, abs=1e-3) and not ema.net.weight.requires_grad
    with torch.no_grad():
        net.weight.fill_(6.0)
    ema.update()
    assert ema.net.weight.item() == pytest.approx(5.1, abs=1e-3)


def test_dropped_conditions_come_at_the_asked_rate():
    label = torch.arange(10).repeat(2000)
    network = Network(MLP(2, 8, 1, classes=10), process).given(label)
    dropped = network.drop_condition(0.1, seeded(0)).cond
    assert (dropped == 10).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(dropped[dropped != 10], label[dropped != 10]) and torch.equal(network.cond, label)


def test_an_interrupt_keeps_what_was_learned(capsys):
    def interrupted():
        net, history = fit(steps=50)
        for step in history:
            yield step
            if step.step == 30:
                raise KeyboardInterrupt

    assert show_progress(interrupted(), "points").step == 30
    assert "stopped by hand; what it learned is kept after 30 steps" in capsys.readouterr().out


def test_a_slow_machine_says_which_share_of_the_steps_it_made_and_what_helps(capsys):
    states = lambda n: iter([TrainingState(n, 0.3, 1.0, 50.0)])
    show_progress(states(209), "digits", usual=1_000, instead='models.load("digits")')
    words = capsys.readouterr().out
    assert (
        "These are 21 % of the usual 1,000 steps" in words
        and "seconds=240" in words
        and 'or use models.load("digits").' in words
    )
    show_progress(states(700), "digits", usual=1_000)
    assert "usual" not in capsys.readouterr().out

    def stopped():
        yield from states(209)
        raise KeyboardInterrupt

    show_progress(stopped(), "digits", usual=1_000)
    assert "usual" not in capsys.readouterr().out  # who stops it by hand knows


def test_a_variable_gives_trainings_more_time(monkeypatch):
    monkeypatch.setenv("COURSE_TIME", "1e9")
    net = nn.Linear(1, 1)
    assert len(list(train(lambda: net(torch.ones(1, 1)).mean(), net, 3, seconds=1e-8))) == 3
    monkeypatch.setenv("COURSE_TIME", "a lot")
    with pytest.raises(ValueError, match="COURSE_TIME must be a positive number, got 'a lot'"):
        next(train(lambda: net(torch.ones(1, 1)).mean(), net, 3, seconds=1))


def test_progress_shows_loss_and_time_left(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # outside of a notebook
    _, history = fit(steps=20)
    show_progress((time.sleep(0.02) or step for step in history), "points")
    shown = capsys.readouterr()
    assert "points: done after 20 steps" in shown.out and "s left" in shown.err and "loss" in shown.err


def test_in_a_notebook_the_bar_is_not_on_stderr_which_is_red(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    show_progress(fit(steps=20)[1], "points")
    shown = capsys.readouterr()
    assert shown.err == "" and re.search(r"points +\d+% \|.*\rpoints: done after 20 steps", shown.out, re.DOTALL)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: list(train(lambda: 0, nn.Linear(1, 1), 0)), "steps must be at least 1"),
        (lambda: EMA(nn.Linear(1, 1), 1.0), "decay must lie in [0, 1)"),
        (lambda: Network(MLP(classes=2), process).given(1).drop_condition(1.5), "p must lie in [0, 1]"),
        (lambda: Network(MLP(classes=2), process).drop_condition(0.5), "no condition to drop"),
        (lambda: denoising_loss(Network(MLP(), process), torch.full((2, 2), math.nan)), "x0 must be finite"),
        (lambda: denoising_loss(Network(MLP(), process), torch.zeros(0, 2)), "x0 must be a non-empty batch"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_loss_that_explodes_is_an_error_not_a_silent_nan():
    net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="loss must be finite"):
        list(train(lambda: net.weight.sum() * math.inf, net, 3))


def test_device():
    assert pick_device("cpu").type == "cpu" and pick_device().type in ("cuda", "mps", "cpu")


def a_net():
    torch.manual_seed(0)
    return MLP(width=8, depth=1)


def a_loss(net, seen=()):
    """The loss of points from a fixed seed; it is not finite at the steps in `seen`."""
    rng, step = seeded(0), iter(range(1, 10**6))

    def loss():
        value = denoising_loss(Network(net, process), torch.randn(16, 2, generator=rng), rng)
        return value * math.inf if next(step) in seen else value

    return loss


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_loss_that_is_not_finite_leaves_net_and_average_as_they_were():
    states = {}
    for name, steps, seen in (("four steps", 4, ()), ("not the fifth", 9, (5,))):
        net = a_net()
        ema = EMA(net, 0.9)
        training = train(a_loss(net, seen), net, 9, ema=ema)
        if seen:
            with pytest.raises(
                ValueError, match=r"loss must be finite, got inf .* at step 5; .* kept: try a smaller lr than 0.002"
            ):
                list(training)
        else:
            for _ in zip(range(steps), training):
                pass
        states[name] = weights_of(net), weights_of(ema.net)
    for kept, learned in zip(states["not the fifth"], states["four steps"]):
        assert torch.equal(kept, learned) and kept.isfinite().all()


def test_a_gradient_that_is_not_finite_is_seen_before_it_is_used():
    net = a_net()
    before = weights_of(net)
    root = lambda: (net(torch.zeros(2, 2), torch.zeros(2)) * 0).sum().sqrt()  # 0, whose slope is infinite times 0
    with pytest.raises(ValueError, match="loss must be finite, got 0 with a gradient of length nan at step 1"):
        list(train(root, net, 3))
    assert torch.equal(weights_of(net), before)


@pytest.mark.parametrize(
    "loss, error, words",
    [
        (lambda net: torch.ones(()), ValueError, "loss must depend on net's parameters, got one without a gradient"),
        (lambda net: a_net()(torch.ones(2, 2), torch.ones(2)).mean(), ValueError, "got one that depends on others alone"),
        (lambda net: 1.0, TypeError, "loss must return a tensor of one number, got float"),
        (lambda net: net(torch.ones(2, 2), torch.ones(2)), TypeError, r"got Tensor of shape \(2, 2\)"),
    ],
)
def test_a_loss_that_trains_nothing_is_refused(loss, error, words):
    net = a_net()
    with pytest.raises(error, match=words):
        next(train(lambda: loss(net), net, 3))
    with pytest.raises(ValueError, match="net must have parameters that require a gradient, got none"):
        frozen = a_net().requires_grad_(False)
        next(train(a_loss(frozen), frozen, 3))


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf])
def test_seconds_must_be_positive(seconds):
    net = a_net()
    with pytest.raises(ValueError, match=f"seconds must be (positive|finite), got {seconds}"):
        next(train(a_loss(net), net, 3, seconds=seconds))


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad])
def test_it_trains_within_inference_mode_and_goes_on_outside(around):
    straight, net = a_net(), a_net()
    list(train(a_loss(straight), straight, 4))
    training = train(a_loss(net), net, 4)
    with around():
        next(training), next(training)
    list(training)
    assert torch.equal(weights_of(net), weights_of(straight))


def test_the_device_is_the_one_that_the_variable_names(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    monkeypatch.setenv("COURSE_DEVICE", "tpu")
    with pytest.raises(ValueError, match="device must be auto or one of this machine, cpu"):
        pick_device()
