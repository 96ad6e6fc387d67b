"""The panel that shows how a run stands, and what `manage_runs` shows of its pictures."""

import shutil
from urllib.parse import parse_qs, urlparse

import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.train import samples


@pytest.fixture
def scans(loaded):
    """A clone of the loaded scans without runs."""
    shutil.rmtree(runs_folder("watched"), ignore_errors=True)
    dataset = loaded.match({"origin": "simulated"}).clone("watched")
    yield dataset
    dataset.delete()


@pytest.fixture
def look():
    """A function that has the panel answer an event; returns the inputs by name, and the data."""

    def look(dataset, method="on_load", state=None, **params):
        panel = foo.get_operator("@busaug/busaug/watch_run")
        event = dict(panel_id="one", panel_state=state or {}, __method__=method, **params)
        request = dict(dataset_name=dataset.name, view=[], params=event)
        ctx = ExecutionContext(request, executor=Executor(), operator_uri=panel.uri)
        panel.execute(ctx)
        sent = {r["operator_uri"]: r["params"] for r in ctx.executor.to_json()["requests"]}
        shown = sent["show_panel_output"]["output"]["type"]["properties"]
        return shown, sent.get("patch_panel_data", {}).get("data", {}), ctx

    return look


def file_of(address):
    return parse_qs(urlparse(address).query)["filepath"][0]


def test_a_dataset_without_runs_says_so(scans, look):
    shown, data, _ = look(scans)
    assert list(shown) == ["refresh", "markdown"] and not data


def test_a_run_is_watched_while_it_goes_on_and_afterwards(context, scans, look, small, monkeypatch):
    monkeypatch.setattr(samples, "COLUMNS", 1)
    values = dict(steps=2, sample_every=2, validate_every=2, validation_images=2, membership=False, rank=2)
    operator, ctx = context("train_lora", scans, run_key="lora", **small, **values)
    run, seen = Run(runs_folder("watched") / "lora"), ()
    for _ in operator.execute(ctx):
        if not seen and "Training" in str(run.last("Progress")):
            seen = look(scans)
    shown, data, _ = seen
    assert "timer" in shown and "(train_lora) is running" in shown["told"]["default"]
    assert "Training the LoRA: 1 of 2, loss" in shown["told"]["default"]
    assert file_of(data["picture_samples"]) == str(run.folder / "samples/0.png")
    shown, data, _ = look(scans, "look", {"run_key": "lora"})
    assert "timer" not in shown and "(train_lora) is done" in shown["told"]["default"]
    assert file_of(data["picture_samples"]) == str(run.folder / "samples/2.png")
    assert file_of(data["picture_losses"]) == str(run.folder / "losses.png")
    assert [choice["value"] for choice in shown["run_key"]["view"]["choices"]] == ["lora"]
    operator, ctx = context("manage_runs", scans, action="view", run_key="lora")
    (output,) = [m.body.params for m in operator.execute(ctx) if m.body.operator_uri == "show_output"]
    assert output["results"]["picture_samples"] == data["picture_samples"]


def test_another_run_is_chosen_and_a_run_that_is_gone_gives_way_to_the_newest(call, scans, look):
    call("audit", scans, run_key="first")
    call("audit", scans, run_key="second", annotation_threshold=0.5)
    *_, ctx = look(scans, "choose", value="first")
    assert ctx.panel.get_state("run_key") == "first"
    for key, shown_run in (("first", "first"), ("gone", "second"), (None, "second")):
        shown, *_ = look(scans, "look", {"run_key": key})
        assert shown["told"]["default"].startswith(f"**{shown_run}** (audit) is done")
