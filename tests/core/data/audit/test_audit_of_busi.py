"""What the audit and the split make of the real BUSI, in the folder $BUSI."""

import os
from pathlib import Path

import pytest

from busaug_core.data.audit.audit import is_busi
from busaug_core.jobs.run import Run
from busaug_core.registry import job


def load_real(home, **values):
    """Records of the BUSI folder that the environment names, and the load's result."""
    values = dict(source=os.environ["BUSI"], dataset_name="trial", run_key="load") | values
    result = list(job("load_busi").run(values, [], "trial", home))[-1].result
    return Run(Path(result["folder"])).products, result


@pytest.mark.busi
def test_real_busi_is_audited_and_split_without_leaks(tmp_path):
    records, result = load_real(tmp_path, folds=5)
    assert result["counts"] == {"benign": 437, "malignant": 210, "normal": 133}
    assert result["splits"]["train"] == {"benign": 349, "malignant": 168, "normal": 106}
    assert result["splits"]["val"] == {"benign": 88, "malignant": 42, "normal": 27}
    assert sum(len(r.lesions) for r in records) == 665
    audit = result["audit"]
    assert audit["published"]["found"] >= 0.97 * audit["published"]["listed"]
    assert 40 <= audit["published"]["added"] <= 60
    assert is_busi(records)
    parts: dict[str, set[str]] = {}
    for r in records:
        if r.split_group:
            fold = next((t for t in r.tags if t.startswith("fold_")), "none")
            parts.setdefault(r.split_group, set()).add(f"{r.tags[0]}, {fold}")
    assert all(len({p.split(", ")[part] for p in found}) == 1 for found in parts.values() for part in (0, 1))
    conflicts = {Path(r.path).stem for r in records if "label_conflict" in r.tags}
    assert {"benign (433)", "malignant (145)", "benign (435)"} <= conflicts
    assert all("train" in r.tags for r in records if "label_conflict" in r.tags)
    in_folds = [r for r in records if any(t.startswith("fold_") for t in r.tags)]
    assert len(in_folds) == 780 - len(conflicts)
    assert sum(r.tags.count("axilla") for r in records) == 27


@pytest.mark.busi
def test_the_split_of_meddap_fills_exactly_with_groups_kept_together(tmp_path):
    records, result = load_real(tmp_path, split="545/115/120")
    assert [sum(result["splits"][s].values()) for s in ("train", "val", "test")] == [545, 115, 120]
    split_of: dict[str, set[str]] = {}
    for r in records:
        split_of.setdefault(r.split_group or r.path, set()).add(r.tags[0])
    assert all(len(s) == 1 for s in split_of.values())


@pytest.mark.busi
def test_the_awkward_cases_of_real_busi(tmp_path):
    """Also passes on a folder that holds these cases alone."""
    records, _ = load_real(tmp_path, on_error="skip")
    of = {Path(r.path).stem: r for r in records}
    found = {name: len(of[name].lesions) for name in ("benign (195)", "benign (4)", "benign (100)", "malignant (53)")}
    assert found == {"benign (195)": 3, "benign (4)": 2, "benign (100)": 2, "malignant (53)": 2}
    assert all("annotated" in of[name].tags for name in ("benign (102)", "malignant (65)", "normal (113)"))
    assert all("label_conflict" in of[name].tags for name in ("benign (433)", "malignant (145)"))
    assert of["benign (433)"].duplicate_group == of["malignant (145)"].duplicate_group is not None
    assert not of["normal (113)"].lesions
