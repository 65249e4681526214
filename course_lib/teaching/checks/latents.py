"""Lesson 12: latent diffusion."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from course_lib.denoisers import Network
from course_lib.methods import latents
from course_lib.process import randn_like, seeded
from course_lib.samplers import sample
from course_lib.teaching.checks import epsilon
from course_lib.teaching.checks.check import Case, Check, after
from course_lib.teaching.checks.outcome import Refused
from course_lib.teaching.checks.spy import PROCESS, Spy, affine, normal
from course_lib.training import denoising_loss

# quantize
LATENTS, CODEBOOK, WEIGHTS = normal(2, 3, 4, 5, seed=1), normal(7, 3, seed=2), normal(2, 3, 4, 5, seed=3)
UNEVEN = torch.tensor([0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0]).view(-1, 1)


def _of(part: int, z: Tensor, codebook: Tensor) -> Callable[[Callable], Tensor]:
    """A case's run: the vectors (part 0) or the error (part 1) that the function gives."""
    return lambda quantize: _pair(quantize, z.clone(), codebook.clone())[part]


def _pair(quantize: Callable, z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    both = quantize(z, codebook)
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise Refused("it must return a pair: the vectors in the places of z, and the error")
    return torch.as_tensor(both[0]), torch.as_tensor(both[1])


def _gradient(part: int, of: int) -> Callable[[Callable], Tensor]:
    """A case's run: the gradient of the vectors, weighted, or of the error, with respect to z (of = 0) or the codebook (1)."""

    def run(quantize):
        leaves = LATENTS.clone().requires_grad_(), CODEBOOK.clone().requires_grad_()
        made = _pair(quantize, *leaves)
        value = (made[0] * WEIGHTS).sum() if part == 0 else made[1]
        if not value.requires_grad:
            raise Refused(f"{'the vectors' if part == 0 else 'the error'} must have a gradient")
        found = torch.autograd.grad(value, leaves[of], allow_unused=True)[0]
        return torch.zeros_like(leaves[of]) if found is None else found

    return run


def _quantize(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest vectors, and the error that trains both. Van den Oord et al. 2017, section 3.2 and eq. 3, beta = 0.25."""
    cells = z.movedim(1, -1)
    nearest = torch.cdist(cells.detach().flatten(0, 2), codebook.detach()).argmin(1)
    code = codebook[nearest].view(cells.shape).movedim(-1, 1)
    error = (code - z.detach()).square().mean() + 0.25 * (z - code.detach()).square().mean()
    return z + (code - z).detach(), error


_DISTANCE = "torch.cdist(cells.detach().flatten(0, 2), codebook.detach()).argmin(1)"
_FIRST, _SECOND = "(code - z.detach()).square().mean()", "0.25 * (z - code.detach()).square().mean()"

quantize = Check(
    "quantize",
    _quantize,
    cases=[
        Case("each place of each picture gets the nearest vector", _of(0, LATENTS, CODEBOOK)),
        Case("vectors of very different lengths", _of(0, LATENTS, CODEBOOK * UNEVEN)),
        Case("a codebook of one vector", _of(0, LATENTS, CODEBOOK[:1])),
        Case("the error", _of(1, LATENTS, CODEBOOK)),
        Case("the error of one vector", _of(1, LATENTS, CODEBOOK[:1])),
        Case("the gradient of the vectors is passed on to z as it is", _gradient(0, 0)),
        Case("the vectors themselves pass no gradient to the codebook", _gradient(0, 1)),
        Case("the error's gradient with respect to z is that of 0.25 times the square", _gradient(1, 0)),
        Case("the error's gradient with respect to the codebook", _gradient(1, 1)),
        Case("z and codebook are left as they were", after(LATENTS, CODEBOOK)),
    ],
    mistakes={
        "the farthest vector is taken, not the nearest": {"argmin": "argmax"},
        "the vector with the largest product is taken; the nearest has the smallest distance": {
            _DISTANCE: "(cells.detach().flatten(0, 2) @ codebook.detach().T).argmax(1)"
        },
        "channels and places are mixed: (B, C, h, w) must be (B, h, w, C) before it is flattened": {
            "z.movedim(1, -1)": "z.reshape(z.shape[0], *z.shape[2:], z.shape[1])",
            "view(cells.shape).movedim(-1, 1)": "view(z.shape)",
        },
        "the gradient stops at the vectors: add (code - z).detach() to z (straight-through)": {
            "z + (code - z).detach()": "code.detach()"
        },
        "the gradient of the vectors goes to the codebook, and not to z: z + (code - z).detach() passes it on": {
            "z + (code - z).detach()": "code"
        },
        "z itself is returned, not the vectors": {"z + (code - z).detach()": "z"},
        "the factor 0.25 of the second part is missing": {"0.25 * ": ""},
        "0.25 multiplies the part of the codebook; it belongs to the part of z": {
            _FIRST: "0.25 * " + _FIRST,
            "+ 0.25 * ": "+ ",
        },
        "nothing is detached in the error: both parts train both": {
            _FIRST: "(code - z).square().mean()",
            _SECOND: "0.25 * (z - code).square().mean()",
        },
        "the part that trains the codebook is missing": {_FIRST + " + ": ""},
        "the part that keeps z near its vector is missing": {" + " + _SECOND: ""},
        "the squares of the channels are summed; the mean is over all numbers, channels too": {
            _FIRST: _FIRST.replace("mean", "sum(1).mean"),
            _SECOND: _SECOND.replace("mean", "sum(1).mean"),
        },
        "one detach is missing in the error: the first part trains the codebook alone, the second z alone": [
            {_FIRST: "(code - z).square().mean()"},
            {_SECOND: "0.25 * (z - code).square().mean()"},
        ],
        "the squares are summed, not averaged": {
            _FIRST: _FIRST.replace("mean", "sum"),
            _SECOND: _SECOND.replace("mean", "sum"),
        },
        "absolute values are averaged, not squares": {
            _FIRST: _FIRST.replace("square", "abs"),
            _SECOND: _SECOND.replace("square", "abs"),
        },
        "the numbers of the vectors are returned, not the vectors": {"z + (code - z).detach(), error": "nearest, error"},
        "vectors and error have changed places": {"z + (code - z).detach(), error": "error, z + (code - z).detach()"},
    },
    hint="cells = z.movedim(1, -1); torch.cdist(cells.flatten(0, 2), codebook).argmin(1) are the numbers of the nearest "
    "vectors; code = codebook[nearest] in the shape of cells, moved back; z + (code - z).detach() has the values of code and "
    "the gradient of z; the error is mean (code - z.detach())^2 + 0.25 mean (z - code.detach())^2.",
    shown=(latents.quantize,),
)

# latent_diffusion. The latents and the noise may be drawn in any order: what is compared is what the network is given, the
# gradient with which each step of the optimizer begins, and what is decoded.
STEPS, ASKED = 3, torch.tensor([4, 0, 2])
SPREAD = torch.tensor([5.0, 1.5]).view(2, 1, 1)


class _Coder:
    """An autoencoder of latents with a mean of 2 and channels of unequal SPREAD; it keeps what it encodes and decodes."""

    def __init__(self):
        self.latents: list[Tensor] = []
        self.decoded: list[Tensor] = []

    def encode(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        z = (avg_pool2d(x.detach(), 2) - 0.5) * SPREAD + 2 + 0.4 * randn_like(x[:, :, ::2, ::2], rng)
        self.latents.append(z.clone())
        return z

    def decode(self, z: Tensor) -> Tensor:
        self.decoded.append(z.detach().clone())
        return self.pictures(z)

    def pictures(self, z: Tensor) -> Tensor:
        return interpolate((z.detach() - 2) / SPREAD + 0.5, scale_factor=2.0)


class _Labelled(Spy):
    """A network of one weight that takes labels (B,), and keeps every input."""

    shape = (2, 3, 2)

    def __init__(self):
        super().__init__(lambda weight, x, time, label: affine(weight, x, time) + 0.1 * label.view(-1, 1, 1, 1))
        self.calls: list[tuple[Tensor, ...]] = []

    def as_condition(self, label) -> Tensor:
        label = torch.as_tensor(label)
        if label.is_floating_point() or label.dtype == torch.bool or label.ndim > 1:
            raise Refused(f"labels must be whole numbers (B,), got {label.dtype} of shape {tuple(label.shape)}")
        return label.long().reshape(-1)

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        made = super().forward(x, *rest)
        self.calls.append(self.input)
        return made


class _Run:
    """One training and sampling, with what it did. With `grows`, each batch has larger values than the one before."""

    def __init__(self, run: Callable, batch: int = 100, steps: int = STEPS, asked: Tensor = ASKED, grows: float = 0):
        self.asked, self.coder, spy, self.labels, self.gradients = asked, _Coder(), _Labelled(), [], []
        self.network = Network(spy, deepcopy(PROCESS), "v")
        self.optimizer = epsilon._Optimizer(spy.parameters(), lr=0.02)
        self.steps: list[SimpleNamespace] = []

        def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
            self.labels.append(torch.randint(5, (batch,), generator=rng))
            x = 2 * torch.randn(batch, 2, 6, 4, generator=rng) + 0.5
            return x * (1 + grows * (len(self.labels) - 1)), self.labels[-1].clone()

        def watch() -> None:
            if not self.coder.latents:
                raise Refused("no pictures are encoded: autoencoder.encode(x, rng) gives latents")
            if not spy.calls:
                raise Refused("the network is never called in training: denoising_loss(network.given(label), z, rng)")
            self.steps.append(self._step(spy))

        self.optimizer.watch = watch
        self.pictures = torch.as_tensor(run(self.coder, self.network, draw, self.optimizer, steps, asked.clone(), seeded(7)))
        if not self.steps:
            raise Refused("the weights never move: optimizer.step() is never called")
        self.sampled = spy.calls[self.steps[-1].calls :]
        if not self.sampled:
            raise Refused("nothing is sampled: sample(network.given(label), noise, 25)")
        if not self.coder.decoded:
            raise Refused("nothing is decoded: autoencoder.decode(z) gives pictures")

    def _step(self, spy: _Labelled) -> SimpleNamespace:
        """What the network was given in a step: the scale of the latents in it, the rest, which is noise, and the gradient."""
        z_t, time, cond = spy.calls[-1]
        z = self.coder.latents[-1]
        if z_t.shape != z.shape:
            raise Refused(f"the network must be given noisy latents {tuple(z.shape)}, it was given {tuple(z_t.shape)}")
        t = (time * PROCESS.T).round().long()
        a, b = PROCESS.coefficients(t.clamp(min=1), z_t)
        away = z - z.mean()
        scale = float((away * a * (z_t - z_t.mean()) / b**2).sum() / (away * a / b).square().sum())
        eps = (z_t - scale * a * z) / b
        weight = spy.weight.detach().clone().requires_grad_()
        target = a * eps - b * scale * z
        loss = (spy.rule(weight, *spy.calls[-1]) - target).square().mean()
        found = torch.zeros(()) if spy.weight.grad is None else spy.weight.grad.clone()
        return SimpleNamespace(
            unit=scale * z.std(),
            scale=scale,
            noise=torch.stack([eps.mean(), eps.std()]),
            eps=eps,
            gradient=found / torch.autograd.grad(loss, weight)[0],
            cond=torch.equal(cond.expand(len(z)), self.labels[-1]),
            z=z,
            t=t,
            calls=len(spy.calls),
        )

    @property
    def end(self) -> Tensor:
        """The latents to which DDIM leads from the noise with which sampling began, by the trained network."""
        with torch.no_grad():
            return sample(self.network.given(self.asked), self.sampled[0][0], 25)

    @property
    def undone(self) -> Tensor:
        """What is decoded, times the scale, over what was sampled, and the cosine of both: 1."""
        found, end = self.coder.decoded[-1], self.end
        if found.shape != end.shape:
            raise Refused(f"latents {tuple(end.shape)} must be decoded, got {tuple(found.shape)}")
        ratio = self.steps[-1].scale * (found * end).sum() / end.square().sum()
        return torch.stack([ratio, torch.cosine_similarity(found.flatten(), end.flatten(), dim=0)])

    @property
    def input(self) -> Tensor:
        """The standard deviation of the latents in what the network is given, and mean and deviation of the rest: 1, 0, 1."""
        return torch.cat([self.each("unit"), self.each("noise").flatten()])

    @property
    def given(self) -> Tensor:
        """Whether the network is given the labels of each batch, and whether the wanted ones."""
        wanted = [torch.equal(call[2].expand(len(self.asked)), self.asked) for call in self.sampled]
        return torch.tensor([bool(self.each("cond").all()), all(wanted)])

    @property
    def start(self) -> Tensor:
        """The number of steps of sampling, and the first time."""
        return torch.stack([torch.tensor(float(len(self.sampled))), self.sampled[0][1][0]])

    @property
    def first(self) -> Tensor:
        """The mean and the standard deviation of what sampling begins with; `sample` may take it in batches."""
        x = torch.cat([x for x, time, *_ in self.sampled if (time == self.sampled[0][1][0]).all()])
        return torch.stack([x.mean(), x.std()])

    @property
    def decodes(self) -> Tensor:
        """Whether the pictures are those of the last call of the decoder."""
        right = self.coder.pictures(self.coder.decoded[-1])
        return torch.tensor(self.pictures.shape == right.shape == (3, 2, 6, 4) and torch.allclose(self.pictures, right))

    @property
    def fresh(self) -> Tensor:
        """Whether pictures and noise of a step are independent of those of the step before."""
        pairs = [(a.z - a.z.mean(), b.z - b.z.mean()) for a, b in zip(self.steps, self.steps[1:])]
        pairs += [(a.eps, b.eps) for a, b in zip(self.steps, self.steps[1:])]
        return torch.stack([torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).abs() < 0.1 for a, b in pairs]).all()

    def each(self, name: str) -> Tensor:
        """A figure of each step."""
        return torch.stack([torch.as_tensor(getattr(step, name)) for step in self.steps])


def _latent_diffusion(
    autoencoder: nn.Module,
    network: Network,
    draw: Callable,
    optimizer: torch.optim.Optimizer,
    steps: int,
    wanted: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Pictures of the labels `wanted`, by a network that is trained in latents. Rombach et al. 2022, section 3.2."""
    x, label = draw(rng)
    scale = 1 / autoencoder.encode(x, rng).std()
    for _ in range(steps):
        x, label = draw(rng)
        z = scale * autoencoder.encode(x, rng)
        loss = denoising_loss(network.given(label), z, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = network.draw_noise(len(wanted), rng)
    z = sample(network.given(wanted), noise, 25)
    return autoencoder.decode(z / scale)


_SCALE, _TRAINED = "1 / autoencoder.encode(x, rng).std()", "z = scale * autoencoder.encode(x, rng)"
_ANEW = "z = autoencoder.encode(x, rng)\n        scale = 1 / z.std()\n        z = scale * z"
_UPDATE = "loss.backward()\n        optimizer.step()"

latent_diffusion = Check(
    "latent_diffusion",
    _latent_diffusion,
    cases=[
        Case("there are as many steps of the optimizer as `steps` says", lambda f: float(len(_Run(f, 50, 2).steps))),
        Case("the network is given latents of unit variance, and standard normal noise", lambda f: _Run(f, 2000).input, 0.04),
        Case("one scale, measured once, is used in all steps", lambda f: _Run(f, 2000, grows=0.5).each("scale"), 0.04),
        Case("each step has the gradient of the loss of this step alone", lambda f: _Run(f, 2000).each("gradient"), 0.05),
        Case("each step draws new pictures and new noise", lambda f: _Run(f, 600).fresh),
        Case("the network is given the labels of the pictures, and in sampling those that are wanted", lambda f: _Run(f).given),
        Case("sampling has 25 steps, from t = T on", lambda f: _Run(f).start, 1e-3),
        Case("sampling begins with noise of unit variance", lambda f: _Run(f, 1200, asked=ASKED.repeat(400)).first, 0.05),
        Case(
            "the latents with which sampling ends are decoded, and their scale is undone", lambda f: _Run(f, 600).undone, 0.04
        ),
        Case("the decoder's pictures are returned, one for each label", lambda f: _Run(f).decodes),
        Case("the same rng gives the same pictures", lambda f: torch.equal(_Run(f).pictures, _Run(f).pictures)),
    ],
    mistakes={
        "the latents are not scaled in training": {_TRAINED: "z = autoencoder.encode(x, rng)"},
        "the latents are scaled nowhere": {_SCALE: "autoencoder.encode(x, rng).std() ** 0"},
        "the latents are multiplied by their standard deviation; they should be divided by it": {
            _SCALE: "autoencoder.encode(x, rng).std()"
        },
        "the latents are divided by their variance; the standard deviation is its root": {
            _SCALE: "1 / autoencoder.encode(x, rng).var()"
        },
        "the scale is that of the pictures, not of the latents": {_SCALE: "1 / x.std() + 0 * autoencoder.encode(x, rng).std()"},
        "each channel or place has its own scale; the latent scale is one number": [
            {_SCALE: "1 / autoencoder.encode(x, rng).std((0, 2, 3), keepdim=True)"},
            {_SCALE: "1 / autoencoder.encode(x, rng).std(0)"},
        ],
        "the scale is measured anew in each step; it is one number, measured before training": [
            {_TRAINED: _ANEW},
            {"    x, label = draw(rng)\n    scale = " + _SCALE + "\n": "", _TRAINED: _ANEW},
        ],
        "the scale is not undone before decoding": {"decode(z / scale)": "decode(z)"},
        "the scale is used twice, and never undone: divide before decoding": {"z / scale": "scale * z"},
        "the labels of the pictures are not given to the network": {"given(label)": "given(0)"},
        "pictures are sampled for the labels of the last batch, not for those that are wanted": {
            "given(wanted)": "given(label[: len(wanted)])"
        },
        "the gradients of all steps add up: optimizer.zero_grad() is missing": {"optimizer.zero_grad()": "pass"},
        "optimizer.step() finds no gradient: loss.backward() must come just before it": [
            {_UPDATE: "optimizer.step()\n        loss.backward()"},
            {_UPDATE: "loss.backward()\n        optimizer.zero_grad()\n        optimizer.step()"},
        ],
        "all steps train on one batch: draw(rng) belongs inside the loop": {
            "    for _ in range(steps):\n        x, label = draw(rng)": "    for _ in range(steps):\n        pass"
        },
        "the noise at the start of sampling is scaled like latents; it has unit variance already": {
            "network.draw_noise(len(wanted), rng)": "scale * network.draw_noise(len(wanted), rng)"
        },
        "the noise at the start of sampling is divided by the scale; it has unit variance already": {
            "network.draw_noise(len(wanted), rng)": "network.draw_noise(len(wanted), rng) / scale"
        },
        "sampling has one step; 25 are asked for": {"noise, 25": "noise, 1"},
        "the latents or the noise of the loss are not drawn from rng: encode(x, rng), denoising_loss(..., z, rng)": [
            {_TRAINED: "z = scale * autoencoder.encode(x)"},
            {"z, rng)": "z)"},
        ],
        "there is one step too few": {"range(steps)": "range(steps - 1)"},
    },
    hint="scale = 1 / autoencoder.encode(x, rng).std() of a first batch; in each step z = scale * autoencoder.encode(x, rng), "
    "denoising_loss(network.given(label), z, rng), zero_grad(), backward(), step(); then z = sample(network.given(wanted), "
    "network.draw_noise(len(wanted), rng), 25), and autoencoder.decode(z / scale).",
    shown=(latents.unit_scale, denoising_loss, sample),
)
