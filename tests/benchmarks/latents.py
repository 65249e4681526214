"""Diffusion in pixels and in latents on one clock: the cost of a step, and what is drawn after equal processor time.

    python tests/benchmarks/latents.py [cost | arms | factors | regularised | perceptual] [--seeds 10 .. 22]

The clock is the processor time of one core. `cost` measures a step of each training in turns, on one thread. All else is a
fixed number of steps, which other work of the machine does not change: seconds are steps times their cost in the fastest round.
All rounds were slowed by other work, so that these seconds compare with each other only. Lesson 12 therefore counts time in
steps at f = 4: 3, 6 and 12 s are 72, 145 and 290 of them. Pictures show one object; there are 20 kinds, given to the networks
as a label. The networks are small: all of this takes less than an hour.

`arms` trains a U-Net of the same widths by the same loss, rate and times for SECONDS: in latents of the shipped autoencoder,
f = 4, and in pixels that are folded 2 x 2 or 4 x 4 into channels; the latter has the map of f = 4 without an autoencoder. There
the last convolution has 16 features for 48 outputs, too few for all of the noise in v. So a fourth arm predicts x0 instead.
All data are scaled to unit variance. n pictures of each network, by 25 steps of DDIM without guidance, are read by the shipped
detector at a quarter, a half and all of the time. The autoencoder's own training is not counted: it is made once, and `cost`
gives its price. Networks are kept in build/latents; lesson 12 shows the results. All this was fixed before seeds 10 to 19 were
trained: the claim is that f = 4 draws more right after 12 s than each of the three arms in pixels. Seeds 0 to 2 without the
fourth arm, seen before, are not used.

`factors` adds to these arms f = 1, pixels that are not folded, and f = 2, for the same times; three trainings, seeds 10 to 12,
beside those of f = 4, which were known. The autoencoder of f = 2 is trained here by the recipe of the shipped one of f = 4:
equal steps, batches, rate and KL weight. There is one of each, so that the error is that of the diffusion trainings alone. What
is drawn is judged as above after a half and all of the time. Shown are the shares, and the differences of each two f after all
of the time with their margins, without a claim of which is best. Each autoencoder's own training is not counted, and its price
printed. All this was fixed before a network was trained at f = 1 or 2. (Ten times as long for each, the first plan, was given
up for lack of processor time.)

`regularised` trains three pairs of lesson 12's small autoencoder, f = 4, for CODER_STEPS batches of 32 by the lesson's loss:
one with the KL term (5e-4), one without it, weight 0. Gradients are clipped to length 1. All else is equal: first weights,
batches, noise in the latents, whose variance is learned. Then for each autoencoder the U-Net is trained in its latents, which
both arms divide by their standard deviation, for U_STEPS batches of 32. So a seed, 20 to 22, covers both trainings. Judged:
reconstructions of 500 fresh pictures by PSNR and by detector; the latents' standard deviation before the division, its largest
ratio between two channels, the |z| that one of a thousand exceeds, in units of it, and the share of the encoder's noise in the
variance; what is drawn, as above, halfway and at the end. The claim, by Rombach et al.'s reason to regularise: with the KL term
more is drawn right at the end. It may fail: both arms have unit variance. Null: labels exchanged. All this was fixed before any
of these was trained.

`perceptual` trains lesson 12's small KL-regularised autoencoder for PERCEPTUAL_STEPS batches of 12 by the lesson's error of
pixels alone, with the squared difference of the maps of the shipped detector's third layer (of five) added, and, as a control,
with the same of an untrained detector. The factor of the added term makes it as large as the error of pixels on pictures
reconstructed by an untrained autoencoder of seed 0; it is the same for all seeds. Equal steps, batches and first weights for
each seed: 10 to 14. Judged on 500 fresh pictures: PSNR; the share in which the detector reads colour and shape rightly, which
is the judge that took part in the loss; the share in which the shipped CLIP, which did not, prefers the right one of 24
captions; and CLIP's mean cosine between reconstruction and original. The claim: with the detector's features both readers are
right more often than by pixels alone. Null: pixels alone with seeds 15 to 19 in the place of the features. All this was fixed
before seeds 10 to 19 were trained. Seed 0 by pixels alone was seen before, to choose steps at which the detector reads some but
not all (600: 33 %, 1,000: 97 %); it is not used.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from rows import BUILD, Benchmark, Part, load, load_or_train, measure
from scores import right
from timing import min_milliseconds
from torch import Tensor, nn

from course_lib.datasets import captions, scenes, shapes
from course_lib.denoisers import Network
from course_lib.methods.latents import autoencoder_loss, kl_term, psnr
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, randn_like, seeded
from course_lib.samplers import sample
from course_lib.schedules import linear_beta
from course_lib.training import EMA, TrainingState, denoising_loss, one_cycle
from course_lib.zoo import models
from course_lib.zoo.recipes.latents import some_pictures, train_autoencoder

COST, CODERS = "milliseconds, a batch of 32", "milliseconds of autoencoders"
SECONDS = (3, 6, 12)
CODER_STEPS, U_STEPS = 900, 600
PERCEPTUAL_STEPS = 700
PIXELS, FEATURES, UNTRAINED = "pixels alone", "detector's features", "untrained features"


def some(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """n pictures of one object (n, 3, 32, 32), and which of the kinds of objects each shows (n,)."""
    scene = scenes.sample(n, rng, ("one",))
    return shapes.draw(scene, rng).to(memory_format=torch.channels_last), scene.object[:, 0]


def asked(n: int, seed: int) -> scenes.Scene:
    """n objects to draw, at no place and of no size in particular."""
    scene = scenes.sample(n, seeded(100 + seed), ("one",))
    nothing = torch.full_like
    return replace(scene, size=nothing(scene.size, scenes.NONE), place=nothing(scene.place, scenes.NONE))


def steps_of(net: nn.Module, loss: Callable[[], Tensor], ema: EMA, steps: int, lr: float = 3e-3) -> Iterator[TrainingState]:
    """Steps of AdamW at a fixed rate, so that a network halfway is not one whose rate is still to fall."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        ema.update()
        yield TrainingState(step, value.item(), step / steps, 0.0)


