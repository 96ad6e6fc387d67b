"""What all job operators share: form, execution, progress, runs and the call from Python."""

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any, ClassVar, Protocol

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Finished, Made, Notice, Progress
from busaug_core.jobs.run import Run, runs_folder
from busaug_core.records import Record
from busaug_core.registry import Job, job

from . import runs
from .form import ALL_SETTINGS, BACKGROUND, Form, Suggestions, read_form
from .progress import Reporter
from .samples import declare_fields, read_samples


class Watcher(Protocol):
    """Takes the images and the progress of a running job; yields what the App is to be sent."""

    def receive(self, event: Made | Progress) -> Iterator[Any]: ...


class JobOperator(foo.Operator):
    """A job of the core as an operator; a subclass names the job and says what becomes of its products."""

    job_name: ClassVar[str]
    label: ClassVar[str]
    icon: ClassVar[str]
    main_fields: ClassVar[tuple[str, ...]]
    """The fields that the form shows before the user asks for all settings."""
    whole_dataset: ClassVar[bool] = False
    """Whether the job is given all samples of the dataset, whatever the view."""
    writes_fields: ClassVar[bool] = False
    """Whether the dataset must take the fields of `samples.FIELDS`."""

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
        """What the dataset lends to the form."""
        return Suggestions()

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        """An input of the form's own, named in `main_fields` among those of the config."""

    def dataset_name(self, ctx: ExecutionContext, values: dict[str, Any]) -> str:
        """The dataset whose folder holds the run."""
        if ctx.dataset_name is None:
            raise UserError(f"{self.job_name} works on a dataset; open or pass one (or name a new one to load).")
        return ctx.dataset.name

    def open_dataset(self, ctx: ExecutionContext, values: dict[str, Any]) -> fo.Dataset | None:
        """The dataset to work on, None where the job makes it; raises UserError where it will not do."""
        if self.writes_fields:
            declare_fields(ctx.dataset)
        return ctx.dataset

    def watch(self, ctx: ExecutionContext, dataset: fo.Dataset) -> "Watcher | None":
        """Who is told of images while the job still runs."""
        return None

    def store(self, ctx: ExecutionContext, dataset: fo.Dataset | None, run: Run) -> fo.Dataset:
        """Insert what a finished run has made and the dataset lacks; called whenever the run is asked for."""
        return dataset

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        """Write a finished run's figures to the dataset; called once for each run."""

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        """What the App shows of a result."""
        yield ctx.ops.reload_dataset()
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")

    def summarise(self, result: dict[str, Any]) -> str:
        """The result in a few words."""
        return f"run {result['run_key']} is done"

    # What FiftyOne calls

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        known = self.suggest(ctx.dataset) if ctx.dataset_name is not None else Suggestions()
        return self.make_form(ctx, known)

    def make_form(self, ctx: ExecutionContext, suggestions: Suggestions) -> types.Property:
        """The controls of the operator, the main fields, and on demand all others."""
        inputs = types.Object()
        suggestions.hidden = self.hidden_fields(ctx.params)
        if ctx.dataset_name is not None and not self.whole_dataset:
            # Jobs choose by tags and variants; a view that is open for another reason would only starve them.
            inputs.view_target(ctx, action_description="Use", default_target="DATASET")
        form = Form(inputs, self.config_class, ctx.params, suggestions)
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
        try:
            if ctx.params.get(BACKGROUND) and not ctx.delegated:
                yield from self._queue_from_form(ctx)
            else:
                yield from self._run(ctx)
        except Exception as error:
            message = str(error)
            if not isinstance(error, UserError):
                message = f"{type(error).__name__}: {error} (the server's log has the traceback)"
            yield ctx.ops.set_progress(progress=0, label=f"{self.label}: failed")
            yield ctx.ops.notify(message, variant="error")
            raise

    def __call__(
        self,
        sample_collection: fo.Dataset | fo.DatasetView | None = None,
        delegate: bool = False,
        **config: Any,
    ) -> dict[str, Any]:
        """Run the job on a dataset or view and return its result.

        Args:
            sample_collection: the dataset or view to work on; none for `load_busi`
            delegate: queue the job for `fiftyone delegated launch` instead, and return its run key at once
            **config: the fields of the job's config

        Returns:
            the run's result, plain JSON

        Raises:
            UserError: a wrong field, or what else the user can mend
        """
        delegate = config.pop(BACKGROUND, delegate)  # what the form calls it
        request = _request(sample_collection, config)
        ctx = ExecutionContext(request, executor=Executor(), operator_uri=self.uri)
        key, name = self._name_run(ctx, self._values(config))
        request["params"]["run_key"] = key
        if delegate:
            return self._queue(ctx, request, name)
        deque(self.execute(ctx), maxlen=0)
        return Run(runs_folder(name) / key).result

    # How a run goes

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        """The job's values in the parameters of a form (which has the switch of all settings) or a call."""
        hidden = self.hidden_fields(params) if ALL_SETTINGS in params else ()
        return read_form(self.config_class, params, hidden)

    def _name_run(self, ctx: ExecutionContext, values: dict[str, Any]) -> tuple[str, str]:
        """The run's key and the name of its dataset; raises UserError for wrong values."""
        self.config_class.parse(values)
        name = self.dataset_name(ctx, values)
        return values.get("run_key") or runs.reserve_key(self.job_name, name), name

    def _run(self, ctx: ExecutionContext) -> Iterator[Any]:
        values = self._values(ctx.params)
        key, name = self._name_run(ctx, values)
        values["run_key"] = key
        if not ctx.delegated:
            yield ctx.ops.set_progress(progress=0, label=f"{self.label}: preparing run {key}")
        run = Run(runs_folder(name) / key)
        try:
            yield from self._work(ctx, run, values, name)
        finally:
            runs.free_unused_key(run.folder)

    def _work(self, ctx: ExecutionContext, run: Run, values: dict[str, Any], name: str) -> Iterator[Any]:
        """Run the job, store what it makes, and mirror the run."""
        dataset = self.open_dataset(ctx, values)
        was_done = run.state == "done"
        records: list[Record] = []
        if dataset is not None:
            records = read_samples(dataset if self.whole_dataset else ctx.target_view())
        reporter = Reporter(ctx, self.label)
        watcher = self.watch(ctx, dataset) if dataset is not None else None
        registered = was_done
        with closing(reporter), closing(self.job.run(values, records, name)) as events:
            for event in events:
                if not registered and dataset is not None:
                    runs.register_run(dataset, run.key, self.job_name, run.config)
                    registered = True
                match event:
                    case Made() | Progress():
                        if isinstance(event, Progress):
                            yield from reporter.report(event)
                        if watcher is not None:
                            yield from watcher.receive(event)
                    case Notice(message):
                        reporter.say(message)
                        yield ctx.ops.notify(message, variant="warning")
                    case Finished():
                        break
        dataset = self.store(ctx, dataset, run)
        if not was_done or not runs.is_mirrored(dataset, run.key):
            self.write(ctx, dataset, run)
            runs.register_run(dataset, run.key, self.job_name, run.config)
            runs.save_results(dataset, run.key, run.result)
        yield ctx.ops.set_progress(progress=1, label=f"{self.label}: {self.summarise(run.result)}")
        yield from self.show(ctx, dataset, run.result)

    def _queue_from_form(self, ctx: ExecutionContext) -> Iterator[Any]:
        values = self._values(ctx.params)
        key, name = self._name_run(ctx, values)
        kept = {k: v for k, v in ctx.request_params.items() if k not in ("params", "prompt_id")}
        request = {**kept, "params": {**ctx.params, BACKGROUND: False, "run_key": key}}
        self._queue(ctx, request, name)
        message = f"{self.label}: queued as run {key}; `fiftyone delegated launch` works the queue off."
        yield ctx.ops.notify(message, variant="info")

    def _queue(self, ctx: ExecutionContext, request: dict[str, Any], name: str) -> dict[str, Any]:
        key = request["params"]["run_key"]
        runs.queue(self.uri, request, label=f"{self.label} ({key})")
        return {"run_key": key, "state": "queued", "folder": str(runs_folder(name) / key)}


def _request(samples: fo.Dataset | fo.DatasetView | None, config: dict[str, Any]) -> dict[str, Any]:
    if samples is None:
        return {"dataset_name": None, "view": None, "params": dict(config)}
    if not isinstance(samples, SampleCollection):
        raise UserError(f"{samples!r} is neither a dataset nor a view; open it by fo.load_dataset first.")
    view = samples.view() if isinstance(samples, fo.Dataset) else samples
    return {
        "dataset_name": view._root_dataset.name,
        "view": view._serialize(),
        "params": dict(config),
    }
