"""Settings of generation."""

from dataclasses import replace

import numpy as np
import pytest
from generating import Generate

from busaug_core.base.defaults import DEFAULTS, STABLE_DIFFUSION, spaced_timesteps
from busaug_core.errors import UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(variants=["sd"], counts={"benign": 1}), "needs a LoRA"),
        (dict(variants=["sd_ti"], lora="x", counts={"benign": 1}), "needs a learned token"),
        (dict(variants=["base"]), "set one of balance_to, ratio and counts"),
        (dict(variants=["base"], ratio=1, balance_to=3), "set one of"),
        (dict(variants=["other"], counts={"benign": 1}), "variants"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        Generate.parse(values)


def test_img2img_without_a_step_to_run_is_refused():
    config = Generate.parse({"variants": ["sd_img2img"], "lora": "x", "counts": {"benign": 1}, "steps": 3})
    with pytest.raises(UserError, match="raise steps to at least 4"):
        config.resolve()


def test_a_negative_prompt_without_guidance_is_refused():
    values = dict(variants=["base"], counts={"benign": 1}, negative_prompt="x", guidance_scale=1)
    config = Generate.parse(values)
    with pytest.raises(UserError, match="negative_prompt has no effect at guidance_scale 1"):
        config.resolve()


def test_an_end_of_guidance_that_there_is_not_is_refused_and_img2img_has_the_last_steps():
    values = dict(variants=["base"], counts={"benign": 1}, guidance_end=0.5)
    with pytest.raises(UserError, match="guidance_end has no effect at guidance_scale 1"):
        Generate.parse({**values, "guidance_scale": 1}).resolve()
    config = Generate.parse({**values, "steps": 9}).resolve()
    assert [config.guided(count) for count in (9, 6, 3)] == [5, 2, 0]
    assert Generate.parse({**values, "guidance_end": 1, "steps": 9}).resolve().guided(3) == 3


def test_a_guided_step_counts_two_passes_of_the_unet():
    values = dict(variants=["base"], counts={"benign": 1}, steps=10, guidance_scale=2)
    assert Generate.parse({**values, "guidance_end": 0.5}).resolve().forwards == 15
    assert Generate.parse({**values, "guidance_end": 1}).resolve().forwards == 20
    assert Generate.parse({**values, "guidance_scale": 1}).resolve().forwards == 10


OF_TUNED = DEFAULTS["mini"].tuned_sampling


def resolved(*variants, **more):
    values = dict(unet="x", lora="x", controlnet="x", counts={"benign": 1}, steps=10, guidance_scale=2)
    return Generate.parse({**values, "guidance_end": 0.5, "variants": list(variants), **more}).resolve()


def test_guidance_away_from_the_base_is_of_a_tuned_unet_after_the_prompts():
    assert resolved("ft_mask").domain_guidance == OF_TUNED.domain_guidance > 1
    assert resolved("base", "sd").domain_guidance == 1
    assert resolved("sd", "ft", "ft_mask").forwards == 15 + 20 + 20
    assert resolved("ft", domain_guidance=1).forwards == 15
    assert resolved("ft", guidance_end=1).domain_guidance == 1
    unguided = dict(guidance_scale=1, guidance_end=None)
    assert resolved("ft", **unguided).forwards == 10
    assert resolved("ft", **unguided, domain_guidance=2).forwards == 20


def test_a_tuned_unet_has_settings_of_its_own_where_all_variants_are_of_one():
    for field in ("steps", "spacing", "guidance_scale"):
        own, tuned = (getattr(DEFAULTS["mini"].sampling_of(is_tuned), field) for is_tuned in (False, True))
        empty = dict(steps=None, guidance_scale=None)
        found = [getattr(resolved(*of, **empty), field) for of in (["sd"], ["ft", "sd"], ["ft", "ft_mask"])]
        assert found == [own, own, tuned] and own != tuned


def test_fewer_steps_than_the_bases_own_are_spaced_evenly_unless_asked_otherwise():
    few, many = (resolved("ft", steps=OF_TUNED.steps + more).spacing for more in (-1, 1))
    assert few == 1 < many == OF_TUNED.spacing
    assert resolved("ft", steps=2, spacing=1.2).spacing == 1.2


def test_a_scale_of_domain_guidance_that_is_set_is_that_of_all_images():
    assert resolved("ft").domain_guidance_width == OF_TUNED.domain_guidance_width > 0
    assert resolved("ft").domain_guidance_widths == OF_TUNED.domain_guidance_widths != {}
    for own in (dict(domain_guidance=2), dict(domain_guidance_width=0.1), dict(guidance_end=1)):
        assert resolved("ft", **own).domain_guidance_widths == {}
    assert resolved("sd").domain_guidance_widths == {}
    for variant, scale in (("sd", None), ("ft", 1), ("ft", 2)):
        assert resolved(variant, domain_guidance=scale).domain_guidance_width == 0
    assert resolved("ft", base_model=STABLE_DIFFUSION, domain_guidance=2).domain_guidance_width == 0
    for variant, more, words in (
        ("ft", dict(domain_guidance=1, domain_guidance_width=0.1), "no effect at domain_guidance 1"),
        ("ft", dict(domain_guidance=2, domain_guidance_width=2.1), "at most domain_guidance, here 2"),
        (
            "ft",
            dict(domain_guidance=2, domain_guidance_widths={"normal": 2.1}),
            "^domain_guidance_widths of 'normal' must be at most domain_guidance, here 2",
        ),
        ("ft", dict(domain_guidance=1, domain_guidance_widths={"normal": 0.1}), "no effect at domain_guidance 1"),
        ("sd", dict(domain_guidance_widths={"normal": 0.1}), "^domain_guidance_widths of 'normal' is of the variants"),
        ("ft", dict(domain_guidance_widths={"normal": 0.1, "Normal ": 1}), "'Normal ' is named twice"),
        ("ft", dict(domain_guidance_widths={"normal": "1"}), "valid number"),
        ("sd", dict(domain_guidance_width=0.1), "width is of the variants of a tuned UNet"),
        ("ft", dict(domain_guidance_width=0.1, guidance_end=1), "width begins after guidance_end"),
    ):
        with pytest.raises(UserError, match=words):
            resolved(variant, **more)
    paper = resolved("ft", preset="hybrid", steps=50, guidance_scale=None, guidance_end=1)
    assert (paper.spacing, paper.domain_guidance, paper.domain_guidance_width) == (1, 1, 0)
    with pytest.raises(UserError, match="of the variants of a tuned UNet"):
        resolved("base", "sd_mask", domain_guidance=2)
    with pytest.raises(UserError, match="no step is left"):
        resolved("ft", guidance_end=1, domain_guidance=2)


@pytest.mark.parametrize("spacing", [1.01, 1.5, 3])
@pytest.mark.parametrize("steps", [1, 2, 13, 400, 1000])
def test_spaced_steps_go_down_from_the_noisiest(spacing, steps):
    found = spaced_timesteps(steps, spacing, 999)
    assert len(found) == steps and found[0] == 999 and found[-1] >= 0
    assert all(gap >= 1 for gap in -np.diff(found))


def test_spaced_steps_are_those_of_the_formula():
    assert spaced_timesteps(4, 2, 999) == [999, 937, 749, 437]
    assert spaced_timesteps(3, 1, 99) == [99, 66, 33]


def test_the_presets_amount_gives_way_to_another_and_to_an_evaluation_set():
    given = {"preset": "hybrid", "variants": ["base"]}
    assert Generate.parse(given).balance_to == 350
    assert Generate.parse({**given, "counts": {"benign": 2}}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).steps == 50


def test_a_field_of_classes_that_was_forgotten_is_told_before_the_work(run_job, records, base, tmp_path):
    small = dict(base_model=base, resolution=64, precision="fp32")
    quick = dict(small, rank=2, steps=1, batch_size=2, membership=False)
    run_job("train_lora", records, run_key="lora", label_field="dx", **quick)
    unlabelled = [replace(r, label="") for r in records]
    values = dict(lora="lora", variants=["sd"], counts={"benign": 1}, steps=2, **small)
    with pytest.raises(UserError, match="in the field ground_truth, .* with the classes of dx; set label_field"):
        run_job("generate", unlabelled, **values)


def test_a_base_that_is_no_run_here_is_told_so(run_job, records, base):
    with pytest.raises(UserError, match="no run of this dataset either; finished runs of finetune_unet here: none yet"):
        run_job("generate", records, base_model="ft1", variants=["base"], counts={"benign": 1})
