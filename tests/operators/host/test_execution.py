"""How an operator carries a job to its end: view and keys, stopping and resuming, progress, failures, old runs."""

import json

import fiftyone as fo
import pytest
from fiftyone.operators import types
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.data.config import AUDIT, LOAD_BUSI
from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Begun, Ended
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.registry import JOBS, register
from operators.experiment import RunExperiment
from operators.host.operator import JobOperator
from operators.manage_runs import ManageRuns

PLAIN = dict(variants=["base"], steps=2)


def state(dataset, key):
    return json.loads((runs_folder(dataset.name) / key / "state.json").read_text())["state"]


def test_training_returns_its_result_and_is_known_to_the_dataset(loaded, lora):
    assert lora["run_key"] == "lora"
    assert lora["state"] == "done"
    assert loaded.get_run_info("lora").config.method == "busaug/train_lora"
    assert loaded.get_run_info("lora").config.steps == 2
    assert loaded.load_run_results("lora").weights == lora["weights"]
    json.dumps(lora)


def test_a_run_key_is_made_up_where_none_is_given(call, loaded):
    result = call("train_classifier", loaded, arch="squeezenet1_1", epochs=1, resolution=32)
    assert result["run_key"].startswith("train_classifier_")
    assert result["run_key"] in loaded.list_runs()


def test_training_uses_the_samples_of_the_view(call, loaded, small):
    dataset = loaded.match({"origin": "simulated"}).clone("viewed")
    view = dataset.match_tags("train").match({"ground_truth.label": "benign"})
    result = call("train_lora", view, steps=1, membership=False, **small)
    assert result["images"] == {"benign": len(view)}
    dataset.delete()


def test_samples_appear_while_the_job_runs_and_a_stopped_run_goes_on(call, context, loaded, small):
    config = PLAIN | small | dict(counts={"normal": 4}, run_key="stopped", batch_size=1)
    operator, ctx = context("generate", loaded, **config)
    events = operator.execute(ctx)
    while loaded.match({"synthesis.run": "stopped"}).count() < 2:
        next(events)
    events.close()
    assert state(loaded, "stopped") == "stopped"
    assert loaded.match({"synthesis.run": "stopped"}).count() == 2
    call("generate", loaded, **config)
    paths = loaded.match({"synthesis.run": "stopped"}).values("filepath")
    assert len(paths) == len(set(paths)) == 4
    assert state(loaded, "stopped") == "done"


def test_the_app_is_sent_progress(context, loaded, small):
    operator, ctx = context("generate", loaded, counts={"normal": 1}, seed=77, **PLAIN, **small)
    sent = [m.body for m in operator.execute(ctx)]
    names = [m.operator_uri for m in sent]
    assert names.index("set_progress") < names.index("reload_dataset") < names.index("notify")
    labels = [m.params["label"] for m in sent if m.operator_uri == "set_progress"]
    assert any("Generating images" in label for label in labels)


def test_a_run_of_a_deleted_dataset_of_that_name_is_not_taken_for_its_successors(call):
    def make(run_key, **values):
        call("load_busi", dataset_name="again", run_key=run_key, images=30, image_size=64, **values)
        return fo.load_dataset("again")

    train = dict(arch="squeezenet1_1", epochs=1, resolution=32, run_key="clf")
    call("train_classifier", make("load"), **train)
    fo.delete_dataset("again")
    dataset = make("load_anew", seed=7)
    with pytest.raises(UserError, match="'clf' was made from other images"):
        call("train_classifier", dataset, **train)
    fo.delete_dataset("again")
    dataset = make("load")
    assert call("train_classifier", dataset, **train)["state"] == "done"
    held_out = dataset.match_tags("val").first()
    held_out.tags = ["train", "simulated"]
    held_out.save()
    with pytest.raises(UserError, match="1 image lies in another split now than in run 'clf'"):
        call("train_classifier", dataset, **train)


