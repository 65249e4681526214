"""Lesson 12."""

import torch
from torch.nn.functional import embedding, mse_loss

from course_lib.methods import latents
from course_lib.process import randn_like
from course_lib.samplers import ddim, result, sample
from course_lib.training import denoising_loss

# quantize


def nearest(z, codebook):
    """The nearest vectors in the places of z, by the expanded square."""
    b, c, h, w = z.shape
    flat = z.permute(0, 2, 3, 1).reshape(-1, c)
    distance = (flat**2).sum(1, keepdim=True) - 2 * flat @ codebook.T + (codebook**2).sum(1)
    return codebook[distance.argmin(1)].reshape(b, h, w, c).permute(0, 3, 1, 2)


def of_both(code, z):
    return ((code - z.detach()) ** 2).mean() + 0.25 * ((code.detach() - z) ** 2).mean()


def as_in_vqgan(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), of_both(code, z)


def by_place(z, codebook):
    far = (z[:, None] - codebook[None, :, :, None, None]).pow(2).sum(2)
    code = embedding(far.argmin(1), codebook).permute(0, 3, 1, 2)
    return code.detach() + z - z.detach(), of_both(code, z)


def with_mse(z, codebook):
    code = nearest(z, codebook)
    error = mse_loss(code, z.detach()) + mse_loss(z, code.detach()) / 4
    return (code - z).detach() + z, error


def one_picture_at_a_time(z, codebook):
    codes = torch.cat([nearest(one[None], codebook) for one in z])
    return z + codes.detach() - z.detach(), of_both(codes, z)


def as_a_list(z, codebook):
    return list(latents.quantize(z, codebook))


def farthest(z, codebook):
    code = -nearest(-z, codebook)
    return z + (code - z).detach(), of_both(code, z)


def by_product(z, codebook):
    code = codebook[torch.einsum("bchw,kc->bhwk", z, codebook).argmax(-1)].permute(0, 3, 1, 2)
    return z + (code - z).detach(), of_both(code, z)


def mixed_places(z, codebook):
    flat = z.reshape(-1, z.shape[1])
    code = codebook[torch.cdist(flat, codebook).argmin(1)].view(z.shape)
    return z + (code - z).detach(), of_both(code, z)


def no_gradient(z, codebook):
    code = nearest(z, codebook)
    return code.detach(), of_both(code, z)


def not_straight_through(z, codebook):
    code = nearest(z, codebook)
    return code, of_both(code, z)


def nothing_detached(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z), of_both(code, z)


def not_quantized(z, codebook):
    return z, of_both(nearest(z, codebook), z)


def no_beta(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), mse_loss(code, z.detach()) + mse_loss(z, code.detach())


def beta_of_the_codebook(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), 0.25 * mse_loss(code, z.detach()) + mse_loss(z, code.detach())


def nothing_detached_in_the_error(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), 1.25 * mse_loss(code, z)


def commitment_alone(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), 0.25 * mse_loss(z, code.detach())


def codebook_alone(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), mse_loss(code, z.detach())


def summed(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), of_both(code, z) * z.numel()


def channels_summed(z, codebook):
    code = nearest(z, codebook)
    far = lambda a, b: (a - b).pow(2).sum(1).mean()
    return z + (code - z).detach(), far(code, z.detach()) + far(z, code.detach()) / 4


def codebook_part_undetached(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), mse_loss(code, z) + mse_loss(z, code.detach()) / 4


def own_part_undetached(z, codebook):
    code = nearest(z, codebook)
    return z + (code - z).detach(), mse_loss(code, z.detach()) + mse_loss(z, code) / 4


def turned(z, codebook):
    return as_in_vqgan(z, codebook)[::-1]


# latent_diffusion


def run(
    scale=lambda z, x: 1 / z.std(),
    scaled=lambda z, s: z * s,
    undone=lambda z, s: z / s,
    loss=denoising_loss,
    noise=lambda network, n, rng: network.draw_noise(n, rng),
    of=lambda wanted, label: wanted,
    moves=25,
    update="zero backward step",
    encoded=lambda autoencoder, x, rng: autoencoder.encode(x, rng),
    given=lambda network, label: network.given(label),
    once=False,
):
    """Latent diffusion with one thing changed."""

    def latent_diffusion(autoencoder, network, draw, optimizer, steps, wanted, rng):
        do = {"zero": optimizer.zero_grad, "step": optimizer.step}
        x, label = draw(rng)
        s = scale(autoencoder.encode(x, rng), x)
        for _ in range(steps):
            if not once:
                x, label = draw(rng)
            value = loss(given(network, label), scaled(encoded(autoencoder, x, rng), s), rng)
            for what in update.split():
                do.get(what, value.backward)()
        start = noise(network, len(wanted), rng)
        z = sample(network.given(of(wanted, label)), start, moves)
        return autoencoder.decode(undone(z, s))

    return latent_diffusion


def loss_by_hand(denoiser, z, rng):
    eps = torch.randn(z.shape, generator=rng)
    t = torch.randint(1, denoiser.process.T + 1, (len(z),), generator=rng)
    a, b = denoiser.process.coefficients(t, z)
    return mse_loss(denoiser(a * z + b * eps, t).v, a * eps - b * z)


def noise_by_hand(network, n, rng):
    return torch.randn(n, *network.net.shape, generator=rng)


def as_steps(autoencoder, network, draw, optimizer, steps, wanted, rng):
    first, _ = draw(rng)
    std = float(autoencoder.encode(first, rng).std())
    for _ in range(steps):
        optimizer.zero_grad()
        x, label = draw(rng)
        denoising_loss(network.given(label), autoencoder.encode(x, rng) / std, rng).backward()
        optimizer.step()
    noise = randn_like(torch.zeros(len(wanted), *network.net.shape), rng)
    z = result(ddim(network.given(wanted), noise, network.process.times(25)))
    return autoencoder.decode(z * std)


