"""The published table stands beside ours where it is of the same arms and scans, and nowhere else."""

from dataclasses import replace

from busaug_core.experiment.published import HYBRID, published
from busaug_core.records import Record

REAL = Record("a.png", "benign")


def test_the_published_table_is_told_of_its_own_arms_on_real_scans():
    lines = published([*HYBRID, "ft"], [REAL])
    assert lines[2:4] == [
        "| original | 0.904 | 0.887 | 0.979 | 0.890 | – |",
        "| + sd | 0.917 | 0.905 | 0.986 | 0.901 | 45.97 |",
    ]
    assert "cannot be found again exactly" in lines[-1]


def test_it_is_not_told_of_other_arms_or_of_simulated_scans():
    assert published(["original", "sd"], [REAL]) == []
    assert published(list(HYBRID), [REAL, replace(REAL, origin="simulated")]) == []
