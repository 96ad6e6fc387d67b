"""Records and their typed documents survive JSON; those of earlier versions are read."""

import numpy as np
import pytest

from busaug_core.errors import UserError
from busaug_core.records import Lesion, Record, Scores, Source, Synthesis, read_records, write_records


def test_a_record_with_all_its_documents_comes_back_equal(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[4:9, 7:21] = True
    record = Record(
        "/a.png",
        "benign",
        tags=["train"],
        lesions=[Lesion.of("/mask.png", mask), Lesion.of(None, mask[4:9, 7:21], at=(3, 2))],
        size=[30, 20, 1],
        source=Source(set="x", subject="4"),
        synthesis=Synthesis(run="r", seed=0, components={"lora": "l", "made_up": "m"}),
        scores=Scores(copy_ratio=0.0, class_consistent=False),
        id="abc",
    )
    write_records(tmp_path / "records.jsonl", [record])
    assert read_records(tmp_path / "records.jsonl") == [record]


def test_components_stand_beside_the_other_fields_in_json():
    values = Synthesis(run="r", components={"lora": "l"}).to_json()
    assert values == {"run": "r", "lora": "l"}
    assert Synthesis.from_json({**values, "controlnet": None}).components == {"lora": "l"}


def test_documents_of_earlier_versions_are_read():
    assert Scores.from_json({"fid_influence": 1.5, "likest_real_id": "x"}) == Scores(
        influence=1.5, most_alike_real_id="x"
    )
    old = dict(path="a.png", label="benign", lesions=[dict(path="m.png", box=None, bits=None)])
    assert Record.from_json(old).lesions == []


def test_a_record_of_a_later_version_is_refused_with_the_way_out():
    with pytest.raises(UserError, match="unknown fields \\['colour'\\].*Delete that run's folder"):
        Record.from_json(dict(path="a.png", label="benign", colour="red"))


def test_the_lesion_mask_joins_all_lesions_where_they_lie():
    one, other = np.ones((2, 3), bool), np.ones((4, 1), bool)
    record = Record(
        "a.png", "x", lesions=[Lesion.of(None, one, (1, 2)), Lesion.of(None, other, (8, 5))], size=[10, 9, 1]
    )
    expected = np.zeros((9, 10), bool)
    expected[2:4, 1:4] = expected[5:9, 8:9] = True
    assert np.array_equal(record.lesion_mask(), expected)
