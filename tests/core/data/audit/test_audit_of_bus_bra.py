"""What the audit makes of the real BUS-BRA, whose patients are known, in the folder $BUSBRA."""

import os
from pathlib import Path

import pytest

from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.registry import job


@pytest.mark.busbra
def test_images_share_a_group_with_those_of_their_patient_and_with_no_other(tmp_path):
    values = dict(layout="bus_bra", source=os.environ["BUSBRA"], dataset_name="trial", run_key="load", split="80-20")
    events = list(job("load_external").run(values, [], "trial", tmp_path))
    result = events[-1].result
    records = Run(Path(result["folder"])).products
    assert len(records) == 1875
    patients_of: dict[str, set[str]] = {}
    groups_of: dict[str, set[str]] = {}
    for r in records:
        if r.split_group:
            patients_of.setdefault(r.split_group, set()).add(r.source.patient)
        groups_of.setdefault(r.source.patient, set()).add(r.split_group or r.path)
    assert len(groups_of) == 1064
    assert all(len(patients) == 1 for patients in patients_of.values())
    assert all(len(found) == 1 for found in groups_of.values())
    assert not any("label_conflict" in r.tags for r in records)
    apart = next(e.message for e in events if isinstance(e, Notice) and "kept apart" in e.message)
    assert 5 <= int(apart.split()[0]) <= 15
    assert 0.85 * len(records) <= result["audit"]["tags"]["annotated"] <= 0.98 * len(records)
