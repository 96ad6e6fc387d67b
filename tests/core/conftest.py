"""What the core's tests share: a few simulated scans, and a way to run a job."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from busaug_core.data.busi import list_scans
from busaug_core.jobs.events import Finished
from busaug_core.records import Lesion, Record
from busaug_core.registry import job

COUNTS = {"benign": 6, "malignant": 5, "normal": 4}


@pytest.fixture(scope="session")
def busi(tmp_path_factory):
    """A folder in BUSI's layout with a few simulated scans of 64 px."""
    from busaug_core.simulate.dataset import write_busi

    folder = tmp_path_factory.mktemp("busi") / "Dataset_BUSI_with_GT"
    for _ in write_busi(folder, COUNTS, seed=1, size=64):
        pass
    return folder


@pytest.fixture(scope="session")
def records(busi):
    """Records of the scans: the first two of each class validate, the others train."""
    made = []
    seen: dict[str, int] = {}
    for scan in list_scans(busi)[0]:
        seen[scan.label] = seen.get(scan.label, 0) + 1
        split = "val" if seen[scan.label] <= 2 else "train"
        made.append(
            Record(str(scan.path), scan.label, origin="simulated", variant="simulated", tags=[split, "simulated"])
        )
    return made


@pytest.fixture(scope="session")
def masked(records):
    """The records with their lesions: the left upper quarter of a benign image, the right lower of a malignant one."""
    masks = {"benign": np.zeros((64, 64), bool), "malignant": np.zeros((64, 64), bool)}
    masks["benign"][:32, :32] = masks["malignant"][32:, 32:] = True
    lesions = {label: [Lesion.of(None, mask)] for label, mask in masks.items()}
    return [replace(r, lesions=lesions.get(r.label, []), size=[64, 64, 1], id=Path(r.path).stem) for r in records]


@pytest.fixture
def with_marks(masked, tmp_path):
    """The records with their lesions, of images of which all but the first bear a yellow box."""
    made = []
    for record in masked:
        with Image.open(record.path) as image:
            picture = image.convert("RGB")
        if made:
            ImageDraw.Draw(picture).rectangle((40, 8, 55, 23), outline="yellow")
        path = tmp_path / "with_marks" / Path(record.path).name
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        made.append(replace(record, path=str(path), size=[64, 64, 3]))
    return made


@pytest.fixture
def run_job(tmp_path):
    """A function that runs a job to its end in a home of the test's own and returns its result."""

    def run(name, records=(), dataset="trial", **values):
        for event in job(name).run(values, list(records), dataset, tmp_path):
            last = event
        assert isinstance(last, Finished)
        return last.result

    return run


@pytest.fixture(scope="session")
def inception_home(tmp_path_factory):
    """A torch cache with random weights in the place of the published ones."""
    from benchmarks._random_inception import write_random_inception
    from busaug_core.features.inception import INCEPTION_FILE

    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub/checkpoints"
    folder.mkdir(parents=True)
    write_random_inception(folder / INCEPTION_FILE)
    return home
