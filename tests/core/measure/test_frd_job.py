"""Measurements in radiomic features: in z-scores of the reference wherever features are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_sets import evaluation_set
from generators import run_to_end
from PIL import Image, ImageFilter

from busaug_core.errors import UserError
from busaug_core.features.cache import extract
from busaug_core.features.radiomics import Radiomics
from busaug_core.files import read_rows
from busaug_core.jobs.roles import is_evaluation, of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.report import brief
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.frd import z_scores
from busaug_core.metrics.kid import kid
from busaug_core.metrics.neighbours import nearest
from busaug_core.registry import job

MEASURE = dict(extractor="radiomics", floor_draws=3, kid_subsets=10, metrics=["fid", "kid"])


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Radiomics, "resolution", 64)
        yield


@pytest.fixture(scope="module")
def sets(records, tmp_path_factory):
    """Evaluation sets of other scans as they are, `plain`, and with their speckle blurred, `blurred`."""
    folder = tmp_path_factory.mktemp("sets")
    plain, blurred = (evaluation_set(records, folder, name, 0) for name in ("plain", "blurred"))
    for r in blurred:
        Image.open(r.path).filter(ImageFilter.GaussianBlur(1.5)).save(r.path)
    return plain + blurred


@pytest.fixture(scope="module")
def measured(records, sets, scoring_home):
    values = MEASURE | dict(run_key="frd")
    return list(job("compute_fid").run(values, records + sets, "trial", scoring_home))[-1].result


@pytest.fixture
def raw(records, sets, scoring_home, measured):
    """A function that gives the features as they are in the cache."""
    run = Run(Path(measured["folder"]))
    features, _ = run_to_end(extract(records + sets, Radiomics(torch.device("cpu")), run, 32))
    return features.of


def test_a_row_is_the_distance_of_z_scores_on_the_reference(measured, records, sets, raw):
    assert (measured["metric"], measured["extractor"]) == ("FRD", "radiomics")
    rows = {(r["variant"], r["reference"], r["class"], r["metric"]): r["value"] for r in measured["rows"]}
    assert {("real", "val", "all", "FRD"), ("blurred", "train", "all", "FRD"), ("plain", "val", "all", "KID")} <= set(
        rows
    )
    for variant in ("plain", "blurred"):
        reference, own = (raw(side) for side in (of_split(records, "val"), [r for r in sets if r.variant == variant]))
        scored = z_scores(reference, reference), z_scores(own, reference)
        assert rows[variant, "val", "all", "FRD"] == pytest.approx(frechet_distance(*scored), rel=1e-6)
        assert rows[variant, "val", "all", "KID"] == pytest.approx(kid(*scored, subsets=10, seed=51).value, rel=1e-6)


def test_blurred_speckle_is_farther_than_the_floor_and_the_families_say_why(measured):
    rows = {
        r["variant"]: r for r in measured["rows"] if (r["class"], r["reference"], r["metric"]) == ("all", "val", "FRD")
    }
    assert rows["blurred"]["value"] > 2 * rows["real"]["high"] > 0
    assert rows["plain"]["value"] < rows["blurred"]["value"]
    moved = measured["moved"]["blurred"]
    assert len(moved) == 10 and moved == sorted(moved, key=lambda f: -f["shift"])
    assert all("wavelet" in f["family"] or "LoG 2" in f["family"] for f in moved[:5])
    assert all(f["shift"] > 2 * f["floor"] > 0 for f in moved[:5])
    assert measured["moved"]["plain"][0]["shift"] < moved[0]["shift"]


def test_the_report_and_the_terminal_name_what_moved(measured):
    first = measured["moved"]["blurred"][0]
    told = f"{first['family']} {first['shift']:.2f} ({first['floor']:.2f})"
    table = (Path(measured["folder"]) / "fid.md").read_text()
    assert (
        "## What moved most, all classes against val" in table and told in table and "frd-score prints ln d²" in table
    )
    assert f"blurred moved most in {told}, " in "\n".join(brief(measured, Path(measured["folder"])))


def test_features_without_names_have_no_families_that_moved(records, sets, scoring_home):
    values = MEASURE | dict(extractor="clf", metrics=["fid"], run_key="fid_clf")
    result = list(job("compute_fid").run(values, records + sets, "trial", scoring_home))[-1].result
    assert result["moved"] == {} and "moved most" not in (Path(result["folder"]) / "fid.md").read_text()
    del result["moved"]  # as a run of an earlier version has it
    assert brief(result, Path(result["folder"]))


def test_scores_are_taken_in_z_scores_of_what_images_are_compared_with(records, sets, scoring_home, raw):
    values = dict(classifier="clf", extractor="radiomics", run_key="scores_frd")
    result = list(job("score_synthetic").run(values, records + sets, "trial", scoring_home))[-1].result
    rows = {r["path"]: r for r in read_rows(Path(result["folder"]) / "scores.jsonl")}
    training, reference = of_split(records, "train"), of_split(records, "val")
    own = [r for r in sets if r.variant == "blurred" and is_evaluation(r)]
    scored = [z_scores(raw(side), raw(reference)) for side in (reference, own)]
    without = frechet_distance(scored[0], np.delete(scored[1], 2, 0))
    expected = frechet_distance(*scored) - without
    assert rows[own[2].path]["influence"] == pytest.approx(expected, rel=1e-4)
    plain, _ = nearest(z_scores(raw(own), raw(training)), z_scores(raw(training), raw(training)))
    for distance, r in zip(plain, own, strict=True):
        assert 0.5 * distance < rows[r.path]["nearest_real_distance"] <= distance * (1 + 1e-6)  # or a mirrored one


def test_embeddings_are_z_scores_and_need_a_reference(records, sets, scoring_home, raw):
    values = dict(extractor="radiomics", run_key="emb_frd", reference="train")
    result = list(job("compute_embeddings").run(values, records + sets, "trial", scoring_home))[-1].result
    stored = np.load(Path(result["folder"]) / "features.npy")
    assert stored.dtype == np.float32 and result["field"] == "features_radiomics"
    np.testing.assert_allclose(
        stored, z_scores(raw(records + sets), raw(of_split(records, "train"))), rtol=1e-4, atol=1e-4
    )
    unsplit = [replace(r, tags=[]) for r in records]
    with pytest.raises(
        UserError, match="radiomics is measured in units of the reference, but no sample is tagged 'train'"
    ):
        list(job("compute_embeddings").run(values | dict(run_key="unsplit"), unsplit, "trial", scoring_home))
