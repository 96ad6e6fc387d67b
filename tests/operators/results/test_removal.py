"""Results are taken back in any order, after anything that happened in between."""

import shutil

import fiftyone as fo
import numpy as np
import pytest

from busaug_core.errors import UserError
from operators import results
from operators.results import mirror, overwritten

LOOSE = dict(annotation_threshold=0.01)
"""An audit that finds marks in all simulated scans."""


@pytest.fixture
def copied(scans, tmp_path):
    """The scans and copies of three of them."""
    for n, path in enumerate(scans.match_tags("val").limit(3).values("filepath")):
        copy = shutil.copy(path, tmp_path / f"{n}.png")
        label = fo.Classification(label="normal")
        scans.add_sample(fo.Sample(filepath=copy, ground_truth=label, origin="real", tags=["train"]))
    return scans


@pytest.fixture
def audits(run_core, copied):
    """Two audits that differ in groups and tags."""
    alone = copied.match({"origin": "simulated"})
    strict = run_core("audit", alone, "strict", annotation_threshold=0.1)
    return strict, run_core("audit", copied, "loose", **LOOSE)


def test_a_run_of_the_core_is_written_to_a_dataset_twice_and_taken_back(scans, run_core):
    before = scans.values("split_group"), scans.values("tags")
    run = run_core("audit", scans, "audit_core")
    for _ in range(2):
        results.write(scans, run)
        assert scans.load_run_results("audit_core").images == len(scans)
    results.remove(scans, run)
    assert (scans.values("split_group"), scans.values("tags")) == before
    assert not scans.has_run("audit_core")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_runs_that_overwrote_each_other_are_taken_back_in_any_order(scans, audits, snapshot, order):
    before = snapshot(scans)
    results.write(scans, audits[0])
    after_first = snapshot(scans)
    results.write(scans, audits[1])
    after_both = snapshot(scans)
    assert before != after_first != after_both
    results.remove(scans, audits[order[0]])
    assert snapshot(scans) == (after_both if order[0] == 0 else after_first)
    results.remove(scans, audits[order[1]])
    assert snapshot(scans) == before


def test_a_run_in_the_middle_of_three_does_not_come_back(scans, audits, run_core, snapshot):
    third = run_core("audit", scans, "third", annotation_threshold=0.05)
    before = snapshot(scans)
    for run in (*audits, third):
        results.write(scans, run)
    after = snapshot(scans)
    results.remove(scans, audits[1])
    assert snapshot(scans) == after
    results.remove(scans, audits[0])
    results.remove(scans, third)
    assert snapshot(scans) == before


def test_writing_a_run_again_does_not_undo_a_later_one(scans, audits, snapshot):
    for run in audits:
        results.write(scans, run)
    after = snapshot(scans)
    results.write(scans, audits[0])
    assert snapshot(scans) == after


def test_what_was_changed_by_hand_stays(scans, audits):
    results.write(scans, audits[1])
    sample = scans.first()
    sample.split_group = "by hand"
    sample.tags = ["mine", "annotated"]
    sample.save()
    results.remove(scans, audits[1])
    sample.reload()
    assert sample.split_group == "by hand"
    assert "mine" in sample.tags


def test_tags_that_a_run_did_not_give_are_not_taken(scans, audits, run_core):
    scans.tag_samples("annotated")
    run = run_core("audit", scans, "again", **LOOSE)
    results.write(scans, run)
    results.remove(scans, run)
    assert scans.count_sample_tags()["annotated"] == len(scans)


def test_a_write_that_was_killed_goes_on_and_is_taken_back(scans, audits, snapshot, monkeypatch):
    before = snapshot(scans)
    write_values = overwritten.write_values

    def die(dataset, values):
        write_values(dataset, {"split_group": values["split_group"]})
        raise KeyboardInterrupt

    monkeypatch.setattr(overwritten, "write_values", die)
    with pytest.raises(KeyboardInterrupt):
        results.write(scans, audits[1])
    monkeypatch.undo()
    results.write(scans, audits[1])
    assert any("annotated" in tags for tags in scans.values("tags"))
    results.remove(scans, audits[1])
    assert snapshot(scans) == before


