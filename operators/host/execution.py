"""How a job runs for an operator: its events reach the App, its images and results the dataset."""

import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.files import make_folder
from busaug_core.jobs.events import Begun, Ended, Finished, Made, Notice, Progress, Stopped
from busaug_core.jobs.execute import Job
from busaug_core.jobs.processes import take_or_refuse
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_in
from busaug_core.records import Record
from busaug_core.words import counted

from .. import results
from ..results import mirror
from .form import FAILURE, is_form
from .progress import Reporter
from .samples import insert_missing

RETURN_TO_FORM = "return_to_form"
"""The operator that brings back the form of a job that failed."""
TRACEBACK = "traceback.txt"
LANDING = "landing.lock"
LANDS = "Run '{key}' is being worked on already, and what it makes lands in the dataset; wait for it or stop it."
SHOWN = 5
"""Runs that a message lists."""
INTERVAL = 2.0
"""Seconds between insertions of what a running job has made."""


class Execution:
    """A run of a job at work; `work` yields what the App is to be sent.

    Attributes:
        run: the run
        dataset: the dataset that it works on, or has made
        told: what the user should know of what it works on, told when the run has begun
        is_done: whether the run was carried to its end, rather than stopped on request
    """

    def __init__(
        self, ctx: ExecutionContext, title: str, run: Run, dataset: fo.Dataset | None, told: Iterable[str] = ()
    ):
        self.ctx, self.title, self.run, self.dataset = ctx, title, run, dataset
        self._told = [Notice(message) for message in told]
        self.is_done = False
        self._member: Run | None = None
        self._waiting: list[Record] = []
        self._inserted_at = 0.0

    def work(self, job: Job, values: dict[str, Any], records: list[Record], name: str) -> Iterator[Any]:
        """Run the job on records of the dataset of that name, and write the results of a run that is done.

        The runs of a chain are written one by one, each when it is done.
        """
        reporter = Reporter(self.ctx, self.title)
        is_registered = self.run.state == "done"
        with ExitStack() as held, closing(reporter), closing(job.run(values, records, name)) as events:
            first = list(islice(events, 1))
            if job.chain:
                # Workers share a chain, but what it makes must land once.
                held.enter_context(take_or_refuse(self.run.folder / LANDING, LANDS.format(key=self.run.key)))
            for event in chain(first, self._told, events):
                if not is_registered and self.dataset is not None:
                    mirror.register(self.dataset, self.run)
                    is_registered = True
                match event:
                    case Progress():
                        yield from reporter.report(event)
                        if time.monotonic() - self._inserted_at > INTERVAL:
                            yield from self._insert()
                    case Made(record):
                        self._receive(record)
                    case Begun(run_key=key):
                        self._member = self.run.sibling(key)
                        yield from reporter.begin(event)
                    case Ended(run_key=key):
                        yield from self._finish_member(self.run.sibling(key))
                    case Notice(message):
                        reporter.say(message)
                        yield self.ctx.ops.notify(message, variant="warning")
                    case Stopped():
                        yield from self._insert()
                        yield self.ctx.ops.notify(how_to_go_on(self.title, self.run), variant="info")
                        return
                    case Finished():
                        self.is_done = True
            if self.is_done:
                self.dataset = results.write(self.dataset, self.run)

    def _receive(self, record: Record) -> None:
        maker = self._member or self.run
        if self.dataset is not None and results.results_of(maker.job).inserts_live:
            self._waiting.append(record)

    def _insert(self) -> Iterator[Any]:
        """Insert the images that were made since the last time and have the App show them."""
        if self._waiting:
            maker = self._member or self.run
            results.prepare(self.dataset, maker.job, maker.config)
            insert_missing(self.dataset, self._waiting, maker)
            self._waiting = []
            yield self.ctx.ops.reload_samples() if self._inserted_at else self.ctx.ops.reload_dataset()
            self._inserted_at = time.monotonic()

    def _finish_member(self, member: Run) -> Iterator[Any]:
        """Write the results of a run of a chain that has come to its end."""
        self.dataset = results.write(self.dataset, member)
        self._member, self._waiting = None, []
        yield self.ctx.ops.reload_dataset()


def tell_errors(ctx: ExecutionContext, title: str, steps: Iterator[Any]) -> Iterator[Any]:
    """The steps; where they fail the App is told why.

    A form that asked for them comes back as it was filled in, with the message in it, which stays in a dialog beneath
    it too. Any other caller gets the error.
    """
    try:
        yield from steps
    except Exception as error:
        message = explain(error)
        outputs = types.Object()
        outputs.view(FAILURE, types.Error(label=f"{title} failed", description=message))
        yield ctx.ops.show_output(types.Property(outputs).to_json(), {})
        if ctx.delegated or not is_form(ctx.params):
            yield ctx.ops.notify(message, variant="error")
            raise
        filled_in = {"form": ctx.operator_uri, "params": {**ctx.params, FAILURE: message}}
        yield ctx.trigger(beside(ctx.operator_uri, RETURN_TO_FORM), params=filled_in)


def beside(uri: str, name: str) -> str:
    """The URI of another operator of the same plugin."""
    return f"{uri.rpartition('/')[0]}/{name}"


def explain(error: Exception) -> str:
    """An error in words, with where its traceback lies."""
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join([message, *getattr(error, "__notes__", [])])


@contextmanager
def kept_traceback(run: Run) -> Iterator[None]:
    """Keep the traceback of what the user cannot put right in the run's folder, and have the error say where."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        make_folder(run.folder)
        path = run.folder / TRACEBACK
        path.write_text(traceback.format_exc(), encoding="utf-8")
        error.add_note(f"Its traceback: {path}")
        raise


def runs_before(run: Run) -> list[str]:
    """That a run which is to make a dataset finds runs under its name, as of one that was deleted."""
    folder = run.folder.parent
    if run.state != "new" or not (runs := runs_in(folder)):
        return []
    keys = ", ".join(other.key for other in runs[:SHOWN]) + (", …" if len(runs) > SHOWN else "")
    return [
        f"{folder} holds {counted(len(runs), 'run')} already ({keys}), of a dataset of this name that was deleted, or "
        "made from the command line; forms offer them too. To be rid of them, delete them by manage_runs with the "
        "action 'delete', or the folder before you load."
    ]


def how_to_go_on(title: str, run: Run) -> str:
    """What to do about a run that was stopped."""
    return (
        f"{title}: run {run.key} was stopped. The same settings and run key go on from there, as does manage_runs "
        "with the action 'resume'."
    )
