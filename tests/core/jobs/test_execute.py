"""The skeleton of every job: config, events, run folder, resuming."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Finished, Notice, Progress
from busaug_core.jobs.run import Run, execute, find_product
from busaug_core.prompts import BUSI_PROMPTS
from busaug_core.records import Record, of_split
from busaug_core.registry import job
from busaug_core.train.config import Lora

ROOT = Path(__file__).resolve().parents[3]


class Count(JobConfig):
    """Counts to `upto`."""

    upto: int = 3


def count(config, run):
    """Counts on from what an earlier attempt has written."""
    marks = run.folder / "marks"
    done = len(marks.read_text()) if marks.exists() else 0
    for i in range(done, config.upto):
        with marks.open("a") as f:
            f.write("x")
        yield Progress(i + 1, config.upto, "Counting")
    return {"counted": len(marks.read_text())}


def run_count(root, **values):
    return execute("count", count, Count.parse(values), [], "trial", root)


def test_what_is_refused_at_once_leaves_no_run(tmp_path):
    runs = tmp_path / "trial/runs"
    for folder in ("reserved", "used"):
        (runs / folder).mkdir(parents=True)
    (runs / "used/mine.txt").write_text("something")
    for key in ("new", "reserved", "used"):
        with pytest.raises(UserError, match="No real sample is tagged 'val'"):
            list(job("compute_fid").run(dict(run_key=key), [], "trial", tmp_path))
    assert [folder.name for folder in runs.iterdir()] == ["used"]
    assert (runs / "used/mine.txt").exists()


def test_a_run_leaves_config_environment_events_result_and_state(tmp_path):
    *_, last = run_count(tmp_path, run_key="one")
    folder = tmp_path / "trial" / "runs" / "one"
    assert last == Finished({"run_key": "one", "state": "done", "folder": str(folder), "counted": 3})
    assert json.loads((folder / "config.json").read_text()) == {"job": "count", "upto": 3}
    assert json.loads((folder / "environment.json").read_text())["versions"]["torch"]
    assert len((folder / "events.jsonl").read_text().splitlines()) == 3
    assert Run(folder).state == "done"


def test_a_closed_generator_leaves_a_stopped_run_that_resumes(tmp_path):
    events = run_count(tmp_path, run_key="one")
    next(events)
    events.close()
    run = Run(tmp_path / "trial" / "runs" / "one")
    assert run.state == "stopped"
    events = list(run_count(tmp_path, run_key="one"))
    assert [e.done for e in events[:-1]] == [2, 3]
    assert events[-1].result["counted"] == 3


def test_a_failed_run_says_why_and_resumes(tmp_path):
    def fail(config, run):
        yield Progress(0, 1, "Failing")
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="disk is full"):
        list(execute("count", fail, Count(run_key="one"), [], "trial", tmp_path))
    state = json.loads((tmp_path / "trial/runs/one/state.json").read_text())
    assert state["state"] == "failed"
    assert "the disk is full" in state["error"]
    *_, last = run_count(tmp_path, run_key="one")
    assert last.result["counted"] == 3


def test_a_run_of_a_dead_process_is_taken_up(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_execute import run_count
events = run_count(__import__("pathlib").Path({str(tmp_path)!r}), run_key="one")
next(events)
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert Run(tmp_path / "trial/runs/one").state == "running"
    *_, last = run_count(tmp_path, run_key="one")
    assert last.result["counted"] == 3


def test_a_run_that_is_worked_on_is_refused_to_a_second(tmp_path):
    events = run_count(tmp_path, run_key="one")
    next(events)
    with pytest.raises(UserError, match="being worked on already"):
        list(run_count(tmp_path, run_key="one"))
    assert list(events)[-1].result["counted"] == 3


def test_other_weights_under_a_begun_run_are_refused(tmp_path):
    def use(weights):
        def job(config, run):
            run.pin(lora_weights=weights)
            yield Progress(0, 1, "Using")
            yield Progress(1, 1, "Using")

        return execute("use", job, Count(run_key="one"), [], "trial", tmp_path)

    events = use("abc")
    next(events)
    events.close()
    with pytest.raises(UserError, match="lora_weights has changed since run 'one' began"):
        list(use("xyz"))
    assert list(use("abc"))[-1].result["state"] == "done"


def test_only_jobs_that_share_their_work_start_under_accelerate_launch(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="runs in one process"):
        list(run_count(tmp_path, run_key="one"))
    with pytest.raises(UserError, match="set run_key"):
        list(execute("count", count, Count(), [], "trial", tmp_path, distributed=True))


def test_a_done_run_yields_its_result_without_working_again(tmp_path):
    first = list(run_count(tmp_path, run_key="one"))
    notice, finished = run_count(tmp_path, run_key="one")
    assert notice == Notice("Run 'one' was done before; this is its result. Another run_key does it anew.")
    assert finished == first[-1]


def test_a_done_run_says_on_what_it_was_done_and_refuses_other_splits(tmp_path):
    def run(*records):
        return list(execute("count", count, Count(run_key="one"), list(records), "trial", tmp_path))

    a, b = Record("a.png", "benign", tags=["train"]), Record("b.png", "benign", tags=["val"])
    assert not any(isinstance(e, Notice) for e in run(a, b))
    notice, finished = run(a)
    assert "was done before, on 2 samples" in notice.message
    assert finished.result["counted"] == 3
    with pytest.raises(UserError, match="1 images of run .one. lie in other splits now"):
        run(a, Record("b.png", "benign", tags=["train"]))
    with pytest.raises(UserError, match="none of which is among these samples"):
        run(Record("c.png", "benign", tags=["train"]))


def test_other_settings_under_a_taken_key_are_refused_and_named(tmp_path):
    list(run_count(tmp_path, run_key="one"))
    with pytest.raises(UserError, match="upto: 3 there, 4 here"):
        list(run_count(tmp_path, run_key="one", upto=4))


def test_made_up_keys_are_identifiers_and_differ(tmp_path):
    keys = [list(run_count(tmp_path))[-1].result["run_key"] for _ in range(2)]
    assert len(set(keys)) == 2
    assert all(key.isidentifier() for key in keys)


def test_unknown_and_wrong_fields_are_named():
    with pytest.raises(UserError, match="'ranks' is not a field"):
        Lora.parse({"ranks": 4})
    with pytest.raises(UserError, match="'rank'.*-1"):
        Lora.parse({"rank": -1})


def test_prompts_that_are_given_go_before_busis_class_by_class():
    prompts = Lora.parse({"prompts": {"cyst": "a cyst", "normal": "nothing"}}).prompts
    assert prompts == {**BUSI_PROMPTS, "cyst": "a cyst", "normal": "nothing"}


def test_what_the_user_sets_goes_before_the_preset_and_that_before_the_base():
    config = Lora.parse({"preset": "hybrid", "rank": 8}).resolve()
    assert (config.rank, config.steps, config.layers) == (8, 3000, "attention")
    assert Lora.parse({}).resolve().layers == "wide"
    assert Lora.parse({"base_model": "some/hub-id"}).resolve().resolution == 512


def begun_run(root, key, records):
    """A run that was given these records."""
    events = execute("count", count, Count(run_key=key), records, "trial", root)
    next(events)
    events.close()
    return Run(root / "trial/runs" / key)


def test_a_product_that_was_trained_on_images_now_held_out_is_refused(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_text(path.name)
    elsewhere = shutil.copy(paths[0], tmp_path / "a_again.png")

    def begun(key, train, val):
        records = [Record(str(train), "benign", tags=["train"]), Record(str(val), "benign", tags=["val"])]
        return begun_run(tmp_path, key, records)

    file = begun("lora", *paths).folder / "weights.safetensors"
    file.write_text("x")
    assert find_product(begun("same", *paths), "lora", file.name) == file
    for key, held_out in (("other", paths[0]), ("moved", elsewhere)):
        with pytest.raises(UserError, match=rf"trained on 1 images .*{Path(held_out).name}"):
            find_product(begun(key, paths[1], held_out), "lora", file.name)


def test_an_image_in_two_splits_is_refused():
    records = [Record("a.png", "benign", tags=["train"]), Record("b.png", "benign", tags=["val", "train"])]
    with pytest.raises(UserError, match=r"1 images are in more than one split, the first b.png \(train and val\)"):
        of_split(records, "train")
    assert of_split(records, "test") == []


def test_a_run_of_another_dataset_is_called_by_both_names(tmp_path):
    run = Run(tmp_path / "trial/runs/one")
    assert run.name_of(run.sibling("clf")) == "clf"
    assert run.name_of(run.sibling(str(tmp_path / "my-other/runs/clf"))) == "my_other_clf"
    assert run.name_of(run.sibling(str(tmp_path / "trial/x/../runs/clf"))) == "clf"


def test_a_folder_is_taken_from_the_working_directory_and_a_key_never(tmp_path, monkeypatch):
    run = Run(tmp_path / "trial/runs/one")
    (tmp_path / "clf").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run.sibling("clf").folder == tmp_path / "trial/runs/clf"
    assert run.sibling("./other/clf").folder == tmp_path / "other/clf"


def test_a_product_is_found_by_run_key_file_or_folder(tmp_path):
    list(run_count(tmp_path, run_key="one"))
    run = begun_run(tmp_path, "two", [])
    file = tmp_path / "trial/runs/one/weights.safetensors"
    file.write_text("x")
    for given in ("one", str(file), str(file.parent)):
        assert find_product(run, given, "weights.safetensors") == file
    with pytest.raises(UserError, match="neither a run"):
        find_product(run, "three", "weights.safetensors")
