"""The operator that lists a dataset's runs, shows, resumes, stops and deletes them, and brings in others."""

import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext, Executor

from busaug_core.errors import UserError
from busaug_core.jobs.lineage import ancestors
from busaug_core.jobs.processes import Workers
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import home, list_runs, run_of, runs_in

from . import results
from .host.call import make_request, outcome
from .host.execution import tell_errors
from .host.form import begin
from .host.images import every_image
from .host.import_run import import_run
from .host.names import home_of
from .host.operator import JobOperator
from .host.pictures import add_pictures, pictures_of

TITLE = "manage runs"
ACTIONS = {
    "list": "List the runs",
    "view": "View a run: its settings, its result, its pictures and its samples",
    "resume": "Resume a run that was stopped, failed or killed",
    "stop": "Stop a run that is at work",
    "delete": "Delete a run: its results, its samples and its folder",
    "import": "Import a run's folder that was made elsewhere",
}
KILLED = "killed"
"""How a run stands that is running by its state, though nobody works on it."""
COLUMNS = ("run_key", "job", "state", "time", "summary")


class ManageRuns(foo.Operator):
    """Lists, views, resumes, stops, deletes and imports runs."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="manage_runs",
            label="BUSAug: manage runs",
            description="List, view, resume, stop, delete and import runs.",
            icon="history",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
        )

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        inputs = begin(ctx.params)
        action = ctx.params.get("action", "list")
        choice = types.RadioGroup()
        for name, text in ACTIONS.items():
            choice.add_choice(name, label=text)
        inputs.enum("action", list(ACTIONS), default="list", label="What to do", view=choice)
        if action == "import":
            inputs.str("source", required=True, label="Folder", description="The run's folder.")
            inputs.str("run_key", label="Run key", description="Its name here (empty: its folder's).")
        elif action != "list" and ctx.dataset_name is not None:
            view = types.AutocompleteView(allow_user_input=True)
            for run in list_runs(home_of(ctx.dataset)):
                view.add_choice(run.key, label=run.key, description=f"{run.job}, {standing(run)}")
            inputs.str("run_key", required=True, label="Run", view=view)
        if action == "delete":
            text = "Delete it even if other runs were made from it, which then cannot tell what they were made from."
            inputs.bool("force", default=False, label="Force", description=text)
        return types.Property(inputs, view=types.View(label="BUSAug: manage runs"))

    def execute(self, ctx: ExecutionContext) -> Iterator[Any]:
        yield from tell_errors(ctx, TITLE, self._act(ctx, {}))

    def __call__(
        self,
        sample_collection: fo.Dataset | fo.DatasetView,
        action: str = "list",
        run_key: str | None = None,
        source: str | None = None,
        force: bool = False,
        **unknown: Any,
    ) -> dict[str, Any]:
        """Do something with a dataset's runs.

        Args:
            sample_collection: the dataset
            action: `list`, `view`, `resume`, `stop`, `delete` or `import`
            run_key: the run; for `import` what it is to be called, by default as its folder
            source: the folder to import
            force: whether to delete a run even where other runs were made from it

        Returns:
            plain JSON: the `runs` of `list`; of the others `run_key`, `state`, `folder` and more of what there is

        Raises:
            UserError: no such run, or it cannot be done with it
        """
        if unknown:
            known = "action, run_key, source and force"
            raise UserError(f"{', '.join(unknown)} is nothing that manage_runs takes; it takes {known}.")
        params = dict(action=action, run_key=run_key, source=source, force=force)
        request = make_request(sample_collection, params)
        ctx = ExecutionContext(request, executor=Executor(), operator_uri=self.uri)
        answer: dict[str, Any] = {}
        deque(self._act(ctx, answer), maxlen=0)
        return answer

    def _act(self, ctx: ExecutionContext, answer: dict[str, Any]) -> Iterator[Any]:
        """Do what the parameters ask for, filling in the answer; yields what the App is to be sent."""
        action = ctx.params.get("action") or "list"
        if action not in ACTIONS:
            raise UserError(f"There is no action '{action}'; there are {', '.join(ACTIONS)}.")
        if ctx.dataset_name is None:
            raise UserError("manage_runs works on a dataset's runs; open or pass one.")
        if action == "list":
            yield from self._list(ctx, answer)
        elif action == "import":
            yield from self._import(ctx, answer)
        else:
            key = ctx.params.get("run_key")
            if not key:
                raise UserError(f"Which run? Give its run_key to {action} it; the action 'list' tells all.")
            yield from getattr(self, f"_{action}")(ctx, run_of(home_of(ctx.dataset), key), answer)

    def _list(self, ctx: ExecutionContext, answer: dict[str, Any]) -> Iterator[Any]:
        answer["runs"] = [row_of(run) for run in list_runs(home_of(ctx.dataset))]
        table = types.TableView()
        for column in COLUMNS:
            table.add_column(column, label=column)
        outputs = types.Object()
        outputs.list("runs", types.Object(), view=table, label=f"Runs of {ctx.dataset.name}")
        yield ctx.ops.show_output(types.Property(outputs).to_json(), answer)

    def _view(self, ctx: ExecutionContext, run: Run, answer: dict[str, Any]) -> Iterator[Any]:
        view = samples_of(ctx.dataset, run)
        answer |= {"run_key": run.key, "job": run.job, "state": standing(run), "folder": str(run.folder)}
        answer["config"] = {name: value for name, value in run.config.items() if name != "job"}
        answer["result"] = run.result if run.state == "done" else None
        answer |= {"error": run.error, "samples": len(view)}
        answer["pictures"] = {name: str(path) for name, path in pictures_of(run).items()}
        outputs, told = types.Object(), {}
        if run.state == "done":
            with suppress(KeyError, UserError):  # of another version
                told = operator_of(run.job).add_results(outputs, run.result)
        for name in ("config", "result"):
            outputs.obj(name, label=name.capitalize(), view=types.JSONView())
        pictures = add_pictures(outputs, run)
        if len(view):
            yield ctx.ops.set_view(view=view)
        yield ctx.ops.show_output(types.Property(outputs).to_json(), {**answer, **told, **pictures})

    def _resume(self, ctx: ExecutionContext, run: Run, answer: dict[str, Any]) -> Iterator[Any]:
        state = standing(run)
        if state not in ("stopped", "failed", "done", KILLED):
            raise UserError(f"Run '{run.key}' is {state}; there is nothing to resume.")
        yield from operator_of(run.job).resume(ctx, run)
        answer |= outcome(run)

    def _stop(self, ctx: ExecutionContext, run: Run, answer: dict[str, Any]) -> Iterator[Any]:
        if (state := standing(run)) != "running":
            raise UserError(f"Run '{run.key}' is {state}; there is nothing to stop.")
        run.ask_to_stop()
        answer |= outcome(run, "stopping")
        yield ctx.ops.notify(f"Run {run.key} stops after its next step.", variant="info")

    def _delete(self, ctx: ExecutionContext, run: Run, answer: dict[str, Any]) -> Iterator[Any]:
        if standing(run) == "running":
            raise UserError(f"Run '{run.key}' is being worked on; stop it first (action 'stop').")
        if not ctx.params.get("force") and (others := descendants(run)):
            raise UserError(
                f"{', '.join(others)} grew from run '{run.key}'; delete these first, or set force to delete it anyway."
            )
        results.remove(ctx.dataset, run)
        answer |= outcome(run, "deleted")
        shutil.rmtree(run.folder)
        yield ctx.ops.reload_dataset()
        yield ctx.ops.notify(f"Run {run.key} is deleted.", variant="success")

    def _import(self, ctx: ExecutionContext, answer: dict[str, Any]) -> Iterator[Any]:
        if not ctx.params.get("source"):
            raise UserError("Which folder? Give it as source.")
        run = import_run(ctx.params["source"], home_of(ctx.dataset), ctx.params.get("run_key") or None)
        try:
            if run.state == "done":
                results.write(ctx.dataset, run)
        except BaseException:
            shutil.rmtree(run.folder)
            raise
        answer |= outcome(run)
        yield ctx.ops.reload_dataset()
        yield ctx.ops.notify(f"Run {run.key} is imported; it is {run.state}.", variant="success")


def standing(run: Run) -> str:
    """The run's state, and whether it was killed."""
    return KILLED if run.state == "running" and not Workers(run.folder).others() else run.state


