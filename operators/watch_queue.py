"""The operator behind what the App shows of jobs that run in the background; it has no form."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.jobs.runs import run_of

from .host.form import FAILURE
from .host.names import home_of
from .host.operator import WATCH
from .manage_runs import operator_of

INTERVAL = 3.0
"""Seconds between looks at the queue."""
STATES = ("queued", "scheduled", "running")
PLUGIN = "@busaug/busaug/"

watchers: dict[str, object] = {}
"""Who watches a dataset's queue: the last one that began, since a browser keeps but a few connections open."""


class WatchQueue(foo.Operator):
    """Reloads the dataset when a job of its queue has ended, and says how."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=WATCH,
            label="BUSAug: watch the queue",
            description="Shows what jobs in the background have made, when they end.",
            unlisted=True,
            on_dataset_open=True,
            execute_as_generator=True,
        )

    async def execute(self, ctx: ExecutionContext) -> AsyncIterator[Any]:
        if ctx.dataset_name is None:
            return
        dataset, me = ctx.dataset, object()
        watchers[dataset.name] = me
        waiting = await asyncio.to_thread(_unfinished, dataset)
        while waiting and watchers.get(dataset.name) is me:
            await asyncio.sleep(INTERVAL)
            left = await asyncio.to_thread(_unfinished, dataset)
            if ended := [key for operation, key in waiting.items() if operation not in left]:
                yield ctx.ops.reload_dataset()
                for key in ended:
                    yield _tell(ctx, dataset, key)
            waiting = left


def _unfinished(dataset: fo.Dataset) -> dict[str, str]:
    """The run keys of the dataset's jobs that are queued or at work, by the queue's own ids."""
    found = {}
    for state in STATES:
        for operation in DelegatedOperationService().list_operations(dataset_name=dataset.name, run_state=state):
            params = operation.context.request_params.get("params") or {}
            if operation.operator.startswith(PLUGIN) and (key := params.get("run_key")):
                found[str(operation.id)] = key
    return found


def _tell(ctx: ExecutionContext, dataset: fo.Dataset, key: str) -> Any:
    """How a run has ended; what went wrong stays in a dialog."""
    try:
        run = run_of(home_of(dataset), key)
        operator = operator_of(run.job)
    except UserError:
        outcome = f"run {key} ended before it began; `fiftyone delegated list` tells why"
    else:
        if run.state == "done":
            return ctx.ops.notify(f"{operator.label}: {operator.summarise(run.result)}", variant="success")
        outcome = f"{operator.label}: run {key} is {run.state}. {run.error or ''}"
    outputs = types.Object()
    outputs.view(FAILURE, types.Error(label="A job in the background did not end well", description=outcome))
    return ctx.ops.show_output(types.Property(outputs).to_json(), {})
