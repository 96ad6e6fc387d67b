"""`load_external`: another set as a dataset of its own, and as samples of the one at hand."""

import shutil

import fiftyone as fo
import pytest
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.simulate import simulate


@pytest.fixture
def folder(tmp_path):
    """A folder a class with four scans each."""
    for label in ("benign", "malignant"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for n in range(4):
            Image.fromarray(simulate(label, 900 + n, 64).image).save(tmp_path / "set" / label / f"{n}.png")
    return tmp_path / "set"


def test_a_set_becomes_a_dataset_of_its_own(call, folder):
    result = call("load_external", layout="folder", source=str(folder), dataset_name="outside", split="50-50")
    dataset = fo.load_dataset("outside")
    assert dataset.count_values("ground_truth.label") == {"benign": 4, "malignant": 4} == result["counts"]
    assert dataset.count_sample_tags() == {"train": 4, "val": 4, "real": 8, "external": 8, "folder": 8}
    assert set(dataset.values("source.set")) == {"set"}
    assert dataset.get_field("source.patient").description
    assert "train" in dataset.list_saved_views()
    with pytest.raises(UserError, match="There is a dataset 'outside' already"):
        call("load_external", layout="folder", source=str(folder), dataset_name="outside")


def test_a_set_joins_the_dataset_at_hand_and_its_copies_are_found(call, loaded, folder):
    dataset = loaded.match({"origin": "simulated"}).clone("joined")
    known = dataset.match_tags("val").first()
    shutil.copy(known.filepath, folder / "benign" / "copy.png")
    before = dataset.count_sample_tags()
    result = call("load_external", dataset.limit(3), layout="folder", source=str(folder), run_key="outside")
    added = dataset.match_tags("external")
    assert len(added) == 9
    assert len(dataset) == 39
    assert not {"train", "val"} & set(added.count_sample_tags())
    assert {k: v for k, v in dataset.count_sample_tags().items() if k in ("train", "val")} == {
        k: v for k, v in before.items() if k in ("train", "val")
    }
    copy = added.match({"filepath": {"$regex": "copy.png$"}}).first()
    known.reload()
    assert copy.split_group == known.split_group is not None
    assert result["counts"] == {"benign": 5, "malignant": 4}
    dataset.delete_samples(added.first())
    call("load_external", dataset, layout="folder", source=str(folder), run_key="outside")
    assert len(dataset) == 39
    fo.delete_dataset("joined")


def test_without_a_dataset_or_a_name_for_one_it_says_so(call, folder):
    with pytest.raises(UserError, match="works on a dataset; open or pass one"):
        call("load_external", layout="folder", source=str(folder))


def test_the_form_asks_for_layout_and_source(context):
    operator, ctx = context("load_external", params={})
    properties = operator.resolve_input(ctx).type.properties
    assert properties["layout"].required
    assert properties["source"].required
    assert not properties["dataset_name"].required
