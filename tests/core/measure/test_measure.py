"""Features, the Fréchet distance and its floor, overlap, near-copies."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators import drain
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance

from busaug_core.errors import MissingWeights, UserError
from busaug_core.features.extractors import ClassifierFeatures
from busaug_core.images import load_gray
from busaug_core.jobs.events import Notice
from busaug_core.jobs.run import Run
from busaug_core.measure.config import NEAR_COPY
from busaug_core.measure.copies import Originals
from busaug_core.measure.fid import other_splits
from busaug_core.measure.grids import variant_grid
from busaug_core.measure.report import brief
from busaug_core.measure.sets import matched
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.overlap import two_sample_accuracy
from busaug_core.records import Record
from busaug_core.registry import job
from busaug_core.simulate import simulate


def features(n, width, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) / width**0.5 + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m", "width"), [(300, 200, 16), (300, 300, 64), (40, 60, 128)])
def test_the_distance_equals_pytorch_fids(n, m, width):
    one, other = features(n, width, 1), features(m, width, 2, shift=0.3)
    moments = [v for f in (one, other) for v in (f.mean(0, dtype=np.float64), np.cov(f, rowvar=False))]
    assert frechet_distance(one, other) == pytest.approx(calculate_frechet_distance(*moments), rel=1e-5)


def test_the_distance_of_two_gaussians_approaches_the_closed_form():
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (200_000, 2))
    other = rng.normal([1, 0], [2, 3], (200_000, 2))
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 4, rel=0.02)


def test_the_distance_is_zero_to_itself_symmetric_and_blind_to_order():
    one, other = features(50, 80, 1), features(60, 80, 2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(one[::-1], other))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4 wide"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "needs at least 2 images a side; there are 1 real"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "synthetic features hold values that are not finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(one, other, message):
    with pytest.raises(UserError, match=message):
        frechet_distance(one, other)


def test_the_two_sample_test_tells_the_same_from_the_other():
    rng = np.random.default_rng(3)
    assert two_sample_accuracy(rng.normal(size=(300, 3)), rng.normal(size=(300, 3))) == pytest.approx(0.5, abs=0.08)
    assert two_sample_accuracy(features(200, 4, 1), features(200, 4, 2, shift=30)) == 1


CHANGES = {
    "resized": lambda image: image.resize((90, 80)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((8, 8, 120, 120)),
    "mirrored and cropped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((8, 8, 120, 120)),
    "shallower": lambda image: image.crop((0, 0, 128, 116)).resize((128, 128)),
    "turned": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "shifted": lambda image: image.crop((8, 0, 128, 124)),
    "brighter": lambda image: image.point(lambda v: min(255, v * 3 // 2)),
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Thirty simulated scans of 128 pixels."""
    folder = tmp_path_factory.mktemp("scans")
    made = []
    for i in range(30):
        path = folder / f"{i}.png"
        Image.fromarray(simulate(("benign", "malignant", "normal")[i % 3], 300 + i, 128).image).save(path)
        made.append(Record(str(path), "benign"))
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_however_it_was_changed_and_another_scan_is_none(scans, tmp_path, change):
    made = []
    for i in (0, 4, 8):
        CHANGES[change](Image.open(scans[i].path)).save(tmp_path / f"{i}.png")
        made.append(Record(str(tmp_path / f"{i}.png"), "benign"))
    likeness, real = drain(Originals(scans).nearest(made))
    assert [r.path for r in real] == [scans[i].path for i in (0, 4, 8)]
    assert likeness.min() > NEAR_COPY
    others = [r for i, r in enumerate(scans) if i not in (0, 4, 8)]
    assert drain(Originals(others).nearest(made))[0].max() < NEAR_COPY


def test_matched_subsets_have_equal_class_counts():
    left = [Record(f"l{i}", c) for i, c in enumerate("aaabb")]
    right = [Record(f"r{i}", c) for i, c in enumerate("abbbc")]
    one, other = matched(left, right, np.random.default_rng(0))
    assert sorted(r.label for r in one) == sorted(r.label for r in other) == ["a", "b", "b"]


@pytest.fixture(scope="module")
def home(records, tmp_path_factory):
    """A home with a classifier's run."""
    folder = tmp_path_factory.mktemp("home")
    values = dict(epochs=1, resolution=32, batch_size=4, run_key="clf")
    for _ in job("train_classifier").run(values, records, "trial", folder):
        pass
    return folder


MEASURE = dict(extractor="clf", floor_draws=4, kid_subsets=10)


