"""`manage_runs`: each of its actions."""

import json
import shutil
from pathlib import Path

import fiftyone as fo
import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.processes import Workers
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.registry import job
from operators.host.samples import read_samples

QUICK = dict(arch="squeezenet1_1", epochs=1, resolution=32)


@pytest.fixture
def scans(call, loaded):
    """A clone of the loaded scans under a name of its own, and no run of it left from before."""
    name = "managed"
    shutil.rmtree(runs_folder(name), ignore_errors=True)
    dataset = loaded.match({"origin": "simulated"}).clone(name)
    yield dataset
    dataset.delete()


@pytest.fixture
def manage(call, scans):
    """A function that calls `manage_runs` on the scans; what it returns is plain JSON."""

    def manage(**params):
        result = call("manage_runs", scans, **params)
        assert json.loads(json.dumps(result)) == result
        return result

    return manage


def run_of(dataset, key):
    return Run(runs_folder(dataset.name) / key)


def stop(dataset, name, key, **values):
    """A run of the core that was stopped at its first event."""
    events = job(name).run(dict(run_key=key, **values), read_samples(dataset), dataset.name)
    next(events)
    events.close()
    return run_of(dataset, key)


def test_list_tells_key_job_state_time_and_summary(call, scans, manage):
    assert manage() == {"runs": []}
    call("audit", scans, run_key="seen")
    stop(scans, "audit", "cut_short")
    rows = {row["run_key"]: row for row in manage(action="list")["runs"]}
    assert (rows["seen"]["job"], rows["seen"]["state"]) == ("audit", "done")
    assert rows["seen"]["summary"].startswith("30 images, ")
    assert rows["seen"]["time"].startswith("20")
    assert (rows["cut_short"]["state"], rows["cut_short"]["summary"]) == ("stopped", "")


def test_the_app_gets_a_table_and_a_form_that_offers_the_runs(call, context, scans):
    call("audit", scans, run_key="seen")
    operator, ctx = context("manage_runs", scans, action="list")
    (shown,) = [m.body for m in operator.execute(ctx)]
    assert shown.operator_uri == "show_output"
    assert shown.params["results"]["runs"][0]["run_key"] == "seen"
    operator, ctx = context("manage_runs", scans, action="delete")
    form = operator.resolve_input(ctx).type.properties
    assert [choice.value for choice in form["run_key"].view.choices] == ["seen"]
    assert {"form", "action", "run_key", "force"} == set(form)


def test_view_gives_settings_result_and_samples(call, context, scans, manage):
    call("audit", scans, run_key="seen", annotation_threshold=0.5)
    found = manage(action="view", run_key="seen")
    assert (found["job"], found["state"], found["samples"]) == ("audit", "done", 30)
    assert found["config"]["annotation_threshold"] == 0.5
    assert found["result"]["images"] == 30
    operator, ctx = context("manage_runs", scans, action="view", run_key="seen")
    assert "set_view" in [m.body.operator_uri for m in operator.execute(ctx)]


def test_resume_goes_on_with_the_settings_of_the_beginning(scans, manage):
    run = stop(scans, "train_classifier", "clf", **QUICK, seed=7)
    assert run.state == "stopped"
    result = manage(action="resume", run_key="clf")
    assert result["state"] == run.state == "done"
    assert run.config["seed"] == 7
    assert scans.load_run_results("clf").metrics == result["metrics"]
    scans.delete_sample_field("predictions_clf")
    assert manage(action="resume", run_key="clf")["state"] == "done"
    assert scans.count("predictions_clf") == len(scans.match_tags("val"))


def test_a_run_that_was_killed_is_told_and_resumed(scans, manage):
    run = stop(scans, "audit", "dead")
    run.set_state("running")
    (row,) = manage()["runs"]
    assert row["state"] == "killed"
    assert manage(action="resume", run_key="dead")["state"] == "done"


def test_stop_asks_who_works_on_the_run(context, scans, manage):
    operator, ctx = context("train_classifier", scans, run_key="long", arch="squeezenet1_1", epochs=500, resolution=32)
    run, asked, sent = run_of(scans, "long"), None, []
    for message in operator.execute(ctx):
        sent.append(message.body)
        if asked is None and run.has_begun and run.state == "running":
            asked = manage(action="stop", run_key="long")
    assert asked["state"] == "stopping"
    assert run.state == "stopped"
    assert "notify" in [m.operator_uri for m in sent]
    with pytest.raises(UserError, match="'long' is stopped; there is nothing to stop"):
        manage(action="stop", run_key="long")


