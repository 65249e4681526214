"""Textbook DDPM: predicted noise, linear betas, uniform times, Adam at a fixed rate (Ho et al. 2020); DDIM steps."""

import torch

from course_lib.denoisers import Network
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import sample as sample_by_steps
from course_lib.schedules import linear_beta
from course_lib.teaching.minute import passing
from course_lib.training import EMA, denoising_loss


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(UNet(size=16, widths=(16, 32, 64), classes=10), DDPM(linear_beta(1000)), "eps")


def train(x, label, seconds, seed):
    model, rng = network(seed), seeded(seed)
    ema, optimizer = EMA(model.net, 0.999), torch.optim.Adam(model.net.parameters(), lr=1e-3)
    for _ in passing(seconds):
        i = torch.randint(len(x), (64,), generator=rng)
        optimizer.zero_grad()
        denoising_loss(model.given(label[i]), x[i], rng).backward()
        optimizer.step()
        ema.update()
    return ema.net.state_dict()


def sample(weights, label, evaluations, seed):
    model = network()
    model.net.load_state_dict(weights)
    return sample_by_steps(model.given(label), model.draw_noise(len(label), seeded(seed)), evaluations, batch=250)
