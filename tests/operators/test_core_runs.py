"""Results of runs that were made in the core reach a dataset, and are taken back; masks survive the way."""

import importlib

import fiftyone as fo
import numpy as np
import pytest

from busaug_core.jobs.run import Run, runs_folder
from busaug_core.records import Lesion
from busaug_core.registry import job


@pytest.fixture
def dataset(loaded):
    clone = loaded.match({"origin": "simulated"}).clone()
    yield clone
    clone.delete()


def test_a_run_of_the_core_is_written_to_a_dataset_twice_and_taken_back(dataset, call):
    results = importlib.import_module("operators.results")
    samples = importlib.import_module("operators.samples")
    before = dataset.values("split_group"), dataset.values("tags")
    for _ in job("audit").run(dict(run_key="audit_core"), samples.read_samples(dataset), dataset.name):
        pass
    run = Run(runs_folder(dataset.name) / "audit_core")
    for _ in range(2):
        results.write(dataset, run)
        assert dataset.load_run_results("audit_core").images == len(dataset)
    results.remove(dataset, run)
    assert (dataset.values("split_group"), dataset.values("tags")) == before
    assert not dataset.has_run("audit_core")


def test_masks_in_the_database_and_in_files_are_read_and_know_their_sample(dataset):
    samples = importlib.import_module("operators.samples")
    sample = dataset.match_tags("val").first()
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:9] = True
    sample["lesions"] = fo.Detections(
        detections=[fo.Detection(label="x", bounding_box=[0.25, 0.5, 0.2, 0.125], mask=mask)]
    )
    sample.save()
    records = {r.id: r for r in samples.read_samples(dataset)}
    drawn = records[sample.id].lesions[0]
    assert isinstance(drawn, Lesion)
    assert drawn.mask.any()
    for record in records.values():
        for lesion in record.lesions:
            assert lesion.mask.shape == (lesion.box[3], lesion.box[2])
