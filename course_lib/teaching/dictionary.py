"""The dictionary of lesson 29: each thing under its name here, in the papers, in diffusers, and in ComfyUI and A1111.

A row holds two expressions, ours and diffusers', over the names that `dictionary_names.names()` makes. Both are evaluated, and
their values must be equal.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

LIMIT = 1e-4
"""The largest difference that rounding may make, as a share of the largest value where that is above 1."""


@dataclass(frozen=True)
class Row:
    """One thing. `letter` is the papers'; `ours` and `theirs` are expressions; `elsewhere` is its word in ComfyUI; A1111.

    `lessons` are the numbers of those that name it under "In practice"; without one lesson 29 alone has it.
    """

    thing: str
    letter: str
    ours: str
    theirs: str
    elsewhere: str = ""
    lessons: str = ""

    @property
    def words(self) -> tuple[str, str]:
        """Its word in ComfyUI, and in A1111; empty where there is none."""
        comfy, _, a1111 = map(str.strip, self.elsewhere.partition(";"))
        return comfy, a1111


TIME = (
    Row("time", "t", "t - 1", "timestep_given_to(unet)", lessons="01"),
    Row("noise added in one step", "β_t", "process.beta(t)", "scheduler.betas[t - 1]", lessons="01"),
    Row("squared signal", "ᾱ_t (α_t in DDIM)", "process.alpha_bar(t)", "scheduler.alphas_cumprod[t - 1]", lessons="01 07 10"),
    Row(
        "forward process",
        "q(x_t | x_0)",
        "process.add_noise(x0, t, eps)",
        "scheduler.add_noise(x0, eps, tensor([t - 1]))",
        lessons="01 06",
    ),
    Row(
        "even times from T",
        "",
        "process.times(5)[:-1] - 1",
        'DDIMScheduler(timestep_spacing="trailing").timesteps',
        "sgm_uniform; SGM Uniform",
        lessons="14 17",
    ),
    Row("even times from before T", "", "1000 - 200 * (1 + arange(5))", 'DDIMScheduler(timestep_spacing="leading").timesteps'),
    Row(
        "all times one later",
        "",
        "1000 - 200 * (1 + arange(5)) + 1",
        'DDIMScheduler(timestep_spacing="leading", steps_offset=1).timesteps',
        "ddim_uniform; times of DDIM",
    ),
    Row("last move to t = 1", "ᾱ_1", "process.alpha_bar(1)", "DDIMScheduler(set_alpha_to_one=False).final_alpha_cumprod"),
    Row(
        "last move to t = 1, by σ", "σ_min", "sigma(1)", 'DPMSolverMultistepScheduler(final_sigmas_type="sigma_min").sigmas[-1]'
    ),
)
SIGMA = (
    Row(
        "σ: noise beside a signal of 1",
        "σ (Karras)",
        "process.noise(T) / process.signal(T)",
        "EulerDiscreteScheduler().sigmas[0]",
        "sigmas;",
        lessons="22",
    ),
    Row(
        "σ: noise within x_t",
        "sqrt(1 - ᾱ_t), σ_t (DPM-Solver)",
        "process.noise(t)",
        "DPMSolverMultistepScheduler().sigma_t[t - 1]",
    ),
    Row(
        "σ: fresh noise of a step",
        "σ_t (DDPM)",
        "step_noise(600, 400)",
        "DDPMScheduler()._get_variance(599) ** 0.5",
        lessons="02",
    ),
    Row(
        "σ: time of a flow",
        "t (rectified flow)",
        "RectifiedFlow().noise(flow_times)",
        "sd3.scheduler.sigmas",
        lessons="16 23 24",
    ),
    Row(
        "shift of the times",
        "eq. 23 of SD3",
        "3 * t_even / (1 + 2 * t_even)",
        "sd3.scheduler.sigmas[:-1]",
        "ModelSamplingSD3, shift;",
        lessons="16",
    ),
    Row(
        "Karras' noise levels",
        "eq. 5 of EDM",
        "karras_sigmas(5, sigma(1), sigma(T))",
        'EulerDiscreteScheduler(use_karras_sigmas=True, timestep_spacing="linspace").sigmas',
        "karras; Karras",
        lessons="22",
    ),
    Row(
        "standard deviation of the first x",
        "",
        "1 / process.signal(801)",
        'EulerDiscreteScheduler(timestep_spacing="leading").init_noise_sigma',
    ),
    Row(
        "input of the network",
        "c_in x (EDM)",
        "x",
        "EulerDiscreteScheduler().scale_model_input(x / process.signal(T), T - 1)",
        lessons="22",
    ),
)
OUTPUT = (
    Row("view eps", "ε_θ", "denoiser(x, t).eps", "unet(x, t - 1, text).sample", "eps;", lessons="02"),
    Row(
        "view v",
        "v",
        'Prediction(x, a, b, "v", out).x0',
        'DDIMScheduler(prediction_type="v_prediction").step(out, t - 1, x).pred_original_sample',
        "v_prediction;",
        lessons="02 17",
    ),
    Row(
        "view x0",
        "x_θ",
        'Prediction(x, a, b, "x0", out).x0',
        'DDIMScheduler(prediction_type="sample").step(out, t - 1, x).pred_original_sample',
        lessons="02 11",
    ),
    Row(
        "score",
        "s_θ",
        "denoiser(x, t).score",
        "-unet(x, t - 1, text).sample / (1 - scheduler.alphas_cumprod[t - 1]) ** 0.5",
        lessons="03",
    ),
    Row("predicted picture", "x̂_0", "denoiser(x, t).x0", "scheduler.step(out, t - 1, x).pred_original_sample", lessons="07"),
    Row(
        "static thresholding",
        "",
        "StaticThreshold(denoiser)(x, t).x0",
        "DDIMScheduler(clip_sample=True).step(out, t - 1, x).pred_original_sample",
        lessons="13",
    ),
    Row(
        "dynamic thresholding",
        "s (Imagen)",
        "DynamicThreshold(denoiser, 0.995)(x, t).x0",
        "DDIMScheduler(thresholding=True, sample_max_value=1000).step(out, t - 1, x).pred_original_sample",
        lessons="13",
    ),
    Row(
        "sines and cosines of the time",
        "",
        "sinusoidal(tensor([499, 20]), 16).roll(8, 1)",
        "unet.time_proj(tensor([499, 20]))",
        lessons="04",
    ),
    Row(
        "patches of a transformer",
        "",
        "patchify(z3, 2) @ kernel + patch_layer.bias",
        "patch_layer(z3).flatten(2).mT",
        lessons="25",
    ),
    Row(
        "KL term, per number of a latent", "", "kl_term(q.mean, q.logvar)", "q.kl().mean() / q.mean[0].numel()", lessons="05 12"
    ),
    Row(
        "picture of latents",
        "D(z)",
        "net.decode(z)",
        "vae.decode(z / vae.config.scaling_factor).sample.clamp(-1, 1)",
        "VAE Decode;",
        lessons="12",
    ),
    Row(
        "picture of SD3's latents",
        "D(z)",
        "sd3_net.decode(z3)",
        "sd3.vae.decode(z3 / sd3.vae.config.scaling_factor + sd3.vae.config.shift_factor).sample.clamp(-1, 1)",
        lessons="16",
    ),
    Row(
        "noise of a seed",
        "x_T",
        "randn(2, *net.shape, rng=seeded(3))",
        'pipe.prepare_latents(2, 4, 16, 16, float32, "cpu", seeded(3))',
        "seed; Seed",
        lessons="14 20",
    ),
)
TEXT = (
    Row(
        "guidance weight",
        "w (Imagen), 1 + w (Ho and Salimans)",
        "draw(classifier_free(network, prompts, 3.0))",
        "run(guidance_scale=3.0)",
        "cfg; CFG scale",
        lessons="08 09",
    ),
    Row("no guidance", "w = 1", "draw(denoiser)", "run(guidance_scale=0.0)", lessons="08 17"),
    Row("no condition", "∅", "network.given(NULL).cond", 'pipe.encode_prompt("", "cpu", 1, False)[0].flatten(1)', lessons="08"),
    Row(
        "negative prompt",
        "",
        "draw(ClassifierFree(denoiser, network.given(blur), 3.0))",
        "run(guidance_scale=3.0, negative_prompt=2 * [blur])",
        "negative; Negative prompt",
    ),
    Row(
        "rescaled guidance",
        "φ (Lin et al.)",
        "0.7 * guided * spread(out) / spread(guided) + 0.3 * guided",
        "rescale_noise_cfg(guided, out, guidance_rescale=0.7)",
        "RescaleCFG, multiplier;",
        lessons="28",
    ),
    Row(
        "a batch of prompts",
        "",
        "cat([draw(network.given(p), start=x[i:][:1]) for i, p in enumerate(prompts)])",
        "run(guidance_scale=1.0)",
        lessons="09",
    ),
    Row(
        "skipped layers of the encoder",
        "",
        "shorter(text_encoder, 1)(ids)[0]",
        "final_layer_norm(text_encoder(ids, output_hidden_states=True).hidden_states[-2])",
        "stop_at_clip_layer = -2; Clip skip 2",
        lessons="10",
    ),
    Row(
        "size and crop",
        "c_size, c_crop (SDXL)",
        "xl_network.given(prompts).cond[:1, -6:]",
        "xl._get_add_time_ids((16, 16), (0, 0), (16, 16), float32, 32)",
        "CLIPTextEncodeSDXL;",
        lessons="15",
    ),
)
SAMPLERS = (
    Row("DDIM", "η = 0", "draw(denoiser, ddim)", "run(DDIMScheduler())", "ddim; DDIM", lessons="14"),
    Row(
        "fresh noise in DDIM",
        "η",
        "draw(denoiser, ddim, eta=0.5, rng=seeded(7))",
        "run(DDIMScheduler(), eta=0.5)",
        "; Eta DDIM",
        lessons="14",
    ),
    Row("Euler's method", "", "draw(denoiser, ddim)", "run(EulerDiscreteScheduler())", "euler; Euler", lessons="21 22"),
    Row(
        "ancestral sampling",
        "η = 1",
        "draw(denoiser, ddpm, rng=seeded(7))",
        "run(EulerAncestralDiscreteScheduler())",
        "euler_ancestral; Euler a",
        lessons="02",
    ),
    Row(
        "Heun's method",
        "Algorithm 1 of EDM",
        "draw(OnSigmas(denoiser), heun, x / process.signal(T))",
        "run(HeunDiscreteScheduler())",
        "heun; Heun",
        lessons="22",
    ),
    Row(
        "DPM-Solver++, two times",
        "2M",
        "draw(denoiser, dpm_solver)",
        "run(DPMSolverMultistepScheduler())",
        "dpmpp_2m; DPM++ 2M",
        lessons="22",
    ),
    Row("UniPC", "B_2(h)", "draw(denoiser, unipc)", "run(UniPCMultistepScheduler())", "uni_pc_bh2;", lessons="22"),
    Row(
        "consistency sampling, w as an input",
        "f(x, t), ω (LCM)",
        "draw(lcm_network.given(prompts).at(3.0))",
        "run(lcm, guidance_scale=3.0)",
        "lcm; LCM",
        lessons="18",
    ),
    Row(
        "Euler on a flow",
        "",
        "draw(sd3_network.given(prompts))",
        "run(sd3, guidance_scale=1.0)",
        "euler; Euler",
        lessons="16 23 24",
    ),
    Row(
        "editing from a noisy picture",
        "t_0 (SDEdit)",
        "result(sdedit(denoiser, z, times[2:], seeded(7)))",
        "run(img2img, image=z, strength=0.6)",
        "denoise; Denoising strength",
        lessons="19",
    ),
    Row(
        "hand over to a refiner",
        "",
        "draw(xl_network.given(prompts), times=times[:5])",
        "run(xl, denoising_end=0.8)",
        "end_at_step; Switch at",
        lessons="15",
    ),
)
NAMES = {
    "timestep_given_to(unet)": "the timestep of its call within `denoiser(x, t)`",
    "step_noise(t, s)": "`((1 - ᾱ_s) / (1 - ᾱ_t) * (1 - ᾱ_t / ᾱ_s)) ** 0.5`",
    "sigma(t)": "`process.noise(t) / process.signal(t)`",
    "flow_times": "`scheduler_times(sd3.scheduler, 5)`",
    "t_even": "`linspace(1, sd3.scheduler.sigma_min, 5)`",
    "a, b": "`process.coefficients(t, x)`",
    "out": "`unet(x, t - 1, text).sample`",
    "guided": "`without + 3 * (out - without)`",
    "spread(x)": "`x.std((1, 2, 3), keepdim=True)`",
    "patch_layer": "`sd3.transformer.pos_embed.proj`",
    "kernel": "`patch_layer.weight.permute(2, 3, 1, 0).flatten(0, 2)`",
    "q": "`vae.encode(picture).latent_dist`",
    "z3": "`randn(2, *sd3_net.shape)`",
    "shorter(encoder, n)": "without its last n layers",
    "times": "`scheduler_times(scheduler, 5)`",
    "OnSigmas": "a denoiser in the scale of Euler's scheduler",
}
"""What the names are that the rows have and the library has not, in Markdown."""
GROUPS = {"time": TIME, "sigma": SIGMA, "output": OUTPUT, "text": TEXT, "samplers": SAMPLERS}
"""The rows, by what they are about."""
PLACE = "{{names}}"
"""What a lesson's source has under "In practice" in the place of its rows."""


