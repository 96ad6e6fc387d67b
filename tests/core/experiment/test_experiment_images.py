"""What a fold's arms are given: images that differ by what made them, and by nothing else."""

import pytest

from busaug_core.experiment.config import RUN_EXPERIMENT
from busaug_core.jobs.run import Run

TRAINED = dict(steps=1, batch_size=2, resolution=64, membership=False)
SETTINGS = {
    "load_busi": dict(images=12, image_size=64),
    "train_lora": TRAINED,
    "finetune_unet": TRAINED,
    "generate": dict(steps=4, batch_size=8, resolution=64, guidance_end=0.5, domain_guidance=1.5),
}
OF_ALL = ("steps", "spacing", "guidance_scale", "guidance_end")
OF_TUNED = ("domain_guidance", "domain_guidance_width")


@pytest.fixture(scope="module")
def configs(base, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    values = dict(base_model=base, settings=SETTINGS, dataset_name="tiny", run_key="mixed")
    asked = dict(values, arms=["ft", "ft@300%", "sd@50%"])
    *_, finished = RUN_EXPERIMENT.run(asked, [], "tiny", home)
    runs = [Run(home / "tiny/runs" / key) for key in finished.result["runs"]]
    return {run.key: run.config for run in runs if run.job == "generate"}


def test_a_variant_is_sampled_alike_in_whatever_run_its_images_are_made(configs):
    assert set(configs) == {"balancing", "shares_ft", "shares_sd", "evaluation"}
    assert len({tuple(config[name] for name in OF_ALL) for config in configs.values()}) == 1
    of_tuned = [configs[key] for key in ("balancing", "shares_ft", "evaluation")]
    assert {tuple(config[name] for name in OF_TUNED) for config in of_tuned} == {(1.5, 0.0)}


def test_what_is_of_tuned_unets_alone_is_not_asked_of_a_run_without_one(configs):
    assert {configs["shares_sd"][name] for name in OF_TUNED} == {1.0, 0.0}
