"""What a fold's arms are given: images of each variant as they are when it is made alone, whatever the other arms."""

from dataclasses import fields

import pytest

from busaug_core.base.defaults import Sampling
from busaug_core.errors import UserError
from busaug_core.experiment.config import RUN_EXPERIMENT
from busaug_core.jobs.events import Begun, Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job

TRAINED = dict(steps=1, batch_size=2, resolution=64, membership=False)
OF_IMAGES = dict(steps=4, batch_size=8, resolution=64)
SETTINGS = {
    "load_busi": dict(images=12, image_size=64),
    "train_lora": TRAINED,
    "finetune_unet": TRAINED,
    "generate": OF_IMAGES,
}
KEY = "mixed"


@pytest.fixture
def experiment(base, tmp_path):
    def run(arms, **of_images):
        settings = {**SETTINGS, "generate": OF_IMAGES | of_images}
        values = dict(base_model=base, settings=settings, dataset_name="tiny", run_key=KEY, arms=arms)
        *_, finished = RUN_EXPERIMENT.run(values, [], "tiny", tmp_path)
        runs = [Run(tmp_path / "tiny/runs" / key) for key in finished.result["runs"]]
        return {run.key: run.config for run in runs if run.job == "generate"}

    return run


def test_a_variant_is_sampled_in_whatever_run_as_alone(experiment, base, tmp_path):
    configs = experiment(["ft", "ft@300%", "sd@50%"])
    kinds = dict(ft={"balancing_tuned", "shares_ft", "evaluation_tuned"}, sd={"shares_sd", "evaluation"})
    assert set(configs) == kinds["ft"] | kinds["sd"]
    assert configs["evaluation"]["variants"] == ["sd", "base"]
    page = (tmp_path / "tiny/runs" / KEY / "report.html").read_text(encoding="utf-8")
    assert "Images of sd, base: 4 steps, guidance 3 until 50% of them." in page
    assert "Images of ft: 4 steps, guidance 2 until 50% of them, domain guidance 1.3 ± 0.6, normal ± 1.2." in page
    for slug, keys in kinds.items():
        values = dict(base_model=base, variants=[slug], counts={}, lora="x", unet="x", **OF_IMAGES)
        alone = job("generate").config_class().parse(values).resolve()
        for field in fields(Sampling):
            assert {str(configs[key][field.name]) for key in keys} == {str(getattr(alone, field.name))}, field.name


def test_settings_of_tuned_unets_reach_those_alone(experiment):
    configs = experiment(["ft@50%", "sd@50%"], domain_guidance=1.5, guidance_end=0.5)
    assert {key: config["domain_guidance"] for key, config in configs.items()} == dict(
        shares_ft=1.5, shares_sd=1, evaluation=1, evaluation_tuned=1.5
    )


def test_a_share_that_fills_classes_up_already_is_no_run_of_its_own_and_none_is_waited_for(base, tmp_path):
    values = dict(base_model=base, settings=SETTINGS, dataset_name="tiny", run_key=KEY, arms=["base", "base@50%"])
    *told, finished = RUN_EXPERIMENT.run(values, [], "tiny", tmp_path)
    begun = [event for event in told if isinstance(event, Begun)]
    assert begun[-1].number == begun[-1].total == len(finished.result["runs"])
    runs = [Run(tmp_path / "tiny/runs" / key) for key in finished.result["runs"]]
    made = sum(len(run.products) for run in runs if run.job == "generate")
    assert not any(run.key.startswith("shares") for run in runs)
    planned = next(event.message for event in told if isinstance(event, Notice) and "Planned" in event.message)
    assert f"about {made} images" in planned and f"Planned: at most {begun[0].total} runs" in planned


def test_a_wrong_setting_is_told_without_all_the_others():
    with pytest.raises(UserError, match="there is no job 'generat'") as refused:
        RUN_EXPERIMENT.config_class().parse(dict(preset="laptop", settings={"generat": dict(steps=4)}))
    assert "finetune_unet': {" not in str(refused.value)


@pytest.mark.parametrize("settings", [dict(prompts={"cyst": "a cyst"}), dict(domain_guidance_widths={"cyst": 1})])
def test_classes_that_are_not_there_are_refused_before_anything_is_trained(experiment, tmp_path, settings):
    with pytest.raises(UserError, match="Settings of generate: .*'cyst', which is no class of these images"):
        experiment(["ft"], **settings)
    assert {path.name for path in (tmp_path / "tiny/runs").iterdir()} == {"load", KEY}


@pytest.mark.parametrize(
    ("arm", "settings", "words"),
    [
        ("sd", dict(domain_guidance=2), "of the variants of a tuned UNet"),
        ("sd_img2img", dict(strength=0.1), "has no step to run"),
        ("sd", dict(negative_prompt="text", guidance_scale=1), "negative_prompt has no effect"),
    ],
)
def test_settings_that_make_no_image_are_refused_before_anything_is_trained(experiment, tmp_path, arm, settings, words):
    with pytest.raises(UserError, match=f"Settings of generate: .*{words}"):
        experiment([arm], **settings)
    assert not (tmp_path / "tiny/runs/load").exists()