def named_in(rows: tuple[Row, ...]) -> str:
    """One line of Markdown: those of NAMES that stand in a row, with what they are; empty where none does."""
    code = " ".join(f"{row.ours} {row.theirs}" for row in rows)
    found = {name: what for name, what in NAMES.items() if re.search(rf"(?<![\w.]){name.partition('(')[0]}\b(?!=)", code)}
    return "; ".join(f"`{name}`: {what}" for name, what in found.items())


def in_lesson(number: str) -> str:
    """The rows that lesson `number`, such as "07", names: a table in Markdown, above it where they are from, below it NAMES.

    Raises ValueError where no row is that lesson's.
    """
    rows = [row for group in GROUPS.values() for row in group if number in row.lessons.split()]
    if not rows:
        raise ValueError(f"number must be that of a lesson with a row in the dictionary, got {number!r}")
    loops = any(row.theirs.startswith("run(") for row in rows)
    draws = " `draw` is our sampler, `run` a pipeline's own loop." if loops else ""
    classes = " Unless a row says otherwise, schedulers have trailing times, five steps and no clipping."
    draws += classes if any("Scheduler(" in row.theirs for row in rows) else ""
    lines = [f"[Lesson 29](29_diffusers.ipynb) evaluates both sides.{draws}", ""]
    named = any(row.elsewhere for row in rows)
    lines += ["| thing | here | in diffusers |" + " `ComfyUI`; A1111 |" * named, "|---|---|---|" + "---|" * named]
    for row in rows:
        comfy, a1111 = row.words
        words = "; ".join([*([f"`{comfy}`"] if comfy else []), *([a1111] if a1111 else [])])
        lines.append(f"| {row.thing} | `{row.ours}` | `{row.theirs}` |" + f" {words} |" * named)
    names = named_in(tuple(rows))
    return "\n".join([*lines, "", names] if names else lines)


