"""Scores and filtering as fields, tags and views."""

import fiftyone as fo
import pytest
from fiftyone import ViewField as F


@pytest.fixture(scope="module")
def scored(call, synthetic, classifier):
    call("score_synthetic", synthetic, classifier="clf", extractor="clf", run_key="scores")
    synthetic.reload()
    return synthetic


def test_every_synthetic_sample_carries_its_scores_and_its_nearest_scan(scored):
    samples = scored.match(F("origin") == "synthetic")
    assert samples.count("scores.copy_ratio") == len(samples)
    measured = samples.match(F("variant").is_in(samples.match_tags("evaluation").distinct("variant")))
    assert measured.count("scores.influence") == len(measured) > 0
    assert scored.match(F("origin") != "synthetic").count("scores.copy_ratio") == 0
    sample = samples.first()
    nearest = scored[sample.scores.nearest_real_id]
    assert "train" in nearest.tags
    assert (sample.scores.run, sample.scores.extractor) == ("scores", "clf")
    assert scored.get_field("scores.realism").description


def test_the_likeliest_copies_stand_beside_their_scans(scored):
    view = scored.load_saved_view("likeliest copies")
    scan, copy = list(view.limit(2))
    assert (scan.origin, copy.origin) == ("simulated", "synthetic")
    assert copy.scores.nearest_real_id == scan.id
    assert copy.scores.copy_ratio == scored.bounds("scores.copy_ratio")[0]
    followed = None
    for sample in view:
        followed = sample.id if sample.origin == "simulated" else followed
        assert sample.origin == "simulated" or sample.scores.nearest_real_id == followed


def test_filtering_tags_samples_saves_a_view_and_is_reversible(call, scored):
    values = [v for v in scored.values("scores.copy_ratio") if v is not None]
    limit = sorted(values)[len(values) // 2]
    result = call("filter_synthetic", scored, min_copy_ratio=limit, run_key="filter")
    rejected = scored.match_tags("rejected")
    assert len(rejected) == sum(v < limit for v in values) == sum(r["rejected"] for r in result["counts"]) > 0
    assert rejected.bounds("scores.copy_ratio")[1] < limit
    kept = scored.load_saved_view("kept synthetic")
    assert len(kept) == len(values) - len(rejected)
    call("filter_synthetic", scored, run_key="filter_off")
    assert len(scored.match_tags("rejected")) == 0
    assert len(scored.load_saved_view("kept synthetic")) == len(values)


def test_the_form_counts_while_one_types(scored, context):
    values = dict(variants=["sd"])
    operator, ctx = context("filter_synthetic", scored, min_copy_ratio=1e9, **values)
    properties = operator.resolve_input(ctx).type.properties
    assert properties["remark_0"].view.label.startswith("sd keeps benign 0 of ")
    operator, ctx = context("filter_synthetic", scored, **values)
    label = operator.resolve_input(ctx).type.properties["remark_0"].view.label
    assert all(kept == total for kept, _, total in (part.split()[-3:] for part in label.split(",")))


def test_the_form_says_when_scores_are_missing(loaded, call, synthetic, context):
    dataset = synthetic.clone("unscored")
    dataset.clear_sample_field("scores")
    operator, ctx = context("filter_synthetic", dataset, min_realism=1.0)
    assert "score_synthetic first" in operator.resolve_input(ctx).type.properties["remark_0"].view.label
    fo.delete_dataset("unscored")
