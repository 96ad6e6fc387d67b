"""What the next half of the project builds on; each test names one thing that stands in its way."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Progress
from busaug_core.jobs.run import Run, execute, find_product
from busaug_core.records import Record, write_records
from busaug_core.registry import job
from busaug_core.train import loop
from busaug_core.train.config import Lora

ROOT = Path(__file__).resolve().parents[2]
GENERATE = dict(variants=["base"], counts={"benign": 4}, steps=2, resolution=64, batch_size=1, precision="fp32")


def test_the_demos_chain_is_a_job_of_the_core():
    experiment = importlib.import_module("busaug_core.experiment")
    assert "fiftyone" not in (experiment.__doc__ or "").lower()
    assert job("run_experiment").config_class().presets.keys() >= {"demo", "minute"}


def test_a_classifier_keeps_the_logits_of_what_it_was_evaluated_on(run_job, records):
    result = run_job("train_classifier", records, run_key="clf", epochs=1, resolution=32, batch_size=8)
    rows = [json.loads(line) for line in (Path(result["folder"]) / "predictions.jsonl").read_text().splitlines()]
    held_out = [r for r in records if "val" in r.tags]
    assert [row["path"] for row in rows] == [r.path for r in held_out]
    truth = np.array([r.label for r in held_out])
    predicted = np.array([result["classes"][int(np.argmax(row["logits"]))] for row in rows])
    assert np.mean(predicted == truth) == result["metrics"]["accuracy"]


class Shifted:
    """A made-up method: the loss is the mean of what the batch was drawn as."""

    message = "Shifting"
    weight_decay = 0.0

    def __init__(self, pipe):
        self.pipe, self.weight, self.batches = pipe, torch.nn.Parameter(torch.ones(())), []

    def parameters(self):
        return {"weight": self.weight}

    def loss(self, batch):
        self.batches.append(batch)
        return self.weight * batch.noise.mean() ** 2

    def after_step(self):
        pass

    def save(self, folder):
        pass


def train_shifted(tmp_path, records, base, **values):
    from busaug_core.base.loading import load_pipeline

    pipe = load_pipeline(base, torch.device("cpu"), torch.bfloat16)
    method = Shifted(pipe)
    config = Lora(base_model=base, steps=3, batch_size=4, resolution=64, **values).resolve()
    folder = tmp_path / "trial/runs/one"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text("{}")
    chosen = records[:4]
    list(loop.train(method, chosen, ["ultrasound"] * 4, config, Run(folder)))
    return method, folder


def test_the_method_owns_the_loss_and_sees_which_images_were_mirrored(tmp_path, records, base):
    method, _ = train_shifted(tmp_path, records, base)
    assert len(method.batches) == 3
    for batch in method.batches:
        assert len(batch.chosen) == len(batch.mirrored) == len(batch.timesteps) == 4
    assert len({tuple(b.mirrored.tolist()) for b in method.batches}) > 1


def test_the_dtype_of_the_weights_does_not_decide_the_arithmetic(tmp_path, records, base):
    method, _ = train_shifted(tmp_path, records, base, precision="bf16")
    assert method.weight.dtype == torch.float32
    assert all(batch.latents.dtype == torch.float32 for batch in method.batches)


def test_a_file_in_a_sub_folder_of_a_run_is_traced_to_it(tmp_path, records):
    trained = tmp_path / "trial/runs/controlnet"
    (trained / "controlnet").mkdir(parents=True)
    weights = trained / "controlnet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"weights")
    held_out = [Record(r.path, r.label, tags=["train"]) for r in records if "val" in r.tags]
    write_records(trained / "inputs.jsonl", held_out)
    run = Run(tmp_path / "trial/runs/generate")
    run.folder.mkdir()
    write_records(run.folder / "inputs.jsonl", records)
    for given in ("controlnet", str(weights.parent), str(weights)):
        with pytest.raises(UserError, match="validate or test now"):
            find_product(run, given, "controlnet/diffusion_pytorch_model.safetensors")


def test_a_stop_that_is_asked_for_in_the_runs_folder_is_honoured_between_events(tmp_path):
    class Count(JobConfig):
        """Counts."""

    def count(config, run):
        for i in range(100):
            yield Progress(i + 1, 100, "Counting")

    events = execute("count", count, Count(run_key="one"), [], "trial", tmp_path)
    next(events)
    run = Run(tmp_path / "trial/runs/one")
    (run.folder / "stop").touch()
    assert len(list(events)) < 5
    assert run.state == "stopped"


def test_two_workers_share_a_generation(tmp_path, records, base):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from busaug_core.registry import job
from busaug_core.records import read_records
records = read_records({str(tmp_path / "records.jsonl")!r})
for event in job("generate").run(dict(run_key="shared", base_model={base!r}, **{GENERATE!r}), records, "trial",
                                 Path({str(tmp_path)!r})):
    print(type(event).__name__, flush=True)
"""
    write_records(tmp_path / "records.jsonl", records)
    workers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    images = sorted((tmp_path / "trial/runs/shared/images/base").glob("*.png"))
    assert len(images) == 4


def test_a_made_up_adapter_is_one_file():
    components = importlib.import_module("busaug_core.base.components")
    assert {"lora", "token"} <= set(components.COMPONENTS)
