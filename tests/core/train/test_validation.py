"""Losses on training and held-out images: fixed, without effect on what is learned, and what they say of privacy."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice, Progress, Row
from busaug_core.jobs.run import Run
from busaug_core.metrics.two_sample import mann_whitney_area
from busaug_core.registry import job
from busaug_core.train import validation

SMALL = dict(steps=4, batch_size=2, resolution=64, precision="fp32", rank=2, layers="attention")


def lora(result):
    return load_file(result["weights"])


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_looking_changes_nothing_and_the_losses_are_told(run_job, records, base, tmp_path):
    values = dict(base_model=base, membership=False, **SMALL)
    plain = run_job("train_lora", records, **values)
    assert "validation" not in plain and "membership" not in plain
    events = list(job("train_lora").run(dict(values, validate_every=2, run_key="seen"), records, "trial", tmp_path))
    result = events[-1].result
    assert same(lora(plain), lora(result))
    rows = [e.values for e in events if isinstance(e, Row)]
    assert rows == result["validation"]
    with Image.open(tmp_path / "trial/runs/seen/losses.png") as picture:
        assert picture.width > 800
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        for side in ("training", "held out"):
            assert row[side] == pytest.approx(np.mean([row[f"{side}, {band}"] for band in validation.BANDS]))


def test_the_losses_do_not_depend_on_the_batch_or_on_what_was_drawn_before(run_job, records, base):
    first = {}
    for size in (1, 4):
        values = dict(SMALL, batch_size=size, steps=1, learning_rate=1e-12, membership=False)
        first[size] = run_job("train_lora", records, base_model=base, validate_every=1, **values)
    losses = [r["validation"][0]["held out"] for r in first.values()]
    assert losses == pytest.approx([losses[0]] * 2, rel=1e-4)


def test_patience_ends_a_training_that_gets_worse_and_keeps_the_best(run_job, records, base):
    values = dict(SMALL, base_model=base, learning_rate=0.05, steps=12, validate_every=1, membership=False)
    result = run_job("train_lora", records, patience=2, **values)
    assert len(result["validation"]) == result["best_step"] + 2 < 12
    held_out = [row["held out"] for row in result["validation"]]
    assert held_out.index(min(held_out)) + 1 == result["best_step"]
    short = run_job("train_lora", records, **{**values, "steps": result["best_step"], "validate_every": None})
    assert same(lora(result), lora(short))


def test_a_stopped_training_remembers_its_losses_and_its_best(run_job, records, base, tmp_path):
    values = dict(
        SMALL,
        base_model=base,
        learning_rate=0.1,
        validate_every=1,
        patience=3,
        checkpoint_seconds=1e-9,
        validation_images=3,
    )
    del values["rank"], values["layers"]
    whole = run_job("finetune_unet", records, run_key="whole", **values)
    events = job("finetune_unet").run({**values, "run_key": "broken"}, records, "trial", tmp_path)
    looks = (e for e in events if isinstance(e, Progress) and e.message.startswith("Comparing"))
    list(islice(looks, 15))  # within the second look
    events.close()
    assert Run(tmp_path / "trial/runs/broken").state == "stopped"
    resumed = run_job("finetune_unet", records, run_key="broken", **values)
    assert resumed["validation"] == whole["validation"]
    assert resumed["best_step"] == whole["best_step"]
    assert resumed["membership"] == whole["membership"]


def test_only_held_out_images_of_the_trained_classes_are_compared(run_job, records, base, monkeypatch):
    seen = []
    plain = validation.fixed_errors

    def fixed_errors(method, places, draws, arithmetic):
        seen.append((method.batches.trained, list(places), len(method.batches.prompts)))
        return (yield from plain(method, places, draws, arithmetic))

    monkeypatch.setattr(validation, "fixed_errors", fixed_errors)
    run_job("train_lora", records, base_model=base, validate_every=4, **SMALL)
    training, held_out, every = seen
    assert training[0] == 9 and every[2] == 15
    assert len(training[1]) == len(held_out[1]) == 6
    assert max(training[1]) < 9 <= min(held_out[1])
    assert every[1] == list(range(15))


def test_a_loss_that_is_not_finite_ends_it_with_advice(run_job, records, base):
    with pytest.raises(UserError, match="not finite|lower learning_rate"):
        run_job(
            "train_lora",
            records,
            base_model=base,
            validate_every=1,
            **dict(SMALL, learning_rate=1.0, steps=12, layers="wide"),
        )


def test_without_held_out_images_nothing_is_compared(run_job, records, base):
    training = [r for r in records if "train" in r.tags]
    result = run_job("train_lora", training, base_model=base, **SMALL)
    assert "membership" not in result and "validation" not in result
    with pytest.raises(UserError, match="images tagged 'val', and there are none"):
        run_job("train_lora", training, base_model=base, validate_every=2, **SMALL)


def test_steps_after_the_last_multiple_are_looked_at_and_more_than_there_are_refused(run_job, records, base):
    values = dict(SMALL, base_model=base, membership=False)
    result = run_job("train_lora", records, validate_every=3, patience=5, **values)
    assert [row["step"] for row in result["validation"]] == [3, 4]
    for name in ("validate_every", "warmup_steps"):
        with pytest.raises(UserError, match=f"{name} is 5, more than the 4 steps"):
            run_job("train_lora", records, **{name: 5}, **values)


def test_the_test_split_chooses_nothing_but_counts_as_held_out(run_job, records, base, monkeypatch):
    seen = []
    plain = validation.fixed_errors

    def fixed_errors(method, places, draws, arithmetic):
        seen.append([method.batches.prompts[i] for i in places])
        return (yield from plain(method, places, draws, arithmetic))

    monkeypatch.setattr(validation, "fixed_errors", fixed_errors)
    moved = [replace(r, tags=["test"]) if r.label == "normal" and "val" in r.tags else r for r in records]
    run_job("train_lora", moved, base_model=base, validate_every=4, **SMALL)
    _, held_out, every = seen
    assert len(held_out) == 4 and not any("normal" in prompt for prompt in held_out)
    assert len(every) == 15


def test_classes_that_differ_in_loss_and_in_their_shares_tell_no_membership(records, base, tmp_path, monkeypatch):
    """The token's balanced draw has another mix of classes than the held-out images."""
    rng = np.random.default_rng(3)

    def fixed_errors(method, places, draws, arithmetic):
        yield from ()
        hard = np.array(["normal" in method.batches.prompts[i] for i in places])
        return (0.1 + 0.5 * hard + 0.01 * rng.normal(size=len(places)))[:, None] * np.ones(draws)

    monkeypatch.setattr(validation, "fixed_errors", fixed_errors)
    held_out_normal = [r for r in records if r.label == "normal" and "val" in r.tags]
    fewer = [r for r in records if r not in held_out_normal[1:]]
    values = dict(base_model=base, steps=1, batch_size=2, resolution=64, precision="fp32")
    events = list(job("train_textual_inversion").run(values, fewer, "trial", tmp_path))
    area = events[-1].result["membership"]
    assert area["low"] < 0.5 < area["high"]