def test_what_a_killed_write_has_left_is_taken_back(scans, audits, snapshot, monkeypatch):
    before = snapshot(scans)
    monkeypatch.setattr(mirror, "save", lambda dataset, run: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.write(scans, audits[1])
    monkeypatch.undo()
    results.remove(scans, audits[1])
    assert snapshot(scans) == before


def test_a_removal_that_was_killed_goes_on(scans, audits, snapshot, monkeypatch):
    before = snapshot(scans)
    for run in audits:
        results.write(scans, run)
    monkeypatch.setattr(overwritten, "write_values", lambda dataset, values: (_ for _ in ()).throw(KeyboardInterrupt))
    for run in audits:
        with pytest.raises(KeyboardInterrupt):
            results.remove(scans, run)
    monkeypatch.undo()
    for run in audits:
        results.remove(scans, run)
    assert snapshot(scans) == before


def test_a_dataset_made_again_under_the_name_is_written_anew(loaded, run_core):
    scans = loaded.match({"origin": "simulated"}).clone("made_again")
    run = run_core("audit", scans, "audit", **LOOSE)
    results.write(scans, run)
    groups = scans.values("split_group")
    scans.delete()
    scans = loaded.match({"origin": "simulated"}).clone("made_again")
    results.write(scans, run)
    assert scans.values("split_group") == groups
    scans.delete()


def test_a_run_that_an_earlier_version_wrote_loses_its_values(scans, audits):
    results.write(scans, audits[1])
    shutil.rmtree(audits[1].folder / overwritten.FOLDER)
    tags = scans.values("tags")
    results.write(scans, audits[1])
    results.remove(scans, audits[1])
    assert scans.count("split_group") == 0
    assert scans.values("tags") == tags
    assert not scans.has_run("loose")


def test_a_run_that_is_not_done_is_not_written(scans, audits):
    audits[0].set_state("stopped")
    with pytest.raises(UserError, match="'strict' is stopped and has no results"):
        results.write(scans, audits[0])


def test_the_run_that_made_a_dataset_is_not_taken_back_from_it(loaded, run_core):
    from busaug_core.jobs.runs import run_of

    with pytest.raises(UserError, match=r"delete the dataset instead: fo.delete_dataset\(\"loaded\"\)"):
        results.remove(loaded, run_of("loaded", "load"))
    assert loaded.has_run("load")


def test_a_set_that_joined_leaves_with_its_groups(scans, run_core, snapshot, tmp_path):
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    for n, path in enumerate(scans.match_tags("val").limit(3).values("filepath")):
        shutil.copy(path, folder / f"{n}.png")
    before = snapshot(scans)
    run = run_core("load_external", scans, "outside", layout="folder", source=str(tmp_path / "set"))
    results.write(scans, run)
    assert len(scans) == 33
    assert scans.match_tags("duplicate").count() >= 6
    scans.delete_samples(scans.match_tags("external").first())
    results.write(scans, run)
    assert len(scans) == 33
    results.remove(scans, run)
    assert snapshot(scans) == before


def test_embeddings_share_a_field_until_the_last_run_of_it_is_taken_back(scans, classifier, run_core):
    first = run_core("compute_embeddings", scans, "first", extractor=classifier["folder"])
    second = run_core("compute_embeddings", scans.match_tags("val"), "second", extractor=classifier["folder"])
    field = first.result["field"]
    results.write(scans, first)
    results.write(scans, second)
    results.remove(scans, first)
    assert scans.count(field) == len(scans.match_tags("val"))
    results.remove(scans, second)
    assert scans.get_field(field) is None
    assert scans.list_brain_runs() == []


def test_vectors_that_were_overwritten_come_back(scans, classifier, run_core):
    run = run_core("compute_embeddings", scans, "vectors", extractor=classifier["folder"])
    field = run.result["field"]
    own = np.arange(4, dtype=np.float32)
    scans.add_sample_field(field, fo.VectorField)
    scans.set_values(field, [own] * len(scans))
    results.write(scans, run)
    assert scans.first()[field].shape != own.shape
    results.remove(scans, run)
    assert all(np.array_equal(vector, own) for vector in scans.values(field))


def test_predictions_and_their_evaluation_go_together(scans, classifier, run_core, snapshot):
    before = snapshot(scans)
    run = run_core("apply_classifier", scans, "applied", classifier=classifier["folder"])
    later = run_core("apply_classifier", scans, "later", classifier=classifier["folder"], evaluate_on="train")
    results.write(scans, run)
    results.write(scans, later)
    results.remove(scans, later)
    assert scans.load_evaluation_results("eval_loaded_clf").metrics()["support"] == run.result["metrics"]["n"]
    results.remove(scans, run)
    assert scans.list_evaluations() == []
    assert scans.get_field("predictions_loaded_clf") is None
    assert snapshot(scans) == before
