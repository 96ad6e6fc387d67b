"""Several processes train what one does on all of their images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from busaug_core.jobs.run import Run
from busaug_core.records import write_records

SMALL = dict(steps=2, resolution=64, precision="fp32", membership=False)
TRAININGS = {
    "train_lora": dict(rank=2, layers="attention", text_encoder=True, accumulation=2),
    "finetune_unet": dict(gradient_checkpointing=True),
    "train_controlnet": dict(condition_dropout=0.3, noise_offset=0.1),
}
LAUNCHED = """
import json, sys
from busaug_core.__main__ import main

for command in json.loads(sys.argv[1]):
    if status := main(command):
        sys.exit(status)
"""


def test_two_processes_train_what_one_does_on_all_their_images(run_job, masked, base, tmp_path):
    write_records(tmp_path / "records.jsonl", masked)
    (tmp_path / "launched.py").write_text(LAUNCHED)
    commands = []
    for name, more in TRAININGS.items():
        values = dict(base_model=base, run_key=f"{name}_2", batch_size=2, **SMALL, **more)
        fields = [word for field, value in values.items() for word in (f"--{field}", str(value))]
        commands.append([name, "--dataset", "trial", "--data", str(tmp_path / "records.jsonl"), *fields])
    program = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc_per_node", "2"]
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "BUSAUG_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    launched = [*program, str(tmp_path / "launched.py"), json.dumps(commands)]
    done = subprocess.run(launched, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, more in TRAININGS.items():
        shared = Run(tmp_path / f"trial/runs/{name}_2")
        assert shared.environment["processes"] == 2
        events = [json.loads(line) for line in (shared.folder / "events.jsonl").read_text().splitlines()]
        assert [e["done"] for e in events if "loss" in e.get("values", {})] == [1, 2]
        alone = run_job(name, masked, base_model=base, batch_size=4, **SMALL, **more)
        assert shared.result["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        one, other = (load_file(next(Path(r["folder"]).rglob("*pytorch*.safetensors"))) for r in (shared.result, alone))
        assert all((one[key] - other[key]).abs().mean() < 1e-4 for key in one)
