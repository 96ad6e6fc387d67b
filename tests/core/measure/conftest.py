"""Homes with a classifier, and synthetic images to score."""

import pytest
from PIL import Image

from busaug_core.jobs.roles import of_split
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.simulate import simulate


@pytest.fixture(scope="session")
def home(records, tmp_path_factory):
    """A home with a classifier's run."""
    folder = tmp_path_factory.mktemp("home")
    values = dict(arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4, run_key="clf")
    for _ in job("train_classifier").run(values, records, "trial", folder):
        pass
    return folder


@pytest.fixture(scope="session")
def scoring_home(records, tmp_path_factory):
    """A home with the run of a classifier that scores."""
    folder = tmp_path_factory.mktemp("home")
    values = dict(epochs=2, resolution=64, batch_size=4, run_key="clf")
    for _ in job("train_classifier").run(values, records, "trial", folder):
        pass
    return folder


@pytest.fixture(scope="session")
def synthetic(records, tmp_path_factory):
    """An evaluation set in the validation split's class counts and a balancing set of two."""
    folder = tmp_path_factory.mktemp("synthetic")
    made = []
    for i, label in enumerate([*(r.label for r in of_split(records, "val")), "benign", "normal"]):
        path = folder / f"{i}.png"
        Image.fromarray(simulate(label, 800 + i, 64).image).save(path)
        tags = ["synthetic", "sd"] + (["evaluation"] if i < 6 else [])
        made.append(Record(str(path), label, "synthetic", "sd", tags, pair=f"pair-{i}"))
    return made
