"""Latents: the autoencoder, its loss, and that diffusion in latents needs nothing new."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.methods.latents import autoencoder_loss, kl_term, psnr, quantize, unit_scale
from course_lib.nets.autoencoder import Autoencoder
from course_lib.nets.text import TextUNet
from course_lib.process import DDPM, seeded
from course_lib.samplers import ddim, sample
from course_lib.schedules import linear_beta
from course_lib.widgets.player import play
from course_lib.zoo.recipes.latents import train_autoencoder, train_latent2shape


def coder(factor=4, **options):
    """An autoencoder whose weights are all stirred, since some start at 0."""
    torch.manual_seed(0)
    net = Autoencoder(factor, **{"width": 16, **options}).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim))
    return net


def network(**options):
    torch.manual_seed(0)
    net = TextUNet(**{"size": 8, "widths": (32, 64), "dim": 16, "words": 64, "channels": 4, "patch": 1} | options)
    return Network(net, DDPM(linear_beta(1000)), "v")


@pytest.mark.parametrize("factor", [2, 4])
def test_latents_are_smaller_by_the_factor_and_members_do_not_mix(factor):
    net, x = coder(factor), torch.rand(3, 3, 32, 32) * 2 - 1
    z = net.encode(x, seeded(0))
    assert z.shape == (3, 4, 32 // factor, 32 // factor) and net.decode(z).shape == x.shape
    assert net.decode(100 * z).abs().max() <= 1
    mean = net.gaussian(x)[0]
    assert torch.allclose(mean[1:2], net.gaussian(x[1:2])[0], atol=1e-5)
    changed = x.clone()
    changed[:, :, 0, 0] += 0.5
    moved = (net.gaussian(changed)[0] - mean).abs().amax((0, 1))
    assert moved[0, 0] > 1e-4 and torch.allclose(net.gaussian(x)[0], mean)


def test_encode_draws_around_the_mean_with_the_encoders_spread():
    net, x = coder(), torch.rand(1, 3, 32, 32) * 2 - 1
    mean, log_variance = net.gaussian(x)
    z = torch.cat([net.encode(x, seeded(seed)) for seed in range(600)])
    assert torch.allclose(z.std(0), (log_variance / 2).exp()[0], rtol=0.25)
    assert ((z.mean(0) - mean[0]).abs() < 5 * (log_variance / 2).exp()[0] / 600**0.5).all()


def test_scale_is_undone_by_decode_and_gives_unit_variance():
    net, x = coder(), torch.rand(64, 3, 32, 32) * 2 - 1
    plain = net.encode(x, seeded(0))
    net.scale.copy_(unit_scale(plain))
    z = net.encode(x, seeded(0))
    assert z.std() == pytest.approx(1, abs=1e-4) and torch.allclose(net.decode(z), net.paint(plain).clamp(-1, 1), atol=1e-4)


def test_kl_term_is_that_of_torch():
    mean, log_variance = torch.randn(2, 3, 4, 5, 5, generator=seeded(0))
    exact = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()
    assert torch.allclose(kl_term(mean, log_variance), exact, rtol=1e-5)


def test_loss_is_the_error_and_its_share_of_kl():
    net, x = coder(), torch.rand(4, 3, 32, 32) * 2 - 1
    without, much = (autoencoder_loss(net, x, weight, seeded(0)) for weight in (0.0, 2.0))
    assert torch.allclose(much - without, 2 * kl_term(*net.gaussian(x)), rtol=1e-4)
    with torch.no_grad():
        assert float(without) == pytest.approx(float((net.paint(net.encode(x, seeded(0))) - x).abs().mean()), rel=1e-4)


def test_vectors_of_the_codebook_stay_as_they_are_and_others_become_the_nearest():
    codebook = torch.randn(9, 4, generator=seeded(0))
    z = codebook[torch.randint(9, (2, 3, 5), generator=seeded(1))].movedim(-1, 1)
    code, error = quantize(z + 0.01, codebook)
    assert torch.equal(code, z + 0.01 + (z - (z + 0.01))) and error == pytest.approx(1.25 * 0.01**2, rel=1e-3)


def test_the_gradient_of_quantized_latents_is_that_of_the_latents():
    z, codebook = torch.randn(2, 4, 3, 5, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    code, error = quantize(z, codebook)
    assert torch.equal(torch.autograd.grad((3 * code).sum(), z, retain_graph=True)[0], torch.full_like(z, 3))
    of_z, of_codes = torch.autograd.grad(error, (z, codebook))
    used = torch.cdist(z.movedim(1, -1).flatten(0, 2), codebook).argmin(1).unique()
    assert torch.allclose(of_z, 0.5 * (z - code) / z.numel(), atol=1e-6) and set(
        of_codes.abs().sum(1).nonzero()[:, 0].tolist()
    ) <= set(used.tolist())


def test_a_schedule_meets_latents_of_any_size_alike_once_they_are_scaled():
    """Latents that are 5.5 times as large have a signal-to-noise ratio of 5.5^2 times at every t, unless they are scaled."""
    process, z, eps = DDPM(linear_beta(1000)), torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8)
    ratio = lambda z, t: (process.signal(t) * z).var() / (process.noise(t) * eps).var()
    for t in (1, 500, 1000):
        assert float(ratio(5.5 * z, t) / ratio(z, t)) == pytest.approx(5.5**2, rel=1e-4)
        scaled = [process.add_noise(unit_scale(s * z) * s * z, t, eps) for s in (1, 5.5)]
        assert torch.allclose(*scaled, atol=1e-5)


def test_psnr():
    x = torch.zeros(2, 3, 4, 4)
    assert psnr(x, x + 0.2) == pytest.approx(20) and psnr(x, x + 2) == pytest.approx(0)
    with pytest.raises(ValueError, match="x must have the shape of y"):
        psnr(x, x[:1])


def test_unknown_factor_and_bad_latents_are_named():
    with pytest.raises(ValueError, match="factor must be one of 2, 4, got 8"):
        Autoencoder(factor=8)
    with pytest.raises(ValueError, match="z must be finite"):
        unit_scale(torch.full((2, 4, 8, 8), torch.nan))


def test_training_teaches_and_measures_the_scale():
    net, losses = Autoencoder(width=16), []
    for progress in train_autoencoder(net, steps=12):
        losses.append(progress.loss)
    assert losses[-1] < losses[0] and net.scale != 1
    x = torch.rand(2, 3, 32, 32)
    assert net.encode(x).isfinite().all()


def test_diffusion_in_latents_needs_nothing_new():
    net, model = coder(), network()
    before = [p.clone() for p in model.net.parameters()]
    (*_, end) = train_latent2shape(model, steps=3, through=net, batch=8)
    assert end.step == 3 and any(not torch.equal(a, b) for a, b in zip(before, model.net.parameters()))
    model.net.eval()
    guided = classifier_free(model, ["a red circle", "three pink stars"], 3.0)
    z = sample(guided, model.draw_noise(2, seeded(0)), 2)
    assert z.shape == (2, 4, 8, 8)
    wanted = model.given("a red circle")
    steps = list(ddim(wanted, torch.randn(2, 4, 8, 8, generator=seeded(0)), model.process.times(3)))
    film = play(steps, draw=lambda step: {"decoded": net.decode(step.x0), "itself": step.x0[:, :3].clamp(-1, 1)})
    assert "decoded" in film.html and "itself" in film.html


def test_a_text_unet_takes_guidance_as_an_input():
    model = network(guided=True)
    for p in model.net.parameters():
        nn.init.normal_(p, std=0.3 / max(1, p.ndim - 1))
    z = torch.randn(2, 4, 8, 8, generator=seeded(0))
    wanted = model.given("a red circle")
    one, four = (wanted.at(w)(z, 500).value for w in (1.0, 4.0))
    assert ((one - four).flatten(1).abs().amax(1) > 1e-4).all()
    with pytest.raises(ValueError, match="call .at"):
        wanted(z, 500)
    with pytest.raises(TypeError, match="takes no guidance"):
        network().given("a red circle").at(2.0)
