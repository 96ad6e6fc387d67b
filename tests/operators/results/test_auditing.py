"""`audit` on a dataset: groups and tags, and nothing else changed."""

import shutil
from pathlib import Path

import fiftyone as fo
import pytest


@pytest.fixture
def copied(call, loaded, tmp_path):
    """The loaded dataset with a copy of one scan under another class and a tag of the user's own."""
    dataset = loaded.match({"origin": "simulated"}).clone("copied")
    original = dataset.match({"ground_truth.label": "benign"}).first()
    original.tags.append("mine")
    original.save()
    path = tmp_path / "copy.png"
    shutil.copy(original.filepath, path)
    copy = fo.Sample(
        filepath=str(path), ground_truth=fo.Classification(label="malignant"), origin="real", tags=["train"]
    )
    dataset.add_sample(copy)
    yield dataset, original, copy
    fo.delete_dataset("copied")


def test_a_copy_under_another_class_is_grouped_and_tagged(call, copied):
    dataset, original, copy = copied
    result = call("audit", dataset)
    original.reload()
    copy.reload()
    assert original.duplicate_group == copy.duplicate_group is not None
    assert original.split_group == copy.split_group is not None
    assert {"duplicate", "label_conflict", "mine"} <= set(original.tags)
    assert result["tags"]["duplicate"] == 2
    assert dataset.count_values("duplicate_group")[original.duplicate_group] == 2
    assert all(score is not None for score in dataset.values("annotation_score"))


def test_a_view_does_not_hide_the_partner_of_an_image(call, copied):
    dataset, original, copy = copied
    result = call("audit", dataset.match_tags("val"))
    assert result["images"] == len(dataset)
    copy.reload()
    assert copy.split_group is not None
    unlabelled = fo.Sample(filepath=shutil.copy(copy.filepath, f"{copy.filepath}.unlabelled.png"))
    dataset.add_sample(unlabelled)
    copy.ground_truth.label = original.ground_truth.label
    copy.save()
    result = call("audit", dataset)
    assert result["images"] == len(dataset)
    assert result["tags"]["duplicate"] == 3
    assert result["tags"]["label_conflict"] == 0
    unlabelled.reload()
    assert unlabelled.split_group == copy.split_group


def test_auditing_again_takes_back_what_no_longer_applies(call, copied):
    dataset, original, copy = copied
    call("audit", dataset)
    dataset.delete_samples([copy.id])
    call("audit", dataset)
    original.reload()
    assert original.duplicate_group is None
    assert not {"duplicate", "label_conflict"} & set(original.tags)
    assert "mine" in original.tags
    assert Path(original.filepath).exists()
