"""What a step draws beside noise: classes equally often, one of several wordings, weights within the lesion."""

from collections import Counter

import numpy as np
import pytest
import torch

from busaug_core.base.components.token import AttachedToken
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.jobs.run import Run
from busaug_core.train import batch, denoising
from busaug_core.train.batch import Batches, draw_order
from busaug_core.train.config import Lora, TextualInversion

CPU = torch.device("cpu")
SMALL = dict(steps=2, batch_size=2, resolution=64, precision="fp32", membership=False)
LABELS = ["normal"] * 2 + ["benign"] * 7 + ["malignant"] * 3


@pytest.fixture(scope="module")
def pipe(base):
    return load_pipeline(base, CPU, torch.float32)


@pytest.fixture
def drawn(monkeypatch):
    """The batches of trainings."""
    batches, plain = [], batch.Batches.draw
    monkeypatch.setattr(batch.Batches, "draw", lambda self, step: batches.append(b := plain(self, step)) or b)
    return batches


def batches_of(pipe, prompts=None, masks=None, **values):
    config = Lora(batch_size=4, steps=8, **values)
    prompts = prompts or [["x"]] * len(LABELS)
    return Batches(pipe, torch.zeros(len(prompts), 2, 8, 8, 8), prompts, config, labels=LABELS, masks=masks)


def test_without_balance_the_order_is_that_of_earlier_versions():
    config = Lora(batch_size=4, seed=7)
    epochs = [i for epoch in range(2) for i in np.random.default_rng([7, epoch]).permutation(10)]
    assert [i for step in range(5) for i in draw_order([range(10)], config, step, 0, 1)] == epochs


def test_oversampling_draws_each_class_equally_often_over_all_processes(pipe):
    batches = batches_of(pipe, balance="oversample", seed=3)

    def drawn(step, process):
        return draw_order(batches.groups, batches.config, step, process, 3)

    images = [i for step in range(4) for process in range(3) for i in drawn(step, process)]
    assert Counter(LABELS[i] for i in images) == {"normal": 16, "benign": 16, "malignant": 16}
    counts = Counter(images)
    assert all(counts[i] in (2, 3) for i in range(2, 9))  # 16 draws of 7 benign images
    assert counts[0] == counts[1] == 8
    assert drawn(2, 1) == drawn(2, 1)
    assert batches_of(pipe, seed=3).groups == [range(12)]


def test_a_wording_is_drawn_for_each_image_and_step_and_comparisons_take_the_first(pipe):
    several = batches_of(pipe, [["one", "other"]] * 12)
    seen = [several.draw(step).prompts for step in range(8)]
    assert {wording for prompts in seen for wording in prompts} == {"one", "other"}
    assert several.draw(3).prompts == seen[3]
    assert several.fixed([0, 5], 0, 3).prompts == ["one", "one"]
    assert torch.equal(batches_of(pipe).draw(3).noise, several.draw(3).noise)


def test_errors_within_a_lesion_count_more_and_an_image_counts_as_before(pipe):
    masks = torch.zeros(12, 64, 64, dtype=torch.bool)
    masks[2:, :32, :16] = True  # an eighth of the image, on the left
    batches = batches_of(pipe, masks=masks, lesion_weight=5)
    seen = set()
    for step in range(4):
        found = batches.draw(step)
        weights = batches.weights_within(found)
        assert torch.allclose(weights.mean((1, 2, 3)), torch.ones(4))
        for place, mirrored, weight in zip(found.chosen, found.mirrored.tolist(), weights[:, 0], strict=True):
            upright = weight.flip(-1) if mirrored else weight
            ratio = upright[:4, :2] / upright[4:, 2:].mean()
            assert torch.allclose(ratio, torch.tensor(5.0 if place >= 2 else 1.0))
            seen.add((place >= 2, mirrored))
    assert len(seen) == 4
    assert batches_of(pipe, masks=masks).weights_within(batches.draw(0)) is None


def test_steps_are_weighed_and_comparisons_are_not_and_without_a_mask_it_is_refused(
    run_job, masked, records, base, tmp_path, monkeypatch
):
    weighed, plain = [], denoising.Denoising.errors
    monkeypatch.setattr(denoising.Denoising, "errors", lambda self, b, w=None: weighed.append(w) or plain(self, b, w))
    values = dict(base_model=base, lesion_weight=10, **{**SMALL, "steps": 1})
    run_job("train_lora", masked, validate_every=1, validation_images=2, **values)
    estimate, _, first, *others = weighed  # two are of the memory
    assert estimate.shape == (1, 1, 16, 16)
    assert first.shape == (2, 1, 16, 16) and first.max() > 1
    assert others and all(weights is None for weights in others)
    with pytest.raises(UserError, match="None of the training images has a lesion's mask"):
        run_job("train_lora", records, run_key="bare", **values)
    assert not (tmp_path / "trial/runs/bare").exists()


WORDS = {"prompts": {"benign": ["ultrasound of a cyst", "a cyst, ultrasound"]}, "modality": "MRI"}


def test_a_token_stands_for_the_modality_in_every_wording(run_job, records, base, drawn):
    values = dict(base_model=base, balance="oversample", **WORDS, **{**SMALL, "batch_size": 6})
    result = run_job("train_textual_inversion", records, **values)
    assert result["images"] == {"benign": 4, "malignant": 3, "normal": 2}  # all of them, by oversampling
    prompts = {prompt for b in drawn for prompt in b.prompts}
    assert {"<ultrasound> of a cyst", "a cyst, <ultrasound>", "<ultrasound> image of normal breast tissue"} <= prompts
    assert AttachedToken("<ultrasound>").prompt("MRI of a cyst", "MRI") == "<ultrasound> of a cyst"


def test_images_are_made_by_the_first_wording_and_another_modality_than_was_learned_is_told(
    run_job, records, base, tmp_path
):
    run_job("train_lora", records, base_model=base, run_key="lora", **WORDS, **{**SMALL, "steps": 1})
    made = dict(base_model=base, lora="lora", variants=["sd"], counts={"benign": 1}, steps=1, resolution=64)
    run_job("generate", records, run_key="made", precision="fp32", **made, **{**WORDS, "modality": "X-ray"})
    (image,) = Run(tmp_path / "trial/runs/made").products
    assert image.synthesis.prompt == "X-ray of a cyst"
    told = (tmp_path / "trial/runs/made/events.jsonl").read_text()
    assert "ultrasound of a cyst | a cyst, ultrasound" in told and "and modality to 'MRI'" in told


def test_a_modality_that_no_prompt_names_is_refused(run_job, records, base):
    words = dict.fromkeys(("benign", "malignant", "normal"), "a scan")
    for name, more in (("train_lora", SMALL), ("generate", dict(variants=["base"], counts={"benign": 1}))):
        with pytest.raises(UserError, match="modality 'MRI' has no effect"):
            run_job(name, records, base_model=base, prompts=words, modality="MRI", **more)


def test_a_token_has_one_way_of_balancing():
    with pytest.raises(ValueError, match="not both"):
        TextualInversion(images_per_class=3, balance="oversample")
