"""Settings of generation."""

import pytest
from generating import Generate

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
    with pytest.raises(UserError, match="no effect at guidance_scale 1"):
        config.resolve()


def test_the_presets_amount_gives_way_to_another_and_to_an_evaluation_set():
    given = {"preset": "hybrid", "variants": ["base"]}
    assert Generate.parse(given).balance_to == 350
    assert Generate.parse({**given, "counts": {"benign": 2}}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).balance_to is None
    assert Generate.parse({**given, "mode": "evaluation"}).steps == 50
