"""Lesson 29: right and wrong answers to `euler_scale`, `unet_denoiser` and `pipeline_by_hand`."""

import torch

from course_lib.prediction import Prediction

# euler_scale


def by_signal(x, sigma, alphas_cumprod, back=False):
    alpha_bar = 1 / (sigma**2 + 1)
    t = (alphas_cumprod - alpha_bar).abs().argmin() + 1
    signal = alpha_bar**0.5
    return (x / signal if back else signal * x), int(t)


def by_table_of_sigmas(x, sigma, alphas_cumprod, back=False):
    table = ((1 - alphas_cumprod) / alphas_cumprod).sqrt()
    k = torch.argmin((table - sigma).abs())
    a = alphas_cumprod[k].sqrt()
    if back:
        return x / a, k + 1
    return x * a, k + 1


def by_logarithms(x, sigma, alphas_cumprod, back=False):
    table = (1 / alphas_cumprod - 1).log() / 2
    t = 1 + torch.searchsorted(table, torch.log(torch.tensor(sigma)) - 1e-4).item()
    power = 0.5 if back else -0.5
    return x * (1 + sigma * sigma) ** power, t


def by_a_loop(x, sigma, alphas_cumprod, back=False):
    best, t = float("inf"), 0
    for k, alpha_bar in enumerate(alphas_cumprod.tolist()):
        distance = abs(((1 - alpha_bar) / alpha_bar) ** 0.5 - sigma)
        if distance < best:
            best, t = distance, k + 1
    scale = torch.tensor(1 + sigma**2).sqrt()
    return (scale * x, t) if back else (x / scale, t)


def by_hypot(x, sigma, alphas_cumprod, back=False):
    root = torch.hypot(torch.tensor(1.0), torch.tensor(sigma))
    t = (alphas_cumprod > 1 / root**2 + 1e-7).sum() + 1
    return (x.mul(root), t) if back else (x.div(root), t)


def by_index(x, sigma, alphas_cumprod, back=False):
    y, t = by_signal(x, sigma, alphas_cumprod, back)
    return y, t - 1


def unrooted(x, sigma, alphas_cumprod, back=False):
    _, t = by_signal(x, sigma, alphas_cumprod)
    return (x * (1 + sigma**2) if back else x / (1 + sigma**2)), t


def by_sigma(x, sigma, alphas_cumprod, back=False):
    _, t = by_signal(x, sigma, alphas_cumprod)
    return (x * sigma if back else x / sigma), t


def the_other_way(x, sigma, alphas_cumprod, back=False):
    return by_signal(x, sigma, alphas_cumprod, not back)


def one_way(x, sigma, alphas_cumprod, back=False):
    return by_signal(x, sigma, alphas_cumprod)


def as_it_is(x, sigma, alphas_cumprod, back=False):
    return x, by_signal(x, sigma, alphas_cumprod)[1]


def from_the_noise(x, sigma, alphas_cumprod, back=False):
    y, t = by_signal(x, sigma, alphas_cumprod, back)
    return y, len(alphas_cumprod) - (t - 1)


def by_wrong_level(x, sigma, alphas_cumprod, back=False):
    y, _ = by_signal(x, sigma, alphas_cumprod, back)
    return y, 1 + int((alphas_cumprod - sigma).abs().argmin())


def without_time(x, sigma, alphas_cumprod, back=False):
    return by_signal(x, sigma, alphas_cumprod, back)[0]


def by_sum(x, sigma, alphas_cumprod, back=False):
    _, t = by_signal(x, sigma, alphas_cumprod)
    return (x * (1 + sigma) if back else x / (1 + sigma)), t


# unet_denoiser


def as_tuple(unet, alphas_cumprod, x, t, text):
    alpha_bar = alphas_cumprod[t - 1]
    out = unet(x, t - 1, text, return_dict=False)[0]
    return Prediction(x, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, "eps", out)


def as_x0(unet, alphas_cumprod, x, t, text):
    alpha_bar = alphas_cumprod[t - 1]
    eps = unet(x, torch.tensor(t - 1), encoder_hidden_states=text).sample
    a, b = torch.sqrt(alpha_bar), torch.sqrt(1 - alpha_bar)
    return Prediction(x, a, b, "x0", (x - b * eps) / a)


def as_batch(unet, alphas_cumprod, x, t, text):
    k = torch.full((len(x),), t - 1)
    alpha_bar = alphas_cumprod[k].view(-1, 1, 1, 1)
    return Prediction(x, alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), "eps", unet(x, k, text).sample)


def as_score(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1].double()
    b = (1 - a2).sqrt()
    return Prediction(x, a2.sqrt(), b, "score", -unet(x, t - 1, encoder_hidden_states=text).sample / b)


