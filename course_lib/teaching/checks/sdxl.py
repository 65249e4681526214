"""Lesson 15: SDXL's micro-conditioning, a training with it, and the loss of its refiner."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from course_lib.denoisers import Network
from course_lib.methods import sdxl
from course_lib.methods.sdxl import crop_pictures
from course_lib.nets.embeddings import sinusoidal
from course_lib.process import randn_like, seeded
from course_lib.teaching.checks import epsilon
from course_lib.teaching.checks.check import Case, Check, after, on
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PROCESS, Record, Spy, affine, normal

# micro_embedding
MICRO = torch.tensor([[28, 0, 0], [8, 5, 0], [12, 0, 5], [16, 7, 12]]) + torch.randint(5, (4, 3), generator=seeded(0))


def _micro_embedding(micro, dim):
    """The sines and cosines of side, top and left, side by side. Podell et al. 2023, section 2.2."""
    side, top, left = micro.unbind(1)
    return torch.cat([sinusoidal(side, dim), sinusoidal(top, dim), sinusoidal(left, dim)], 1)


micro_embedding = Check(
    "micro_embedding",
    _micro_embedding,
    cases=[
        Case("four pictures, 8 numbers for each of side, top and left", on(MICRO, 8)),
        Case("one picture, 32 numbers for each", on(MICRO[1:2], 32)),
        Case("top and left are told apart", on(MICRO[1:2, [0, 2, 1]], 8)),
        Case("for any dim, the size is (B, 3 dim)", lambda fn: torch.tensor(on(MICRO, 16)(fn).shape)),
        Case("nothing cut off: cosines are 1, sines are 0", on(0 * MICRO, 8)),
        Case("micro is left as it was", after(MICRO, 8)),
    ],
    mistakes={
        "the three are added, which mixes top and left up: put them side by side": {"torch.cat([": "sum([", "], 1)": "])"},
        "the three numbers are added before they are embedded": {"micro.unbind(1)": "[micro.sum(1)] * 3"},
        "the three are averaged, which mixes top and left up: put them side by side": {
            "torch.cat([": "sum([",
            "], 1)": "]) / 3",
        },
        "only the side is embedded": {"sinusoidal(top, dim), sinusoidal(left, dim)": ""},
        "the side is not embedded, only top and left": {"sinusoidal(side, dim), ": ""},
        "the top is embedded twice, and the left not at all": {"sinusoidal(left": "sinusoidal(top"},
        "top and left have changed places: side, top, left is asked for": {"side, top, left =": "side, left, top ="},
        "the order is reversed: side, top, left is asked for": {"micro.unbind": "micro.flip(1).unbind"},
        "the bare numbers are given; sinusoidal(number, dim) embeds each": {"return": "return micro.float()\n    return"},
        "the numbers are shares of 32; sinusoidal takes them in pixels": {"micro.unbind(1)": "(micro / 32).unbind(1)"},
        "the three are interleaved; put them side by side": {"torch.cat([": "torch.stack([", "], 1)": "], 2).flatten(1)"},
        "the three are stacked in a dimension of their own, (B, 3, dim); put them side by side, (B, 3 dim)": {
            "torch.cat([": "torch.stack([",
        },
        "the embeddings of the batch stand below one another, (3 B, dim); put the three side by side, (B, 3 dim)": {
            "], 1)": "], 0)"
        },
        "numbers of different pictures stand in one row: each row is one picture's side, top and left": {
            "micro.unbind(1)": "micro.T.reshape(-1, 3).unbind(1)"
        },
        "dim is divided among the three; each has dim numbers of its own": {
            "(side, dim)": "(side, dim // 3)",
            "(top, dim)": "(top, dim // 3)",
            "(left, dim)": "(left, dim // 3)",
        },
        "cosines stand before sines; in lesson 04's embedding the sines are first": {
            "return torch.cat(": "return torch.roll(torch.cat(",
            "], 1)": "], 1).unflatten(1, (3, dim)), dim // 2, 2).flatten(1)",
        },
        "the three stand in each other's place: all sines first, then all cosines": {
            "], 1)": "], 1).unflatten(1, (3, 2, dim // 2)).transpose(1, 2).flatten(1)",
        },
    },
    hint="torch.cat([sinusoidal(number.float(), dim) for number in micro.unbind(1)], 1).",
)

# micro_training. As in lesson 02, and the network records label, side and crop.
NULL_LABEL, SIDES, MOST = 5, (2, 4, 8), 3


class _Step(epsilon._Step):
    """One step, whose network predicts v."""

    def __init__(self, spy: Spy, network: Network, x0: Tensor):
        super().__init__(spy, network, x0)
        self.network = network

    @property
    def error(self) -> Tensor:
        target = self.network.target(self.x0, self.t.clamp(min=1), self.eps)
        return (self.rule(self.weight, *self.input) - target).square().mean()


class _MicroTraining(epsilon._Training):
    """A training with label, side and crop: of each step what was drawn, and what the network was given."""

    def __init__(self, loop: Callable, B: int = 2500, drop: float = 0.3, n: int = epsilon.STEPS):
        self.steps: list[epsilon._Step] = []
        drawn, given, batches = [], [], []
        rule = lambda weight, x, time, cond: affine(weight, x, time) + 0.1 * cond[:, 0].view(-1, 1, 1, 1)
        spy = Spy(rule)
        spy.as_condition = _label_and_micro
        network, optimizer = Network(spy, deepcopy(PROCESS), "v"), epsilon._Optimizer(spy.parameters(), lr=0.05)

        def draw(rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            x0 = torch.rand(B, 1, 8, 8, generator=rng) * 2 - 1
            label = torch.randint(NULL_LABEL, (B,), generator=rng)
            side = torch.tensor(SIDES)[torch.randint(len(SIDES), (B,), generator=rng)]
            drawn.append((x0, label, side))
            return x0.clone(), label.clone(), side.clone()

        def watch():
            if not drawn:
                raise Refused("no pictures are drawn: draw(rng) gives a batch, its labels and its sides")
            if spy.input is None:
                raise Refused("the network is never called: its prediction is network.given((label, micro))(x_t, t)")
            cond = spy.input[2].expand(len(spy.input[0]), -1)
            if cond.shape[1] != 4 or len(cond) != B:
                raise Refused(f"the network must be given labels ({B},) and micro ({B}, 3)")
            crop = cond[:, 2:].clamp(0, 8)
            self.steps.append(_Step(spy, network, crop_pictures(drawn[-1][0], crop[:, 0], crop[:, 1])))
            given.append(cond)
            batches.append(drawn[-1])

        optimizer.watch = watch
        self.losses = torch.as_tensor(loop(network, draw, optimizer, n, MOST, drop, NULL_LABEL, seeded(7)))
        if not self.steps:
            raise Refused("the weights never move: optimizer.step() is never called")
        self.given, self.pictures = torch.cat(given), [batch[0] for batch in batches]
        self.label, self.side = (torch.cat([batch[i] for batch in batches]) for i in (1, 2))
        self.null = self.given[:, 0] == NULL_LABEL

    @property
    def noise(self) -> Tensor:
        """Whether mean, standard deviation and covariance with x_0 of the noise are 0, 1, 0; whether there is less: four."""
        found = super().noise
        return torch.cat([(found - torch.tensor([0.0, 1.0, 0.0])).abs() < 0.05, found[1:2] < 0.95])

    @property
    def gradients(self) -> Tensor:
        """As for any training; 0 where the noise is not normal, since the right loss is then of nothing that was given."""
        return super().gradients if self.noise[:3].all() else torch.zeros(len(self.steps))

    @property
    def ratios(self) -> Tensor:
        return super().ratios if self.noise[:3].all() else torch.zeros(len(self.losses))

    @property
    def crops(self) -> Tensor:
        """The share of each pair of crops, of those that are equally likely, and of others: 1 / 16 each and 0."""
        top, left = self.given[:, 2:].T
        inside = (self.given[:, 2:] <= MOST).all(1) & (self.given[:, 2:] >= 0).all(1)
        cells = torch.bincount((top * (MOST + 1) + left)[inside], minlength=(MOST + 1) ** 2)
        return torch.cat([cells, (~inside).sum()[None]]) / len(self.given)

    @property
    def sides(self) -> Tensor:
        """The share of pictures whose side is given as it was drawn, with their label and without it: 1, 1."""
        same = (self.given[:, 1] == self.side).double()
        return torch.stack([same[~self.null].mean(), same[self.null].mean()])

    @property
    def labels(self) -> Tensor:
        """The share of null labels in each step, and whether the others are as they were drawn."""
        kept = (self.null | (self.given[:, 0] == self.label)).double().mean()
        return torch.cat([self.null.double().view(len(self.steps), -1).mean(1), kept[None]])

    @property
    def fresh(self) -> Tensor:
        """Whether pictures, crops, dropped labels, times and noise of a step differ from those of the step before."""
        crops, null = self.given[:, 2:].reshape(len(self.steps), -1), self.null.reshape(len(self.steps), -1)
        differ = []
        for i in range(1, len(self.steps)):
            one, other = self.steps[i - 1], self.steps[i]
            same = [torch.equal(self.pictures[i - 1], self.pictures[i]), torch.equal(crops[i - 1], crops[i])]
            same += [torch.equal(null[i - 1], null[i]), torch.equal(one.t, other.t)]
            same += [bool(torch.cosine_similarity(one.eps.flatten(), other.eps.flatten(), dim=0).abs() > 0.5)]
            differ.append(~torch.tensor(same))
        return torch.stack(differ).all(0)


def _repeated(loop: Callable) -> Tensor:
    """Whether labels, sizes and crops, and the noise, are the same in two trainings with the same rng."""
    one, other = (_MicroTraining(loop, 500) for _ in range(2))
    noise = [torch.stack([step.eps for step in run.steps]) for run in (one, other)]
    return torch.tensor([torch.equal(one.given, other.given), torch.equal(*noise)])


def _label_and_micro(cond) -> Tensor:
    if not isinstance(cond, tuple) or len(cond) != 2:
        raise Refused("the network is conditioned on a pair: network.given((label, micro))")
    label, micro = map(torch.as_tensor, cond)
    if label.is_floating_point() or micro.is_floating_point() or label.ndim != 1 or micro.shape[1:] != (3,):
        raise Refused(f"whole numbers are needed, label (B,) and micro (B, 3), got {tuple(label.shape)}, {tuple(micro.shape)}")
    return torch.cat([label.long()[:, None], micro.long().expand(len(label), 3)], 1)


def _micro_training(
    network: Network,
    draw: Callable,
    optimizer: torch.optim.Optimizer,
    steps: int,
    most: int,
    drop: float,
    null: int,
    rng: torch.Generator,
) -> Tensor:
    """The loss at each of the steps (steps,). Podell et al. 2023, Algorithm 1; Ho and Salimans 2022, Algorithm 1."""
    process, losses = network.process, []
    for _ in range(steps):
        x0, label, side = draw(rng)
        top, left = torch.randint(0, most + 1, (2, len(x0)), generator=rng)
        x0 = crop_pictures(x0, top, left)
        micro = torch.stack([side, top, left], 1)
        dropped = torch.rand(len(label), generator=rng) < drop
        label = torch.where(dropped, null, label)
        t = process.sample_t(len(x0), rng)
        eps = randn_like(x0, rng)
        x_t = process.add_noise(x0, t, eps)
        pred = network.given((label, micro))(x_t, t)
        loss = (pred.value - network.target(x0, t, eps)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


_CROPPED = "x0 = crop_pictures(x0, top, left)"
_DRAWN = "top, left = torch.randint(0, most + 1, (2, len(x0)), generator=rng)"
_EACH = "torch.randint(0, most + 1, (len(x0),), generator=rng)"
_GIVEN = "torch.stack([side, top, left], 1)"
_LOSS = "pred.value - network.target(x0, t, eps)"
_OF_ANY_LOOP = {
    says: mistake
    for says, mistake in epsilon.OF_ANY_LOOP.items()
    if not (isinstance(mistake, dict) and ".eps - eps" in mistake)
}

micro_training = Check(
    "micro_training",
    _micro_training,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_MicroTraining(f, 50).steps))),
        Case("top and left are uniform on 0 .. most, each drawn on its own", lambda f: _MicroTraining(f, 4000).crops, 0.25),
        Case("the side is given as it was drawn, whether the label is dropped or not", lambda f: _MicroTraining(f).sides, 0.1),
        Case("at drop = 0.3, three labels in ten are null, the others as drawn", lambda f: _MicroTraining(f, n=6).labels, 0.06),
        Case(
            "the network is given the picture that was cropped as it is told, with standard normal noise",
            lambda f: _MicroTraining(f).noise,
        ),
        Case(
            "the optimizer steps along the gradient of the mean squared error in the network's own view",
            lambda f: _MicroTraining(f).gradients,
            0.06,
        ),
        Case("the loss of each step is returned", lambda f: _MicroTraining(f).ratios, 0.06),
        Case("each t lies in 1 .. T", lambda f: _MicroTraining(f, 1000).out_of_range),
        Case("each of the batch has its own t, and every t is equally likely", lambda f: _MicroTraining(f, 4000).counts, 0.25),
        Case("each step draws new pictures, crops, times and noise", lambda f: _MicroTraining(f, 500).fresh),
        Case("the same rng gives the same training", _repeated),
    ],
    mistakes={
        "size and crop are dropped with the label: only the label becomes null": {
            "label = torch.where(dropped, null, label)": "label = torch.where(dropped, null, label); "
            "micro = torch.where(dropped[:, None], torch.tensor([x0.shape[-1], 0, 0]), micro)"
        },
        "size and crop become 0 with the label: only the label becomes null": {
            "label = torch.where(dropped, null, label)": "label = torch.where(dropped, null, label); "
            "micro = torch.where(dropped[:, None], 0, micro)"
        },
        "every picture is said to be large and whole: give the network its own side and crop": {
            _GIVEN: "torch.tensor([[x0.shape[-1], 0, 0]]).expand(len(x0), 3)"
        },
        "every picture is said to be large: its side is what draw(rng) gives": {
            _GIVEN: "torch.stack([torch.full_like(side, x0.shape[-1]), top, left], 1)"
        },
        "the pictures are cropped, but the network is told 0, 0": {_GIVEN: "torch.stack([side, 0 * top, 0 * left], 1)"},
        "the network is told of crops, but the pictures are not cropped": {_CROPPED: "pass"},
        "top and left have changed places in micro: side, top, left is asked for": {
            _GIVEN: "torch.stack([side, left, top], 1)"
        },
        "the side stands last: side, top, left is asked for": {_GIVEN: "torch.stack([top, left, side], 1)"},
        "the numbers are those of other pictures of the batch": {_GIVEN: _GIVEN + ".roll(1, 0)"},
        "top and left are one number: draw two for each picture": {
            "(2, len(x0)), generator=rng)": "(1, len(x0)), generator=rng).expand(2, -1)"
        },
        "one crop is drawn for the whole batch; draw one for each picture": [
            {"(2, len(x0)), generator=rng)": "(2, 1), generator=rng).expand(2, len(x0))"},
            {_DRAWN: f"top = torch.randint(0, most + 1, (1,), generator=rng).expand(len(x0)); left = {_EACH}"},
            {_DRAWN: f"top = {_EACH}; left = torch.randint(0, most + 1, (1,), generator=rng).expand(len(x0))"},
        ],
        "a crop of `most` is never drawn: randint leaves its upper end out": [
            {"randint(0, most + 1": "randint(0, most"},
            {_DRAWN: f"top = torch.randint(0, most, (len(x0),), generator=rng); left = {_EACH}"},
            {_DRAWN: f"top = {_EACH}; left = torch.randint(0, most, (len(x0),), generator=rng)"},
        ],
        "a crop of 0 is never drawn": {"randint(0,": "randint(1,"},
        "the crops are not drawn from rng: pass generator=rng": {"(2, len(x0)), generator=rng)": "(2, len(x0)))"},
        "the target is that of the picture before it was cropped": {
            _CROPPED: "before, x0 = x0, crop_pictures(x0, top, left)",
            "target(x0,": "target(before,",
        },
        "the noise is compared; the network's own view is asked for: pred.value and network.target(x0, t, eps)": [
            {_LOSS: "pred.eps - eps"},
            {_LOSS: "pred.value - eps"},
        ],
        "x_0 is compared; the network's own view is asked for: pred.value and network.target(x0, t, eps)": [
            {_LOSS: "pred.x0 - x0"},
            {_LOSS: "pred.value - x0"},
        ],
        "drop is the share that is kept; it should be the share that is dropped": {"< drop": ">= drop"},
        "nothing is ever dropped": {"label = torch.where(dropped, null, label)": "pass"},
        "one random number is drawn for the whole batch: all labels are dropped, or none": {"rand(len(label)": "rand(1"},
        "dropped labels become 0, which is a class; null has a number of its own": {"null, label)": "0, label)"},
    }
    | _OF_ANY_LOOP,
    hint="In each step: x0, label, side = draw(rng); top and left by torch.randint(0, most + 1, (2, len(x0)), generator=rng); "
    "crop_pictures(x0, top, left); micro = torch.stack([side, top, left], 1); drop labels as in lesson 08; then t, eps and x_t "
    "as in lesson 02; the mean of (network.given((label, micro))(x_t, t).value - network.target(x0, t, eps)) squared; "
    "zero_grad(), backward(), step(); and keep loss.item().",
    shown=(sdxl.crop_pictures,),
)

# refiner_loss. As with denoising_loss, the network records its input.
LATENTS, LAST = normal(6000, 1, 3, 3, seed=3), 12


def _record(loss: Callable) -> Record:
    return Record(loss, LATENTS, LAST, view="v")


def _counts(loss: Callable) -> Tensor:
    return torch.bincount(_record(loss).t, minlength=51) * LAST / len(LATENTS)


def _by_rng(loss: Callable) -> Tensor:
    """Whether the same seed draws the same times, and the same noise: 1, 1."""
    first, again = _record(loss), _record(loss)
    return torch.tensor([torch.equal(first.t, again.t), torch.allclose(first.eps, again.eps, atol=1e-3)])


def _drawn_anew(loss: Callable) -> Tensor:
    """Whether a second call with one generator has another value: 1."""
    network, rng = Network(Spy(), deepcopy(PROCESS), "v"), seeded(7)
    first, second = (torch.as_tensor(loss(network, LATENTS[:50].clone(), LAST, rng)).detach() for _ in range(2))
    return first != second


def _refiner_loss(denoiser, x0, last, rng):
    """The mean squared error in the network's view, at times 1..last only. Podell et al. 2023, section 2.5."""
    t = torch.randint(1, last + 1, (len(x0),), generator=rng)
    eps = torch.randn(x0.shape, generator=rng).to(x0)
    x_t = denoiser.process.add_noise(x0, t, eps)
    return (denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean()


refiner_loss = Check(
    "refiner_loss",
    _refiner_loss,
    cases=[
        Case("t is uniform on 1..last, each picture has its own", _counts, tolerance=0.35),
        Case("it is the mean squared error of the network's output, in its own view", lambda loss: _record(loss).ratio),
        Case("the noise is Gaussian, of mean 0 and standard deviation 1", lambda loss: _record(loss).noise, tolerance=0.05),
        Case("all random numbers come from rng: the same seed draws the same times and noise", _by_rng),
        Case("each call draws other numbers", _drawn_anew),
        Case("it has the gradient of the mean squared error", lambda loss: _record(loss).slope, tolerance=1e-3),
    ],
    mistakes={
        "t is any time from 1 to T, as for the base; the refiner has 1..last only": {"last + 1": "denoiser.process.T + 1"},
        "t lies above last: those times are the base's": {"(1, last + 1": "(last + 1, denoiser.process.T + 1"},
        "t is always last": {"randint(1,": "randint(last,"},
        "last itself is never drawn: randint leaves its upper end out": {"last + 1": "last"},
        "t is counted from 0: at t = 0 there is no noise to predict, and last is never drawn": {"(1, last + 1": "(0, last"},
        "t begins at 0, where there is no noise to predict": {"(1,": "(0,"},
        "one t is drawn for the whole batch; draw one for each picture": {
            "(len(x0),), generator=rng)": "(1,), generator=rng).expand(len(x0))"
        },
        "one noise is drawn for the whole batch; draw one for each picture": {
            "randn(x0.shape, generator=rng)": "randn(x0[:1].shape, generator=rng).expand(x0.shape)"
        },
        "times and noise come from torch's own generator; draw both from rng": {
            "(len(x0),), generator=rng)": "(len(x0),))",
            "(x0.shape, generator=rng)": "(x0.shape)",
        },
        "the noise comes from torch's own generator; draw it from rng": {"(x0.shape, generator=rng)": "(x0.shape)"},
        "the times come from torch's own generator; draw them from rng": {"(len(x0),), generator=rng)": "(len(x0),))"},
        "the random numbers are seeded anew at each call: all batches have the same times and noise": {
            "t = torch.randint": "rng.manual_seed(0); t = torch.randint"
        },
        "the noise is uniform on 0..1 (rand); it should be Gaussian (randn)": {"randn(": "rand("},
        "the output is compared with the noise; the network's own view is asked for": {"denoiser.target(x0, t, eps)": "eps"},
        "the output is compared with x_0; the network's own view is asked for": {"denoiser.target(x0, t, eps)": "x0"},
        "the predicted noise is compared with the noise; the network's own view is asked for": {
            "value - denoiser.target(x0, t, eps)": "eps - eps"
        },
        "the predicted x_0 is compared with x_0; the network's own view is asked for": {
            "value - denoiser.target(x0, t, eps)": "x0 - x0"
        },
        "the errors are summed, where their mean belongs": {".mean()": ".sum()"},
        "the errors are not squared": {".square()": ".abs()"},
        "no noise is added": {"torch.randn(x0.shape, generator=rng)": "torch.zeros(x0.shape)"},
        "nothing can be learned from it: the prediction has no gradient": {".value -": ".value.detach() -"},
    },
    hint="t = torch.randint(1, last + 1, (len(x0),), generator=rng); then as in lesson 02: add_noise(x0, t, eps), and "
    "(denoiser(x_t, t).value - denoiser.target(x0, t, eps)).square().mean().",
    shown=(sdxl.refiner_loss,),
)
