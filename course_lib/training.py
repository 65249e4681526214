"""Training: losses are functions; a training is a generator that yields after each step."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from course_lib import parallel, validate
from course_lib.denoisers import Network
from course_lib.guidance import NoisyClassifier
from course_lib.muon import Muon, hidden
from course_lib.process import DDPM, rand, randn_like


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; 'auto' is CUDA, else Apple's MPS, else the CPU, or what the variable COURSE_DEVICE names.

    Under torchrun 'cuda' and 'auto' are each process's own GPU. Raises ValueError for a device that this machine has not.
    """
    if device == "auto":
        device = os.environ.get("COURSE_DEVICE") or "auto"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        picked = torch.device(device)
        if picked.type == "cuda" and picked.index is None and "LOCAL_RANK" in os.environ:
            picked = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=picked, dtype=torch.float32).tolist()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        here = ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]
        raise ValueError(f"device must be auto or one of this machine, {', '.join(here)}, got {device!r}") from None
    return picked


def denoising_loss(denoiser: Network, x0: Tensor, rng: torch.Generator | None = None, t: Tensor | None = None) -> Tensor:
    """The simple loss of pictures x0 (B, ...), (): Ho et al. 2020, Algorithm 1 and eq. 14, in the network's own view.

    With conditions: `denoising_loss(network.given(labels).drop_condition(0.1, rng), x0, rng)`. The times t (B,) come from
    `process.sample_t` unless given.
    """
    validate.has("denoiser", denoiser, "target")
    validate.batch("x0", x0)
    t = denoiser.process.sample_t(len(x0), rng) if t is None else t
    eps = randn_like(x0, rng)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean()


def min_snr_times(process: DDPM, batch: int, rng: torch.Generator | None = None, gamma: float = 5.0) -> Tensor:
    """Random times (batch,) in 1..T for the loss of v, drawn by their weight instead of weighted: importance sampling.

    The weight is min(SNR, gamma) / (SNR + 1), the min-SNR weight of Hang et al. 2023, which is for errors of x_0, in terms of
    v. A tenth of the times is uniform, so that none is left out. They are stratified: one from each of `batch` parts of the
    distribution that are equally likely.
    """
    validate.instance("process", process, DDPM)
    validate.positive("gamma", gamma)
    t = torch.arange(1, process.T + 1, device="cpu", dtype=torch.long)
    snr = (process.signal(t) / process.noise(t)).square()
    weight = snr.clamp(max=gamma) / (snr + 1)
    cumulative = (0.9 * weight / weight.sum() + 0.1 / len(t)).cumsum(0)
    part = torch.arange(validate.at_least("batch", batch, 1), device="cpu", dtype=torch.float32)
    u = (part + rand(batch, rng=rng)) / batch
    return t[torch.searchsorted(cumulative, u.double() * cumulative[-1]).clamp(max=len(t) - 1)]


def classifier_loss(classifier: NoisyClassifier, x0: Tensor, label: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The cross-entropy () of clean pictures x0 (B, ...) with noise of random times, and their labels (B,).

    Dhariwal and Nichol 2021, section 4: a classifier for guidance is trained on the noise levels that it is used at.
    """
    validate.instance("classifier", classifier, NoisyClassifier)
    validate.one_each("label", label, "x0", validate.batch("x0", x0))
    t = classifier.process.sample_t(len(x0), rng)
    x_t = classifier.process.add_noise(x0, t, randn_like(x0, rng))
    return cross_entropy(classifier(x_t, t), label.to(x0.device))


class EMA:
    """An exponential moving average of a network's weights, in `ema.net`.

    The decay at step n is min(decay, (1 + n) / (10 + n)), so that the initial weights count little in a short training. The
    average is stored in `into`, a network like `net`, or in a copy of `net`.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999, into: nn.Module | None = None):
        if not 0 <= validate.finite("decay", decay) < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        validate.instance("net", net, nn.Module)
        if into is not None and [w.shape for w in validate.instance("into", into, nn.Module).parameters()] != [
            w.shape for w in net.parameters()
        ]:
            raise ValueError(f"into must be a network like net, got another {type(into).__name__}")
        self.source, self.decay, self.n = net, decay, 0
        with torch.inference_mode(False):  # a copy made in inference mode could not be written to outside of it
            self.net = (copy.deepcopy(net) if into is None else into).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Adds the source's present weights to the average."""
        self.n += 1
        rate = min(self.decay, (1 + self.n) / (10 + self.n))
        torch._foreach_lerp_(list(self.net.parameters()), list(self.source.parameters()), 1 - rate)
        for average, present in zip(self.net.buffers(), self.source.buffers(), strict=True):
            average.copy_(present)