def test_a_failing_job_is_a_user_error_and_a_notice_in_the_app(call, context, loaded):
    with pytest.raises(UserError, match="'nothing' is neither a run of this dataset"):
        call("apply_classifier", loaded, classifier="nothing")
    operator, ctx = context("apply_classifier", loaded, classifier="nothing")
    sent = []
    with pytest.raises(UserError):
        sent.extend(m.body for m in operator.execute(ctx))
    notices = [m.params for m in ctx.executor._requests if m.operator_uri == "notify"]
    assert notices[-1]["variant"] == "error"
    assert "Traceback" not in notices[-1]["message"]


def test_another_config_under_a_used_key_is_refused(call, loaded, lora, small):
    with pytest.raises(UserError, match="other settings"):
        call("train_lora", loaded, steps=3, run_key="lora", **small)


def test_samples_without_a_class_are_refused(call):
    dataset = fo.Dataset("bare")
    dataset.add_sample(fo.Sample(filepath="/nowhere.png"))
    with pytest.raises(UserError, match="no class in the field ground_truth"):
        call("train_classifier", dataset)
    assert list(runs_folder(dataset.name).iterdir()) == []


def test_samples_without_a_class_hinder_no_run_that_was_begun_before(call, loaded):
    dataset = loaded.match({"origin": "simulated"}).clone("growing")
    values = dict(arch="squeezenet1_1", epochs=1, resolution=32, run_key="clf")
    call("train_classifier", dataset, **values)
    dataset.add_sample(fo.Sample(filepath="/nowhere.png"))
    assert call("train_classifier", dataset, **values)["state"] == "done"
    with pytest.raises(UserError, match="1 sample has no class"):
        call("train_classifier", dataset, **values | dict(run_key="other"))
    fo.delete_dataset("growing")


def test_a_run_that_is_asked_to_stop_says_how_it_goes_on(call, context, loaded, small):
    config = PLAIN | small | dict(counts={"normal": 3}, run_key="asked", batch_size=1)
    operator, ctx = context("generate", loaded, **config)
    run = Run(runs_folder(loaded.name) / "asked")
    sent = []
    for message in operator.execute(ctx):
        sent.append(message.body)
        if any(run.folder.glob("images/*/*.png")) and run.state == "running":
            run.ask_to_stop()
    assert run.state == "stopped"
    assert "'resume'" in [m.params["message"] for m in sent if m.operator_uri == "notify"][-1]
    assert 0 < loaded.match({"synthesis.run": "asked"}).count() < 3
    assert call("generate", loaded, **config)["images"] == 3
    assert loaded.match({"synthesis.run": "asked"}).count() == 3


def test_a_call_that_is_asked_to_stop_returns_how_the_run_stands(call, loaded):
    queued = call(
        "train_classifier", loaded, delegate=True, arch="squeezenet1_1", epochs=1, resolution=32, run_key="waiting"
    )
    Run(runs_folder(loaded.name) / "waiting").folder.mkdir(exist_ok=True)
    Run(runs_folder(loaded.name) / "waiting").ask_to_stop()
    DelegatedOperationService().execute_queued_operations(limit=1)
    assert state(loaded, "waiting") == "stopped"
    Run(runs_folder(loaded.name) / "waiting").ask_to_stop()
    stopped = call("train_classifier", loaded, arch="squeezenet1_1", epochs=1, resolution=32, run_key="waiting")
    assert stopped == {**queued, "state": "stopped"}
    assert (
        call("train_classifier", loaded, arch="squeezenet1_1", epochs=1, resolution=32, run_key="waiting")["state"]
        == "done"
    )


class ChainConfig(JobConfig):
    """Loads and audits."""

    dataset_name: str = "chained"


def chain(config, run):
    records = []
    links = [
        ("Load scans", LOAD_BUSI, dict(images=12, image_size=64, dataset_name=config.dataset_name)),
        ("Audit", AUDIT, {}),
    ]
    for number, (title, job, values) in enumerate(links, 1):
        key = f"chain_{job.name}"
        yield Begun(number, len(links), title, key)
        yield from result_of(job.run(dict(run_key=key, **values), records, config.dataset_name))
        records = run.sibling(key).products
        yield Ended(key)
    return {"runs": ["chain_load_busi", "chain_audit"]}


