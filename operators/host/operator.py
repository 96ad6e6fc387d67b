"""What all job operators share; a subclass names the job, what its form shows and what is shown of its results."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.errors import UserError
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.roles import TRAIN, with_datasets
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import free_unused_key, reserve_key, runs_folder
from busaug_core.records import Record

from .. import results
from .call import make_request, outcome, queue
from .classes import label_path
from .execution import Execution, beside, kept_traceback, runs_before, tell_errors
from .form import BACKGROUND, TARGET
from .images import every_image, images_of, refuse_generated, same_slice
from .job_form import JobForm
from .names import home_of
from .samples import read_other, read_samples

WATCH = "watch_queue"
"""The operator that shows what a job in the background has made, when it ends."""


class JobOperator(JobForm):
    """A job of the core as an operator: how its run begins, goes on and ends."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.job_name,
            label=f"BUSAug: {self.label}",
            description=" ".join(self.config_class.__doc__.split()),
            icon=self.icon,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
        )

    # What subclasses fill in

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        """What the App shows of a result."""
        yield ctx.ops.reload_dataset()
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")

    def add_results(self, outputs: types.Object, result: dict[str, Any]) -> dict[str, Any]:
        """Add what there is to read of a result to what is shown; returns the values that go with it."""
        return {}

    def summarise(self, result: dict[str, Any]) -> str:
        """The result in a few words."""
        return f"run {result['run_key']} is done"

    # What FiftyOne calls

    def execute(self, ctx: ExecutionContext) -> Iterator[Any]:
        in_background = ctx.params.get(BACKGROUND) and not ctx.delegated
        yield from tell_errors(ctx, self.label, self._queue_from_form(ctx) if in_background else self._start(ctx))

    def __call__(
        self,
        sample_collection: fo.Dataset | fo.DatasetView | None = None,
        delegate: bool = False,
        **config: Any,
    ) -> dict[str, Any]:
        """Run the job on a dataset or view and return its result.

        Args:
            sample_collection: the dataset or view to work on; none where the job makes the dataset
            delegate: queue the job for `fiftyone delegated launch` instead, and return its run key at once
            **config: the fields of the job's config

        Returns:
            the run's result, plain JSON; of a run that was stopped or queued its `run_key`, `state` and `folder`

        Raises:
            UserError: a wrong field, or what else the user can put right
        """
        delegate = config.pop(BACKGROUND, delegate)  # what the form calls it
        group_slice = None
        if isinstance(sample_collection, SampleCollection):
            group_slice = sample_collection.group_slice
            sample_collection = images_of(sample_collection)
        request = {**make_request(sample_collection, config), "group_slice": group_slice}
        ctx = ExecutionContext(request, executor=Executor(), operator_uri=self.uri)
        with same_slice(sample_collection):
            run, dataset = self._name_run(ctx, config)
            request["params"]["run_key"] = run.key
            if delegate:
                self._refuse(ctx, run, config, dataset)
                return self._queue(request, run)
            deque(self.execute(ctx), maxlen=0)
            return outcome(run)

    # How a run goes

    def resume(self, ctx: ExecutionContext, run: Run) -> Iterator[Any]:
        """Go on with a run of the dataset at hand, with the settings that it was begun with."""
        values = {**self.config_class.before, **run.config}
        del values["job"]
        dataset = ctx.dataset
        with kept_traceback(run):
            results.prepare(dataset, self.job_name, values)
            # Of further datasets the run has kept the images.
            records = self._records(every_image(dataset), {**values, "datasets": None}, dataset)
            yield from self._work(ctx, run, {**values, "run_key": run.key}, dataset, records)

    def _start(self, ctx: ExecutionContext) -> Iterator[Any]:
        """Begin or go on with the run that the context asks for."""
        values = self.read_values(ctx)
        run, dataset = self._name_run(ctx, values)
        if not ctx.delegated:
            yield ctx.ops.set_progress(progress=0, label=f"{self.label}: preparing run {run.key}")
        try:
            with kept_traceback(run):
                records: list[Record] = []
                if dataset is not None:
                    results.prepare(dataset, self.job_name, values)
                    records = self._read(ctx, {**values, "datasets": None} if run.has_begun else values)
                yield from self._work(ctx, run, {**values, "run_key": run.key}, dataset, records)
        finally:
            free_unused_key(run.folder)

    def _work(
        self,
        ctx: ExecutionContext,
        run: Run,
        values: dict[str, Any],
        dataset: fo.Dataset | None,
        records: list[Record],
    ) -> Iterator[Any]:
        told: list[str] = []
        if dataset is not None:
            told = self.remarks_on_slices(dataset)
        elif not (self.job.chain and fo.dataset_exists(run.folder.parent.parent.name)):
            told = runs_before(run)
        execution = Execution(ctx, self.label, run, dataset, told)
        yield from execution.work(self.job, values, records, run.folder.parent.parent.name)
        if execution.is_done:
            yield ctx.ops.set_progress(progress=1, label=f"{self.label}: {self.summarise(run.result)}")
            yield from self.show(ctx, execution.dataset, run.result)

    def _name_run(self, ctx: ExecutionContext, values: dict[str, Any]) -> tuple[Run, fo.Dataset | None]:
        """The run and the dataset to work on, None where the job makes it; raises UserError for wrong values."""
        config = self.config_class.parse(values)
        new = config.dataset_name if self.job.makes_dataset else None
        if new is None and ctx.dataset_name is None:
            named = " (or name a new one by dataset_name)" if self.job.makes_dataset else ""
            raise UserError(f"{self.job_name} works on a dataset; open or pass one{named}.")
        name = new or home_of(ctx.dataset)
        if new is not None:
            # A chain's dataset is made by a run of its own.
            maker = runs_folder(new) if self.job.chain else config.run_key and runs_folder(new) / config.run_key
            results.refuse_taken_name(new, maker)
        else:
            label_path(self._chosen(ctx), getattr(config, "label_field", LABEL_FIELD))
        run = Run(runs_folder(name) / (config.run_key or reserve_key(self.job_name, name)))
        return run, ctx.dataset if new is None else None

    def _chosen(self, ctx: ExecutionContext) -> SampleCollection:
        """The images to work on; raises UserError where the dataset or view is none of images."""
        refuse_generated(ctx.view)
        return images_of(ctx.dataset if self.whole_dataset else ctx.target_view())

    def _read(self, ctx: ExecutionContext, values: dict[str, Any]) -> list[Record]:
        return self._records(self._chosen(ctx), values, ctx.dataset)

    def _records(self, samples: SampleCollection, values: dict[str, Any], dataset: fo.Dataset) -> list[Record]:
        """The records of the dataset's samples, and of the other datasets that the values name.

        What the dataset holds out is among them then, also where a view leaves it out, since it must train in none.
        """
        label_field, others = values.get("label_field") or LABEL_FIELD, values.get("datasets") or ()
        records = read_samples(samples, label_field)
        if others:
            chosen = {r.id for r in records}
            rest = [r for r in read_samples(images_of(dataset), label_field) if r.id not in chosen and not r.synthetic]
            records += [r for r in rest if r.splits and TRAIN not in r.splits]
        return with_datasets(records, others, dataset.name, lambda name: read_other(name, label_field))

    def _refuse(self, ctx: ExecutionContext, run: Run, values: dict[str, Any], dataset: fo.Dataset | None) -> None:
        """Raise UserError for what would stop a call at once, before it is queued; its key is free again then."""
        try:
            config = self.config_class.parse(values).resolve(run.folder.parent)
            if run.state == "new":
                if dataset is not None:
                    results.prepare(dataset, self.job_name, values)
                self.job.refuse(config, run, [] if dataset is None else self._read(ctx, values))
        except BaseException:
            free_unused_key(run.folder)
            raise

    def _queue_from_form(self, ctx: ExecutionContext) -> Iterator[Any]:
        values = self.read_values(ctx)
        run, dataset = self._name_run(ctx, values)
        self._refuse(ctx, run, values, dataset)
        kept = {k: v for k, v in ctx.request_params.items() if k not in ("params", "prompt_id")}
        target = {name: ctx.params[name] for name in TARGET if name in ctx.params}
        self._queue({**kept, "params": {**target, **values, "run_key": run.key}}, run)
        message = f"{self.label}: queued as run {run.key}; `fiftyone delegated launch` works the queue off."
        yield ctx.ops.notify(message, variant="info")
        yield ctx.trigger(beside(self.uri, WATCH))

    def _queue(self, request: dict[str, Any], run: Run) -> dict[str, Any]:
        queue(self.uri, request, label=f"{self.label} ({run.key})")
        return outcome(run, "queued")
