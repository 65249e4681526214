"""Pipelines of diffusers as denoisers of ours: against their own loops, on tiny random pipelines of the same classes."""

import re

import pytest
import torch
from pretend import DEVICE, KINDS, rules

from course_lib.denoisers import NULL, both, takes_guidance
from course_lib.guidance import ClassifierFree, classifier_free
from course_lib.methods.editing import sdedit
from course_lib.methods.solvers import dpm_solver, unipc
from course_lib.nets.hooks import cross_attention_maps
from course_lib.process import RectifiedFlow, seeded
from course_lib.samplers import consistency, ddim, ddpm, heun, invert, rectified_flow, result
from course_lib.widgets.attention import attention_player
from course_lib.widgets.guidance import guidance_explorer
from course_lib.widgets.guided_models import by_classifier_free
from course_lib.widgets.player import play

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from course_lib.zoo.diffusers import from_diffusers, pretrained, process_of, scheduler_times  # noqa: E402
from course_lib.zoo.tiny_pipelines import PIPELINES, tiny  # noqa: E402

PROMPTED = [name for name in PIPELINES if name not in ("DDPMPipeline", "StableDiffusionXLImg2ImgPipeline")]
PROMPTS = ["a red house", "two cats, at sea"]


def noise_for(network, n=2):
    return network.draw_noise(n, seeded(3))


def theirs(pipeline, x, w, steps=5, **more):
    return pipeline(
        latents=x.clone(), num_inference_steps=steps, guidance_scale=w, output_type="latent", generator=seeded(7), **more
    ).images


def ours(network, denoiser, x, steps=5):
    """The course's sampler for the pipeline's scheduler, at the scheduler's own times."""
    scheduler = network.net.pipeline.scheduler
    times = scheduler_times(scheduler, steps)
    if isinstance(network.process, RectifiedFlow):
        return result(rectified_flow(denoiser, x, times))
    if type(scheduler).__name__ == "LCMScheduler":
        return result(consistency(denoiser, x, times, seeded(7)))
    return result(ddim(denoiser, x, times))


@pytest.mark.parametrize("negative", [None, "a blurry cat"])
@pytest.mark.parametrize("w", [1.0, 4.0])
@pytest.mark.parametrize("name", PROMPTED)
def test_the_trajectory_ends_where_the_pipelines_own_loop_does(name, w, negative):
    pipeline = tiny(name)
    network = from_diffusers(pipeline, negative)
    x = noise_for(network)
    more = {} if "Consistency" in name else {"negative_prompt": None if negative is None else [negative] * 2}
    want = theirs(pipeline, x, w, prompt=PROMPTS, **more)
    got = ours(network, classifier_free(network, PROMPTS, w), x)
    assert (got - want).abs().max() < 1e-4 * max(1, want.abs().max())
    other = ours(network, classifier_free(network, PROMPTS[::-1], w), x)
    assert (other - want).abs().max() > 1e-3  # the prompt matters to the pipeline, so that the equality says something


def without_t5():
    pipeline = tiny("StableDiffusion3Pipeline")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    return pipeline


@pytest.mark.parametrize("negative", [None, "a blurry cat"])
@pytest.mark.parametrize("w", [1.0, 4.0])
def test_sd3_without_its_third_encoder_is_the_pipelines_own_loop(w, negative):
    """As it is often run, to save memory: the encoder's vectors are zeros then."""
    pipeline = without_t5()
    network = from_diffusers(pipeline, negative)
    x = noise_for(network)
    want = theirs(pipeline, x, w, prompt=PROMPTS, negative_prompt=None if negative is None else [negative] * 2)
    assert (ours(network, classifier_free(network, PROMPTS, w), x) - want).abs().max() < 1e-4 * max(1, want.abs().max())


def test_sd3s_third_encoder_reads_on_where_the_others_stop():
    """CLIP's tokenizers cut these prompts before they differ."""
    long = [f"a house with a red door and {windows} windows" for windows in ("two", "six")]
    one, other = from_diffusers(tiny("StableDiffusion3Pipeline")).given(long).cond
    assert (one - other).abs().max() > 1e-3
    one, other = from_diffusers(without_t5()).given(long).cond
    assert one.equal(other)