class OneCycle:
    """AdamW on net's weights, and Muon at the rate `muon`, unless that is 0, on the `hidden` ones (muon.py): one optimizer.

    Both rates rise and fall to 0 along one cosine cycle of `steps` (Smith and Topin 2018). Each step updates the average `ema`.
    """

    def __init__(
        self,
        net: nn.Module,
        steps: int,
        lr: float = 2e-3,
        muon: float = 0.0,
        ema: EMA | None = None,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
    ):
        validate.instance("net", net, nn.Module)
        validate.instance("ema", ema, EMA, type(None))
        validate.positive("lr", lr)
        validate.finite("weight_decay", weight_decay, 0)
        validate.finite("muon", muon, 0)
        if not isinstance(betas, tuple) or len(betas) != 2 or not all(0 <= validate.finite("betas", b) < 1 for b in betas):
            raise ValueError(f"betas must be a pair of numbers in [0, 1), got {betas!r}")
        self.steps, self.ema, self.n = validate.at_least("steps", steps, 1), ema, 0
        inner = hidden(net) if muon else []
        others = [w for w in net.parameters() if all(w is not matrix for matrix in inner)]
        adamw = torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.optimizers: list[torch.optim.Optimizer] = [adamw, Muon(inner, muon)] if inner else [adamw]
        self.rates = [(group, group["lr"]) for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Clears the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self, done: float | None = None) -> None:
        """Changes the weights at the rates for the fraction `done` of the training, by default that of the steps so far."""
        rate = one_cycle(min(1.0, self.n / self.steps) if done is None else done)
        for group, highest in self.rates:
            group["lr"] = highest * rate
        for optimizer in self.optimizers:
            optimizer.step()
        self.n += 1
        if self.ema is not None:
            self.ema.update()


@dataclass(frozen=True)
class TrainingState:
    """The state of a training after a step: the step's number, the smoothed loss, the fraction done, the seconds elapsed."""

    step: int
    loss: float
    done: float
    elapsed: float

    @property
    def left(self) -> float:
        """The estimated seconds until the end."""
        return self.elapsed * (1 / self.done - 1)


def train(
    loss: Callable[[], Tensor],
    net: nn.Module,
    steps: int,
    lr: float = 2e-3,
    seconds: float | None = None,
    ema: EMA | None = None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
    muon: float = 0.0,
) -> Iterator[TrainingState]:
    """Yields the state after each step of `OneCycle` on `loss()`, a function that draws its own batch.

    It ends after `steps`, or after `seconds` (times the variable COURSE_TIME) if those pass first. The cycle of the rates is
    over the budget that is nearer to its end. A slow machine too therefore ends with a rate of 0. Started by torchrun, the
    processes share each batch (see parallel.py).

    Raises ValueError if the loss or its gradient is not finite, before that step: net and average keep what they learned. Also
    if the loss does not depend on net's parameters, if seconds or lr are not positive, or if several processes train a net with
    batch normalisation, whose statistics are those of a whole batch.
    """
    validate.function("loss", loss)
    optimizer = OneCycle(net, steps, lr, muon, ema, weight_decay, betas)
    if seconds is not None:
        seconds = _time_budget(seconds)
    if parallel.size() > 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()):
        raise ValueError(f"net must have no batch normalisation to be trained by {parallel.size()} processes: start one alone")
    weights = list(net.parameters())
    optimizer.zero_grad()  # its first call loads modules of torch for a second, which is not the training's
    smooth: float | None = None
    done, start = 0.0, time.perf_counter()
    for step in range(1, steps + 1):
        with torch.inference_mode(False), torch.enable_grad(), parallel.sharing(True):
            value = loss()
            must_depend_on(net, value)
            net.zero_grad()
            value.backward()
            if all(w.grad is None for w in weights):
                raise ValueError("loss must depend on net's parameters, got one that depends on others alone")
            parallel.average(w.grad for w in weights)
            norm = nn.utils.clip_grad_norm_(weights, 1.0)
            spent = time.perf_counter() - start
            now, slope, elapsed = parallel.mean(float(value.detach()), float(norm), spent, device=value.device)
            if not math.isfinite(now + slope):
                raise ValueError(
                    f"loss must be finite, got {now:g} with a gradient of length {slope:g} at step {step}; what was learned "
                    f"before is kept: try a smaller lr than {lr:g}, or look for a division by 0 or a NaN in the data"
                )
            optimizer.step(done)
        smooth = now if smooth is None else 0.98 * smooth + 0.02 * now
        done = min(1.0, max(step / steps, elapsed / seconds if seconds else 0))
        yield TrainingState(step, smooth, done, elapsed)
        if done == 1:
            return


