"""Each variant is what its slug says, proved on tensors."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from generating import FOUR, QUICK, Generate, images, make, producer_of
from pictures import same_picture

from busaug_core.base.autoencoder import decode
from busaug_core.base.defaults import spaced_timesteps
from busaug_core.errors import UserError
from busaug_core.generate.config import GENERATE
from busaug_core.generate.domain_guidance import domain_guidance
from busaug_core.generate.plan import Item
from busaug_core.generate.sampler import Sampler
from busaug_core.images import load_gray
from busaug_core.jobs.events import Made, Notice, drain
from busaug_core.registry import job


def produced(producer, item):
    """The image of each variant, by slug."""
    return dict(filter(None, producer.produce([item])))


def test_lora_on_differs_from_lora_off(events):
    off, on = images(events, "base"), images(events, "sd")
    assert all(np.abs(off[p] - on[p]).mean() > 1 for p in off)


def test_base_is_the_untouched_base(events, base, tmp_path):
    from busaug_core.base.loading import load_pipeline

    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "base")
    pipe = load_pipeline(base, torch.device("cpu"), torch.float32)
    generator = torch.Generator().manual_seed(record.synthesis.seed)
    plain = pipe(
        record.synthesis.prompt,
        height=64,
        width=64,
        num_inference_steps=10,
        guidance_scale=2,
        generator=generator,
    )
    plain.images[0].save(tmp_path / "plain.png")
    assert np.abs(load_gray(tmp_path / "plain.png", 64).astype(int) - load_gray(record.path, 64)).max() <= 2


def test_sd_img2img_is_img2img_of_the_sd_image_at_its_strength(producer):
    item = Item("benign", 0, 123)
    made = produced(producer, item)
    from busaug_core.generate.recipes import RECIPES

    producer.sampler.switch(RECIPES["sd"].components)
    latents = drain(producer.sampler.text_to_image([producer.prompt(item, "sd")], [123]))
    pipe = StableDiffusionImg2ImgPipeline(**producer.sampler.pipe.components, requires_safety_checker=False)
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    refined = pipe(
        producer.prompt(item, "sd"),
        image=latents,
        strength=0.3,
        num_inference_steps=10,
        guidance_scale=2,
        generator=torch.Generator().manual_seed(124),
        output_type="latent",
    ).images
    hook.remove()
    assert len(calls) == 3, "0.3 of 10 steps are run again"
    assert same_picture(decode(producer.sampler.pipe, refined), made["sd_img2img"])
    assert not same_picture(made["sd"], made["sd_img2img"])
    kept = np.corrcoef(made["sd"].ravel(), made["sd_img2img"].ravel())[0, 1]
    other = produced(producer, Item("benign", 1, 999))["sd_img2img"]
    assert kept > np.corrcoef(made["sd"].ravel(), other.ravel())[0, 1]


def test_guidance_that_ends_is_that_of_diffusers_and_spares_half_of_the_later_passes(base, trained):
    from busaug_core.base.loading import load_pipeline

    values = dict(QUICK, base_model=base, variants=["base"], counts={"benign": 1}, guidance_scale=3, guidance_end=0.45)
    config = GENERATE.config_class().parse(values).resolve()
    pipe = load_pipeline(base, torch.device("cpu"), torch.float32)
    rows = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    prompt = "ultrasound image of a benign breast lesion"
    sampler = Sampler(pipe, config, {})
    latents = drain(sampler.text_to_image([prompt], [123]))
    assert rows == [2] * 5 + [1] * 5

    def end(pipe, number, _, tensors):
        if number == 4:
            pipe._guidance_scale = 1.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"][1:]
        return tensors

    plain = pipe(
        prompt,
        height=64,
        width=64,
        num_inference_steps=10,
        guidance_scale=3,
        generator=torch.Generator().manual_seed(123),
        output_type="latent",
        callback_on_step_end=end,
        callback_on_step_end_tensor_inputs=["prompt_embeds"],
    ).images
    assert torch.allclose(latents, plain, atol=1e-5)
    rows.clear()
    drain(sampler.image_to_image(latents, [prompt], [123]))
    hook.remove()
    assert rows == [1] * 3, "img2img runs the last steps, which are past the end"


@pytest.fixture(scope="module")
def tuned(trained, masked, base):
    """The home with a tuned UNet and a ControlNet beside it."""
    values = dict(base_model=base, batch_size=2, resolution=64, precision="fp32", membership=False, steps=3)
    for name, more in (
        ("finetune_unet", dict(run_key="unet", learning_rate=3e-3)),
        ("train_controlnet", dict(run_key="controlnet", unet="unet", learning_rate=0.1)),
    ):
        drain(job(name).run({**values, **more}, masked, "trial", trained))
    return trained


@pytest.mark.parametrize("steered", [False, True])
def test_a_tuned_unet_departs_from_what_the_base_predicts_without_prompt(base, tuned, steered):
    from busaug_core.base.loading import load_pipeline

    values = dict(QUICK, base_model=base, variants=["ft_mask"], unet="unet", controlnet="controlnet", mode="evaluation")
    sampler = producer_of(tuned, Generate.parse(values).resolve()).sampler
    sampler.switch({"unet", "controlnet"} if steered else {"unet"}, [np.ones((64, 64), bool)] * 2)
    unet, component = sampler.pipe.unet, sampler.attached["unet"]
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    states, own_states = sampler._encode(["", ""]), sampler._encode(["one", "two"])
    added = {}
    unet.register_forward_pre_hook(lambda _, args, kwargs: added.update(kwargs), with_kwargs=True)

    def predict(network, states, **more):
        return network(latents, torch.tensor(500), encoder_hidden_states=states, return_dict=False, **more)[0]

    with torch.no_grad():
        own = predict(unet, own_states)
        residuals = {name: added[name] for name in added if name.endswith(("residuals", "residual"))}
        assert bool(residuals) == steered
        untuned = load_pipeline(base, torch.device("cpu"), torch.float32).unet
        moved = own - predict(untuned, states, **residuals)
        assert moved.abs().max() > 0.01
        with domain_guidance(unet, component, [3, 1.5], states[0]):
            further = torch.tensor([2, 0.5]).view(2, 1, 1, 1)
            assert torch.allclose(predict(unet, own_states), own + further * moved, atol=1e-4)
        with domain_guidance(unet, component, [3], states[0]):
            assert torch.equal(predict(unet, own_states), own), "a prompt guides the one image already"
        assert torch.equal(predict(unet, own_states), own)


def test_an_image_departs_alike_in_a_batch_of_any_size(tuned, base, records):
    values = dict(base_model=base, unet="unet", variants=["ft"], counts={"benign": 4}, guidance_end=0.5)
    away = dict(domain_guidance=2, domain_guidance_width=0.5)
    three, one, plain = (
        images(make(tuned, records, f"batch{n}{len(more)}", **values, batch_size=n, **more), "ft")
        for n, more in ((3, away), (1, away), (1, {}))
    )
    for pair, other in zip(sorted(three), sorted(one), strict=True):
        assert np.abs(three[pair] - one[other]).max() <= 2
    assert all(np.abs(a - b).mean() > 0.3 for a, b in zip(one.values(), plain.values(), strict=True))


def test_only_images_of_a_tuned_unet_depart_from_the_base(tuned, records, base):
    values = dict(base_model=base, unet="unet", variants=["base", "sd", "ft"], counts={"benign": 1})
    plain, away = (make(tuned, records, f"away{n}", **values, guidance_end=0.5, domain_guidance=n) for n in (1, 2))
    by_slug = {e.record.variant: e.record.synthesis for e in away if isinstance(e, Made)}
    assert {slug: made.domain_guidance for slug, made in by_slug.items()} == dict(base=None, sd=None, ft=2)
    for slug, differs in (("base", False), ("sd", False), ("ft", True)):
        (before,), (after,) = (images(made, slug).values() for made in (plain, away))
        assert (np.abs(before - after).mean() > 0.3) == differs, slug


def test_each_image_departs_by_a_scale_of_its_own_which_its_provenance_tells(tuned, base, records):
    values = dict(base_model=base, unet="unet", variants=["ft"], counts={"benign": 12}, guidance_end=0.5)
    values |= dict(spacing=2)

    def scales_and_images(width, batch_size, domain_guidance=2):
        more = dict(domain_guidance=domain_guidance, domain_guidance_width=width, batch_size=batch_size)
        key = f"of{domain_guidance}_{width}"
        made = [e.record for e in make(tuned, records, key, **values, **more) if isinstance(e, Made)]
        made.sort(key=lambda record: record.synthesis.index)
        assert {record.synthesis.spacing for record in made} == {2}
        return [r.synthesis.domain_guidance for r in made], [load_gray(r.path, 64).astype(float) for r in made]

    scales, varied = scales_and_images(1, 12)
    same, usual = scales_and_images(0, 5)
    _, further = scales_and_images(0, 6, domain_guidance=3)
    assert set(same) == {2} and len(set(scales)) == 12
    assert 1 <= min(scales) < 1.6 and 2.4 < max(scales) <= 3
    changes = [((a - b) * (c - b)).sum() / ((c - b) ** 2).sum() for a, b, c in zip(varied, usual, further, strict=True)]
    assert np.corrcoef(changes, np.array(scales) - 2)[0, 1] > 0.9


def test_it_is_told_where_a_tuned_unet_is_sampled_as_the_base_beside_it(tuned, base, records):
    values = dict(base_model=base, unet="unet", counts={"benign": 1}, guidance_scale=None, guidance_end=None)
    told = {
        len(slugs): [
            e.message for e in make(tuned, records, f"told{n}", **values, variants=slugs) if isinstance(e, Notice)
        ]
        for n, slugs in enumerate((["ft"], ["base", "ft"]))
    }
    assert told[1] == []
    assert told[2] == [
        "Images of ft are sampled in the steps and by the guidance of base; where these are left open, a tuned UNet "
        "has its own in a run without others: steps 13, guidance_scale 2."
    ]


def test_a_class_may_have_a_width_of_its_own(tuned, base, records):
    values = dict(base_model=base, unet="unet", variants=["ft"], counts={"benign": 3, "normal": 3}, guidance_end=0.5)
    values |= dict(domain_guidance=2, domain_guidance_width=0, domain_guidance_widths={"Normal ": 1})
    usual, made = (
        [e.record for e in make(tuned, records, f"widths{len(own)}", **values | own) if isinstance(e, Made)]
        for own in (dict(domain_guidance_widths={}), {})
    )
    scales = {label: {r.synthesis.domain_guidance for r in made if r.label == label} for label in ("benign", "normal")}
    assert scales["benign"] == {2} and len(scales["normal"]) == 3
    for one, other in zip(usual, made, strict=True):
        assert one.synthesis.seed == other.synthesis.seed
        change = np.abs(load_gray(one.path, 64).astype(float) - load_gray(other.path, 64)).mean()
        assert (change > 0.01) == (one.label == "normal")
    with pytest.raises(UserError, match="widths names 'cyst', which is no class of these images; they are"):
        make(tuned, records, "cysts", **{**values, "domain_guidance_widths": {"cyst": 1}})


def test_spaced_steps_are_those_that_the_pipeline_takes_and_img2img_keeps_the_schedulers(trained, records, base):
    values = dict(QUICK, base_model=base, variants=["sd_img2img"], lora="lora", counts={"benign": 1}, steps=8)
    configs = [Generate.parse(values | dict(spacing=spacing)).resolve() for spacing in (1, 2)]
    seen = []
    for config in configs:
        sampler, taken = producer_of(trained, config).sampler, []
        sampler.pipe.unet.register_forward_pre_hook(lambda _, args, taken=taken: taken.append(int(args[1])))
        latents = drain(sampler.text_to_image(["one"], [1]))
        drain(sampler.image_to_image(latents, ["one"], [1]))
        seen.append(taken)
    even, spaced = seen
    assert spaced[:8] == spaced_timesteps(8, 2, 999) != even[:8]
    assert len(even) == 10 and spaced[8:] == even[8:]


def test_a_scheduler_that_takes_no_timesteps_is_told(trained, base):
    values = dict(QUICK, base_model=base, variants=["base"], mode="evaluation", spacing=2)
    sampler = producer_of(trained, Generate.parse(values).resolve()).sampler
    sampler.pipe.scheduler = DDIMScheduler.from_config(sampler.pipe.scheduler.config)
    with pytest.raises(UserError, match=r"scheduler \(DDIMScheduler\).*set spacing to 1"):
        drain(sampler.text_to_image(["one"], [1]))


def test_strength_one_forgets_the_sd_image_more_than_a_low_one(trained, records, base):
    away = {}
    for key, strength in (("low", 0.1), ("high", 0.9)):
        made = make(
            trained,
            records,
            key,
            base_model=base,
            variants=["sd", "sd_img2img"],
            counts={"benign": 2},
            strength=strength,
        )
        before, after = images(made, "sd"), images(made, "sd_img2img")
        away[key] = np.mean([np.abs(before[p] - after[p]).mean() for p in before])
    assert away["low"] < away["high"]


def test_sd_ti_puts_the_learned_vectors_into_the_prompt(producer):
    seen = []
    encoder = producer.sampler.pipe.text_encoder
    hook = encoder.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append(args[0] if args else kwargs["input_ids"]), with_kwargs=True
    )
    producer.sampler._states.clear()
    produced(producer, Item("benign", 0, 5))
    hook.remove()
    ids = producer.sampler.pipe.tokenizer.convert_tokens_to_ids(["<ultrasound>", "<ultrasound>_1"])
    word = producer.sampler.pipe.tokenizer.encode("ultrasound", add_special_tokens=False)[0]
    rows = [row.tolist() for batch in seen for row in batch]
    assert any(ids[0] in row and ids[1] in row and word not in row for row in rows)
    assert any(word in row and ids[0] not in row for row in rows)


def test_sd_ti_differs_from_sd(events):
    without, with_token = images(events, "sd"), images(events, "sd_ti")
    assert not any(same_picture(without[p], with_token[p]) for p in without)


def test_text2img_runs_once_for_the_variants_that_grow_from_it(producer, monkeypatch):
    calls = []
    original = Sampler.text_to_image
    monkeypatch.setattr(Sampler, "text_to_image", lambda *a: calls.append(1) or original(*a))
    assert list(produced(producer, Item("benign", 0, 1))) == ["base", *FOUR]
    assert len(calls) == 3


def test_handing_over_the_image_takes_the_decoded_picture(trained, records, base, events):
    made = make(
        trained,
        records,
        "image",
        base_model=base,
        variants=["sd_img2img"],
        counts={"benign": 2, "normal": 2},
        handoff="image",
    )
    latent, image = images(events, "sd_img2img"), images(made, "sd_img2img")
    assert [e.record.synthesis.handoff for e in made if isinstance(e, Made)] == ["image"] * 4
    assert not any(same_picture(a, b) for a, b in zip(latent.values(), image.values(), strict=True))


def test_lora_and_token_give_the_same_image_in_plain_diffusers_in_a_fresh_process(trained, events, base, tmp_path):
    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "sd_ti")
    code = f"""
import torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained({base!r}, safety_checker=None, requires_safety_checker=False,
    dtype=torch.float32)
pipe.load_lora_weights({str(trained / "trial/runs/lora")!r})
pipe.load_textual_inversion({str(trained / "trial/runs/token/learned_embeds.safetensors")!r}, token="<ultrasound>")
pipe({record.synthesis.prompt!r}, height=64, width=64, num_inference_steps=10, guidance_scale=2,
    generator=torch.Generator().manual_seed({record.synthesis.seed})).images[0].save({str(tmp_path / "p.png")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    plain = load_gray(tmp_path / "p.png", 64).astype(int)
    assert np.abs(plain - load_gray(record.path, 64)).max() <= 2


def test_adjectives_begin_the_prompt_for_as_many_images_each_and_are_recorded(trained, records, base):
    adjectives = ["Dark", "Bright"]
    made = make(
        trained, records, "adjectives", base_model=base, variants=["sd", "sd_adj"], counts={"benign": 4}, token=None,
        adjectives=adjectives,
    )  # fmt: skip
    chosen = {v: [e.record for e in made if isinstance(e, Made) and e.record.variant == v] for v in ("sd", "sd_adj")}
    assert [r.synthesis.adjective for r in chosen["sd_adj"]] == adjectives * 2
    assert chosen["sd_adj"][0].synthesis.prompt == "Dark ultrasound image of a benign breast lesion"
    assert all(r.synthesis.adjective is None for r in chosen["sd"])
    assert not same_picture(load_gray(chosen["sd"][0].path, 64), load_gray(chosen["sd_adj"][0].path, 64))


def test_a_variant_of_one_adjective_begins_each_prompt_with_it_whatever_the_config_has_in_turn(trained, records, base):
    made = make(
        trained, records, "dark", base_model=base, variants=["sd_adj", "sd_adj_dark"], counts={"benign": 2}, token=None,
        adjectives=["Dark", "Bright"],
    )  # fmt: skip
    chosen = {
        v: [e.record for e in made if isinstance(e, Made) and e.record.variant == v] for v in ("sd_adj", "sd_adj_dark")
    }
    assert [r.synthesis.adjective for r in chosen["sd_adj_dark"]] == ["Dark", "Dark"]
    first, second = ([load_gray(r.path, 64) for r in chosen[v]] for v in ("sd_adj", "sd_adj_dark"))
    assert same_picture(first[0], second[0]) and not same_picture(first[1], second[1])
