"""The skeleton of every job: config, events, run folder, resuming."""

import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Finished, Notice, Progress
from busaug_core.jobs.execute import Job
from busaug_core.jobs.run import Run
from busaug_core.prompts import BUSI_PROMPTS
from busaug_core.records import Record
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


COUNT = Job("count", Count, count)


def run_count(root, **values):
    return COUNT.run(values, [], "trial", root)


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
        list(Job("count", Count, fail).run(dict(run_key="one"), [], "trial", tmp_path))
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

        return Job("use", Count, job).run(dict(run_key="one"), [], "trial", tmp_path)

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
        list(Job("count", Count, count, distributed=True).run({}, [], "trial", tmp_path))


def test_a_done_run_yields_its_result_without_working_again(tmp_path):
    first = list(run_count(tmp_path, run_key="one"))
    notice, finished = run_count(tmp_path, run_key="one")
    assert notice == Notice("Run 'one' was done before; this is its result. Another run_key does it anew.")
    assert finished == first[-1]


def test_a_done_run_says_on_what_it_was_done_and_refuses_other_splits(tmp_path):
    def run(*records):
        return list(COUNT.run(dict(run_key="one"), list(records), "trial", tmp_path))

    a, b = Record("a.png", "benign", tags=["train"]), Record("b.png", "benign", tags=["val"])
    assert not any(isinstance(e, Notice) for e in run(a, b))
    notice, finished = run(a)
    assert "was done before, on 2 samples" in notice.message
    assert finished.result["counted"] == 3
    with pytest.raises(UserError, match="1 image lies in another split now than in run .one."):
        run(a, Record("b.png", "benign", tags=["train"]))
    with pytest.raises(UserError, match="none of which is among these samples"):
        run(Record("c.png", "benign", tags=["train"]))


def test_other_settings_under_a_taken_key_are_refused_and_named(tmp_path):
    list(run_count(tmp_path, run_key="one"))
    with pytest.raises(UserError, match="upto: 3 there, 4 here"):
        list(run_count(tmp_path, run_key="one", upto=4))


def test_settings_that_came_later_went_away_or_are_without_effect_hinder_no_run(tmp_path):
    class Later(Count):
        """Counts, in a colour."""

        without_effect = frozenset({"patience"})
        colour: str = "red"
        patience: int = 1

    list(run_count(tmp_path, run_key="one"))
    config = tmp_path / "trial/runs/one/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "gone": 1}))
    later = Job("count", Later, count)
    *_, last = later.run(dict(run_key="one", patience=5), [], "trial", tmp_path)
    assert last.result["counted"] == 3
    with pytest.raises(UserError, match="colour: 'red' there, 'green' here"):
        list(later.run(dict(run_key="one", colour="green"), [], "trial", tmp_path))


def test_a_setting_that_a_preset_took_up_later_hinders_no_run(tmp_path):
    class Later(Count):
        """Counts, by default in red, the preset in blue."""

        presets: ClassVar = {"sea": dict(colour="blue")}
        preset: Literal["sea"] | None = None
        colour: str = "red"

    list(Job("count", Later, count).run(dict(run_key="one", preset="sea"), [], "trial", tmp_path))
    config = tmp_path / "trial/runs/one/config.json"
    stored = json.loads(config.read_text())
    assert stored.pop("colour") == "blue"
    config.write_text(json.dumps(stored))
    *_, last = Job("count", Later, count).run(dict(run_key="one", preset="sea"), [], "trial", tmp_path)
    assert last.result["counted"] == 3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_memory_that_does_not_suffice_is_told_with_what_helps(tmp_path, error):
    def full(config, run):
        yield Progress(1, 2, "Filling")
        raise error

    with pytest.raises(UserError, match="accumulation.*; a smaller batch_size; a smaller resolution"):
        list(Job("full", Count, full).run(dict(run_key="one"), [], "trial", tmp_path))
    assert Run(tmp_path / "trial/runs/one").state == "failed"
    assert "memory" in Run(tmp_path / "trial/runs/one").error


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
