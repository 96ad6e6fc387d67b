"""`audit` on a dataset: groups and tags, and nothing else changed."""

import shutil
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image, ImageDraw


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


def test_text_that_was_read_before_stays_with_its_tags_where_none_is_read(call, copied):
    dataset, original, copy = copied
    original["burnt_in_text"] = "MAMA DIREITA | 54 ANOS"
    original.save()
    copy.tags.append("patient_text")  # by hand, of a sample whose text was never read
    copy.save()
    result = call("audit", dataset)
    original.reload()
    copy.reload()
    assert original.burnt_in_text == "MAMA DIREITA | 54 ANOS"
    assert {"annotated", "patient_text"} <= set(original.tags)
    assert copy.burnt_in_text is None and "patient_text" in copy.tags
    assert result["text"].startswith("not read: ")


@pytest.mark.text
def test_burnt_in_text_is_read_into_a_field_of_its_sample(call, copied):
    dataset, original, copy = copied
    image = Image.open(copy.filepath).convert("L").resize((224, 224))
    ImageDraw.Draw(image).text((60, 180), "54 ANOS", fill=200, font_size=14)
    image.save(copy.filepath)
    assert call("audit", dataset, read_text=True)["tags"]["patient_text"] == 1
    original.reload()
    copy.reload()
    assert "ANOS" in copy.burnt_in_text and "patient_text" in copy.tags
    assert original.burnt_in_text == "" and "patient_text" not in original.tags