def test_a_negative_prompt_is_a_condition_like_any_other():
    pipeline = tiny("StableDiffusionPipeline")
    network = from_diffusers(pipeline)
    x = noise_for(network)
    guided = ClassifierFree(network.given(PROMPTS), network.given("a blurry cat"), 4.0)
    want = theirs(pipeline, x, 4.0, prompt=PROMPTS, negative_prompt=["a blurry cat"] * 2)
    assert (ours(network, guided, x) - want).abs().max() < 1e-4


@pytest.mark.parametrize("t", [500, torch.tensor([500, 20])])
@pytest.mark.parametrize("name", PROMPTED)
def test_guidance_makes_one_call_of_the_network(name, t):
    """With twice the batch, as the pipeline's own loop; the sum is that of two calls."""
    network = from_diffusers(tiny(name))
    x, t = noise_for(network), t / 1000 if name == "StableDiffusion3Pipeline" else t
    denoiser = classifier_free(network, PROMPTS, 4.0)
    calls = []
    network.net.model.register_forward_pre_hook(lambda m, args, kwargs: calls.append(1), with_kwargs=True)
    pred = denoiser(x, t)
    assert len(calls) == 1 and pred.x is x and pred.a.shape[0] in (1, len(x))
    if isinstance(denoiser, ClassifierFree):
        want = denoiser.uncond(x, t).lerp(denoiser.cond(x, t), 4.0)
        assert len(calls) == 3 and pred.x0.allclose(want.x0, rtol=1e-4, atol=1e-4)


def test_networks_that_differ_in_more_than_their_condition_are_called_one_by_one():
    network = from_diffusers(tiny("LatentConsistencyModelPipeline"))
    x, other = noise_for(network), from_diffusers(tiny("LatentConsistencyModelPipeline", seed=1))
    given = [of.given(PROMPTS).at(w) for of, w in ((network, 2.0), (network, 3.0), (other, 2.0))]
    for first, second in ((given[0], given[1]), (given[0], given[2])):
        one, two = both(first, second, x, 500)
        assert one.value.equal(first(x, 500).value) and two.value.equal(second(x, 500).value)


def test_ddpm_is_the_pipelines_own_loop():
    pipeline = tiny("DDPMPipeline")
    network, times = from_diffusers(pipeline), scheduler_times(pipeline.scheduler, 10)
    rng = seeded(5)
    x = torch.randn(2, *network.net.shape, generator=rng)
    got = result(ddpm(network, x, times, rng))
    want = pipeline(batch_size=2, num_inference_steps=10, generator=seeded(5), output_type="np").images
    assert ((got / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() - want).__abs__().max() < 1e-4


def test_the_refiner_is_the_pipelines_own_loop():
    """From a noised latent, as after the base model: `denoising_start` of its pipeline."""
    pipeline = tiny("StableDiffusionXLImg2ImgPipeline")
    network = from_diffusers(pipeline)
    latents = noise_for(network)
    want = pipeline(
        prompt=PROMPTS,
        image=latents.clone(),
        num_inference_steps=10,
        denoising_start=0.8,
        guidance_scale=4.0,
        output_type="latent",
    ).images
    times = scheduler_times(pipeline.scheduler, 10)
    times = times[times <= 201]  # their cut: timesteps below 0.2 x 1,000
    alpha_bar = network.process.alpha_bar(times[0])
    got = result(ddim(classifier_free(network, PROMPTS, 4.0), latents * alpha_bar.sqrt(), times))
    assert (got - want).abs().max() < 1e-4


@pytest.mark.parametrize(
    "scheduler, sampler, options",
    [
        ("DDIMScheduler", ddim, {"clip_sample": False}),
        ("DPMSolverMultistepScheduler", dpm_solver, {}),
        ("EulerDiscreteScheduler", ddim, {}),
        ("UniPCMultistepScheduler", unipc, {}),
        ("HeunDiscreteScheduler", None, {}),
        ("PNDMScheduler", None, {"skip_prk_steps": True}),
    ],
)
def test_times_are_those_at_which_the_scheduler_evaluates(scheduler, sampler, options):
    """And its result is our sampler's, for each that has the same algorithm here, in the same pipeline."""
    pipeline = tiny("StableDiffusionPipeline")
    pipeline.scheduler = getattr(diffusers, scheduler)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing", **options
    )
    network, asked = from_diffusers(pipeline), []
    x = noise_for(network)
    hook = network.net.model.register_forward_pre_hook(lambda m, args, kwargs: asked.append(int(args[1])), with_kwargs=True)
    want = theirs(pipeline, x * scale(pipeline.scheduler), 1.0, prompt=PROMPTS, steps=20)
    hook.remove()
    times = scheduler_times(pipeline.scheduler, 20)
    assert sorted(set(asked), reverse=True) == (times[:-1] - 1).tolist()
    if sampler is not None:
        assert (result(sampler(network.given(PROMPTS), x, times)) - want).abs().max() < 1e-4


