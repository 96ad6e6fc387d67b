"""The job `pretrain_mini`: the whole recipe at a tiny size, and that it goes on from where it was."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from busaug_core.__main__ import main
from busaug_core.errors import UserError
from busaug_core.jobs.events import Event, Finished, Notice, Progress, Row
from busaug_core.jobs.run import Run
from busaug_core.pretrain.config import PRETRAIN_MINI, PretrainMini
from busaug_core.pretrain.pretrain_mini import CLASSIFIER, DECODER, DIFFUSION, ENCODER, LATENTS, WHITENING

TINY = dict(
    workers=1,
    phantoms=6,
    held_out=4,
    autoencoder_steps=4,
    decoder_steps=7,
    styled=3,
    diffusion_steps=4,
    checkpoint_seconds=1e-9,
    samples=2,
    sampling_steps=2,
    classifier_epochs=1,
)
MESSAGES = [
    "Simulating scans",
    "Training the autoencoder",
    "Training the decoder",
    "Encoding scans",
    "Training UNet and text encoder",
    "Training the classifier",
    "Sampling",
]


@dataclass
class Trained:
    """A finished run at a tiny size: its values, its folder, its copy of the model and its events."""

    values: dict[str, Any]
    folder: Path
    out: Path
    events: list[Event]


def run_of(home, values):
    return PRETRAIN_MINI.run(values, [], "mini", home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("home")
    values = dict(TINY, run_key="whole", out=str(home / "out/mini"))
    events = list(run_of(home, values))
    return Trained(values, home / "mini/runs/whole", home / "out/mini", events)


@pytest.fixture
def copied(trained, tmp_path):
    """A function that copies the run as it was before it made `product`."""

    def copy(product):
        made = [ENCODER, WHITENING, DECODER, LATENTS, DIFFUSION, CLASSIFIER]
        later = (*made[made.index(product) :], "mini", "samples.png", "result.json", "state.json")
        folder = tmp_path / "mini/runs/whole"
        shutil.copytree(trained.folder, folder, ignore=lambda _, names: [n for n in names if n in later])
        return folder

    return copy


def test_the_job_leaves_a_loadable_model_of_at_most_20_megabytes(trained):
    folder = trained.folder / "mini"
    assert isinstance(trained.events[-1], Finished)
    assert trained.events[-1].result["model"] == str(folder)
    assert sum(f.stat().st_size for f in folder.rglob("*")) < 20e6
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    images = pipe("ultrasound image", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 128, 128, 3)
    assert (images[..., 0] == images[..., 1]).all() and (images[..., 1] == images[..., 2]).all()


def test_the_weights_are_half_precision_safetensors_and_nothing_is_pickled(trained):
    model = trained.folder / "mini"
    weights = list(model.rglob("*.safetensors"))
    assert len(weights) == 3
    for file in weights:
        assert {t.dtype for t in load_file(file).values() if t.is_floating_point()} == {torch.float16}
    assert {f.suffix for f in model.rglob("*") if f.is_file()} == {".safetensors", ".json", ".md"}
    assert {f.suffix for f in trained.folder.rglob("*") if f.is_file()} <= {
        *(".safetensors", ".json", ".jsonl", ".md", ".png", ""),
    }


def test_out_holds_the_same_model(trained):
    files = [f.relative_to(trained.out) for f in trained.out.rglob("*") if f.is_file()]
    assert files
    assert all((trained.out / f).read_bytes() == (trained.folder / "mini" / f).read_bytes() for f in files)


def test_the_card_states_recipe_measurements_and_limits(trained):
    card = (trained.folder / "mini/README.md").read_text()
    for words in ("Not for clinical use", '"decoder_steps": 7', '"prompt_gap"', '"predicted"'):
        assert words in card


def test_events_name_what_is_done_and_its_progress(trained):
    progress = [e for e in trained.events if isinstance(e, Progress)]
    assert list(dict.fromkeys(e.message for e in progress)) == MESSAGES
    assert all(0 < e.done <= e.total for e in progress)
    decoder = next(e for e in progress if e.message == "Training the decoder")
    assert decoder.values.keys() == {"loss", "pixel", "statistic", "spectral", "discriminator", "weight"}
    rows = [e.values["metric"] for e in trained.events if isinstance(e, Row)]
    assert rows == ["reconstruction", "prompt_gap", "classifier_accuracy", "predicted", "power"]


def test_the_run_keeps_the_products_of_every_step_and_no_checkpoint(trained):
    for name in (ENCODER, WHITENING, DECODER, LATENTS, DIFFUSION, CLASSIFIER, "samples.png"):
        assert (trained.folder / name).exists(), name
    assert not list(trained.folder.glob("checkpoint*"))


def test_a_finished_run_does_nothing_when_called_again(trained):
    before = (trained.folder / DIFFUSION).read_bytes()
    notice, finished = run_of(trained.folder.parents[2], {**trained.values, "workers": 2})
    assert isinstance(notice, Notice) and isinstance(finished, Finished)
    assert (trained.folder / DIFFUSION).read_bytes() == before


def test_a_run_of_other_settings_is_refused(trained):
    with pytest.raises(UserError, match="exists with other settings .seed: 0 there, 1 here"):
        next(run_of(trained.folder.parents[2], {**trained.values, "seed": 1}))


@pytest.mark.parametrize(
    ("product", "message", "after", "how"),
    [
        (ENCODER, "Training the autoencoder", 3, "stopped"),
        (DECODER, "Training the decoder", 5, "killed"),
        (DIFFUSION, "Training UNet and text encoder", 2, "killed"),
    ],
)
def test_a_run_that_ended_halfway_continues_to_the_same_weights(
    trained, copied, tmp_path, product, message, after, how
):
    folder = copied(product)
    events = run_of(tmp_path, trained.values)
    for event in events:
        if isinstance(event, Progress) and (event.message, event.done) == (message, after):
            break
    if how == "killed":
        shutil.copytree(folder, tmp_path / "again/mini/runs/whole")
    events.close()
    assert Run(folder).state == "stopped"
    home = tmp_path / "again" if how == "killed" else tmp_path
    dones = []
    for event in run_of(home, trained.values):
        if isinstance(event, Progress) and event.message == message:
            dones.append(event.done)
        elif dones:
            break
    assert dones[0] == after + 1 if how == "stopped" else 1 < dones[0] <= after + 1
    whole, parts = load_file(trained.folder / product), load_file(home / "mini/runs/whole" / product)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_it_runs_from_the_command_line_and_honours_a_stop(trained, copied, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BUSAUG_HOME", str(tmp_path))
    folder = copied(CLASSIFIER)
    folder.parent.parent.rename(tmp_path / "pretrain_mini")
    run = Run(tmp_path / "pretrain_mini/runs/whole")
    run.ask_to_stop()
    command = [f"--{name}={value}" for name, value in trained.values.items()]
    assert main(["pretrain_mini", *command]) == 130
    assert run.state == "stopped"
    assert "--run_key whole goes on from here" in capsys.readouterr().err
    shutil.copy(trained.folder / CLASSIFIER, run.folder)
    assert main(["pretrain_mini", *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == trained.events[-1].result["measured"]


def test_out_replaces_a_model_and_nothing_else(tmp_path):
    with pytest.raises(UserError, match="would be replaced, but is no model"):
        list(run_of(tmp_path, dict(TINY, out=str(tmp_path))))


def test_an_unknown_field_is_an_error():
    with pytest.raises(UserError, match="'epochs' is not a field"):
        PretrainMini.parse({"epochs": 3})
