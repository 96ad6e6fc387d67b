"""Results on synthetic samples are taken back: the samples themselves, distances, scores and tags."""

from pathlib import Path

import pytest

from busaug_core.jobs.runs import run_of
from operators import results


@pytest.fixture
def mixed(call, loaded, small, synthetic):
    """A clone of the scans and the synthetic samples, named so that their runs are found."""
    dataset = synthetic.clone()
    yield dataset
    dataset.delete()


def test_a_generation_takes_its_own_samples_alone(mixed):
    run = run_of("loaded", "balancing")
    foreign = mixed.match({"synthesis.run": "evaluation"}).first()
    foreign["synthesis.run"] = "balancing"  # as a run of that key of another dataset might have it
    foreign.save()
    files = [record.path for record in run.products]
    others = len(mixed) - len(files)
    results.remove(mixed, run)
    assert len(mixed) == others
    assert foreign.id in mixed.values("id")
    assert all(Path(path).exists() for path in files)
    results.write(mixed, run)
    assert len(mixed) == others + len(files)


def test_distances_scores_and_tags_are_taken_back_in_any_order(mixed, classifier, run_core, snapshot):
    mixed.clear_sample_fields(["distance", "scores"])
    mixed.untag_samples("rejected")
    before = snapshot(mixed)
    judge = classifier["folder"]
    measured = [run_core("compute_fid", mixed, f"fid_{s}", extractor=judge, seed=s, metrics=["fid"]) for s in (1, 2)]
    scored = run_core("score_synthetic", mixed, "scores", extractor=judge, classifier=judge)
    for run in (*measured, scored):
        results.write(mixed, run)
    limit = sorted(v for v in mixed.values("scores.copy_ratio") if v is not None)[2]
    strict = run_core("filter_synthetic", mixed, "strict", min_copy_ratio=limit)
    lax = run_core("filter_synthetic", mixed, "lax")
    results.write(mixed, strict)
    assert mixed.match_tags("rejected").count() > 0
    results.write(mixed, lax)
    assert mixed.match_tags("rejected").count() == 0
    assert mixed.distinct("distance.run") == ["fid_2"]
    assert set(mixed.distinct("distance.metric")) == {"FD (classifier)"}
    results.remove(mixed, lax)
    assert mixed.match_tags("rejected").count() > 0
    assert "kept synthetic" in mixed.list_saved_views()
    for run in (measured[0], scored, strict, measured[1]):
        results.remove(mixed, run)
    assert snapshot(mixed) == before
    assert not {"kept synthetic", "likeliest copies"} & set(mixed.list_saved_views())