def scale(scheduler):
    """The factor that gives latents unit variance in the scheduler's own scale, where its x is x_0 + sigma eps."""
    scheduler.set_timesteps(20)
    of_x0 = isinstance(scheduler, diffusers.EulerDiscreteScheduler | diffusers.HeunDiscreteScheduler)
    return (float(scheduler.sigmas.max()) ** 2 + 1) ** 0.5 / float(scheduler.init_noise_sigma) if of_x0 else 1.0


@pytest.mark.parametrize("name", [name for name in PIPELINES if name != "DDPMPipeline"])
def test_encode_and_decode_are_the_autoencoders(name):
    pipeline = tiny(name)
    net = from_diffusers(pipeline).net
    z = torch.randn(2, *net.shape, generator=seeded(0))
    config = pipeline.vae.config
    want = pipeline.vae.decode(z / config.scaling_factor + (config.shift_factor or 0)).sample.clamp(-1, 1)
    assert net.decode(z).equal(want)
    x = want.detach()
    mean = pipeline.vae.encode(x).latent_dist.mean
    drawn = torch.stack([net.encode(x, seeded(i)) for i in range(200)])
    floor = pipeline.vae.encode(x).latent_dist.std * config.scaling_factor
    assert ((drawn.mean(0) - (mean - (config.shift_factor or 0)) * config.scaling_factor).abs() < 0.35 * floor + 1e-5).all()