def test_delete_takes_results_and_folder_and_nothing_else(call, scans, manage):
    before = scans.values("split_group"), scans.values("tags")
    call("audit", scans, run_key="keep", annotation_threshold=0.01)
    kept = scans.values("tags")
    call("audit", scans, run_key="gone", annotation_threshold=100)
    assert scans.values("tags") != kept
    assert manage(action="delete", run_key="gone")["state"] == "deleted"
    assert scans.values("tags") == kept != before[1]
    assert not run_of(scans, "gone").folder.exists()
    assert "keep" in scans.list_runs() and "gone" not in scans.list_runs()
    assert all(Path(path).exists() for path in scans.values("filepath"))


def test_a_run_that_others_grew_from_or_that_is_worked_on_is_not_deleted(call, scans, manage):
    call("train_classifier", scans, run_key="clf", **QUICK)
    call("apply_classifier", scans, run_key="applied", classifier="clf")
    with pytest.raises(UserError, match="applied grew from run 'clf'; delete these first"):
        manage(action="delete", run_key="clf")
    run = run_of(scans, "clf")
    workers = Workers(run.folder)
    run.set_state("running")
    assert workers.join(alone=True)
    with pytest.raises(UserError, match="'clf' is being worked on"):
        manage(action="delete", run_key="clf", force=True)
    workers.leave()
    run.set_state("done")
    assert manage(action="delete", run_key="clf", force=True)["state"] == "deleted"
    assert scans.get_field("predictions_clf") is not None


def test_the_run_that_made_the_dataset_is_not_deleted(call):
    call("load_busi", dataset_name="whole", run_key="load", images=12, image_size=64)
    dataset = fo.load_dataset("whole")
    with pytest.raises(UserError, match=r"delete the dataset instead"):
        call("manage_runs", dataset, action="delete", run_key="load")
    assert run_of(dataset, "load").folder.exists()
    dataset.delete()


def test_import_brings_a_run_that_was_made_where_there_is_no_fiftyone(scans, manage, tmp_path):
    records = read_samples(scans)
    for _ in job("audit").run(dict(run_key="far", annotation_threshold=0.01), records, "managed", root=tmp_path):
        pass
    far = tmp_path / "managed" / "runs" / "far"
    result = manage(action="import", source=str(far), run_key="near")
    assert (result["run_key"], result["folder"]) == ("near", str(run_of(scans, "near").folder))
    assert scans.load_run_results("near").images == 30
    assert scans.match_tags("annotated").count() > 0
    assert far.exists()
    with pytest.raises(UserError, match="There is a run 'near' of dataset 'managed' already"):
        manage(action="import", source=str(far), run_key="near")
    with pytest.raises(UserError, match="is no run's folder"):
        manage(action="import", source=str(tmp_path))


def test_imported_images_lie_in_the_folder_that_is_here(scans, call, small, manage, tmp_path):
    values = dict(variants=["base"], steps=2, counts={"benign": 2}, run_key="made", **small)
    for _ in job("generate").run(values, read_samples(scans), "managed", root=tmp_path):
        pass
    far = shutil.move(tmp_path / "managed" / "runs" / "made", tmp_path / "brought")
    manage(action="import", source=str(far), run_key="made")
    made = scans.match({"synthesis.run": "made"})
    assert len(made) == 2
    assert all(Path(path).is_relative_to(run_of(scans, "made").folder) for path in made.values("filepath"))
    paths = {record.path for record in run_of(scans, "made").records}
    assert paths == set(scans.match({"origin": "simulated"}).values("filepath"))
    manage(action="delete", run_key="made")
    assert len(scans) == 30


def test_paths_into_runs_beside_an_imported_one_are_set_right_where_these_are_here(scans, manage, tmp_path):
    for _ in job("load_busi").run(dict(run_key="scans", images=12, image_size=64), [], "managed", root=tmp_path):
        pass
    far = tmp_path / "managed" / "runs"
    for _ in job("audit").run(dict(run_key="seen"), Run(far / "scans").products, "managed", root=tmp_path):
        pass
    for key in ("scans", "seen"):
        manage(action="import", source=str(far / key))
    brought = scans.match({"filepath": {"$regex": "^" + str(run_of(scans, "scans").folder)}})
    assert len(brought) == 12
    assert {record.path for record in run_of(scans, "seen").products} == set(brought.values("filepath"))
    assert brought.count("annotation_score") == 12


def test_what_cannot_be_done_is_said(call, manage):
    with pytest.raises(UserError, match="no action 'undo'; there are list, view"):
        manage(action="undo")
    with pytest.raises(UserError, match="Give its run_key to stop it"):
        manage(action="stop")
    with pytest.raises(UserError, match="There are no runs of a dataset 'managed'"):
        manage(action="view", run_key="nothing")
    with pytest.raises(UserError, match="open or pass one"):
        call("manage_runs", None)