# Pixels and latents


class Scaled(nn.Module):
    """Pictures, or the latents of an autoencoder, moved to mean 0 and scaled to unit variance: one number each for all."""

    def __init__(self, coder: Autoencoder | None = None):
        super().__init__()
        self.coder, rng = coder, seeded(9)
        x, _ = some(1000, rng)
        z = coder.encode(x, rng) if coder else x
        self.mean, self.std = z.mean(), z.std()

    def encode(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return ((self.coder.encode(x, rng) if self.coder else x) - self.mean) / self.std

    def decode(self, z: Tensor) -> Tensor:
        z = z * self.std + self.mean
        return self.coder.decode(z) if self.coder else z.clamp(-1, 1)


@cache
def coder_of_two() -> Autoencoder:
    """An autoencoder of f = 2, by the recipe of the shipped one of f = 4."""
    torch.manual_seed(0)
    net = Autoencoder(factor=2, channels=4).to(memory_format=torch.channels_last)
    load_or_train(BUILD / "latents/autoencoder f = 2.safetensors", net, lambda: train_autoencoder(net))
    return net


@dataclass(frozen=True)
class Arm:
    """What the U-Net is trained on: maps of `size`, `channels` and `patch`; the autoencoder's factor; what it predicts."""

    size: int = 8
    channels: int = 4
    patch: int = 1
    factor: int = 4
    predicts: str = "v"

    def coder(self) -> nn.Module:
        return Scaled({1: lambda: None, 2: coder_of_two, 4: lambda: models.load("autoencoder", device="cpu")}[self.factor]())

    def network(self, seed: int) -> Network:
        torch.manual_seed(seed)
        net = UNet(self.size, self.channels, (16, 32, 64), depth=1, classes=24, patch=self.patch)
        return Network(net.to(memory_format=torch.channels_last), DDPM(linear_beta(1000)), self.predicts)


ARMS = {
    "f = 1": Arm(size=32, channels=3, factor=1),
    "folded 2 x 2": Arm(size=32, channels=3, patch=2, factor=1),
    "f = 2": Arm(size=16, factor=2),
    "folded 4 x 4": Arm(size=32, channels=3, patch=4, factor=1),
    "folded 4 x 4, x0": Arm(size=32, channels=3, patch=4, factor=1, predicts="x0"),
    "f = 4": Arm(),
}
TRAINED = ("folded 2 x 2", "folded 4 x 4", "folded 4 x 4, x0", "f = 4")


def steps_in(arm: str, seconds: float) -> int:
    """How many steps of an arm's network fit into a time, encoding included. What it predicts does not change the cost."""
    return int(1000 * seconds / min(load("latents")[COST][arm.removesuffix(", x0")]["training"]))


def arm_training(arm: str, seed: int) -> tuple[Network, nn.Module, Callable]:
    """The averaged network of an arm, what encodes and decodes, and its training."""
    of, rng = ARMS[arm], seeded(seed)
    learner, network, coder = of.network(seed), of.network(seed), of.coder()

    def loss() -> Tensor:
        x, label = some(32, rng)
        with torch.no_grad():
            z = coder.encode(x, rng)
        return denoising_loss(learner.given(label), z, rng)

    ema = EMA(learner.net, 0.99, into=network.net)
    return network, coder, lambda: steps_of(learner.net, loss, ema, steps_in(arm, SECONDS[-1]), lr=2e-3)


def arm_row(n: int, arm: str, seed: int, seconds: float) -> dict:
    """What n pictures show, of a network after so much time."""
    network, coder, training = arm_training(arm, seed)
    path = lambda s: BUILD / f"latents/{arm} {seed} {s:g}.safetensors"
    if not path(SECONDS[-1]).is_file():
        snapshots = {steps_in(arm, s): path(s) for s in SECONDS[:-1]}
        load_or_train(path(SECONDS[-1]), network.net, training, snapshots=snapshots)
    load_or_train(path(seconds), network.net, training)
    with torch.no_grad():
        return {"steps": steps_in(arm, seconds)} | pictures_of(network, coder, n, seed)


def pictures_of(network: Network, coder: nn.Module, n: int, seed: int) -> dict:
    wanted = asked(n, seed)
    z = sample(network.given(wanted.object[:, 0]), network.draw_noise(n, seeded(300 + seed)), 25, batch=40)
    made = coder.decode(z)
    found = right(made, wanted, ("colour", "shape", "binding"))
    found["exchanged"] = right(made.roll(1, 0), wanted, ("binding",))["binding"]
    return {"figures": found}


# Costs


def rounds(runs: dict, repeats: int) -> dict:
    """The milliseconds of each run in every one of `repeats` rounds, in each of which all take turns; the first is left out."""
    times = [min_milliseconds(runs, 1) for _ in range(repeats + 1)][1:]
    return {name: [round(row[name], 2) for row in times] for name in runs}


def untrained_coder(of: Arm) -> nn.Module:
    """The autoencoder of an arm, of which only the cost counts."""
    return Scaled(None if of.factor == 1 else Autoencoder(of.factor).to(memory_format=torch.channels_last))


def unet_step(arm: str, rng: torch.Generator) -> Callable:
    """A training step of an arm's U-Net, encoding included."""
    network, coder = ARMS[arm].network(0), untrained_coder(ARMS[arm])

    def loss() -> Tensor:
        x, label = some(32, rng)
        with torch.no_grad():
            z = coder.encode(x, rng)
        return denoising_loss(network.given(label), z, rng)

    return partial(next, steps_of(network.net, loss, EMA(network.net), 10**9))


def costs(**_) -> dict:
    """Processor milliseconds of a batch of 32, of each of twelve rounds: a training step, an evaluation, decoding."""
    rng, runs = seeded(0), {}
    x, label = some(32, rng)
    for arm, of in ARMS.items():
        if of.predicts != "v":
            continue
        network, coder = of.network(0), untrained_coder(of)

        def evaluation(network=network) -> None:
            with torch.no_grad():
                network.given(label)(network.draw_noise(32, rng), 500)

        z = coder.encode(x, rng)
        runs[arm, "training"], runs[arm, "evaluation"] = unet_step(arm, rng), evaluation
        runs[arm, "decoding"] = partial(lambda coder, z: coder.decode(z), coder, z)
    found: dict = {}
    for (arm, part), spent in rounds(runs, 12).items():
        found.setdefault(arm, {})[part] = spent
    return found


def coder_costs(**_) -> dict:
    """Processor milliseconds of a training step of autoencoders and of the U-Net at f = 4, of each of twelve rounds."""
    rng, runs = seeded(0), {"U-Net at f = 4": unet_step("f = 4", seeded(0))}
    for factor in (2, 4):
        coder = Autoencoder(factor).to(memory_format=torch.channels_last)
        loss = partial(lambda coder: autoencoder_loss(coder, some_pictures(32, rng), 5e-4, rng), coder)
        training = steps_of(coder, loss, EMA(coder), 10**9)
        runs[f"f = {factor}"] = partial(next, training)
    return rounds(runs, 12)


# Latents with and without a KL term


def small_coder_of(weight: float, seed: int) -> Autoencoder:
    """Lesson 12's small autoencoder, trained with that weight of the KL term."""
    net, rng = small_coder(seed), seeded(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True)
    cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: one_cycle(i / CODER_STEPS))
    for _ in range(CODER_STEPS):
        x, _ = some(32, rng)
        mean, log_variance = net.gaussian(x)
        made = net.paint(mean + (log_variance / 2).exp() * randn_like(mean, rng))
        loss = pixel_error(made, x) + weight * kl_term(mean, log_variance)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        cycle.step()
    return net.eval().requires_grad_(False)


