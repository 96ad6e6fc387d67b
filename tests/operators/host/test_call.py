"""Operators called from Python, at once or through the queue."""

import pytest
from fiftyone.operators.delegated import DelegatedOperationService

from busaug_core.errors import UserError


def test_what_is_no_dataset_is_named(call):
    with pytest.raises(UserError, match="'loaded' is neither a dataset nor a view"):
        call("train_classifier", "loaded")


def test_a_wrong_field_is_a_user_error(call, loaded):
    with pytest.raises(UserError, match="'stepz' is not a field"):
        call("train_lora", loaded, stepz=3)


def test_a_job_without_a_dataset_is_refused(call):
    with pytest.raises(UserError, match="open or pass one"):
        call("train_lora", steps=1)


def test_background_from_python_is_delegation(call, loaded):
    queued = call("train_classifier", loaded, background=True, arch="squeezenet1_1", epochs=1, resolution=32)
    assert queued["state"] == "queued"
    DelegatedOperationService().execute_queued_operations(limit=1)
    assert queued["run_key"] in loaded.list_runs()


def test_queued_jobs_have_keys_of_their_own_and_run_later(call, loaded):
    queued = [
        call("train_classifier", loaded, delegate=True, arch="squeezenet1_1", epochs=1, resolution=32, seed=s)
        for s in (1, 2)
    ]
    assert [q["state"] for q in queued] == ["queued", "queued"]
    keys = {q["run_key"] for q in queued}
    assert len(keys) == 2
    service = DelegatedOperationService()
    service.execute_queued_operations(limit=10)
    assert {op.run_state for op in service.list_operations()} == {"completed"}
    assert keys <= set(loaded.list_runs())


def test_the_form_queues_a_job_in_the_background(context, loaded):
    operator, ctx = context(
        "train_classifier",
        loaded,
        arch="squeezenet1_1",
        epochs=1,
        resolution=32,
        background=True,
        form=True,
        all_settings=False,
    )
    notice, watch = [m.body for m in operator.execute(ctx)]
    assert "queued as run" in notice.params["message"]
    assert watch.operator_uri.endswith("/watch_queue")
    service = DelegatedOperationService()
    (queued,) = service.list_operations(run_state="queued")
    service.execute_queued_operations(limit=1)
    assert service.get(queued.id).run_state == "completed"
