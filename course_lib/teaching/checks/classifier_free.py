"""Lesson 08: classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor

from course_lib import guidance, samplers, training
from course_lib.denoisers import Denoiser, Network
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks import epsilon
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.guidance import EXACT, POINTS
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import DENOISER, PICTURES, PROCESS, Spy, affine, normal

# dropout_training. As in lesson 02, and the network records its labels too, of which one is null.
# A batch is as large as the property needs: CLOUD where a mean decides.
NULL_LABEL, CLOUD, SMALL = 5, (10_000, 2), (1000, 2)


class _Labelled(Spy):
    """A network of one weight that takes labels (B,)."""

    def __init__(self):
        rule = lambda weight, x, time, label: affine(weight, x, time) + 0.1 * label.view(-1, *[1] * (x.ndim - 1))
        super().__init__(rule)

    def as_condition(self, label) -> Tensor:
        label = torch.as_tensor(label)
        if label.is_floating_point() or label.dtype == torch.bool or label.ndim > 1:
            raise Refused(f"labels must be whole numbers (B,), got {label.dtype} of shape {tuple(label.shape)}")
        return label.long().reshape(-1)


class _Training(epsilon._Training):
    """A training with label dropout: also which labels were drawn and which the network was given, (steps, B) each."""

    def __init__(self, loop: Callable, *shape: int, drop: float = 0.3, n: int = epsilon.STEPS):
        self.steps: list[epsilon._Step] = []
        drawn, labels, given = [], [], []
        spy = _Labelled()
        network = Network(spy, deepcopy(PROCESS))

        def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
            drawn.append(torch.randn(shape, generator=rng) + 0.5)
            labels.append(torch.randint(NULL_LABEL, shape[:1], generator=rng))
            return drawn[-1].clone(), labels[-1].clone()

        def watch():
            if not drawn:
                raise Refused("no pictures are drawn: draw(rng) gives a batch and its labels")
            self.steps.append(epsilon._Step(spy, network, drawn[-1]))
            given.append(self.steps[-1].cond[0].expand(shape[0]))

        run = lambda optimizer: loop(network, draw, optimizer, n, drop, NULL_LABEL, seeded(7))
        self.losses = epsilon.losses_of(run, spy.parameters(), watch)
        self.given = torch.stack(given)
        self.kept = self.given == torch.stack(labels[-len(given) :])
        self.null = (self.given == NULL_LABEL).double()

    @property
    def shares(self) -> Tensor:
        """The share of each label that the network is given, null last: (1 - drop) / classes and drop."""
        return torch.bincount(self.given.flatten(), minlength=NULL_LABEL + 1) / self.given.numel()

    @property
    def together(self) -> Tensor:
        """How often two are dropped together, neighbours, a hundred apart and in two steps, over drop^2: 1."""
        pairs = [(self.null, self.null.roll(k, 1)) for k in (1, 100)] + [(self.null[1:], self.null[:-1])]
        return torch.stack([(a * b).mean() for a, b in pairs]) / 0.09


def _same(one: _Training, other: _Training) -> Tensor:
    """Whether two trainings drop the same labels, and whether they end with the same noise."""
    pairs = (one.given, other.given), (one.steps[-1].eps, other.steps[-1].eps)
    return torch.tensor([torch.equal(*pair) for pair in pairs])


def _dropout_training(
    network: Network, draw: Callable, optimizer: torch.optim.Optimizer, steps: int, drop: float, null: int, rng: torch.Generator
) -> Tensor:
    """The loss at each of the steps (steps,). Ho and Salimans 2022, Algorithm 1, with the noise as in Ho et al. 2020."""
    process, losses = network.process, []
    for _ in range(steps):
        x0, label = draw(rng)
        dropped = torch.rand(len(label), generator=rng) < drop
        label = torch.where(dropped, null, label)
        t = process.sample_t(len(x0), rng)
        eps = randn_like(x0, rng)
        x_t = process.add_noise(x0, t, eps)
        loss = (network.given(label)(x_t, t).eps - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_RANDOM, _DROP = "torch.rand(len(label), generator=rng)", "label = torch.where(dropped, null, label)"

dropout_training = Check(
    "dropout_training",
    _dropout_training,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Training(f, 50, 2).steps))),
        Case("drop = 0 drops no label", lambda f: _Training(f, *SMALL, drop=0.0, n=1).kept.all()),
        Case("drop = 1 drops all of them", lambda f: _Training(f, *SMALL, drop=1.0, n=1).null.mean()),
        Case(
            "at drop = 0.3, three in ten are null, and all classes are left as often",
            lambda f: _Training(f, *CLOUD).shares,
            0.1,
        ),
        Case("what is not null is as it was drawn", lambda f: ((r := _Training(f, *SMALL)).kept | (r.null == 1)).all()),
        Case("each label is dropped on its own, anew in each step", lambda f: _Training(f, *CLOUD).together, 0.15),
        Case(
            "the number of dropped labels varies from batch to batch as for independent draws",
            lambda f: _Training(f, 10, 2, n=40).null.sum(1).std() / 2.1**0.5,
            0.5,
        ),
        Case(
            "the optimizer steps along the gradient of the mean squared error of the noise, of this step alone",
            lambda f: _Training(f, *CLOUD).gradients,
            0.06,
        ),
        Case("the same for pictures (B, C, H, W)", lambda f: _Training(f, 3000, 1, 3, 2).gradients, 0.1),
        Case("the loss of each step is returned", lambda f: _Training(f, *CLOUD).ratios, 0.06),
        Case("each t lies in 1 .. T", lambda f: _Training(f, *SMALL).out_of_range),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: _Training(f, *CLOUD).counts, 0.25),
        Case("x_t is signal(t) x_0 + noise(t) eps, with eps standard normal", lambda f: _Training(f, *CLOUD).noise, 0.05),
        Case("each step draws new pictures, new times and new noise", lambda f: _Training(f, *CLOUD).fresh),
        Case("the same rng gives the same training", lambda f: _same(_Training(f, *SMALL), _Training(f, *SMALL))),
    ],
    mistakes={
        "drop is the share that is kept; it should be the share that is dropped": {"< drop": ">= drop"},
        "one random number is drawn for the whole batch: all labels are dropped, or none": {"rand(len(label)": "rand(1"},
        "dropped labels become 0, which is a class; null has a number of its own": {"null, label)": "0, label)"},
        "dropped labels become another class; null has a number of its own": {
            "null, label)": "torch.randint(null, label.shape, generator=rng), label)"
        },
        "nothing is ever dropped": {_DROP: "pass"},
        "every label is dropped: the network is never given a class": {"given(label)": "given(null)"},
        "the same labels are dropped in every step: draw them anew, from rng": {
            _RANDOM: "torch.rand(len(label), generator=seeded(0))"
        },
        "exactly the share drop of each batch is dropped; each label needs a random number of its own": {
            _RANDOM + " < drop": "torch.rand(len(label), generator=rng).argsort().argsort() < round(drop * len(label))"
        },
        "always the first of the batch are dropped": {_RANDOM + " < drop": "torch.arange(len(label)) < drop * len(label)"},
        "the pictures whose label is dropped are left out; they stay, with the null label": {
            _DROP: "x0, label = x0[~dropped], label[~dropped]"
        },
        "the random numbers that drop labels are not drawn from rng: pass generator=rng": {_RANDOM: "torch.rand(len(label))"},
    }
    | epsilon.OF_ANY_LOOP,
    hint="In each step: x0, label = draw(rng); torch.rand(len(label), generator=rng) < drop says which labels torch.where "
    "makes null; then t, eps and x_t as in lesson 02; the mean of (network.given(label)(x_t, t).eps - eps) squared; "
    "zero_grad(), backward(), step(); and keep loss.item().",
    shown=(Network.drop_condition, training.denoising_loss),
)

# classifier_free_sampling
CONDITIONAL, DOWN = EXACT.given(0), torch.tensor([50, 40, 25, 10, 0])
OTHER = Network(Spy(lambda _, x, time: 0.2 * x + 0.5), PROCESS)


def _classifier_free_sampling(cond: Denoiser, uncond: Denoiser, x: Tensor, times: Tensor, w: float) -> Tensor:
    """x_0 (B, ...) from noise x, by guided steps of DDIM. Ho and Salimans 2022, eq. 6, with our w for their 1 + w."""
    for t, t_next in pairwise(times.tolist()):
        c, u = cond(x, t), uncond(x, t)
        x0 = u.x0 + w * (c.x0 - u.x0)
        eps = u.eps + w * (c.eps - u.eps)
        x = cond.process.add_noise(x0, t_next, eps)
    return x


def _mixed(x0: str, eps: str) -> dict[str, str]:
    """The edit to other formulas of x_0 and eps."""
    return {"u.x0 + w * (c.x0 - u.x0)": x0, "u.eps + w * (c.eps - u.eps)": eps}


def _both(formula: str) -> dict[str, str]:
    """The edit to another mix of both views; C and U stand for what is mixed."""
    return _mixed(*(formula.replace("C", f"c.{view}").replace("U", f"u.{view}") for view in ("x0", "eps")))


classifier_free_sampling = Check(
    "classifier_free_sampling",
    _classifier_free_sampling,
    cases=[
        Case("w = 0: the samples of the unconditional model", on(CONDITIONAL, EXACT, POINTS, DOWN, 0.0)),
        Case("w = 1: the samples of the conditional model", on(CONDITIONAL, EXACT, POINTS, DOWN, 1.0)),
        Case("w = 3: guided samples", on(CONDITIONAL, EXACT, POINTS, DOWN, 3.0)),
        Case("one step, from t = 40 to 20", on(CONDITIONAL, EXACT, POINTS, torch.tensor([40, 20]), 2.0)),
        Case("w = 0.5: half way", on(CONDITIONAL, EXACT, POINTS, DOWN, 0.5)),
        Case("pictures (B, C, H, W)", on(DENOISER, OTHER, PICTURES, DOWN, 2.0)),
        Case("x and times are left as they were", after(DENOISER, OTHER, PICTURES, DOWN, 2.0)),
    ],
    mistakes={
        "this is Ho and Salimans' w, (1 + w) cond - w uncond; ours is theirs + 1": _both("C + w * (C - U)"),
        "cond and uncond are swapped": {"c, u = cond(x, t), uncond(x, t)": "u, c = cond(x, t), uncond(x, t)"},
        "the difference is turned: it leads away from the class": _both("U + w * (U - C)"),
        "the unconditional prediction is missing: only w (cond - uncond) is left": _both("w * (C - U)"),
        "w cond + uncond: the weights must sum to 1": _both("U + w * C"),
        "both weights are w: w (cond + uncond)": _both("w * (C + U)"),
        "w is forgotten: the samples are those of the conditional model": _both("C"),
        "the weight is w - 1, so that w = 1 ignores the class": _both("U + (w - 1) * (C - U)"),
        "the mix is divided by w": _both("(U + w * (C - U)) / max(w, 1)"),
        "w is clipped to 0 .. 1; guidance extrapolates": _both("U + min(w, 1) * (C - U)"),
        "only eps is guided; x_0 is the conditional model's": {"u.x0 + w * (c.x0 - u.x0)": "c.x0"},
        "only eps is guided; x_0 is the unconditional model's": {"u.x0 + w * (c.x0 - u.x0)": "u.x0"},
        "only x_0 is guided; eps is the conditional model's": {"u.eps + w * (c.eps - u.eps)": "c.eps"},
        "only x_0 is guided; eps is the unconditional model's": {"u.eps + w * (c.eps - u.eps)": "u.eps"},
        "the picture is made noisy again to the time t that it comes from; it should go on to the next time": {
            "x0, t_next, eps": "x0, t, eps"
        },
        "the predicted x_0 of the last step is returned, without the steps' own x": {"return x": "return x0"},
        "all steps start from the first x: x is not carried on": [
            {"x = cond.process": "result = cond.process", "return x": "return result"},
        ],
        "the predicted x_0 is clamped to -1 .. 1": {"add_noise(x0,": "add_noise(x0.clamp(-1, 1),"},
        "the times run upwards": {"times.tolist()": "times.flip(0).tolist()"},
        "x_0 and eps have changed places in the step": {"add_noise(x0, t_next, eps)": "add_noise(eps, t_next, x0)"},
        "the networks are given the next time, to which the step goes": {
            "c, u = cond(x, t), uncond(x, t)": "c, u = cond(x, t_next), uncond(x, t_next)"
        },
        "the last step is left out": {"times.tolist()": "times[:-1].tolist()"},
    },
    hint="In each step: c, u = cond(x, t), uncond(x, t); x_0 is u.x0 + w (c.x0 - u.x0), and eps is mixed likewise; then "
    "x = cond.process.add_noise(x0, t_next, eps).",
    shown=(guidance.ClassifierFree, samplers.ddim),
)

# identity_residual
SCORES, SCORE, P = normal(5, 4, 3, seed=4), normal(5, 3, seed=5), normal(5, 4, seed=6).softmax(1)


def _identity_residual(scores: Tensor, score: Tensor, p: Tensor) -> Tensor:
    """sum_c P(c | x_t) (s_c - s), (B, D): 0 for true scores, of classes (B, C, D) and of all (B, D), with p (B, C)."""
    difference = scores - score[:, None]
    return (p[:, :, None] * difference).sum(1)


identity_residual = Check(
    "identity_residual",
    _identity_residual,
    cases=[
        Case("the sum over classes, weighted by P", on(SCORES, SCORE, P)),
        Case("equal scores: 0", on(SCORE[:, None].expand(5, 4, 3).clone(), SCORE, P)),
        Case("one class is certain: its difference", on(SCORES, SCORE, torch.eye(4)[[0, 1, 2, 3, 0]])),
        Case("what is given is left as it was", after(SCORES, SCORE, P)),
    ],
    mistakes={
        "the classes count equally; each has the weight P": {"(p[:, :, None] * difference).sum(1)": "difference.mean(1)"},
        "the differences are added without P": {"p[:, :, None] * difference": "difference"},
        "the unconditional score is not subtracted": {"scores - score[:, None]": "scores"},
        "the sign is turned": {"scores - score[:, None]": "score[:, None] - scores"},
        "the sum runs over the batch, not over the classes": {".sum(1)": ".sum(0)"},
        "the sum runs over the components, not over the classes": {".sum(1)": ".sum(2)"},
        "the mean over classes is taken; the weights P sum to 1 already": {".sum(1)": ".mean(1)"},
        "the difference of the likeliest class is returned, not the sum over all": {
            "(p[:, :, None] * difference).sum(1)": "difference[torch.arange(len(p)), p.argmax(1)]"
        },
        "P is taken for logits: it is a probability already": {"p[:, :, None]": "p.softmax(1)[:, :, None]"},
        "the length of the sum is returned, not the sum": {".sum(1)": ".sum(1).norm(dim=1)"},
        "the logarithm of P is the weight; P itself is asked for": {"p[:, :, None]": "p.log()[:, :, None]"},
    },
    hint="scores - score[:, None] are the differences (B, C, D); p[:, :, None] makes P fit; sum over axis 1.",
)
