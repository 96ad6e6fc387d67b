"""The fields that this plugin declares, beside fields of the user's own and of earlier versions."""

import fiftyone as fo
import pytest

from busaug_core.errors import UserError
from operators.host.samples import read_samples


def test_a_field_of_the_users_own_under_our_name_is_refused_before_the_job(call, loaded):
    dataset = loaded.match({"origin": "simulated"}).clone("own_field")
    dataset.delete_sample_field("split_group")
    dataset.add_sample_field("split_group", fo.IntField)
    with pytest.raises(
        UserError, match=r"own field 'split_group'.*rename_sample_field\('split_group', 'my_split_group'"
    ):
        call("audit", dataset)
    dataset.delete_sample_field("split_group")
    dataset.add_sample_field("split_group", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    with pytest.raises(UserError, match="own field 'split_group'"):
        call("audit", dataset)
    assert call("train_classifier", dataset, arch="squeezenet1_1", epochs=1, resolution=32)["state"] == "done"
    dataset.rename_sample_field("split_group", "my_split_group")
    assert call("audit", dataset)["images"] == len(dataset)
    fo.delete_dataset("own_field")


@pytest.mark.parametrize("name", ["variant", "origin", "source", "scores", "synthesis", "distance", "pair", "lesions"])
def test_a_field_that_a_job_never_writes_may_be_of_any_type(call, loaded, name):
    dataset = loaded.match({"origin": "simulated"}).clone("any_type")
    dataset.delete_sample_field(name)
    dataset.add_sample_field(name, fo.IntField)
    dataset.set_values(name, range(len(dataset)))
    assert call("audit", dataset)["images"] == len(dataset)
    assert dataset.values(name) == list(range(len(dataset)))
    if name in ("variant", "origin", "synthesis", "pair"):
        with pytest.raises(UserError, match=f"own field '{name}'"):
            call("generate", dataset, variants=["base"], counts={"benign": 1})
    fo.delete_dataset("any_type")


@pytest.fixture
def old(loaded):
    """A dataset as an earlier version left it: the distance under `fid`, two scores under other names."""
    dataset = loaded.match_tags("val").clone("old")
    dataset.delete_sample_field("distance")
    dataset.delete_sample_fields(["scores.influence", "scores.most_alike_real_id"])
    document = dict(embedded_doc_type=fo.DynamicEmbeddedDocument)
    dataset.add_sample_field("fid", fo.EmbeddedDocumentField, **document)
    for name, kind in (("value", fo.FloatField), ("n", fo.IntField), ("reference", fo.StringField)):
        dataset.add_sample_field(f"fid.{name}", kind)
    dataset.add_sample_field("scores.fid_influence", fo.FloatField)
    dataset.add_sample_field("scores.likest_real_id", fo.StringField)
    for n, sample in enumerate(dataset):
        sample["fid"] = fo.DynamicEmbeddedDocument(value=12.5, n=8, reference="val")
        sample["scores"] = fo.DynamicEmbeddedDocument(realism=1.0, fid_influence=float(n), likest_real_id="abc")
        sample.save()
    yield dataset
    dataset.delete()


def test_scores_of_an_earlier_version_are_read_by_their_present_names(old):
    records = read_samples(old)
    assert [r.scores.influence for r in records] == [float(n) for n in range(len(old))]
    assert {r.scores.most_alike_real_id for r in records} == {"abc"}


def test_fields_of_an_earlier_version_are_moved_when_a_job_next_writes(call, old):
    call("audit", old)
    assert old.get_field("fid") is None
    assert old.distinct("distance.value") == [12.5]
    assert old.values("scores.influence") == [float(n) for n in range(len(old))]
    assert old.distinct("scores.most_alike_real_id") == ["abc"]
    assert old.get_field("scores.fid_influence") is None
    assert old.get_field("distance.metric").description
    call("audit", old)
    assert old.count("distance.value") == len(old)


def test_a_field_fid_of_the_users_own_is_left_alone(call, loaded):
    dataset = loaded.match_tags("val").clone("own_fid")
    dataset.add_sample_field("fid", fo.FloatField)
    call("audit", dataset)
    assert isinstance(dataset.get_field("fid"), fo.FloatField)
    dataset.delete()
