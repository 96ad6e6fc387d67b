"""The job that generates: counts, provenance, going on after a stop, what it remarks on."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from generating import FOUR, QUICK, Generate, images, make
from pictures import same_picture
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.generate.generate import Masks
from busaug_core.generate.plan import Item
from busaug_core.generate.steps import denoise
from busaug_core.generate.store import Store
from busaug_core.images import NOTICE, load_gray, read_synthesis
from busaug_core.jobs.events import Made, Notice, Progress
from busaug_core.jobs.run import Run
from busaug_core.records import Synthesis, count_labels
from busaug_core.registry import job


def test_every_variant_and_class_gets_its_count(events):
    made = [e.record for e in events if isinstance(e, Made)]
    assert count_labels(made) == {"benign": 10, "normal": 10}
    assert {r.variant for r in made} == {"base", *FOUR}
    assert len({r.path for r in made}) == 20


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


def test_the_png_carries_its_provenance_and_the_notice(events):
    record = next(e.record for e in events if isinstance(e, Made) and e.record.variant == "sd_ti_img2img")
    assert read_synthesis(record.path) == record.synthesis.to_json()
    assert record.synthesis.components == {"lora": "lora", "token": "token"}
    assert record.synthesis.strength == 0.3
    assert "<ultrasound>" in record.synthesis.prompt
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
    assert all(same_picture(*pair) for pair in zip(*pictures, strict=True))


def test_a_second_run_with_the_same_seed_says_that_its_images_are_there_already(trained, records, base, events):
    present = [e.record for e in events if isinstance(e, Made)]
    made = make(
        trained, [*records, *present], "doubled", base_model=base, variants=["sd"], counts={"benign": 3}, token=None
    )
    assert [e.message for e in made if isinstance(e, Notice)] == [
        "2 images have the seed of one that is there already; set another seed for new ones."
    ]


def test_an_evaluation_set_has_the_reference_splits_counts_and_a_tag(trained, records, base):
    made = make(trained, records, "evaluation", base_model=base, variants=["sd"], mode="evaluation", token=None)
    chosen = [e.record for e in made if isinstance(e, Made)]
    assert count_labels(chosen) == {"benign": 2, "malignant": 2, "normal": 2}
    assert all("evaluation" in r.tags for r in chosen)


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


def test_progress_comes_by_denoising_step(trained, records, base):
    values = dict(base_model=base, variants=["sd", "sd_img2img"], counts={"benign": 4})
    steps = [e for e in make(trained, records, "by_step", token=None, **values) if isinstance(e, Progress)]
    # Two batches, each of ten steps of text2img and three of img2img; a batch that is done is told of once more.
    assert [e.done for e in steps] == [*range(14), *range(13, 27), 26]
    assert {e.total for e in steps} == {26}
    assert [e.values["images"] for e in steps if e.done in (0, 12, 26)] == [0, 0, 6, 8]


def test_a_run_that_is_stopped_between_two_steps_leaves_neither_half_an_image_nor_a_thread(trained, records, base):
    values = {**QUICK, "base_model": base, "variants": ["base"], "counts": {"benign": 3}, "run_key": "halfway"}
    stream = job("generate").run(values, records, "trial", trained)
    next(e for e in stream if isinstance(e, Progress) and e.done == 2)
    stream.close()
    assert not list((trained / "trial/runs/halfway").rglob("*.png"))
    assert "denoising" not in {thread.name for thread in threading.enumerate()}
    made = make(
        trained,
        records,
        "halfway",
        lora=None,
        token=None,
        **{k: values[k] for k in ("base_model", "variants", "counts")},
    )
    assert sum(isinstance(e, Made) for e in made) == 3


def test_a_run_from_before_guidance_could_end_was_guided_throughout(trained, records):
    values = dict(variants=["base"], counts={"benign": 1})
    make(trained, records, "older", **values)
    config = trained / "trial/runs/older/config.json"
    stored = json.loads(config.read_text())
    earlier = {name: stored.pop(name) for name in Generate.before}
    assert earlier == Generate.before
    config.write_text(json.dumps(stored))
    assert "was done before" in make(trained, records, "older", **values)[0].message
    with pytest.raises(UserError, match="guidance_end: 1.0 there, 0.5 here"):
        make(trained, records, "older", **values, guidance_end=0.5)


def test_what_fails_within_a_step_is_raised_to_the_caller():
    def fail(**options):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(denoise(fail))


@pytest.mark.parametrize(
    ("name", "box"),
    [("id", [32, 32, 32, 32]), ("path", [32, 32, 32, 32]), (None, None)],
    ids=["sample", "file", "gone"],
)
def test_an_image_on_disk_keeps_the_mask_that_it_was_made_from(masked, tmp_path, name, box):
    """Whatever the order is in which masks are taken now."""
    values = dict(variants=["base_mask"], controlnet="x", counts={"benign": 1}, resolution=64)
    config = Generate.parse(values).resolve()
    store, masks = Store(Run(tmp_path), config), Masks(config, masked)
    now, then = (next(r for r in masked if r.label == label) for label in ("benign", "malignant"))
    item = Item("benign", 0, 1, mask=now.path)
    made_from = getattr(then, name) if name else "no longer there"
    store.write("base_mask", item, np.zeros((64, 64), np.uint8), Synthesis(mask_sample_id=made_from))
    lesions = store.record("base_mask", item, masks.named).lesions
    assert [lesion.box for lesion in lesions] == ([box] if box else [])