def as_v(unet, alphas_cumprod, x, t, text):
    a, b = (v.sqrt() for v in (alphas_cumprod[t - 1], 1 - alphas_cumprod[t - 1]))
    eps = unet(sample=x, timestep=t - 1, encoder_hidden_states=text).sample
    return Prediction(x, a, b, "v", (eps - b * x) / a)


def given_t(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", unet(x, t, encoder_hidden_states=text).sample)


def all_late(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", unet(x, t, encoder_hidden_states=text).sample)


def table_late(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", unet(x, t - 1, encoder_hidden_states=text).sample)


def squared_signal(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2, (1 - a2).sqrt(), "eps", unet(x, t - 1, encoder_hidden_states=text).sample)


def squared_noise(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2.sqrt(), 1 - a2, "eps", unet(x, t - 1, encoder_hidden_states=text).sample)


def exchanged(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, (1 - a2).sqrt(), a2.sqrt(), "eps", unet(x, t - 1, encoder_hidden_states=text).sample)


def taken_for_x0(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "x0", unet(x, t - 1, encoder_hidden_states=text).sample)


def turned(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", -unet(x, t - 1, encoder_hidden_states=text).sample)


def noise_alone(unet, alphas_cumprod, x, t, text):
    return unet(x, t - 1, encoder_hidden_states=text).sample


def without_text(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", unet(x, t - 1).sample)


def in_eulers_scale(unet, alphas_cumprod, x, t, text):
    a2 = alphas_cumprod[t - 1]
    out = unet(x / a2.sqrt(), t - 1, encoder_hidden_states=text).sample
    return Prediction(x, a2.sqrt(), (1 - a2).sqrt(), "eps", out)


# pipeline_by_hand


def ids_of(tokenizer, texts, **options):
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"} | options
    return tokenizer(texts, **options).input_ids


@torch.no_grad()
def one_batch(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    """As diffusers: both halves in one batch."""
    texts = text_encoder(ids_of(tokenizer, [""] * len(prompts) + list(prompts))).last_hidden_state
    scheduler.set_timesteps(n)
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        twice = scheduler.scale_model_input(torch.cat([latents] * 2), t)
        null, text = unet(twice, t, encoder_hidden_states=texts, return_dict=False)[0].chunk(2)
        latents = scheduler.step(null + w * (text - null), t, latents, return_dict=False)[0]
    return vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]


@torch.inference_mode()
def each_prompt(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    pictures = []
    for prompt, x in zip(prompts, noise.split(1)):
        texts = [text_encoder(ids_of(tokenizer, [of]))[0] for of in ("", prompt)]
        scheduler.set_timesteps(n)
        x = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            null, text = (unet(scheduler.scale_model_input(x, t), t, of).sample for of in texts)
            x = scheduler.step((1 - w) * null + w * text, t, x).prev_sample
        pictures.append(vae.decode(x / vae.config.scaling_factor).sample)
    return torch.cat(pictures)


def detached(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    null = text_encoder(ids_of(tokenizer, ""))[0].expand(len(prompts), -1, -1)
    text = text_encoder(ids_of(tokenizer, prompts))[0]
    scheduler.set_timesteps(num_inference_steps=n)
    x = noise.clone().mul_(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        y = scheduler.scale_model_input(x, timestep=t)
        out = [unet(y, t, encoder_hidden_states=of).sample.detach() for of in (null, text)]
        x = scheduler.step(torch.lerp(out[0], out[1], w), t, x).prev_sample
    return vae.decode(x / vae.config.scaling_factor).sample.detach()


def recursive(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    with torch.no_grad():
        null, text = (text_encoder(ids_of(tokenizer, of))[0] for of in ([""] * len(prompts), prompts))
        scheduler.set_timesteps(n)

        def follow(x, times):
            if not times:
                return x
            scaled = scheduler.scale_model_input(x, times[0])
            base = unet(scaled, times[0], encoder_hidden_states=null).sample
            shift = unet(scaled, times[0], encoder_hidden_states=text).sample - base
            return follow(scheduler.step(base + w * shift, times[0], x).prev_sample, times[1:])

        x = follow(noise * scheduler.init_noise_sigma, list(scheduler.timesteps))
        return vae.decode(x * (1 / vae.config.scaling_factor)).sample


@torch.no_grad()
def plain_where_w_is_one(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    null, text = (text_encoder(ids_of(tokenizer, of))[0] for of in ([""] * len(prompts), prompts))
    scheduler.set_timesteps(n)
    x = scheduler.init_noise_sigma * noise
    for i in range(len(scheduler.timesteps)):
        t = scheduler.timesteps[i]
        y = scheduler.scale_model_input(x, t)
        eps = unet(y, t, encoder_hidden_states=text).sample
        if w != 1:
            empty = unet(y, t, encoder_hidden_states=null).sample
            eps = w * eps + (1 - w) * empty
        x = scheduler.step(eps, t, x)[0]
    return vae.decode(x / vae.config.scaling_factor)[0]


def loop(
    mix=lambda null, text, w: null + w * (text - null),
    scale=lambda scheduler, x, t: scheduler.scale_model_input(x, t),
    start=lambda scheduler, noise: noise * scheduler.init_noise_sigma,
    end=lambda vae, x: vae.decode(x / vae.config.scaling_factor).sample,
    late=0,
    **options,
):
    """A pipeline with one part replaced."""

    @torch.no_grad()
    def fn(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
        null, text = (text_encoder(ids_of(tokenizer, of, **options))[0] for of in ([""] * len(prompts), prompts))
        scheduler.set_timesteps(n)
        x = start(scheduler, noise)
        for t in scheduler.timesteps:
            y = scale(scheduler, x, t)
            each = (unet(y, t + late, encoder_hidden_states=of).sample for of in (null, text))
            x = scheduler.step(mix(*each, w), t, x).prev_sample
        return end(vae, x)

    return fn


@torch.no_grad()
def last_x0(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    null, text = (text_encoder(ids_of(tokenizer, of))[0] for of in ([""] * len(prompts), prompts))
    scheduler.set_timesteps(n)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        a, b = (unet(scheduler.scale_model_input(x, t), t, encoder_hidden_states=of).sample for of in (null, text))
        x = scheduler.step(a + w * (b - a), t, x).pred_original_sample
    return vae.decode(x / vae.config.scaling_factor).sample


@torch.no_grad()
def scaled_again(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    null, text = (text_encoder(ids_of(tokenizer, of))[0] for of in ([""] * len(prompts), prompts))
    scheduler.set_timesteps(n)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.scale_model_input(x, t)
        a, b = (unet(x, t, encoder_hidden_states=of).sample for of in (null, text))
        x = scheduler.step(a + w * (b - a), t, x).prev_sample
    return vae.decode(x / vae.config.scaling_factor).sample


@torch.no_grad()
def all_steps(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n, noise):
    return one_batch(tokenizer, text_encoder, unet, scheduler, vae, prompts, w, n + 1, noise)


RIGHT = {
    "euler_scale": [by_signal, by_table_of_sigmas, by_logarithms, by_a_loop, by_hypot],
    "unet_denoiser": [as_tuple, as_x0, as_batch, as_score, as_v],
    "pipeline_by_hand": [one_batch, each_prompt, detached, recursive, plain_where_w_is_one],
}
WRONG = {
    "euler_scale": [
        ("the time is their index", by_index),
        ("divided by 1 + sigma^2", unrooted),
        ("`back` is ignored", one_way),
        ("it must return two values", without_time),
    ],
    "unet_denoiser": [
        ("the network is given t", given_t),
        ("one step too late", all_late),
        ("the signal is alpha_bar", squared_signal),
        ("it must return a Prediction", noise_alone),
    ],
    "pipeline_by_hand": [
        ("scale_model_input is missing", loop(scale=lambda scheduler, x, t: x)),
        ("halves of the guidance are exchanged", loop(mix=lambda null, text, w: text + w * (null - text))),
        ("scaling factor is forgotten", loop(end=lambda vae, x: vae.decode(x).sample)),
        ("off by one", loop(late=1)),
    ],
}
TRIED = {
    "euler_scale": [
        *WRONG["euler_scale"][:3],
        ("", without_time),
        ("divided by sigma", by_sigma),
        ("the other way round", the_other_way),
        ("not scaled", as_it_is),
        ("counts from the noise", from_the_noise),
        ("compared with alphas_cumprod itself", by_wrong_level),
        ("", by_sum),
    ],
    "unet_denoiser": [
        *WRONG["unet_denoiser"][:3],
        ("", noise_alone),
        ("read at t", table_late),
        ("the noise is 1 - alpha_bar", squared_noise),
        ("change places", exchanged),
        ("taken for x_0", taken_for_x0),
        ("sign of the output", turned),
        ("", without_text),
        ("Euler's scale", in_eulers_scale),
    ],
    "pipeline_by_hand": [
        *WRONG["pipeline_by_hand"],
        ("off by one", loop(late=-1)),
        ("multiplied by init_noise_sigma", loop(start=lambda scheduler, noise: noise)),
        ("1 + w", loop(mix=lambda null, text, w: (1 + w) * text - w * null)),
        ("1 + w", loop(mix=lambda null, text, w: text + w * (text - null))),
        ("no guidance", loop(mix=lambda null, text, w: text)),
        ("not padded", loop(padding=True)),
        ("given the scaled input", scaled_again),
        ("not prev_sample", last_x0),
        ("for decoding they are divided", loop(end=lambda vae, x: vae.decode(x * vae.config.scaling_factor).sample)),
        ("not decoded", loop(end=lambda vae, x: x)),
        ("", all_steps),
    ],
}
