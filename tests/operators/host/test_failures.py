"""What the user is told when a job fails, and what is refused before it is queued."""

import asyncio
import sys
from pathlib import Path

import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder


def sent(operator, ctx):
    return [m.body for m in operator.execute(ctx)]


def prompts(messages):
    """The forms that the App opens: those that come back when the form that was sent has closed."""
    return [prompt for m in messages if m.operator_uri.endswith("/return_to_form") for prompt in returned(m)]


def returned(message):
    operator = foo.get_operator(message.operator_uri)
    ctx = ExecutionContext({"params": message.params}, executor=Executor(), operator_uri=operator.uri)
    asyncio.run(operator.execute(ctx))
    return [r.params for r in ctx.executor._requests if r.operator_uri == "prompt_user_for_operation"]


def queued():
    return len(DelegatedOperationService().list_operations(run_state="queued"))


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("apply_classifier", dict(classifier="nothing"), "'nothing' is neither a run of this dataset"),
        ("generate", dict(variants=["base"], amount="balance_to", balance_to=1), "every class has 1 image already"),
        ("compute_fid", dict(extractor="incepton"), "There is no extractor 'incepton'"),
        ("manage_runs", dict(action="stop", run_key="nothing"), "There is no run 'nothing'"),
    ],
)
def test_a_form_comes_back_as_it_was_filled_in_with_the_whole_message(context, loaded, name, params, message):
    operator, ctx = context(name, loaded, form=True, background=False, **params)
    messages = sent(operator, ctx)
    (again,) = prompts(messages)
    assert again["operator_uri"] == operator.uri
    assert {k: again["params"][k] for k in params} == params
    assert message in again["params"]["failure"]
    (shown,) = [m.params["outputs"] for m in messages if m.operator_uri == "show_output"]
    assert message in str(shown)
    assert "Traceback" not in str(again)
    operator, ctx = context(name, loaded, **again["params"])
    failure = operator.resolve_input(ctx).type.properties["failure"].view
    assert failure.description == again["params"]["failure"]


def test_what_the_app_adds_to_a_form_that_comes_back_is_no_field(context, loaded):
    operator, ctx = context("train_lora", loaded, form=True, failure="It failed.", panel_state={})
    assert operator.read_values(ctx) == {}


def test_a_failure_that_is_no_users_fault_leaves_its_traceback_in_the_runs_folder(
    context, loaded, tmp_path, monkeypatch
):
    def fail(dataset, run):
        raise ZeroDivisionError("by zero")

    operator, ctx = context("audit", loaded, form=True, run_key="broken_audit")
    monkeypatch.setattr(host_results(operator), "write", fail)
    (again,) = prompts(sent(operator, ctx))
    path = runs_folder("loaded") / "broken_audit/traceback.txt"
    assert again["params"]["failure"] == f"ZeroDivisionError: by zero Its traceback: {path}"
    assert "raise ZeroDivisionError" in path.read_text()


def test_a_call_from_python_gets_the_error_itself_with_where_its_traceback_lies(call, loaded, monkeypatch, context):
    def fail(dataset, run):
        raise ZeroDivisionError("by zero")

    operator, _ = context("audit")
    monkeypatch.setattr(host_results(operator), "write", fail)
    with pytest.raises(ZeroDivisionError) as caught:
        call("audit", loaded, run_key="called_audit")
    (note,) = caught.value.__notes__
    assert Path(note.removeprefix("Its traceback: ")).is_file()


def host_results(operator):
    """The results' module as the plugin has loaded it."""
    return sys.modules[type(operator).__module__.rpartition(".")[0] + ".results"]


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("generate", dict(lora="nope", counts={"benign": 1}), "'nope' is neither a run"),
        ("generate", dict(variants=["base"], balance_to=1), "every class has 1 image already"),
        ("generate", dict(variants=["base"], counts={"cyst": 1}), "No prompt for class 'cyst'"),
        ("train_textual_inversion", dict(lora="nope"), "'nope' is neither a run"),
        ("train_classifier", dict(include=["sd_adj"]), "No synthetic image of variant 'sd_adj'"),
        ("train_classifier", dict(evaluate_on="test"), "'test'"),
        ("train_classifier", dict(arch="resnet19"), "no classifier 'resnet19'"),
        ("train_classifier", dict(arch="vit_b_16", resolution=100), "takes no images of 100 px"),
        ("apply_classifier", dict(classifier="nope"), "'nope' is neither a run"),
        ("apply_classifier", dict(classifier="clf", evaluate_on="vall"), "tagged 'vall'"),
        ("compute_embeddings", dict(extractor="incepton"), "no extractor 'incepton'"),
        ("compute_embeddings", dict(extractor="torchvision:resnet99"), "no classifier 'resnet99'"),
        ("compute_fid", dict(extractor="inception:/nowhere/weights.pth"), "no file /nowhere/weights.pth"),
        ("compute_fid", dict(extractor="dinov2:/nowhere"), "no folder /nowhere"),
        ("score_synthetic", dict(extractor="clip", preprocessing="legacy", classifier="clf"), "'clip' has none"),
        ("compute_embeddings", dict(extractor="clf", variants=["sdd"]), "variant\\(s\\) sdd"),
        ("compute_fid", dict(extractor="clf", reference="test"), "tagged 'test'"),
        ("score_synthetic", dict(extractor="clf", classifier="nope"), "'nope' is neither a run"),
        ("filter_synthetic", dict(variants=["sdd"]), "variant\\(s\\) sdd"),
    ],
)
def test_what_cannot_be_is_told_before_it_is_queued(call, context, synthetic, classifier, name, config, message):
    before, runs = queued(), set(runs_folder("loaded").iterdir())
    with pytest.raises(UserError, match=message):
        call(name, synthetic, delegate=True, **config)
    operator, ctx = context(name, synthetic, form=True, background=True, **config)
    assert len(prompts(sent(operator, ctx))) == 1
    assert queued() == before
    assert set(runs_folder("loaded").iterdir()) == runs


@pytest.mark.parametrize(
    ("name", "field", "others"),
    [
        ("generate", "lora", dict(counts={"benign": 1}, variants=["sd"])),
        ("train_textual_inversion", "lora", {}),
        ("apply_classifier", "classifier", {}),
    ],
)
@pytest.mark.parametrize(
    ("content", "kind"), [(b"<!doctype html>", "an HTML page"), (b"\x80\x04", "a pickle"), (b"", "an empty file")]
)
def test_a_file_that_holds_no_weights_is_told_before_it_is_queued(
    call, loaded, tmp_path, name, field, others, content, kind
):
    path, before = tmp_path / "weights.safetensors", queued()
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"weights.safetensors .*{kind}"):
        call(name, loaded, delegate=True, **{field: str(path)}, **others)
    assert queued() == before
