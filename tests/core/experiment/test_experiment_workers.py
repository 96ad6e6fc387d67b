"""Several processes at one experiment: each link is done once, by one of them, and the table is that of one process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from busaug_core.experiment.config import RUN_EXPERIMENT
from busaug_core.jobs.processes import OF_GROUP, free_first, go_alone
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


def test_a_process_that_goes_alone_leaves_the_group_and_keeps_its_gpu(monkeypatch):
    for visible, expected in ((None, "1"), ("3,5", "5"), ("", "")):
        for name in OF_GROUP:
            monkeypatch.setenv(name, "2")
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        go_alone()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
        assert not set(OF_GROUP) & set(os.environ)


def test_every_worker_has_all_turns_and_begins_with_those_that_no_other_is_at(tmp_path):
    first, second = free_first(tmp_path, "abc"), free_first(tmp_path, "abc")
    assert next(first) == "a"
    assert [next(second), next(second)] == ["b", "c"]
    assert [next(first), next(second)] == ["b", "a"]
    assert (list(first), list(second)) == (["c"], [])
