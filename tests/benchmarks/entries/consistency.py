"""Consistency training without a teacher (Song et al. 2023, Algorithm 3), multistep sampling (their Algorithm 1)."""

from dataclasses import replace

from course_lib.methods.distillation import consistency_loss
from course_lib.process import randint, seeded
from course_lib.samplers import consistency, result
from course_lib.teaching.minute import passing
from course_lib.training import EMA, OneCycle
from course_lib.zoo.recipes.digits import digits_network

EVALUATIONS = (1, 2, 4)


def train(x, label, seconds, seed):
    model, rng = digits_network(seed, attn=0), seeded(seed)
    older, ema = EMA(model.net, 0.95), EMA(model.net, 0.995)
    optimizer = OneCycle(model.net, 1, lr=3e-3, muon=0.02, ema=ema)
    for done in passing(seconds):
        i = randint(0, len(x), 64, rng=rng)
        student, grid = model.given(label[i]), 8 * 2 ** min(int(5 * done), 4)
        optimizer.zero_grad()
        consistency_loss(student, replace(student, net=older.net), x[i], grid, rng=rng).backward()
        optimizer.step(done)
        older.update()
    return ema.net.state_dict()


def sample(weights, label, evaluations, seed):
    model, rng = digits_network(attn=0), seeded(seed)
    model.net.load_state_dict(weights)
    noise = model.draw_noise(len(label), rng)
    return result(consistency(model.given(label), noise, model.process.times(evaluations), rng))
