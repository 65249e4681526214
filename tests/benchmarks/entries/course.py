"""This course's recipe of a minute: v, cosine schedule, min-SNR times, Muon, one cycle of the rate (lesson 00)."""

from course_lib.process import randint, seeded
from course_lib.samplers import sample as sample_by_steps
from course_lib.teaching.minute import passing
from course_lib.training import EMA, OneCycle, denoising_loss, min_snr_times
from course_lib.zoo.recipes.digits import digits_network


def train(x, label, seconds, seed):
    model, rng = digits_network(seed, attn=0), seeded(seed)
    ema = EMA(model.net, 0.995)
    optimizer = OneCycle(model.net, 1, lr=3e-3, muon=0.02, ema=ema)
    for done in passing(seconds):
        i = randint(0, len(x), 64, rng=rng)
        optimizer.zero_grad()
        denoising_loss(model.given(label[i]), x[i], rng, min_snr_times(model.process, 64, rng)).backward()
        optimizer.step(done)
    return ema.net.state_dict()


def sample(weights, label, evaluations, seed):
    model = digits_network(attn=0)
    model.net.load_state_dict(weights)
    return sample_by_steps(model.given(label), model.draw_noise(len(label), seeded(seed)), evaluations, batch=250)