def synthetic(records, folder, variant, shade):
    """An evaluation set: other simulated scans with some noise, which stand in for a generator's."""
    made = []
    for i, r in enumerate(x for x in records if "val" in x.tags):
        path = Path(folder) / f"{variant}{i}.png"
        noise = np.random.default_rng(i).normal(0, shade, (64, 64))
        Image.fromarray(np.clip(simulate(r.label, 700 + i, 64).image + noise, 0, 255).astype(np.uint8)).save(path)
        made.append(Record(str(path), r.label, "synthetic", variant, ["synthetic", variant, "evaluation"]))
    return made


def test_rows_hold_every_reference_class_and_variant_and_the_floor(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 30) + synthetic(records, tmp_path, "far", 90)
    result = list(job("compute_fid").run(MEASURE | dict(run_key="fid"), records + sets, "trial", home))[-1].result
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


def test_the_tables_and_plots_of_a_measurement_are_written(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 30)
    result = list(job("compute_fid").run(MEASURE | dict(run_key="tables"), records + sets, "trial", home))[-1].result
    folder = Path(result["folder"])
    assert (folder / "fid.csv").read_text().count("\n") == len(result["rows"]) + 1
    assert json.loads((folder / "fid.json").read_text())["rows"] == result["rows"]
    table = (folder / "fid.md").read_text()
    assert "## Against val, all classes" in table
    assert "| FD (classifier) |" in table
    for name in ("fid.png", "spectra.png"):
        with Image.open(folder / name) as image:
            assert np.asarray(image.convert("L")).std() > 10


def test_speckle_and_marks_are_told_for_each_variant(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "noisy", 60)
    result = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))[-1].result
    value = {r["metric"]: r["value"] for r in result["rows"] if r["variant"] == "noisy" and r["class"] == "all"}
    assert value["speckle std (Cohen's d)"] > 0.5
    assert value["share of images with burnt-in marks"] is not None


def test_a_near_copy_is_refused_by_name_or_left_out(records, home, tmp_path):
    known = next(r for r in records if "train" in r.tags)
    sets = synthetic(records, tmp_path, "near", 30) + synthetic(records, tmp_path, "other", 40)
    for i in (3, 9):
        Image.open(known.path).resize((90, 90)).save(sets[i].path)
    with pytest.raises(UserError, match=r"2 image\(s\) are near-copies of real ones, the first .*near3.png of"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))
    events = list(job("compute_fid").run(MEASURE | dict(on_copies="leave_out"), records + sets, "trial", home))
    assert any(isinstance(e, Notice) and "1 near-copies of real images are left out" in e.message for e in events)
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
    values = dict(epochs=1, resolution=32, batch_size=4, run_key="neutral")
    list(job("train_classifier").run(values, others, "elsewhere", home))
    folder = home / "elsewhere/runs/neutral"
    sets = synthetic(records, tmp_path, "near", 2)
    floors = []
    for extractor in ("clf", str(folder)):
        values = MEASURE | dict(extractor=extractor, metrics=["fid"])
        floors.append(list(job("compute_fid").run(values, records + sets, "trial", home))[-1].result["floor"])
    assert "was trained on some of them" in floors[0]
    assert "was trained" not in floors[1]


def test_balancing_images_are_no_evaluation_set(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)
    for r in sets:
        r.tags.remove("evaluation")
    with pytest.raises(UserError, match="no evaluation set"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))


def test_a_real_file_among_synthetic_ones_is_refused_by_name(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)
    shutil.copy(records[0].path, sets[0].path)
    with pytest.raises(UserError, match="near0.png is the same file as the real image"):
        list(job("compute_fid").run(MEASURE, records + sets, "trial", home))


def test_a_classifier_that_saw_synthetic_images_is_no_extractor(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)
    balancing = [replace(r, tags=["synthetic", "near"]) for r in sets]
    values = dict(epochs=1, resolution=32, batch_size=4, run_key="clf_near", include=["near"])
    list(job("train_classifier").run(values, records + balancing, "trial", home))
    with pytest.raises(UserError, match="was trained with synthetic images"):
        list(job("compute_fid").run(MEASURE | dict(extractor="clf_near"), records + sets, "trial", home))


def test_what_one_may_not_expect_of_an_evaluation_set_is_said(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)
    for i, record in enumerate(sets):
        record.synthesis = {"run": f"gen_{i % 2}"}
    sets[0].tags.append("rejected")
    told = " ".join(
        e.message for e in job("compute_fid").run(MEASURE, records + sets, "trial", home) if isinstance(e, Notice)
    )
    assert "its evaluation set is of 2 runs (gen_0, gen_1)" in told
    assert "near: 1 images that a filter rejected are measured too" in told
    assert "all: 6 images a side say little" in told
    lacking = [r for r in sets if r.label != "normal"]
    told = [
        e.message for e in job("compute_fid").run(MEASURE, records + lacking, "trial", home) if isinstance(e, Notice)
    ]
    assert any(message.startswith("all: no normal image is compared") for message in told)


