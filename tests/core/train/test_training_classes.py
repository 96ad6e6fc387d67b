"""The classes that are trained: their prompts by name, and what a single image of one can teach."""

import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job

SMALL = dict(steps=4, batch_size=2, resolution=64, precision="fp32", membership=False)


def test_prompts_are_given_by_class_whatever_the_case_and_one_of_no_class_is_refused(run_job, records, base, tmp_path):
    unused = dict(base_model=base, prompts={"benine": "ultrasound of a cyst"}, **SMALL)
    for name in ("train_lora", "train_textual_inversion"):
        with pytest.raises(UserError, match="`prompts` names 'benine', which is no class of these images; they are"):
            run_job(name, records, run_key="unused", **unused)
    assert not (tmp_path / "trial/runs/unused").exists()
    run_job("train_lora", records, base_model=base, run_key="lora", prompts={"Benign": "ultrasound of a cyst"}, **SMALL)
    assert Run(tmp_path / "trial/runs/lora").config["prompts"]["benign"] == "ultrasound of a cyst"
    values = dict(base_model=base, lora="lora", variants=["sd"], steps=2, resolution=64, precision="fp32")
    for counts in ({"Benign": 1}, {"benign": 1}):
        events = list(job("generate").run(dict(values, counts=counts), records, "trial", tmp_path))
        assert events[-1].result["counts"] == {"benign": 1}
        told = [e.message for e in events if isinstance(e, Notice)]
        assert told == ['The LoRA was trained with other prompts; for these set prompts to '
                        '{"benign": "ultrasound of a cyst"}.']  # fmt: skip
    with pytest.raises(UserError, match="`prompts` names 'benine'"):
        run_job("generate", records, **values, counts={"benign": 1}, prompts={"benine": "ultrasound"})
    with pytest.raises(UserError, match="counts name a class twice"):
        run_job("generate", records, **values, counts={"benign": 1, "Benign": 1})


@pytest.mark.parametrize("name", ["train_lora", "train_textual_inversion"])
def test_a_class_with_one_training_image_is_told_before_the_training_and_beside_its_loss(
    run_job, records, base, tmp_path, name
):
    few = [r for r in records if "train" in r.tags and (r.label != "normal" or "(3)" in r.path)]
    result = run_job(name, few, base_model=base, run_key="few", **SMALL)
    lone = "normal" if name == "train_lora" else "benign, malignant, normal"
    assert result["remarks"] == [
        f"A single image of {lone} is learned from: all that can be learned of it is that image."
    ]
    assert result["remarks"][0] in (tmp_path / "trial/runs/few/events.jsonl").read_text()
    assert run_job(name, records, base_model=base, run_key="many", **SMALL)["remarks"] == []
