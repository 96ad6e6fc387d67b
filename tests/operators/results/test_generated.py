"""Samples of generated images: their provenance, their pairs, and that they come back."""

import pytest

from busaug_core.images import read_synthesis


def test_generated_samples_carry_their_provenance(synthetic):
    sample = synthetic.match({"variant": "sd_ti_img2img", "synthesis.run": "balancing"}).first()
    assert sample.origin == "synthetic"
    assert set(sample.tags) == {"synthetic", "sd_ti_img2img"}
    assert sample.synthesis.lora == "lora"
    assert sample.synthesis.token == "token"
    assert sample.synthesis.strength == pytest.approx(0.3)
    assert sample.metadata.width == 64
    stored = {k: v for k, v in read_synthesis(sample.filepath).items() if v is not None}
    assert sample.synthesis.to_dict().items() >= stored.items()


def test_variants_of_one_image_share_their_pair(synthetic):
    groups = synthetic.match({"synthesis.run": "balancing"}).group_by("pair")
    assert len(groups) == 3
    assert set(synthetic.match({"pair": groups.first().pair}).values("variant")) == {"sd", "sd_ti_img2img"}


def test_evaluation_sets_match_the_reference_and_are_tagged(synthetic):
    made = synthetic.match_tags("evaluation").match({"variant": "sd"})
    real = synthetic.match_tags("val").match({"origin": "simulated"})
    assert made.count_values("ground_truth.label") == real.count_values("ground_truth.label")


def test_deleted_samples_of_a_finished_run_come_back(call, synthetic, small):
    synthetic.delete_samples(synthetic.match({"synthesis.run": "balancing", "variant": "sd"}))
    parts = dict(lora="lora", token="token", variants=["sd", "sd_ti_img2img"], steps=4, **small)
    call("generate", synthetic, counts={"benign": 1, "normal": 2}, run_key="balancing", **parts)
    assert synthetic.match({"synthesis.run": "balancing", "variant": "sd"}).count() == 3