def test_a_figure_does_not_depend_on_what_else_of_its_size_is_measured(records, home, tmp_path):
    near, far = synthetic(records, tmp_path, "near", 2), synthetic(records, tmp_path, "far", 90)

    def rows(sets, **values):
        found = list(job("compute_fid").run(MEASURE | values, records + sets, "trial", home))[-1].result["rows"]
        return {(r["variant"], r["reference"], r["class"], r["metric"]): r["value"] for r in found}

    alone, both = rows(near), rows(near + far)
    assert alone.items() <= both.items()
    other = rows(near, reference="train")
    shared = {key for key in other if key[1] == "train" and key in alone}
    assert len(shared) > 20 and all(other[key] == alone[key] for key in shared)


def test_an_unknown_variant_is_told_from_one_without_an_evaluation_set(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)
    with pytest.raises(UserError, match=r"variant\(s\) bse; there are near"):
        list(job("compute_fid").run(MEASURE | dict(variants=["bse"]), records + sets, "trial", home))


def test_unequal_sets_are_compared_at_equal_class_counts_and_it_is_said(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)[1:]
    events = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))
    assert any(isinstance(e, Notice) and "5 of 6 images" in e.message for e in events)
    row = next(r for r in events[-1].result["rows"] if r["variant"] == "near" and r["class"] == "all")
    assert row["n"] == 5


def test_all_variants_and_the_floor_are_compared_at_one_n(records, home, tmp_path):
    sets = synthetic(records, tmp_path, "near", 2)[1:] + synthetic(records, tmp_path, "far", 90)
    result = list(job("compute_fid").run(MEASURE, records + sets, "trial", home))[-1].result
    rows = [r for r in result["rows"] if r["class"] == "all" and r["metric"] in ("KID", result["metric"])]
    assert {r["variant"] for r in rows} == {"near", "far", "real"}
    assert {r["n"] for r in rows} == {5}


def test_the_floor_is_drawn_from_other_splits_and_other_scans(records):
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


def test_images_that_were_never_audited_are_remarked_on(records, home, tmp_path):
    def remarked(real):
        events = job("compute_fid").run(MEASURE, real + synthetic(records, tmp_path, "near", 2), "trial", home)
        return any(isinstance(e, Notice) and "never audited" in e.message for e in events)

    assert remarked(records)
    assert not remarked([replace(r, annotation_score=0.0) for r in records])


def test_embeddings_come_in_the_records_order_and_are_computed_once(records, home, monkeypatch):
    events = list(job("compute_embeddings").run(dict(extractor="clf", run_key="emb"), records, "trial", home))
    stored = np.load(home / "trial/runs/emb/features.npy")
    assert stored.shape == (len(records), 512)
    assert events[-1].result["field"] == "features_clf"
    monkeypatch.setattr(ClassifierFeatures, "load", lambda *_: pytest.fail("computed a second time"))
    extractor = ClassifierFeatures(Run(home / "trial/runs/clf"), torch.device("cpu"))
    for i, record in enumerate(records):
        assert np.allclose(extractor([load_gray(record.path, 32)])[0], stored[i], atol=1e-4)
    again = records[::-1]
    list(job("compute_embeddings").run(dict(extractor="clf", run_key="again"), again, "trial", home))
    assert np.array_equal(np.load(home / "trial/runs/again/features.npy"), stored[::-1])


def test_embeddings_are_blind_to_batch_size(records, home, tmp_path):
    extractor = ClassifierFeatures(Run(home / "trial/runs/clf"), torch.device("cpu"))
    images = np.stack([load_gray(r.path, 32) for r in records])
    one_by_one = np.concatenate([extractor(images[i : i + 1]) for i in range(len(images))])
    assert np.allclose(extractor(images), one_by_one, atol=1e-4)


def test_fid_without_inception_weights_says_where_they_belong(records, home, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match="pt_inception-2015-12-05-6726825d.pth into"):
        list(job("compute_embeddings").run({}, records, "trial", home))


def test_the_grid_shows_a_column_for_each_variant(records, tmp_path):
    sets = synthetic(records, tmp_path, "sd", 2) + synthetic(records, tmp_path, "sd_ti", 60)
    variant_grid(records + sets, tmp_path / "grid.png", rows_per_class=1)
    with Image.open(tmp_path / "grid.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    height, width = pixels.shape
    assert width > 0.9 * height
    columns = [(pixels[:, i * width // 3 : (i + 1) * width // 3] < 128).mean() for i in range(3)]
    assert min(columns) > 0.2
    with pytest.raises(UserError, match="no synthetic image"):
        variant_grid(records, tmp_path / "none.png")
