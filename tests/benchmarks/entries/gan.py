"""A conditional GAN with the non-saturating loss and the penalty R1 (Goodfellow et al. 2014; Mescheder et al. 2018)."""

import torch
from torch import nn
from torch.nn.functional import one_hot

from course_lib.methods.gan_vae import adversarial_value, gradient_penalty, non_saturating_loss
from course_lib.nets.generators import ConvDecoder, ConvEncoder
from course_lib.process import randint, seeded
from course_lib.teaching.minute import passing
from course_lib.training import EMA, OneCycle

EVALUATIONS = (1,)
LATENT = 32


class Discriminator(nn.Module):
    """The logit of a picture is that of its label, one of ten."""

    def __init__(self):
        super().__init__()
        self.net, self.label = ConvEncoder(10), None

    def logits(self, x):
        return self.net(x).gather(1, self.label[:, None])


def generator(seed: int = 0) -> ConvDecoder:
    torch.manual_seed(seed)
    return ConvDecoder(LATENT + 10)


def made(net, label, rng):
    z = torch.randn(len(label), LATENT, generator=rng)
    return net(torch.cat([z, one_hot(label, 10).float()], 1))


def train(x, label, seconds, seed):
    rng, G, D = seeded(seed), generator(seed), Discriminator()
    ema = EMA(G, 0.995)
    of_d = OneCycle(D, 1, lr=2e-3, betas=(0.0, 0.99))
    of_g = OneCycle(G, 1, lr=2e-3, betas=(0.0, 0.99), ema=ema)
    for done in passing(seconds):
        i = randint(0, len(x), 32, rng=rng)
        D.label = label[i]
        of_d.zero_grad()
        (gradient_penalty(D, x[i]) / 2 - adversarial_value(D, x[i], made(G, label[i], rng).detach())).backward()
        of_d.step(done)
        of_g.zero_grad()
        non_saturating_loss(D, made(G, label[i], rng)).backward()
        of_g.step(done)
    return ema.net.state_dict()


def sample(weights, label, evaluations, seed):
    net = generator()
    net.load_state_dict(weights)
    return made(net.eval(), label, seeded(seed))
