"""MeanFlow: regression on the average velocity, without a teacher (Geng et al. 2025, Algorithms 1 and 2)."""

import torch

from course_lib.methods.one_step import AverageVelocity, average_velocity_loss, jumps, meanflow_target, meanflow_times
from course_lib.nets.embeddings import TwoTimes
from course_lib.nets.unet import UNet
from course_lib.process import RectifiedFlow, randint, randn, randn_like, seeded
from course_lib.samplers import result
from course_lib.teaching.minute import passing
from course_lib.training import EMA, OneCycle


def network(seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    net = UNet(size=16, widths=(16, 32, 64), classes=10, attn=0)
    net.time = TwoTimes(128)
    return net


def train(x, label, seconds, seed):
    net, rng = network(seed), seeded(seed)
    ema = EMA(net, 0.995)
    optimizer = OneCycle(net, 1, lr=3e-3, muon=0.02, ema=ema)
    for done in passing(seconds):
        i = randint(0, len(x), 64, rng=rng)
        u = AverageVelocity(net).given(label[i])
        optimizer.zero_grad()
        average_velocity_loss(u, x[i], randn_like(x[i], rng), *meanflow_times(64, rng=rng), meanflow_target).backward()
        optimizer.step(done)
    return ema.net.state_dict()


def sample(weights, label, evaluations, seed):
    net = network()
    net.load_state_dict(weights)
    noise = randn(len(label), 1, 16, 16, rng=seeded(seed))
    return result(jumps(AverageVelocity(net.eval()).given(label), noise, RectifiedFlow().times(evaluations)))