@pytest.fixture
def chained():
    """The operator of a chain of two jobs."""
    values = dict(makes_dataset=True, takes_samples=False, needs_classes=False, shared=True, chain=True)
    register(Job("chain", ChainConfig, chain, **values))

    class Chained(JobOperator):
        job_name, label, icon, main_fields = "chain", "chain", "link", ("dataset_name",)

    yield Chained()
    del JOBS["chain"]


def test_each_run_of_a_chain_is_written_to_the_dataset_and_told_by_name(chained):
    def sent():
        ctx = ExecutionContext(dict(dataset_name=None, params={"run_key": "both"}), executor=Executor())
        return [m.body for m in chained.execute(ctx)]

    labels = [m.params["label"] for m in sent() if m.operator_uri == "set_progress"]
    assert "1/2 Load scans" in labels
    assert any(label.startswith("2/2 Audit · ") for label in labels)
    dataset = fo.load_dataset("chained")
    assert set(dataset.list_runs()) == {"chain_load_busi", "chain_audit", "both"}
    assert dataset.load_run_results("both").runs == ["chain_load_busi", "chain_audit"]
    assert len(dataset) == 12
    before = dataset.values("id")
    sent()
    assert dataset.values("id") == before
    fo.delete_dataset("chained")
    sent()
    dataset = fo.load_dataset("chained")
    assert len(dataset) == 12
    assert set(dataset.list_runs()) == {"chain_load_busi", "chain_audit", "both"}
    fo.delete_dataset("chained")


def test_the_report_of_an_experiment_is_to_be_found_later_too(tmp_path):
    (tmp_path / "report.html").write_text("")
    outputs = types.Object()
    told = RunExperiment().add_results(outputs, {"table": ["No gain shown"], "results": str(tmp_path)})
    assert set(outputs.properties) == {"table"}
    assert "report.html" in told["table"] and told["table"].endswith("No gain shown")


def test_a_chain_lands_once_though_several_may_work_on_it(chained):
    def started():
        ctx = ExecutionContext(dict(dataset_name=None, params={"run_key": "once"}), executor=Executor())
        return chained.execute(ctx)

    first = started()
    assert any("1/2 Load scans" in message.body.params.get("label", "") for message in first)
    with pytest.raises(UserError, match="Run 'once' is being worked on already, and what it makes lands"):
        list(started())
    list(first)
    dataset = fo.load_dataset("chained")
    assert len(dataset) == 12 and "once" in dataset.list_runs()
    assert list(started()) and Run(runs_folder("chained") / "once").state == "done"
    # The samples of a chain's run are those of its members.
    request = dict(dataset_name="chained", params=dict(action="view", run_key="once"))
    viewed = [m.body for m in ManageRuns().execute(ExecutionContext(request, executor=Executor()))]
    (shown,) = [m for m in viewed if m.operator_uri == "show_output"]
    assert shown.params["results"]["samples"] == 12
    fo.delete_dataset("chained")


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("load_busi", dict(dataset_name="never", source="/nowhere/BUSI"), "neither a folder nor a zip"),
        (
            "load_external",
            dict(dataset_name="never", layout="folder", source=__file__),
            "is no zip; it seems to be a text",
        ),
        ("train_lora", dict(base_model="/nowhere/sd15"), "There is no file or folder /nowhere/sd15"),
        ("generate", dict(base_model=__file__, variants=["base"], ratio=1), "cannot be read as a base model"),
        ("run_experiment", dict(dataset_name="never", base_model="/nowhere/sd15"), "There is no file or folder"),
    ],
)
def test_what_is_not_there_is_refused_before_a_call_is_queued(call, loaded, name, values, told):
    samples = () if "dataset_name" in values else (loaded,)
    with pytest.raises(UserError, match=told):
        call(name, *samples, delegate=True, run_key="unheard", **values)
    assert not [op for op in DelegatedOperationService().list_operations() if "unheard" in (op.label or "")]
    assert not any((runs_folder(dataset) / "unheard").exists() for dataset in ("never", loaded.name))
