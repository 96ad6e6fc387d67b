"""Several processes at one experiment: each link is done once, by one of them, and the table is that of one process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
import torch

from busaug_core.errors import UserError
from busaug_core.experiment.config import RUN_EXPERIMENT
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Begun, Ended, Finished, Made, Notice, Progress, Stopped, drain
from busaug_core.jobs.execute import Job
from busaug_core.jobs.processes import OF_GROUP, Workers, free_first, go_alone
from busaug_core.jobs.run import Run

ROOT = Path(__file__).resolve().parents[3]
SIZES = {
    "load_busi": dict(images=24, image_size=64),
    "train_lora": dict(steps=1, batch_size=2, resolution=64, membership=False),
    "generate": dict(steps=2, batch_size=4, resolution=64),
}


def test_a_launchers_processes_share_out_the_links_and_give_the_table_of_one(base, tmp_path):
    values = dict(base_model=base, settings=SIZES, arms=["sd", "sd+confidence"], folds=2, dataset_name="folds")
    *_, alone = RUN_EXPERIMENT.run({**values, "run_key": "exp"}, [], "folds", tmp_path / "alone")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]  # as accelerate launch does
    options = dict(base_model=base, settings=json.dumps(SIZES), folds="2", dataset_name="folds", run_key="exp")
    command = [sys.executable, *launch, "-m", "busaug_core", "run_experiment", "--arms", *values["arms"]]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    # Sums over other numbers of threads round otherwise.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    environment["BUSAUG_HOME"] = str(tmp_path / "shared")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    of_two = Run(tmp_path / "shared/folds/runs/exp")
    assert of_two.result["table"] == alone.result["table"]
    assert of_two.result["claims"] == alone.result["claims"]
    links = [*alone.result["runs"], *alone.result["further_runs"]]
    assert sorted([*of_two.result["runs"], *of_two.result["further_runs"]]) == sorted(links)
    assert (of_two.folder / "report.html").exists()
    # What one has done the other is told to be done; only generating is shared by images.
    told = [json.loads(line) for line in (of_two.folder / "events.jsonl").read_text().splitlines()]
    notices = "\n".join(line["message"] for line in told if line["event"] == "Notice")
    for key in links:
        if Run(of_two.folder.parent / key).job != "generate":
            assert notices.count(f"Run '{key}' was done before") == 1, key
    by_other = set(re.findall(r"Run '(\w+)' was done before", done.stderr))
    assert by_other and not by_other >= set(links)


def test_a_worker_waits_for_the_one_that_is_at_a_link_and_heeds_a_stop_meanwhile(base, tmp_path):
    values = dict(base_model=base, settings=SIZES, arms=["sd"], dataset_name="two", run_key="exp")
    first = RUN_EXPERIMENT.run(values, [], "two", tmp_path)
    assert next(e for e in first if isinstance(e, Begun)).run_key == "load"
    second = RUN_EXPERIMENT.run(values, [], "two", tmp_path)
    told = [next(second), next(second)]
    assert {type(e) for e in told} == {Progress} and "Waiting for another worker, which is at load" in told[0].message
    Run(tmp_path / "two/runs/exp").ask_to_stop()
    assert list(second) == [Stopped("exp")]
    assert Run(tmp_path / "two/runs/exp").is_asked_to_stop  # the first has yet to hear of it
    assert list(first)[-1] == Stopped("exp")
    assert not Run(tmp_path / "two/runs/exp").is_asked_to_stop
    # One that is closed leaves its link to the next.
    first = RUN_EXPERIMENT.run(values, [], "two", tmp_path)
    next(e for e in first if isinstance(e, Made))
    second = RUN_EXPERIMENT.run(values, [], "two", tmp_path)
    assert isinstance(next(second), Progress)
    first.close()
    assert next(e for e in second if isinstance(e, Begun)).run_key == "load"
    assert isinstance(next(e for e in second if isinstance(e, Made | Ended)), Made)
    second.close()


def test_a_process_that_goes_alone_leaves_the_group_and_keeps_its_gpu(monkeypatch):
    for visible, gpus, expected in ((None, 2, "1"), ("3,5", 2, "5"), ("", 0, "")):
        for name in OF_GROUP:
            monkeypatch.setenv(name, "2")
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        go_alone()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
        assert not set(OF_GROUP) & set(os.environ)
    for visible in (None, "GPU-a"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(UserError, match="There are 2 processes and 1 GPU; start as many"):
            go_alone()
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    go_alone()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_launched_process_that_fails_waits_for_the_others_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    other = Workers(tmp_path / "trial/runs/one")

    def fail(config, run):
        assert other.join(alone=False)
        Timer(0.3, other.leave).start()
        yield Progress(0, 1, "begun")
        raise UserError("no more")

    job = Job("fail", JobConfig, fail, shared=True, chain=True)
    told = []
    with pytest.raises(UserError, match="no more"):
        drain(job.run(dict(run_key="one"), [], "trial", tmp_path), told.append)
    assert Notice("no more The other processes go on.") in told
    assert not other.count()


def test_a_run_that_another_worker_has_ended_meanwhile_stays_done(tmp_path):
    def work(config, run):
        yield Progress(0, 1, "begun")
        return {"by": "first"}

    job = Job("work", JobConfig, work, shared=True)
    first = job.run(dict(run_key="one"), [], "trial", tmp_path)
    next(first)
    joined = Workers.join

    def end_first(self, alone):
        Workers.join = joined
        assert isinstance(list(first)[-1], Finished)
        return joined(self, alone)

    Workers.join = end_first
    try:
        (finished,) = job.run(dict(run_key="one"), [], "trial", tmp_path)
    finally:
        Workers.join = joined
    assert finished.result["by"] == "first"
    assert Run(tmp_path / "trial/runs/one").state == "done"


def test_every_worker_has_all_turns_and_begins_with_those_that_no_other_is_at(tmp_path):
    first, second = free_first(tmp_path, "abc"), free_first(tmp_path, "abc")
    assert next(first) == "a"
    assert [next(second), next(second)] == ["b", "c"]
    assert [next(first), next(second)] == ["b", "a"]
    assert (list(first), list(second)) == (["c"], [])
