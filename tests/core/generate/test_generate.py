"""Generation: each variant is what its slug says, proved on tensors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.generate.config import Generate
from busaug_core.generate.generate import Producer
from busaug_core.generate.plan import Item, class_counts, item_seed, work_list
from busaug_core.generate.sampler import Sampler
from busaug_core.images import NOTICE, load_gray, read_synthesis
from busaug_core.jobs.events import Made, Notice
from busaug_core.jobs.run import Run
from busaug_core.records import Record, count_labels
from busaug_core.registry import job

FOUR = ["sd", "sd_img2img", "sd_ti", "sd_ti_img2img"]
QUICK = dict(steps=10, resolution=64, batch_size=3, precision="fp32", guidance_scale=2)


@pytest.fixture(scope="module")
def trained(records, base, tmp_path_factory):
    """A home with a LoRA and a token, trained long enough to matter."""
    home = tmp_path_factory.mktemp("home")
    values = dict(base_model=base, batch_size=2, resolution=64, precision="fp32")
    for name, key, more in (
        ("train_lora", "lora", dict(steps=15, rank=4, learning_rate=5e-3)),
        ("train_textual_inversion", "token", dict(steps=5, vectors=2, learning_rate=0.2)),
    ):
        for _ in job(name).run({**values, **more, "run_key": key}, records, "trial", home):
            pass
    return home


def make(trained, records, key, **values):
    values = {**QUICK, "lora": "lora", "token": "token", "run_key": key, **values}
    return list(job("generate").run(values, records, "trial", trained))


def images(events, variant):
    return {
        e.record.pair: load_gray(e.record.path, 64).astype(float)
        for e in events
        if isinstance(e, Made) and e.record.variant == variant
    }


@pytest.fixture(scope="module")
def events(trained, records, base):
    return make(trained, records, "all", base_model=base, variants=["base", *FOUR], counts={"benign": 2, "normal": 2})


@pytest.fixture(scope="module")
def producer(trained, base, events):
    config = Generate.parse(
        {
            **QUICK,
            "base_model": base,
            "lora": "lora",
            "token": "token",
            "variants": ["base", *FOUR],
            "counts": {"benign": 1},
        }
    ).resolve()
    return Producer(config, Run(trained / "trial/runs/all"), ["benign"])


def test_every_variant_and_class_gets_its_count(events):
    made = [e.record for e in events if isinstance(e, Made)]
    assert count_labels(made) == {"benign": 10, "normal": 10}
    assert {r.variant for r in made} == {"base", *FOUR}
    assert len({r.path for r in made}) == 20


def test_lora_on_differs_from_lora_off(events):
    off, on = images(events, "base"), images(events, "sd")
    assert all(np.abs(off[p] - on[p]).mean() > 1 for p in off)


def test_base_is_the_untouched_base(events, base, tmp_path):
    from busaug_core.base.loading import load_pipeline

    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "base")
    pipe = load_pipeline(base, torch.device("cpu"), torch.float32)
    generator = torch.Generator().manual_seed(record.synthesis["seed"])
    plain = pipe(
        record.synthesis["prompt"],
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
    made = dict(producer.produce([item]))
    from busaug_core.generate.recipes import RECIPES

    producer.sampler.switch(RECIPES["sd"])
    latents = producer.sampler.text_to_image([producer.prompt("benign", False)], [123])
    pipe = StableDiffusionImg2ImgPipeline(**producer.sampler.pipe.components, requires_safety_checker=False)
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    refined = pipe(
        producer.prompt("benign", False),
        image=latents,
        strength=0.3,
        num_inference_steps=10,
        guidance_scale=2,
        generator=torch.Generator().manual_seed(124),
        output_type="latent",
    ).images
    hook.remove()
    assert len(calls) == 3, "0.3 of 10 steps are run again"
    assert np.array_equal(producer.sampler.decode(refined), made["sd_img2img"])
    assert not np.array_equal(made["sd"], made["sd_img2img"])
    kept = np.corrcoef(made["sd"].ravel(), made["sd_img2img"].ravel())[0, 1]
    other = dict(producer.produce([Item("benign", 1, 999)]))["sd_img2img"]
    assert kept > np.corrcoef(made["sd"].ravel(), other.ravel())[0, 1]


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
    dict(producer.produce([Item("benign", 0, 5)]))
    hook.remove()
    ids = producer.sampler.pipe.tokenizer.convert_tokens_to_ids(["<ultrasound>", "<ultrasound>_1"])
    word = producer.sampler.pipe.tokenizer.encode("ultrasound", add_special_tokens=False)[0]
    rows = [row.tolist() for batch in seen for row in batch]
    assert any(ids[0] in row and ids[1] in row and word not in row for row in rows)
    assert any(word in row and ids[0] not in row for row in rows)


def test_sd_ti_differs_from_sd(events):
    without, with_token = images(events, "sd"), images(events, "sd_ti")
    assert not any(np.array_equal(without[p], with_token[p]) for p in without)


def test_an_image_depends_on_its_seed_and_not_on_its_batch(trained, records, base, events):
    alone = make(
        trained,
        records,
        "alone",
        base_model=base,
        variants=["sd"],
        counts={"benign": 2, "normal": 2},
        batch_size=1,
    )
    together, apart = images(events, "sd"), images(alone, "sd")
    for (_, one), (_, other) in zip(sorted(together.items()), sorted(apart.items()), strict=True):
        assert np.abs(one - other).max() <= 2


def test_text2img_runs_once_for_the_variants_that_grow_from_it(producer, monkeypatch):
    calls = []
    original = Sampler.text_to_image
    monkeypatch.setattr(Sampler, "text_to_image", lambda *a: calls.append(1) or original(*a))
    assert [slug for slug, _ in producer.produce([Item("benign", 0, 1)])] == ["base", *FOUR]
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
    assert [e.record.synthesis["handoff"] for e in made if isinstance(e, Made)] == ["image"] * 4
    assert not any(np.array_equal(a, b) for a, b in zip(latent.values(), image.values(), strict=True))


def test_the_png_carries_its_provenance_and_the_notice(events):
    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "sd_ti_img2img")
    assert read_synthesis(record.path) == record.synthesis
    assert record.synthesis["strength"] == 0.3
    assert "<ultrasound>" in record.synthesis["prompt"]
    with Image.open(record.path) as image:
        assert image.text["Comment"] == NOTICE


def test_a_stopped_run_is_finished_without_a_doubled_or_changed_image(trained, records, base):
    values = {
        **QUICK,
        "base_model": base,
        "lora": "lora",
        "variants": ["sd"],
        "counts": {"benign": 5},
        "run_key": "broken",
    }
    stream = job("generate").run(values, records, "trial", trained)
    first = next(e for e in stream if isinstance(e, Made))
    stream.close()
    written = Path(first.record.path).stat().st_mtime_ns
    resumed = make(trained, records, "broken", token=None, base_model=base, variants=["sd"], counts={"benign": 5})
    made = [e.record for e in resumed if isinstance(e, Made)]
    assert len(made) == 5
    assert len({r.path for r in made}) == 5
    assert Path(first.record.path).stat().st_mtime_ns == written
    whole = make(trained, records, "whole", token=None, base_model=base, variants=["sd"], counts={"benign": 5})
    pictures = [[load_gray(e.record.path, 64) for e in run if isinstance(e, Made)] for run in (resumed, whole)]
    assert np.array_equal(*pictures)


def test_a_second_run_with_the_same_seed_says_that_its_images_are_there_already(trained, records, base, events):
    present = [e.record for e in events if isinstance(e, Made)]
    made = make(
        trained, [*records, *present], "doubled", base_model=base, variants=["sd"], counts={"benign": 3}, token=None
    )
    assert [e.message for e in made if isinstance(e, Notice)] == [
        "2 images have the seed of one that is there already; set another seed for new ones."
    ]


def test_lora_and_token_give_the_same_image_in_plain_diffusers_in_a_fresh_process(trained, events, base, tmp_path):
    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "sd_ti")
    code = f"""
import torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained({base!r}, safety_checker=None, requires_safety_checker=False,
    dtype=torch.float32)
pipe.load_lora_weights({str(trained / "trial/runs/lora")!r})
pipe.load_textual_inversion({str(trained / "trial/runs/token/learned_embeds.safetensors")!r}, token="<ultrasound>")
pipe({record.synthesis["prompt"]!r}, height=64, width=64, num_inference_steps=10, guidance_scale=2,
    generator=torch.Generator().manual_seed({record.synthesis["seed"]})).images[0].save({str(tmp_path / "p.png")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    plain = load_gray(tmp_path / "p.png", 64).astype(int)
    assert np.abs(plain - load_gray(record.path, 64)).max() <= 2


def test_balancing_fills_each_class_of_the_training_split():
    records = [
        Record(f"{c}{i}", c, tags=["train"])
        for c, n in (("benign", 349), ("malignant", 168), ("normal", 106))
        for i in range(n)
    ] + [Record("v", "benign", tags=["val"])]
    config = Generate.parse({"variants": ["base"], "balance_to": 350})
    assert class_counts(config, records) == {"benign": 1, "malignant": 182, "normal": 244}


def test_a_ratio_is_rounded_up_but_not_by_binary_fractions():
    records = [Record(str(i), "benign", tags=["train"]) for i in range(110)]
    for ratio, wanted in ((1.1, 121), (0.5, 55), (0.501, 56)):
        assert class_counts(Generate.parse({"variants": ["base"], "ratio": ratio}), records) == {"benign": wanted}


def test_an_evaluation_set_has_the_reference_splits_counts_and_a_tag(trained, records, base):
    made = make(trained, records, "evaluation", base_model=base, variants=["sd"], mode="evaluation", token=None)
    chosen = [e.record for e in made if isinstance(e, Made)]
    assert count_labels(chosen) == {"benign": 2, "malignant": 2, "normal": 2}
    assert all("evaluation" in r.tags for r in chosen)


def test_seeds_differ_between_items_and_stay_when_counts_grow():
    few, many = work_list({"benign": 2}, "new", 1), work_list({"benign": 3, "normal": 3}, "new", 1)
    assert few == many[:2]
    assert len({item.seed for item in many}) == 6
    assert len({item_seed(mode, seed, "benign", 0) for mode in ("new", "evaluation") for seed in (1, 2)}) == 4


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
    with pytest.raises(UserError, match="no effect at guidance_scale 1"):
        config.resolve()


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_made(trained, records, base):
    prompts = {"benign": "ultrasound image", "normal": "ultrasound " * 76}
    values = dict(base_model=base, counts={"benign": 1, "normal": 1}, prompts=prompts)
    with pytest.raises(UserError, match="78 tokens long, and this base reads 77"):
        make(trained, records, "long", variants=["base"], **values)
    assert not (trained / "trial/runs/long").exists()
    prompts["normal"] = "ultrasound " * 75
    with pytest.raises(UserError, match="<ultrasound> ultrasound.* 78 tokens long"):  # of two vectors
        make(trained, records, "long", variants=["base", "sd_ti"], **values)


def test_other_prompts_than_the_loras_own_are_noticed(trained, records, base):
    values = dict(base_model=base, counts={"benign": 1}, variants=["sd"])
    assert not any(isinstance(e, Notice) for e in make(trained, records, "own_words", **values))
    events = make(trained, records, "other_words", prompts={"benign": "a lesion"}, **values)
    (notice,) = [e.message for e in events if isinstance(e, Notice) and "other prompts" in e.message]
    assert '{"benign": "ultrasound image of a benign breast lesion"}' in notice


def test_the_presets_amount_gives_way_to_another_and_to_an_evaluation_set():
    given = {"preset": "hybrid", "variants": ["base"]}
    assert Generate.parse(given).balance_to == 350
    assert Generate.parse({**given, "counts": {"benign": 2}}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).steps == 50
