"""What an experiment tells of where its classifiers look."""

from pathlib import Path

import numpy as np
import pytest

from busaug_core.experiment.looks import read_attention, told
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run

ARMS = {"original": "efficientnet_lite0", "sd": "clf"}


@pytest.fixture
def look(run_job):
    """A function that trains two probes and maps by each where it looks in the held-out records; returns the runs."""

    def look(records):
        short = dict(arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4)
        run_job("train_classifier", records, run_key="clf", **short)
        looks = {}
        for arm, extractor in ARMS.items():
            run_job("train_classifier", records, arch="probe", extractor=extractor, run_key=f"clf_{arm}")
            values = dict(classifier=f"clf_{arm}", heatmaps=True, run_key=f"looks_{arm}")
            looks[arm] = Run(Path(run_job("apply_classifier", of_split(records, "val"), **values)["folder"]))
        return looks

    return look


def test_of_marks_there_is_a_second_table_of_the_images_that_have_some(look, with_marks):
    held_out, looks = of_split(with_marks, "val"), look(with_marks)
    lines = told(looks, in_fold=False)
    tables = [i for i, line in enumerate(lines) if line.startswith("| arm |")]
    assert [lines[i].split(" | ")[1] for i in tables] == ["on the lesion", "on burnt-in marks"]
    of_marks = lines[tables[1] :]
    note = of_marks[-1]
    found = {arm: {a.path: a for a in read_attention(run)} for arm, run in looks.items()}
    both = [r.path for r in held_out if all(of[r.path].on_marks is not None for of in found.values())]
    assert 1 < len(both) < len(held_out) and f"of the {len(both)} held-out scans on which" in note
    for arm, row in zip(ARMS, of_marks[2:4], strict=True):
        mean = np.mean([found[arm][path].on_marks for path in both])
        assert row.startswith(f"| {arm} | {mean:.3f} (")
    gained = np.mean([found["sd"][path].on_marks - found["original"][path].on_marks for path in both])
    assert of_marks[3].split(" | ")[2].startswith(f"{gained:.3f} (")


def test_where_no_image_has_marks_nothing_is_said_of_them(look, masked):
    lines = told(look(masked), in_fold=True)
    assert "held-out scans with a lesion of the first fold" in lines[-1]
    assert not any("mark" in line for line in lines)