def row_of(run: Run) -> dict[str, Any]:
    """A run in a line: key, job, state, when it began, and its result in words."""
    began = time.localtime((run.folder / "config.json").stat().st_mtime)
    summary = run.error or ""
    if run.state == "done":
        with suppress(KeyError, UserError):  # of another version
            summary = operator_of(run.job).summarise(run.result)
    values = (run.key, run.job, standing(run), time.strftime("%Y-%m-%d %H:%M:%S", began), summary)
    return dict(zip(COLUMNS, values, strict=True))


def operator_of(job: str) -> JobOperator:
    """The operator of a job; raises UserError where there is none."""
    from . import OPERATORS

    for operator in OPERATORS:
        if issubclass(operator, JobOperator) and operator.job_name == job:
            return operator()
    raise UserError(f"There is no operator for the job '{job}'; it is run from the command line: busaug {job} --help.")


def samples_of(dataset: fo.Dataset, run: Run) -> fo.DatasetView:
    """The samples that a run, or those of a chain, made or looked at, or else those that it was given."""
    members = results.results_of(run.job).members(run) if run.state == "done" else []
    found: dict[str, None] = {}
    for one in members or [run]:
        if records := one.products or ([] if members else one.records):
            ids = results.SampleIds(dataset, one)
            found |= dict.fromkeys(id_ for record in records for id_ in ids.of(record))
    return every_image(dataset).select(list(found))


def descendants(run: Run) -> list[str]:
    """The runs, of any dataset, that grew from a run: by key, those of other datasets by folder."""
    folder = run.folder.resolve()
    found = []
    for runs in dict.fromkeys([run.folder.parent, *home().glob("*/runs")]):
        for other in runs_in(runs):
            if other.folder != run.folder and folder in (a.folder.resolve() for a in ancestors(other)):
                found.append(other.key if runs == run.folder.parent else str(other.folder))
    return found