def test_patience_needs_validation(records, base, tmp_path):
    with pytest.raises(UserError, match="set validate_every too"):
        job("train_lora").run(dict(base_model=base, patience=2, **SMALL), records, "trial", tmp_path)


def test_a_training_whose_loss_tells_its_images_is_flagged(records, base, tmp_path, monkeypatch):
    def fixed_errors(method, places, draws, arithmetic):
        yield from ()
        return np.where(np.arange(len(places)) < method.batches.trained, 0.1, 0.2)[:, None] * np.ones(draws)

    monkeypatch.setattr(validation, "fixed_errors", fixed_errors)
    events = list(job("train_lora").run(dict(base_model=base, **SMALL), records, "trial", tmp_path))
    assert events[-1].result["membership"]["value"] == 1
    assert events[-1].result["membership"]["low"] > 0.5
    assert any(isinstance(e, Notice) and "better than chance" in e.message for e in events)
    assert any("better than chance" in remark for remark in events[-1].result["remarks"])


def test_the_area_is_that_of_mann_and_whitney_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=40), rng.normal(0.5, size=30)
    area = mann_whitney_area(one, other)
    assert area.value == pytest.approx(np.mean(other[:, None] > one[None]))
    assert 0.5 < area.low < area.value < area.high < 1
    fewer = mann_whitney_area(one, other, (20, 15))
    assert fewer.value == area.value and fewer.low < area.low
    alike = [mann_whitney_area(rng.normal(size=40), rng.normal(size=30)) for _ in range(400)]
    assert 0.92 < np.mean([a.low <= 0.5 <= a.high for a in alike]) < 0.98