class Table:
    """Rows with the largest difference of their two values, which shows itself."""

    def __init__(self, rows: tuple[Row, ...], differences: list[float]):
        self.rows, self.differences = rows, differences

    def __repr__(self):
        lines = (
            f"{row.thing}: {row.ours} = {row.theirs} ({difference:.0e})" for row, difference in zip(self.rows, self.differences)
        )
        return "\n".join(lines)

    def _repr_html_(self):
        lines = ["<th></th><th>here, and below it in diffusers</th><th><code>ComfyUI</code>; A1111</th><th>difference</th>"]
        for row, difference in zip(self.rows, self.differences):
            comfy, a1111 = row.words
            words = [f"<code>{html.escape(comfy)}</code>"] if comfy else []
            words += [html.escape(a1111)] if a1111 else []
            thing = f"{html.escape(row.thing)}<br>{html.escape(row.letter)}" if row.letter else html.escape(row.thing)
            codes = "<br>".join(f"<code>{html.escape(code)}</code>" for code in (row.ours, row.theirs))
            cells = (thing, codes, "; ".join(words), f"{difference:.0e}")
            lines.append("".join(f'<td style="text-align:left">{cell}</td>' for cell in cells))
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        names = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(named_in(self.rows), quote=False))
        return f'<div style="overflow-x:auto"><table>{body}</table>{names}</div>'


def compare(group: str, known: dict[str, Any]) -> Table:
    """The rows of `group`, one of GROUPS, each with the largest difference of its two values, of which `known` has the names.

    Raises ValueError for another group, AssertionError where two values differ by more than LIMIT.
    """
    from course_lib import validate

    rows = GROUPS[validate.choice("group", group, tuple(GROUPS))]
    return Table(rows, [difference(row, known) for row in rows])


def difference(row: Row, known: dict[str, Any]) -> float:
    """The largest difference between the two values of a row, relative to the largest value where that is above 1.

    Raises AssertionError where it is above LIMIT, or the values have different sizes.
    """
    import torch

    with torch.no_grad():
        value = lambda of: torch.as_tensor(eval(of, dict(known)), dtype=torch.float64, device="cpu").squeeze()
        ours, theirs = value(row.ours), value(row.theirs)
    assert ours.shape == theirs.shape, f"{row.thing}: {tuple(ours.shape)} here, {tuple(theirs.shape)} there"
    found = float((ours - theirs).abs().max() / max(1.0, float(theirs.abs().max())))
    assert found < LIMIT, f"{row.thing}: {found:.1e} apart"
    return found
