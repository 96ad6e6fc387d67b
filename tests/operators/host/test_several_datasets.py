"""A training on the samples of several datasets."""

import fiftyone as fo
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder


@pytest.fixture(scope="module")
def further(call):
    """A dataset beside the loaded one, with its class in another field too."""
    call("load_busi", dataset_name="further", images=12, image_size=64, seed=9)
    dataset = fo.load_dataset("further")
    dataset.clone_sample_field("ground_truth", "tumor")
    yield dataset
    dataset.delete()


def test_samples_of_further_datasets_are_learned_from_and_one_that_cannot_be_read_is_refused(
    call, loaded, further, small
):
    values = dict(steps=1, run_key="several", membership=False, **small)
    with pytest.raises(UserError, match="There is no dataset 'nope'; there are"):
        call("train_lora", further, datasets=["nope"], **values)
    with pytest.raises(UserError, match="Dataset 'loaded': label_field 'tumor' is no field"):
        call("train_lora", further, datasets=["loaded"], label_field="tumor", **values)
    run = Run(runs_folder("further") / "several")
    assert run.state == "new"
    result = call("train_lora", further.match_tags("train"), datasets=["loaded"], **values)
    assert {r.id for r in run.records if r.dataset is None} == set(further.match_tags(["train", "val"]).values("id"))
    assert {r.id for r in run.records if r.dataset == "loaded"} <= set(loaded.values("id"))
    trained = [len(dataset.match_tags("train")) for dataset in (loaded, further)]
    assert sum(result["images"].values()) == sum(trained) - len(result["left_out"])
    assert call("manage_runs", further, action="resume", run_key="several")["run_key"] == "several"


def test_the_form_offers_the_other_datasets_and_counts_their_images(context, loaded, further):
    def shown(dataset, **params):
        operator, ctx = context("train_lora", dataset, all_settings=True, **params)
        return operator.resolve_type(ctx, "inputs").type.properties

    offered = [choice.value for choice in shown(loaded)["datasets"].view.choices]
    assert "further" in offered and "loaded" not in offered
    warned = [
        any("Few images" in str(p.view.label) for p in shown(further, **params).values())
        for params in ({}, {"datasets": ["loaded"]})
    ]
    assert warned == [True, False]
