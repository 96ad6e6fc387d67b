"""A classifier is not tested on what the generators of its training images have learned from."""

from dataclasses import replace

import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job

SMALL = dict(resolution=64, precision="fp32", batch_size=2)


@pytest.fixture
def included(run_job, records, base, tmp_path):
    """The real records and those of images by a LoRA of the training split; a probe has learned from both."""
    run_job("train_lora", records, base_model=base, rank=2, steps=1, membership=False, run_key="lora", **SMALL)
    made = dict(base_model=base, lora="lora", variants=["sd"], counts={"benign": 2}, steps=2, run_key="made", **SMALL)
    run_job("generate", records, **made)
    everything = [*records, *Run(tmp_path / "trial/runs/made").products]
    run_job("train_classifier", everything, arch="probe", include=["sd"], run_key="probe")
    return everything


def test_images_that_only_the_generator_has_learned_from_are_refused(included, run_job):
    turned = [replace(r, tags=["val" if "train" in r.tags else "train"]) if not r.synthetic else r for r in included]
    with pytest.raises(UserError, match="run 'made' .* trained on .* held out now"):
        run_job("train_classifier", turned, arch="probe", include=["sd"])
    with pytest.raises(UserError, match="run 'made' .* trained on .* held out now"):
        run_job("train_classifier", turned, arch="squeezenet1_1", include=["sd"], epochs=1, resolution=32)


def test_images_that_the_classifier_has_learned_from_too_are_but_not_evaluated(included, tmp_path):
    values = dict(classifier="probe", evaluate_on="train")
    events = list(job("apply_classifier").run(values, included, "trial", tmp_path))
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("Nothing is evaluated on 'train'" in message for message in told)
    assert events[-1].result["n"] == len(included) and "metrics" not in events[-1].result
