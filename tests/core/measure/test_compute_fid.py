"""The job that compares evaluation sets with real images: its rows, its floor, what it refuses and remarks on."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_sets import MEASURE, evaluation_set
from PIL import Image

from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice
from busaug_core.jobs.roles import other_splits
from busaug_core.measure.report import brief
from busaug_core.records import Record, Source, Synthesis
from busaug_core.registry import job
from busaug_core.simulate import simulate


def test_rows_hold_every_reference_class_and_variant_and_the_floor(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 30) + evaluation_set(records, tmp_path, "far", 90)
    values = MEASURE | dict(metrics=["fid", "fid_infinity", "kid", "prdc"], run_key="fid")
    result = list(job("compute_fid").run(values, records + sets, "trial", home))[-1].result
    rows = {(r["reference"], r["variant"], r["class"], r["metric"]): r for r in result["rows"]}
    classes = ("all", "benign", "malignant", "normal")
    metric = "FD (classifier)"
    assert result["metric"] == metric
    for split in ("val", "train"):
        assert all((split, v, c, metric) in rows for v in ("near", "far", "real") for c in classes)
    near, far, floor = (rows["val", v, "all", metric] for v in ("near", "far", "real"))
    assert near["value"] < far["value"]
    for row in (near, far, floor):
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == 6
    assert rows["val", "near", "all", "KID"]["value"] < rows["val", "far", "all", "KID"]["value"]
    too_few = rows["val", "near", "normal", "precision"]
    assert too_few["value"] is None
    assert "at least" in too_few["note"]
    assert {r["metric"] for r in rows.values() if r["variant"] == "real"} >= {metric, f"{metric}∞", "KID", "recall"}


def test_a_near_copy_is_refused_by_name_or_left_out(records, home, tmp_path):
    known = next(r for r in records if "train" in r.tags)
    sets = evaluation_set(records, tmp_path, "near", 30) + evaluation_set(records, tmp_path, "other", 40)
    for i in (3, 9):
        Image.open(known.path).resize((90, 90)).save(sets[i].path)
    with pytest.raises(UserError, match=r"2 images are near-copies of real ones, the first .*near3.png of"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))
    events = list(job("compute_fid").run(MEASURE | dict(on_copies="leave_out"), records + sets, "trial", home))
    assert any(isinstance(e, Notice) and "1 near-copy of a real image is left out" in e.message for e in events)
    result = events[-1].result
    assert next(r for r in result["rows"] if r["variant"] == "near" and r["class"] == "all")["n"] == 5
    assert [(c["variant"], c["path"], c["real"]) for c in result["left_out"]] == [
        ("near", sets[3].path, known.path),
        ("other", sets[9].path, known.path),
    ]
    assert min(c["likeness"] for c in result["left_out"]) > 0.9
    assert f"- near: {sets[3].path} of {known.path}" in (Path(result["folder"]) / "fid.md").read_text()
    shares = [r["value"] for r in result["rows"] if r["metric"] == "share of near-copies of training images"]
    assert shares == [1 / 6, 1 / 6]
    assert "near-copies of real images: 2." in brief(result, Path(result["folder"]))[-1]
    del result["left_out"]  # as a run of an earlier version has it
    assert "near-copies of real images: 0." in brief(result, Path(result["folder"]))[-1]


def test_a_classifier_of_other_images_is_named_by_its_folder_and_has_no_biased_floor(records, home, tmp_path):
    others = []
    for i, label in enumerate(["benign", "malignant", "normal"] * 3):
        path = tmp_path / f"other{i}.png"
        Image.fromarray(simulate(label, 400 + i, 64).image).save(path)
        others.append(Record(str(path), label, tags=["val" if i < 3 else "train"]))
    values = dict(arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4, run_key="neutral")
    list(job("train_classifier").run(values, others, "elsewhere", home))
    folder = home / "elsewhere/runs/neutral"
    sets = evaluation_set(records, tmp_path, "near", 2)
    floors = []
    for extractor in ("clf", str(folder)):
        values = MEASURE | dict(extractor=extractor, metrics=["fid"])
        floors.append(list(job("compute_fid").run(values, records + sets, "trial", home))[-1].result["floor"])
    assert "was trained on some of them" in floors[0]
    assert "was trained" not in floors[1]


def test_balancing_images_are_no_evaluation_set(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)
    for r in sets:
        r.tags.remove("evaluation")
    with pytest.raises(UserError, match="no evaluation set"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))


def test_a_real_file_among_synthetic_ones_is_refused_by_name(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)
    shutil.copy(records[0].path, sets[0].path)
    with pytest.raises(UserError, match="near0.png is the same file as the real image"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))


def test_a_classifier_that_saw_synthetic_images_is_no_extractor(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)
    balancing = [replace(r, tags=["synthetic", "near"]) for r in sets]
    values = dict(arch="squeezenet1_1", epochs=1, resolution=32, batch_size=4, run_key="clf_near", include=["near"])
    list(job("train_classifier").run(values, records + balancing, "trial", home))
    with pytest.raises(UserError, match="was trained with synthetic images"):
        list(job("compute_fid").run(MEASURE | dict(extractor="clf_near"), records + sets, "trial", home))


def test_what_one_may_not_expect_of_an_evaluation_set_is_said(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)
    for i, record in enumerate(sets):
        record.synthesis = Synthesis(run=f"gen_{i % 2}")
    sets[0].tags.append("rejected")
    told = " ".join(
        e.message for e in job("compute_fid").run(MEASURE, records + sets, "trial", home) if isinstance(e, Notice)
    )
    assert "its evaluation set is of 2 runs (gen_0, gen_1)" in told
    assert "near: 1 rejected image is measured too" in told
    assert "all: 6 images a side say little" in told
    lacking = [r for r in sets if r.label != "normal"]
    told = [
        e.message for e in job("compute_fid").run(MEASURE, records + lacking, "trial", home) if isinstance(e, Notice)
    ]
    assert any(message.startswith("all: no normal image is compared") for message in told)


def test_a_value_does_not_depend_on_what_else_of_its_size_is_measured(records, home, tmp_path):
    near, far = evaluation_set(records, tmp_path, "near", 2), evaluation_set(records, tmp_path, "far", 90)

    def rows(sets, **values):
        found = list(job("compute_fid").run(MEASURE | values, records + sets, "trial", home))[-1].result["rows"]
        return {(r["variant"], r["reference"], r["class"], r["metric"]): r["value"] for r in found}

    alone, both = rows(near), rows(near + far)
    assert alone.items() <= both.items()
    other = rows(near, reference="train")
    shared = {key for key in other if key[1] == "train" and key in alone}
    assert len(shared) > 20 and all(other[key] == alone[key] for key in shared)


def test_an_unknown_variant_is_told_from_one_without_an_evaluation_set(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)
    with pytest.raises(UserError, match=r"variant\(s\) bse; there are near"):
        list(job("compute_fid").run(MEASURE | dict(variants=["bse"]), records + sets, "trial", home))


def test_unequal_sets_are_compared_at_equal_class_counts_and_it_is_said(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)[1:]
    events = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))
    assert any(isinstance(e, Notice) and "5 of 6 images" in e.message for e in events)
    row = next(r for r in events[-1].result["rows"] if r["variant"] == "near" and r["class"] == "all")
    assert row["n"] == 5


def test_all_variants_and_the_floor_are_compared_at_one_n(records, home, tmp_path):
    sets = evaluation_set(records, tmp_path, "near", 2)[1:] + evaluation_set(records, tmp_path, "far", 90)
    result = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))[-1].result
    rows = [r for r in result["rows"] if r["class"] == "all" and r["metric"] in ("KID", result["metric"])]
    assert {r["variant"] for r in rows} == {"near", "far", "real"}
    assert {r["n"] for r in rows} == {5}


def test_the_floor_is_drawn_from_other_splits_other_scans_and_other_patients(records):
    reference = [replace(records[0], split_group="a", tags=["val"])]
    real = [
        *reference,
        replace(records[1], split_group="a", tags=["train"]),
        replace(records[2], split_group="b", tags=["train"]),
        replace(records[3], tags=["external"]),
        replace(records[4], tags=["test"]),
    ]
    hash_of = {r.path: r.path for r in real}
    assert other_splits(real, reference, "val", hash_of) == [real[2], real[4]]
    hash_of[real[4].path] = hash_of[reference[0].path]
    assert other_splits(real, reference, "val", hash_of) == [real[2]]
    patient, other = Source(set="a", subject="7"), Source(set="b", subject="7")
    of_patients = [replace(r, split_group=None, source=patient, path=f"{i}") for i, r in enumerate(real)]
    of_patients[2].source = other
    hash_of = {r.path: r.path for r in of_patients}
    assert other_splits(of_patients, of_patients[:1], "val", hash_of) == [of_patients[2]], "patients of another set"


def test_images_that_were_never_audited_are_remarked_on(records, home, tmp_path):
    def remarked(real):
        events = job("compute_fid").run(MEASURE, real + evaluation_set(records, tmp_path, "near", 2), "trial", home)
        return any(isinstance(e, Notice) and "never audited" in e.message for e in events)

    assert remarked(records)
    assert not remarked([replace(r, annotation_score=0.0) for r in records])