def scaled_by_the_first_training_batch(autoencoder, network, draw, optimizer, steps, wanted, rng):
    scale = None
    for _ in range(steps):
        x, label = draw(rng)
        z = autoencoder.encode(x, rng)
        if scale is None:
            scale = 1 / z.std()
        optimizer.zero_grad()
        denoising_loss(network.given(label), scale * z, rng).backward()
        optimizer.step()
    z = sample(network.given(wanted), network.draw_noise(len(wanted), rng), 25)
    return autoencoder.decode(z / scale)


def scaled_anew_in_each_step(autoencoder, network, draw, optimizer, steps, wanted, rng):
    for _ in range(steps):
        x, label = draw(rng)
        z = autoencoder.encode(x, rng)
        std = z.std()
        optimizer.zero_grad()
        denoising_loss(network.given(label), z / std, rng).backward()
        optimizer.step()
    z = sample(network.given(wanted), network.draw_noise(len(wanted), rng), 25)
    return autoencoder.decode(z * std)


def with_noise_drawn_first(autoencoder, network, draw, optimizer, steps, wanted, rng):
    drawn = network.draw_noise(len(wanted), rng)
    return run(noise=lambda *_: drawn)(autoencoder, network, draw, optimizer, steps, wanted, rng)


def without_scale(autoencoder, network, draw, optimizer, steps, wanted, rng):
    """The failure museum's."""
    for _ in range(steps):
        x, label = draw(rng)
        optimizer.zero_grad()
        denoising_loss(network.given(label), autoencoder.encode(x, rng), rng).backward()
        optimizer.step()
    z = sample(network.given(wanted), network.draw_noise(len(wanted), rng), 25)
    return autoencoder.decode(z)


def decoded_one_by_one(autoencoder, network, draw, optimizer, steps, wanted, rng):
    latent_diffusion = run(undone=lambda z, s: z / s)
    return latent_diffusion(autoencoder, network, draw, optimizer, steps, wanted, rng).clone()


def undecoded(autoencoder, network, draw, optimizer, steps, wanted, rng):
    made = []
    decode, autoencoder.decode = autoencoder.decode, lambda z: made.append(z) or decode(z)
    run()(autoencoder, network, draw, optimizer, steps, wanted, rng)
    return made[0]


RIGHT = {
    "quantize": [latents.quantize, as_in_vqgan, by_place, with_mse, one_picture_at_a_time, as_a_list],
    "latent_diffusion": [
        run(),
        run(loss=loss_by_hand),
        run(noise=noise_by_hand),
        run(scale=lambda z, x: 1 / z.var().sqrt(), update="zero backward step"),
        as_steps,
        scaled_by_the_first_training_batch,
        with_noise_drawn_first,
        decoded_one_by_one,
    ],
}
WRONG = {
    "quantize": [
        ("mixed", mixed_places),
        ("gradient stops", no_gradient),
        ("the factor 0.25", no_beta),
        ("z itself", not_quantized),
        ("summed", summed),
    ],
    "latent_diffusion": [
        ("not scaled in training", run(scaled=lambda z, s: z)),
        ("should be divided by it", run(scale=lambda z, x: z.std())),
        ("not undone", run(undone=lambda z, s: z)),
        ("not for those that are wanted", run(of=lambda wanted, label: label[: len(wanted)])),
        ("zero_grad() is missing", run(update="backward step")),
    ],
}
TRIED = {
    "quantize": [
        *WRONG["quantize"],
        ("", farthest),
        ("largest product", by_product),
        ("passes it on", not_straight_through),
        ("passes it on", nothing_detached),
        ("part of the codebook", beta_of_the_codebook),
        ("both parts train both", nothing_detached_in_the_error),
        ("trains the codebook is missing", commitment_alone),
        ("near its vector is missing", codebook_alone),
        ("changed places", turned),
        ("channels are summed", channels_summed),
        ("one detach", codebook_part_undetached),
        ("one detach", own_part_undetached),
    ],
    "latent_diffusion": [
        *WRONG["latent_diffusion"],
        ("measured anew in each step", scaled_anew_in_each_step),
        ("scaled nowhere", run(scale=lambda z, x: torch.ones(()))),
        ("scaled nowhere", without_scale),
        ("", run(moves=24)),
        ("", run(noise=lambda network, n, rng: 1.1 * network.draw_noise(n, rng))),
        ("one number", run(scale=lambda z, x: 1 / z.std((0, 2, 3), keepdim=True))),
        ("one number", run(scale=lambda z, x: 1 / z.std(0, keepdim=True))),
        ("", run(scale=lambda z, x: 1 / z.square().mean().sqrt())),
        ("", run(scale=lambda z, x: torch.tensor(0.25))),
        ("divided by their variance", run(scale=lambda z, x: 1 / z.var())),
        ("that of the pictures", run(scale=lambda z, x: 1 / x.std())),
        ("used twice", run(undone=lambda z, s: z * s)),
        ("no gradient", run(update="zero step backward")),
        ("no gradient", run(update="backward zero step")),
        ("on one batch", run(once=True)),
        ("25 are asked for", run(moves=1)),
        ("not given to the network", run(given=lambda network, label: network.given(0))),
        ("", run(noise=lambda network, n, rng: network.draw_noise(n))),
        ("encode(x, rng)", run(encoded=lambda autoencoder, x, rng: autoencoder.encode(x))),
        ("", undecoded),
    ],
}
