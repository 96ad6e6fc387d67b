"""The App hears when a job in the background has ended."""

import asyncio
import sys

import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService


@pytest.fixture
def watch(context, monkeypatch):
    """A function that watches a dataset's queue, doing something after the first look, and returns what is sent."""

    def watch(dataset, meanwhile):
        operator, ctx = context("watch_queue", dataset)
        monkeypatch.setattr(sys.modules[type(operator).__module__], "INTERVAL", 0.05)

        async def follow():
            steps = operator.execute(ctx)
            first = asyncio.ensure_future(anext(steps, None))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(meanwhile)
            found = [await asyncio.wait_for(first, 60)]
            return [m.body for m in [*found, *[m async for m in steps]] if m is not None]

        return asyncio.run(follow())

    return watch


def work_off():
    DelegatedOperationService().execute_queued_operations(limit=1)


def test_the_dataset_is_reloaded_and_the_result_told(call, loaded, watch):
    call("train_classifier", loaded, delegate=True, arch="squeezenet1_1", epochs=1, resolution=32, run_key="behind")
    reload_, notice = watch(loaded, work_off)
    assert reload_.operator_uri == "reload_dataset"
    assert notice.operator_uri == "notify"
    assert notice.params["variant"] == "success"
    assert "run behind" in notice.params["message"]


def test_a_job_that_failed_is_told_of_in_a_dialog_that_stays(call, loaded, watch):
    dataset = loaded.match({"origin": "simulated"}).clone("failing_behind")
    call("train_classifier", dataset, delegate=True, arch="squeezenet1_1", epochs=1, resolution=32, run_key="behind")
    lost = dataset.match_tags("train").first()
    lost["filepath"] = "/nowhere/lost.png"
    lost.save()
    _, shown = watch(dataset, work_off)
    assert shown.operator_uri == "show_output"
    assert "run behind" in str(shown.params)
    service = DelegatedOperationService()
    for operation in service.list_operations(run_state="failed"):
        service.delete_operation(operation.id)
    dataset.delete()


def test_an_empty_queue_is_not_watched(loaded, watch):
    assert watch(loaded, lambda: None) == []


def test_the_last_one_who_watches_a_dataset_is_the_only_one(call, loaded, context, watch):
    call("train_classifier", loaded, delegate=True, arch="squeezenet1_1", epochs=1, resolution=32, run_key="twice")
    sent = []
    assert watch(loaded, lambda: sent.extend(watch(loaded, work_off))) == []
    assert [m.operator_uri for m in sent] == ["reload_dataset", "notify"]


def test_queueing_from_the_form_begins_to_watch(loaded, context):
    params = dict(form=True, background=True, arch="squeezenet1_1", epochs=1, resolution=32, run_key="formed")
    operator, ctx = context("train_classifier", loaded, **params)
    uris = [m.body.operator_uri for m in operator.execute(ctx)]
    assert uris == ["notify", "@busaug/busaug/watch_queue"]
    assert foo.get_operator(uris[1]).config.unlisted
    work_off()
