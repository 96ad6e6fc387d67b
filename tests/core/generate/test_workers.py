"""Several workers share a generation, started by hand or by a launcher; one may be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import same_picture

from busaug_core.images import load_gray
from busaug_core.jobs.processes import share_out
from busaug_core.jobs.run import Run
from busaug_core.records import write_records
from busaug_core.registry import job

ROOT = Path(__file__).resolve().parents[3]
GENERATE = dict(variants=["base"], counts={"benign": 4, "normal": 2}, steps=2, resolution=64, batch_size=1)


@pytest.fixture
def command(tmp_path, records, base):
    """The command line of a worker, and its environment."""
    write_records(tmp_path / "records.jsonl", records)
    values = dict(dataset="trial", data=tmp_path / "records.jsonl", run_key="shared", base_model=base, precision="fp32")
    values |= dict(variants="base", counts='{"benign": 4, "normal": 2}', steps=2, resolution=64, batch_size=1)
    arguments = [str(part) for name, value in values.items() for part in (f"--{name}", value)]
    environment = {**os.environ, "BUSAUG_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    return ["-m", "busaug_core", "generate", *arguments], environment


def images(folder):
    return {path.name: load_gray(path, 64) for path in sorted(folder.glob("images/base/*.png"))}


def test_two_workers_share_what_a_killed_one_has_left(command, tmp_path, records, base):
    arguments, environment = command
    started = dict(cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "trial/runs/shared"
    with subprocess.Popen([sys.executable, *arguments], **started) as killed:
        while not images(folder) and killed.poll() is None:
            time.sleep(0.1)
        killed.kill()
    workers = [subprocess.Popen([sys.executable, *arguments], **started) for _ in range(2)]
    errors = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert Run(folder).state == "done"
    assert len(Run(folder).products) == 6
    alone = dict(GENERATE, base_model=base, precision="fp32", run_key="alone")
    list(job("generate").run(alone, records, "trial", tmp_path))
    shared, whole = images(folder), images(folder.with_name("alone"))
    assert shared.keys() == whole.keys()
    assert all(same_picture(shared[name], whole[name]) for name in whole)


def test_a_launcher_spreads_a_generation_over_its_processes(command, tmp_path):
    arguments, environment = command
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run(
        [sys.executable, *launch, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300
    )
    run = Run(tmp_path / "trial/runs/shared")
    assert run.state == "done"
    assert len(images(run.folder)) == len(run.products) == 6


def test_what_a_worker_holds_is_passed_over_and_looked_at_again_when_it_lets_go(tmp_path):
    done = set()
    first = share_out(tmp_path, "abc", done.__contains__)
    assert next(first) == 0
    second = share_out(tmp_path, "abc", done.__contains__)
    assert next(second) == 1
    done.add(1)
    assert next(second) == 2
    done.add(2)
    first.close()  # killed: its item was not done
    assert list(second) == [0]
