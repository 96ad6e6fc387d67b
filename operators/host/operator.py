"""What all job operators share; a subclass names the job, its form and what is shown of its results."""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import free_unused_key, reserve_key, runs_folder
from busaug_core.records import Record
from busaug_core.registry import Job, job

from .. import results
from .call import make_request, outcome, queue
from .execution import Execution, tell_errors
from .form import ALL_SETTINGS, BACKGROUND, TARGET, Form, Suggestions, is_form, read_form
from .samples import read_samples
from .suggestions import product_choices


class JobOperator(foo.Operator):
    """A job of the core as an operator."""

    job_name: ClassVar[str]
    label: ClassVar[str]
    icon: ClassVar[str]
    main_fields: ClassVar[tuple[str, ...]]
    """What the form shows before the user asks for all settings: fields of the config, and controls of its own."""
    whole_dataset: ClassVar[bool] = False
    """Whether the job is given all samples of the dataset, whatever the view."""
    starts_with_newest: ClassVar[bool] = False
    """Whether the form starts with the newest run also in fields of products that may be left open."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.job_name,
            label=f"BUSAug: {self.label}",
            description=self.config_class.__doc__,
            icon=self.icon,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
        )

    @property
    def job(self) -> Job:
        return job(self.job_name)

    @property
    def config_class(self) -> type[JobConfig]:
        return self.job.config_class()

    # What subclasses fill in

    def hidden_fields(self, params: dict[str, Any]) -> Collection[str]:
        """The fields that the form neither shows nor reads."""
        return ()

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        """What the dataset lends to the form, beside the runs for fields that name a product."""
        return Suggestions()

    def offers(self, field: str, run: Run) -> bool:
        """Whether a field that names a product is to offer a finished run."""
        return True

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        """An input of the form's own, named in `main_fields` among those of the config."""

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        """What the App shows of a result."""
        yield ctx.ops.reload_dataset()
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")

    def summarise(self, result: dict[str, Any]) -> str:
        """The result in a few words."""
        return f"run {result['run_key']} is done"

    # What FiftyOne calls

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        known = self.all_suggestions(ctx.dataset) if ctx.dataset_name is not None else Suggestions()
        return self.make_form(ctx, known)

    def all_suggestions(self, dataset: fo.Dataset) -> Suggestions:
        """What the dataset lends to the form; of fields that name a product, names that are no run come first."""
        known = self.suggest(dataset)
        for name, keys in product_choices(self.config_class, dataset.name, self.offers).items():
            known.choices[name] = [*known.choices.get(name, []), *keys]
            info = self.config_class.model_fields[name]
            if keys and (info.is_required() or (self.starts_with_newest and info.default is None)):
                known.defaults.setdefault(name, keys[0])
        return known

    def make_form(self, ctx: ExecutionContext, suggestions: Suggestions) -> types.Property:
        """The controls of the operator, the main fields, and on demand all others."""
        inputs = types.Object()
        suggestions.hidden = self.hidden_fields(ctx.params)
        if ctx.dataset_name is not None and not self.whole_dataset:
            inputs.view_target(ctx, action_description="Use", default_target="DATASET")
        form = Form(inputs, self.config_class, self.read_form(ctx.params), suggestions)
        fields = self.config_class.model_fields
        # What a form does not show the job does not get.
        suggested = [n for n, value in suggestions.defaults.items() if value != fields[n].default]
        shown = dict.fromkeys((*self.main_fields, *suggested))
        for name in shown:
            if name in fields:
                form.add([name])
            else:
                self.add_control(ctx, inputs, name)
        inputs.bool(ALL_SETTINGS, label="All settings", default=False, view=types.SwitchView())
        if ctx.params.get(ALL_SETTINGS):
            form.add([name for name in fields if name not in shown])
        inputs.bool(
            BACKGROUND,
            label="Run in the background",
            description="Queue the job for `fiftyone delegated launch` instead of running it now.",
            default=False,
        )
        form.close()
        return types.Property(inputs, view=types.View(label=f"BUSAug: {self.label}"))

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
        request = make_request(sample_collection, config)
        ctx = ExecutionContext(request, executor=Executor(), operator_uri=self.uri)
        run, _ = self._name_run(ctx, config)
        request["params"]["run_key"] = run.key
        if delegate:
            return self._queue(request, run)
        deque(self.execute(ctx), maxlen=0)
        return outcome(run)

    # How a run goes

    @property
    def controls(self) -> set[str]:
        """The names in `main_fields` that are inputs of the form's own."""
        return {name for name in self.main_fields if name not in self.config_class.model_fields}

    def read_form(self, params: dict[str, Any]) -> dict[str, Any]:
        """The job's values in the parameters of the form."""
        return read_form(self.config_class, params, {*self.controls, *self.hidden_fields(params)})

    def read_values(self, ctx: ExecutionContext) -> dict[str, Any]:
        """The job's values in the parameters of the form, or of a call."""
        if is_form(ctx.params):
            return self.read_form(ctx.params)
        return {name: value for name, value in ctx.params.items() if name not in (BACKGROUND, *TARGET)}

    def resume(self, ctx: ExecutionContext, run: Run) -> Iterator[Any]:
        """Go on with a run of the dataset at hand, with the settings that it was begun with."""
        values = {name: value for name, value in run.config.items() if name != "job"}
        dataset = ctx.dataset
        results.prepare(dataset, self.job_name)
        yield from self._work(ctx, run, {**values, "run_key": run.key}, dataset, read_samples(dataset))

    def _start(self, ctx: ExecutionContext) -> Iterator[Any]:
        """Begin or go on with the run that the context asks for."""
        values = self.read_values(ctx)
        run, dataset = self._name_run(ctx, values)
        if not ctx.delegated:
            yield ctx.ops.set_progress(progress=0, label=f"{self.label}: preparing run {run.key}")
        try:
            records: list[Record] = []
            if dataset is not None:
                results.prepare(dataset, self.job_name)
                records = read_samples(dataset if self.whole_dataset else ctx.target_view())
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
        execution = Execution(ctx, self.label, run, dataset)
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
        name = new or ctx.dataset.name
        if new is not None:
            # A chain's dataset is made by a run of its own.
            maker = runs_folder(new) if self.job.chain else config.run_key and runs_folder(new) / config.run_key
            results.refuse_taken_name(new, maker)
        run = Run(runs_folder(name) / (config.run_key or reserve_key(self.job_name, name)))
        return run, ctx.dataset if new is None else None

    def _queue_from_form(self, ctx: ExecutionContext) -> Iterator[Any]:
        values = self.read_values(ctx)
        run, _ = self._name_run(ctx, values)
        kept = {k: v for k, v in ctx.request_params.items() if k not in ("params", "prompt_id")}
        target = {name: ctx.params[name] for name in TARGET if name in ctx.params}
        self._queue({**kept, "params": {**target, **values, "run_key": run.key}}, run)
        message = f"{self.label}: queued as run {run.key}; `fiftyone delegated launch` works the queue off."
        yield ctx.ops.notify(message, variant="info")

    def _queue(self, request: dict[str, Any], run: Run) -> dict[str, Any]:
        queue(self.uri, request, label=f"{self.label} ({run.key})")
        return outcome(run, "queued")