@pytest.mark.parametrize("name", PIPELINES)
def test_half_precision_stays_that_of_the_weights_and_x_its_own(name):
    network = from_diffusers(tiny(name).to(torch.bfloat16))
    denoiser = network if name == "DDPMPipeline" else network.given(PROMPTS)
    denoiser = denoiser.at(2.0) if takes_guidance(network.net) else denoiser
    pred = denoiser(noise_for(network), network.process.T)
    assert pred.value.dtype == torch.float32 and pred.value.isfinite().all()
    assert next(network.net.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_on_a_device_gives_what_it_gives_on_the_cpu(name, kind):
    """Under the rules of CUDA and of Apple's MPS (pretend.py); prompts, steps and the autoencoder."""

    def made(where):
        pipeline = tiny(name)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.to(where)
        network = from_diffusers(pipeline)
        x, net = noise_for(network).to(where), network.net
        out = [(network if name == "DDPMPipeline" else classifier_free(network, PROMPTS, 4.0))(x, network.process.T).eps]
        out += [] if name == "DDPMPipeline" else [net.encode(net.decode(x), seeded(1))]
        assert all(of.device.type == torch.device(where).type for of in out)
        return [of.cpu() for of in out]

    with rules(kind):
        assert all(there.allclose(here, rtol=1e-4, atol=1e-4) for there, here in zip(made(DEVICE), made("cpu"), strict=True))


def test_the_null_condition_is_the_empty_prompt_and_zeros_where_sdxl_asks_for_them():
    network = from_diffusers(tiny("StableDiffusionPipeline"))
    assert network.given(NULL).cond.equal(network.given("").cond)
    sdxl = from_diffusers(tiny("StableDiffusionXLPipeline"))
    row = sdxl.given(NULL).cond
    assert (row[:, :-6] == 0).all() and row[0, -6:].tolist() == [16, 16, 0, 0, 16, 16]
    refiner = from_diffusers(tiny("StableDiffusionXLImg2ImgPipeline"))
    assert [refiner.given(c).cond[0, -1].item() for c in (NULL, "a cat")] == [2.5, 6.0]


def test_attention_is_what_the_layer_computes_with():
    network = from_diffusers(tiny("StableDiffusionPipeline")).given("a red cat")
    layer = next(m for n, m in network.net.model.named_modules() if n.endswith("attn2"))
    seen = {}
    handle = layer.to_out[0].register_forward_pre_hook(lambda m, args: seen.update(mixed=args[0]))
    into = layer.register_forward_hook(lambda m, a, k, out: seen.update(text=k["encoder_hidden_states"]), with_kwargs=True)
    with network.net.record_attention() as weights:
        network(noise_for(network), 500)
    handle.remove(), into.remove()
    first = next(iter(weights.values()))
    values = layer.to_v(seen["text"]).unflatten(2, (layer.heads, -1)).transpose(1, 2)
    assert (first @ values).transpose(1, 2).flatten(2).allclose(seen["mixed"], atol=1e-5)
    maps = cross_attention_maps(network, noise_for(network), 500, side=4)
    assert maps.shape == (2, 16, 4, 4) and maps.sum(1).allclose(torch.ones(2, 4, 4), atol=1e-5)


def test_widgets_and_methods_of_the_course_run_on_a_pipeline():
    network = from_diffusers(tiny("StableDiffusionPipeline"))
    net, cat = network.net, network.given("a red cat")
    times = network.process.times(4)
    steps = list(ddim(classifier_free(network, ["a red cat"], 3.0), noise_for(network, 1), times))
    assert play(steps, draw=lambda step: net.decode(step.x0)).html
    assert "cat" not in net.words("a red cat") and net.words("ab c") == ["a", "b", "c"]
    assert attention_player(network, "a red cat", steps, side=4, decode=net.decode).html
    z = net.encode(torch.zeros(1, 3, 16, 16), seeded(0))
    assert result(sdedit(cat, z, times[1:], seeded(0))).shape == z.shape
    assert result(invert(cat, z, times)).isfinite().all()
    for sampler in (heun, dpm_solver, unipc):
        assert result(sampler(cat, noise_for(network, 1), times)).isfinite().all()
    explorer = guidance_explorer({"cats": by_classifier_free(network, net.decode)}, net.shape, ["a red cat"], steps=2)
    assert explorer.page.html


@pytest.mark.parametrize("sampler", [ddim, ddpm, heun, unipc])
def test_the_explorer_samples_a_flow_by_euler_or_heun(sampler):
    network = from_diffusers(tiny("StableDiffusion3Pipeline"))
    noise, times = noise_for(network), network.process.times(3)
    made = result(by_classifier_free(network)(PROMPTS, 2.0, noise, 3, sampler))
    own = heun if sampler is heun else rectified_flow
    assert made.allclose(result(own(classifier_free(network, PROMPTS, 2.0), noise, times)), atol=1e-6)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: from_diffusers(object()), TypeError, "pipeline must be one of DDPMPipeline, DDIMPipeline, "),
        (lambda: from_diffusers(tiny("DDPMPipeline"), 3), TypeError, "negative must be"),
        (lambda: from_diffusers(tiny("DDPMPipeline")).given("a cat"), TypeError, "PipelineNet takes no condition"),
        (
            lambda: from_diffusers(tiny("StableDiffusionPipeline")).given(3),
            TypeError,
            "prompts must be a prompt, a list of prompts or NULL, got 3",
        ),
        (lambda: from_diffusers(tiny("StableDiffusionPipeline")).given([]), ValueError, "prompts must"),
        (
            lambda: without_tokenizer().given("a cat"),
            ValueError,
            "pipeline must have a tokenizer to be given a prompt, got none",
        ),
        (lambda: process_of(3), TypeError, "scheduler must be of a chain or a rectified flow, got int"),
        (lambda: scheduler_times(tiny("DDPMPipeline").scheduler, 0), ValueError, "n must be"),
        (lambda: tiny("FluxPipeline"), ValueError, "name must be one of DDPMPipeline, "),
        (
            lambda: pretrained("nobody/nothing"),
            FileNotFoundError,
            "nobody/nothing is not on this machine, and download is False",
        ),
        (lambda: pretrained("nobody/nothing", dtype="half"), TypeError, "dtype must be"),
    ],
)
def test_bad_input_is_named_in_one_line(call, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


def without_tokenizer():
    pipeline = tiny("StableDiffusionPipeline")
    pipeline.tokenizer = None
    return from_diffusers(pipeline)


def test_a_saved_pipeline_is_read_without_a_download(tmp_path):
    pipeline = tiny("StableDiffusionPipeline")
    pipeline.save_pretrained(tmp_path)
    again, network = from_diffusers(pretrained(str(tmp_path), device="cpu")), from_diffusers(pipeline)
    x = noise_for(network)
    assert again.given(PROMPTS)(x, 500).eps.allclose(network.given(PROMPTS)(x, 500).eps, atol=1e-6)


def test_a_chain_rescaled_to_end_in_noise_alone_is_a_process():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    process, view = process_of(scheduler)
    assert view == "v" and 0 < float(process.alpha_bar(1000)) <= 2.0**-24
