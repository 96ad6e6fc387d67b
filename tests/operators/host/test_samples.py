"""Samples become records and records samples, masks and all."""

import time
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image

from busaug_core.data.masks import read_mask
from busaug_core.records import Lesion, Record, Scores
from operators.host.fields import all_fields, declare_fields
from operators.host.samples import insert_missing, make_sample, read_samples


@pytest.fixture
def dataset(loaded):
    clone = loaded.match({"origin": "simulated"}).clone()
    yield clone
    clone.delete()


@pytest.fixture
def drawn(tmp_path):
    """A function that makes a dataset of one image of 40×20 pixels with a detection of the given attributes."""
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(path)
    made = []

    def drawn(**attributes):
        dataset = fo.Dataset()
        made.append(dataset)
        detection = fo.Detection(label="x", **attributes)
        dataset.add_sample(fo.Sample(filepath=str(path), lesions=fo.Detections(detections=[detection])))
        return dataset

    yield drawn
    for dataset in made:
        dataset.delete()


def test_masks_in_the_database_and_in_files_are_read_and_know_their_sample(dataset):
    sample = dataset.match_tags("val").first()
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:9] = True
    sample["lesions"] = fo.Detections(
        detections=[fo.Detection(label="x", bounding_box=[0.25, 0.5, 0.2, 0.125], mask=mask)]
    )
    sample.save()
    records = {r.id: r for r in read_samples(dataset)}
    drawn = records[sample.id].lesions[0]
    assert isinstance(drawn, Lesion)
    assert drawn.mask.any()
    for record in records.values():
        for lesion in record.lesions:
            assert lesion.mask.shape == (lesion.box[3], lesion.box[2])


def test_a_sample_becomes_a_record_and_a_sample_of_the_same_mask(dataset):
    with_lesion = dataset.match({"lesions.detections.0": {"$exists": True}})
    assert len(with_lesion) > 10
    for sample, record in zip(with_lesion, read_samples(with_lesion), strict=True):
        again = make_sample(record)
        assert record.id == sample.id
        assert again.metadata.width == sample.metadata.width
        (before,), (after,) = sample.lesions.detections, again.lesions.detections
        assert after.bounding_box == pytest.approx(before.bounding_box)
        assert np.array_equal(after.mask, before.mask)
        assert after.mask_file == before.mask_file
        left, top, width, height = record.lesions[0].box
        whole = np.zeros((sample.metadata.height, sample.metadata.width), bool)
        whole[top : top + height, left : left + width] = record.lesions[0].mask
        assert np.array_equal(whole, read_mask(before.mask_file))


def test_a_record_keeps_its_lesions_on_disk(dataset, tmp_path):
    from busaug_core.records import read_records, write_records

    records = read_samples(dataset)
    write_records(tmp_path / "records.jsonl", records)
    assert read_records(tmp_path / "records.jsonl") == records


def test_a_mask_of_another_size_than_its_box_is_scaled_to_the_pixels(drawn):
    mask = np.array([[True, False], [False, True]])
    (record,) = read_samples(drawn(bounding_box=[0.25, 0.2, 0.5, 0.4], mask=mask))
    (lesion,) = record.lesions
    assert lesion.box == [10, 4, 20, 8]
    assert lesion.mask[:4, :10].all() and lesion.mask[4:, 10:].all()
    assert lesion.mask.sum() == 80


def test_what_lies_outside_of_the_image_is_cut_off(drawn):
    (record,) = read_samples(drawn(bounding_box=[-0.25, 0.5, 0.5, 1.0], mask=np.ones((20, 20), np.uint8) * 255))
    assert record.lesions[0].box == [0, 10, 10, 10]


def test_an_instance_mask_in_a_file_is_read_as_fiftyone_does(drawn, tmp_path):
    path = tmp_path / "instance.png"
    Image.fromarray(np.full((8, 20), 255, np.uint8)).save(path)
    (record,) = read_samples(drawn(bounding_box=[0.25, 0.2, 0.5, 0.4], mask_path=str(path)))
    assert record.lesions[0].box == [10, 4, 20, 8]


def test_a_mask_file_alone_gives_its_own_box(drawn, tmp_path):
    mask = np.zeros((20, 40), np.uint8)
    mask[3:9, 5:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    dataset = drawn(bounding_box=[0, 0, 1, 1], mask_file=str(tmp_path / "mask.png"))
    dataset.add_dynamic_sample_fields()
    (record,) = read_samples(dataset)
    assert record.lesions[0].box == [5, 3, 25, 6]
    assert record.lesions[0].path == str(tmp_path / "mask.png")
    Path(record.lesions[0].path).unlink()
    assert read_samples(dataset)[0].lesions == []


def test_a_detection_without_a_mask_and_an_empty_mask_are_no_lesion(drawn):
    assert read_samples(drawn(bounding_box=[0.25, 0.2, 0.5, 0.4]))[0].lesions == []
    assert read_samples(drawn(bounding_box=[0, 0, 1, 1], mask=np.zeros((4, 4), bool)))[0].lesions == []


def test_documents_travel_with_their_samples(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    record = Record(str(path), "benign", origin="synthetic", variant="sd", scores=Scores(realism=1.5, run="scores"))
    dataset = fo.Dataset()
    declare_fields(dataset)
    insert_missing(dataset, [record, record])
    (read,) = read_samples(dataset)
    assert read.scores == record.scores
    assert read.synthesis is None
    dataset.delete()


def test_every_document_of_a_record_is_declared_by_its_own_descriptions(loaded):
    for name, (_, _, description) in all_fields().items():
        field = loaded.get_field(name)
        assert (name, field and field.description) == (name, description)


def test_reading_as_many_samples_as_busi_has_is_fast(tmp_path):
    down, across = np.ogrid[-1:1:250j, -1:1:300j]
    records = []
    for n in range(780):
        path = tmp_path / f"{n}.png"
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
        mask = across**2 + down**2 < 1
        lesions = [Lesion.of(None, mask, (50, 60))] if n % 6 else []
        records.append(Record(str(path), "benign", tags=["train"], lesions=lesions, size=[600, 500, 3]))
    dataset = fo.Dataset()
    declare_fields(dataset)
    insert_missing(dataset, records)
    began = time.process_time()
    read = read_samples(dataset)
    seconds = time.process_time() - began
    assert [r.lesions for r in read] == [r.lesions for r in records]
    assert seconds < 1
    dataset.delete()