def regularised_row(n: int, weight: float, seed: int) -> dict:
    """What reconstructions, latents and samples show, of an autoencoder and a U-Net that are trained here."""
    coder = small_coder_of(weight, seed)
    x, label = some(500, seeded(1000))
    mean, log_variance = coder.gaussian(x)
    z = coder.encode(x, seeded(1))
    each = (z - z.mean()).transpose(0, 1).flatten(1).std(1)
    made, spread = judged(coder.decode(z), x, label), (z - z.mean()).abs().flatten() / z.std()
    figures = {
        "PSNR": made["PSNR"],
        "detector": made["detector"],
        "std": float(z.std()),
        "channels": float(each.max() / each.min()),
        "farthest": float(spread.kthvalue(int(0.999 * len(spread))).values),
        "noise": float(log_variance.exp().mean() / z.var()),
    }
    scaled, rng, of = Scaled(coder), seeded(seed), ARMS["f = 4"]
    learner, network = of.network(seed), of.network(seed)

    def loss() -> Tensor:
        x, label = some(32, rng)
        return denoising_loss(learner.given(label), scaled.encode(x, rng), rng)

    for state in steps_of(learner.net, loss, EMA(learner.net, 0.99, into=network.net), U_STEPS, lr=2e-3):
        if state.step in (U_STEPS // 2, U_STEPS):
            with torch.no_grad():
                found = pictures_of(network, scaled, n, seed)["figures"]
            figures |= {f"{name}, {state.step}": value for name, value in found.items()}
    return {"figures": {name: round(value, 5) for name, value in figures.items()}}


# A perceptual loss


@cache
def maps_of(arm: str) -> nn.Module:
    """Pictures (B, 3, 32, 32) to the maps (B, 48, 16, 16) of the third layer of a detector, shipped or untrained."""
    net = models.load("reader", device="cpu") if arm == FEATURES else models.build("reader").eval().requires_grad_(False)
    return net.body[:3]


def small_coder(seed: int) -> Autoencoder:
    """Lesson 12's small autoencoder, untrained."""
    torch.manual_seed(seed)
    net = Autoencoder(factor=4, channels=4, width=16)
    with torch.no_grad():
        net.encoder[-1].bias[4:] = -5
    return net


def pixel_error(made: Tensor, x: Tensor) -> Tensor:
    return (made - x).abs().mean() + (made - x).square().mean()


def feature_error(arm: str, made: Tensor, x: Tensor) -> Tensor:
    return (maps_of(arm)(made) - maps_of(arm)(x)).square().mean()


@cache
@torch.no_grad()
def factor(arm: str) -> float:
    """What makes the error of an arm's features as large as that of pixels, for an untrained autoencoder."""
    net, x = small_coder(0), some(500, seeded(8))[0]
    made = net.paint(net.gaussian(x)[0])
    return float(pixel_error(made, x) / feature_error(arm, made, x))


def perceptual_row(arm: str, seed: int, **_) -> dict:
    """What 500 reconstructions show, of a small autoencoder that is trained here."""
    net, rng = small_coder(seed), seeded(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True)
    cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: one_cycle(i / PERCEPTUAL_STEPS))
    for _ in range(PERCEPTUAL_STEPS):
        x, _ = some(12, rng)
        mean, log_variance = net.gaussian(x)
        made = net.paint(mean + (log_variance / 2).exp() * randn_like(mean, rng))
        loss = pixel_error(made, x) + 5e-4 * kl_term(mean, log_variance)
        if arm != PIXELS:
            loss = loss + factor(arm) * feature_error(arm, made, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    net.eval().requires_grad_(False)
    x, label = some(500, seeded(1000))
    weight = 0 if arm == PIXELS else round(factor(arm), 3)
    return {"factor": weight, "figures": judged(net.decode(net.encode(x, seeded(1))), x, label)}


@torch.no_grad()
def judged(made: Tensor, x: Tensor, label: Tensor) -> dict:
    """PSNR, the two readers' shares, and CLIP's cosine, of reconstructions of pictures x (n, 3, 32, 32); label (n,)."""
    clip, n = models.load("clip", device="cpu"), len(scenes.COLOURS)
    found = models.load("reader", device="cpu").detect(made)
    read = (found.count == 1) & (found.colour[:, 0] == label % n) & (found.shape[:, 0] == label // n)
    told = captions.tokens([f"a {colour} {shape}" for shape in scenes.SHAPES for colour in scenes.COLOURS])
    seen = clip.encode_image(made)
    preferred = (seen @ clip.encode_text(told).T).argmax(1)
    cosine = (seen * clip.encode_image(x)).sum(1).mean()
    figures = {"PSNR": psnr(made, x), "detector": read.double().mean(), "CLIP": (preferred == label).double().mean()}
    return {name: round(float(value), 4) for name, value in (figures | {"cosine": cosine}).items()}


def perceptual_jobs(seeds) -> list[dict]:
    """Each arm for the first five seeds; pixels alone for the others, too, which is the null."""
    few = [seed for seed in seeds if seed < 15]
    jobs = [{"arm": arm, "seed": seed} for seed in few for arm in (PIXELS, FEATURES, UNTRAINED)]
    return jobs + [{"arm": PIXELS, "seed": seed} for seed in seeds if 15 <= seed < 20]


def floors(**_) -> dict:
    """The judges' figures of the 500 pictures themselves, of means of 4 x 4 pixels enlarged, and of black pictures."""
    x, label = some(500, seeded(1000))
    means = nn.functional.interpolate(nn.functional.avg_pool2d(x, 4), scale_factor=4, mode="bicubic").clamp(-1, 1)
    found = {"means": judged(means, x, label), "black": judged(torch.full_like(x, -1), x, label)}
    originals = judged(x, x, label)
    return found | {"originals": {name: originals[name] for name in ("detector", "CLIP", "cosine")}}


def arm_jobs(seeds) -> list[dict]:
    return [{"arm": arm, "seed": seed, "seconds": s} for seed in seeds if seed < 20 for arm in TRAINED for s in SECONDS]


def factor_jobs(seeds) -> list[dict]:
    return [{"arm": f"f = {f}", "seed": s, "seconds": t} for t in SECONDS[:0:-1] for s in seeds if s < 13 for f in (2, 1)]


def regularised_jobs(seeds) -> list[dict]:
    return [{"weight": weight, "seed": seed} for seed in seeds if seed >= 20 for weight in (5e-4, 0.0)]


PARTS = [
    Part("cost", once={COST: costs, CODERS: coder_costs}),
    Part("arms", arm_jobs, arm_row),
    Part("factors", factor_jobs, arm_row),
    Part("regularised", regularised_jobs, regularised_row, into="regularised"),
    Part("perceptual", perceptual_jobs, perceptual_row, into="perceptual", once={"perceptual floors": floors}),
]
BENCH = Benchmark("latents", PARTS, amounts={"n": 120}, seeds=range(10, 23), threads=1)

if __name__ == "__main__":
    measure(__doc__, BENCH)