def must_depend_on(net: nn.Module, value: Tensor) -> None:
    """Raises TypeError unless the loss is one number, ValueError unless it has a gradient and net has parameters to train."""
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise TypeError(f"loss must return a tensor of one number, got {type(value).__name__}{shape}")
    if any(p.is_inference() for p in net.parameters()):
        raise ValueError("net must be built outside of torch.inference_mode() to be trained, got one built inside of it")
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError("net must have parameters that require a gradient, got none: call net.requires_grad_() first")
    if not value.requires_grad:
        raise ValueError("loss must depend on net's parameters, got one without a gradient")


def alternate(*trainings: Iterator[TrainingState]) -> Iterator[TrainingState]:
    """Yields the states of trainings that alternate, a step each, as for a GAN's two networks. The loss is the last one's."""
    for states in zip(*trainings):
        yield replace(states[-1], done=max(state.done for state in states))


def warm_restarts(cycle: Callable[[int], Iterator[TrainingState]], n: int) -> Iterator[TrainingState]:
    """Yields the states of `cycle(k)` for k = 0 ... n - 1 as one training: warm restarts (Loshchilov and Hutter 2017).

    Each cycle counts as an equal fraction of the whole.
    """
    validate.function("cycle", cycle)
    step, elapsed = 0, 0.0
    for k in range(validate.at_least("n", n, 1)):
        for now in cycle(k):
            last = replace(now, step=step + now.step, done=(k + now.done) / n, elapsed=elapsed + now.elapsed)
            yield last
        step, elapsed = last.step, last.elapsed


def one_cycle(done: float, warm_up: float = 0.15) -> float:
    """The learning rate as a fraction of its maximum, when the fraction `done` of a training is over.

    It rises along a cosine until `warm_up`, and then falls to 0 along another.
    """
    validate.finite("done", done, 0, 1)
    if not 0 < validate.finite("warm_up", warm_up) < 1:
        raise ValueError(f"warm_up must lie in (0, 1), got {warm_up}")
    if done < warm_up:
        return 0.5 - 0.5 * math.cos(math.pi * (0.04 + 0.96 * done / warm_up))
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


def _time_budget(seconds: float) -> float:
    """The seconds times what the variable COURSE_TIME says, on a slow machine."""
    validate.positive("seconds", seconds)
    try:
        return seconds * validate.positive("COURSE_TIME", float(os.environ.get("COURSE_TIME") or 1))
    except ValueError:
        raise ValueError(f"COURSE_TIME must be a positive number, got {os.environ['COURSE_TIME']!r}") from None


ENOUGH = 0.6
"""The share of a training's usual steps below which its results are visibly worse."""


def show_progress(
    training: Iterable[TrainingState], name: str = "training", usual: int | None = None, instead: str = ""
) -> TrainingState:
    """The last state of a training, which is run here with a progress bar (loss, time left).

    An interrupt (Ctrl-C, or the stop button of a notebook) ends the training early, and the weights are kept. A training that
    ends by its time on a slow machine says what share of its `usual` steps it made, how long these would take, and what to use
    `instead`.
    """
    if usual is not None:
        validate.at_least("usual", usual, 1)
    last, stopped, silent = None, False, parallel.rank() > 0
    out = sys.stdout if "ipykernel" in sys.modules else sys.stderr  # a notebook shows the second in red, as it does errors
    look = {"bar_format": "{desc} {percentage:3.0f}% |{bar:24}| {postfix}", "leave": False}
    with tqdm(total=100, desc=name, file=out, disable=silent, **look) as bar:
        try:
            for last in training:
                if int(100 * last.done) > bar.n:
                    bar.set_postfix_str(f"loss {last.loss:.3f}, {last.left:.0f} s left", refresh=False)
                    bar.update(int(100 * last.done) - bar.n)
        except KeyboardInterrupt:
            stopped = True
    if last is None:
        raise KeyboardInterrupt("stopped before the first step: nothing was learned yet")
    how = "stopped by hand; what it learned is kept" if stopped else "done"
    if not silent:
        print(f"{name}: {how} after {last.step:,} steps in {last.elapsed:.0f} s, loss {last.loss:.3f}")
        if usual and not stopped and last.step < ENOUGH * usual:
            print(_few_steps(last, usual, instead))
    return last


def _few_steps(last: TrainingState, usual: int, instead: str) -> str:
    seconds = math.ceil(last.elapsed * usual / last.step / 10) * 10
    words = f"These are {100 * last.step / usual:.0f} % of the usual {usual:,} steps: this machine is slow, and results worse."
    return f"{words} For all steps, run this cell again with seconds={seconds}{f', or use {instead}' if instead else ''}."
