"""Datasets to write to and take back from, and runs of the core without any operator."""

import pytest

from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.registry import job
from operators.host.samples import read_samples


@pytest.fixture
def scans(loaded):
    """A clone of the loaded scans, without anything that other jobs have added."""
    dataset = loaded.match({"origin": "simulated"}).clone()
    yield dataset
    dataset.delete()


@pytest.fixture
def run_core():
    """A function that runs a job in the core on a dataset's samples and returns the run."""

    def run_core(name, dataset, run_key, **config):
        for _ in job(name).run(dict(run_key=run_key, **config), read_samples(dataset), dataset._root_dataset.name):
            pass
        return Run(runs_folder(dataset._root_dataset.name) / run_key)

    return run_core


@pytest.fixture
def snapshot():
    """A function that returns all values of a dataset's samples, by id, as plain data."""

    def snapshot(dataset):
        dataset.reload()
        found = {}
        for sample in dataset:
            values = sample.to_dict()
            values["tags"] = sorted(values["tags"])
            found[sample.id] = {k: v for k, v in values.items() if v is not None and k != "last_modified_at"}
        return found

    return snapshot
