"""Calls of operators from Python: the request, the queue, and the result as plain JSON."""

from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run


def make_request(samples: fo.Dataset | fo.DatasetView | None, params: dict[str, Any]) -> dict[str, Any]:
    """What FiftyOne's contexts are made of; raises UserError where `samples` is neither a dataset nor a view."""
    if samples is None:
        return {"dataset_name": None, "view": None, "params": dict(params)}
    if not isinstance(samples, SampleCollection):
        raise UserError(f"{samples!r} is neither a dataset nor a view; open it by fo.load_dataset first.")
    view = samples.view() if isinstance(samples, fo.Dataset) else samples
    return {"dataset_name": view._root_dataset.name, "view": view._serialize(), "params": dict(params)}


def queue(operator_uri: str, request: dict[str, Any], label: str) -> None:
    """Put an operator's call into FiftyOne's queue; works inside a running event loop too."""
    ctx = ExecutionContext({**request, "delegated": True}, operator_uri=operator_uri)
    DelegatedOperationService().queue_operation(
        operator=operator_uri,
        context=ctx.serialize(),
        label=label,
        metadata={"inputs_schema": None, "outputs_schema": None},
        rerunnable=True,
    )


def outcome(run: Run, state: str | None = None) -> dict[str, Any]:
    """What a call returns: the result of a run that is done, or else how it stands."""
    state = state or run.state
    return run.result if state == "done" else {"run_key": run.key, "state": state, "folder": str(run.folder)}
