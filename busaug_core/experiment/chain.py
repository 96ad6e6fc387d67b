"""A chain of runs: each has a key of its own, is reused when it is done, and gives its images to those that follow."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from busaug_core.errors import UserError
from busaug_core.experiment.arms import HELD_OUT
from busaug_core.experiment.config import RunExperiment
from busaug_core.experiment.plan import Pace
from busaug_core.generate.config import GENERATE
from busaug_core.jobs.events import Begun, Ended, Event, Made, Notice, Steps
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.processes import Workers, free_first, wait_and_take
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.run import Run
from busaug_core.records import SPLITS, Record

K, T = TypeVar("K"), TypeVar("T")


class Chain:
    """The runs of an experiment, which lie beside its own.

    Those of the first fold land in the dataset, whose splits are that fold's. Those of the others stay in their
    folders: what learned from images that the dataset holds out has no place there.

    Several workers may go through the same chain at once: each has every run of it in the end, and waits for those
    that another is at.

    Attributes:
        keys, keys_apart: the keys of the runs so far that land, and of those that do not
        records: all images that those of the fold at hand have loaded or made
        fold: its number, from 1; None before and after the folds
    """

    def __init__(self, run: Run, config: RunExperiment, runs: Counter[str]):
        """`runs` says how many of each job there will be."""
        self.run, self.config, self.total = run, config, runs.total()
        self.pace = Pace(runs)
        self.keys: list[str] = []
        self.keys_apart: list[str] = []
        self.records: list[Record] = []
        self.fold: int | None = None
        self._number = 0
        self._told: set[str] = set()

    def leave(self) -> None:
        """Go on with what is of no fold."""
        self.fold = None

    def enter(self, fold: int, loaded: list[Record]) -> None:
        """Go on with a fold: its images validate, all others that were loaded train."""
        self.fold = fold
        if self.config.folds is None:
            self.records = loaded
            return
        self.records = []
        for record in loaded:
            split = HELD_OUT if f"fold_{fold}" in record.tags else TRAIN
            self.records.append(replace(record, tags=[split, *(tag for tag in record.tags if tag not in SPLITS)]))

    def call(
        self,
        title: str,
        job: Job,
        run_key: str,
        fixed: dict[str, Any] | None = None,
        records: list[Record] | None = None,
        **values: Any,
    ) -> Steps[Run]:
        """Run a job on the images so far, or on some of them, or take what it did before; returns its run.

        The experiment's settings go before `values`, and `fixed` before both. The key is followed by the number of a
        fold but the first.
        """
        return (yield from self._work(title, job, run_key, values, fixed or {}, records, self.fold in (None, 1)))

    def apart(
        self,
        title: str,
        job: Job,
        run_key: str,
        records: list[Record],
        values: dict[str, Any] | None = None,
        with_settings: bool = True,
        **fixed: Any,
    ) -> Steps[Run]:
        """`call` a job on other records; its run, which is returned, does not land.

        With `with_settings=False` the experiment's settings are of other runs of the job than this.
        """
        return (yield from self._work(title, job, run_key, values or {}, fixed, records, False, with_settings))

    def each(self, stage: str, names: Iterable[K], work: Callable[[K], Steps[T]]) -> Steps[dict[K, T]]:
        """Do `work` for names that do not need one another, those first that no other worker is at; by name.

        `stage` is what they are called together, in the fold at hand.
        """
        names, done = list(names), {}
        with closing(free_first(self._locks / self._key(stage), names)) as free:
            for name in free:
                done[name] = yield from work(name)
        return {name: done[name] for name in names}

    def skip(self, job: Job) -> None:
        """Go on with a run less of a job than there were to be."""
        self.total -= 1
        self.pace.ended(job.name, None)

    def make(
        self,
        title: str,
        job: Job,
        run_key: str,
        fixed: dict[str, Any] | None = None,
        records: list[Record] | None = None,
        **values: Any,
    ) -> Steps[list[Record]]:
        """`call` a job that loads or makes images, which join the chain's; returns them."""
        run = yield from self.call(title, job, run_key, fixed, records, **values)
        self.records = self.records + run.products
        return run.products

    @property
    def _is_alone(self) -> bool:
        """Whether no other works on the experiment."""
        workers = Workers(self.run.folder)
        with workers.alone():
            return workers.count() < 2

    @property
    def _locks(self) -> Path:
        return self.run.folder / "turns"

    def _key(self, run_key: str) -> str:
        """A run's key in the fold at hand."""
        return run_key if self.fold in (None, 1) else f"{run_key}_fold{self.fold}"

    def _work(
        self,
        title: str,
        job: Job,
        run_key: str,
        values: dict[str, Any],
        fixed: dict[str, Any],
        records: list[Record] | None,
        lands: bool,
        with_settings: bool = True,
    ) -> Steps[Run]:
        if self.fold is not None and self.config.folds is not None:
            title = f"Fold {self.fold} of {self.config.folds}: {title}"
        given = (self.records if records is None else records) if job.takes_samples else []
        values = {**values, **(self.config.settings.get(job.name, {}) if with_settings else {}), **fixed}
        wanted = self._key(run_key)
        with nullcontext() if job.shared else (yield from self._turn(wanted)):
            run, values = self._run_of(job, wanted, values, given)
            self._number += 1
            is_done = run.state == "done"
            # How much of it others will have done nobody knows.
            if self._is_alone and (outlook := self.pace.outlook()):
                title = f"{title} ({outlook})"
            # Runs of the best variant may be there already, or be needed beside those of the plan.
            self.total = max(self.total, self._number)
            yield Begun(self._number, self.total, title, run.key)
            if run.state == "new" and run.key != wanted:
                yield Notice(f"'{wanted}' has other settings or other images; '{run.key}' is made beside it.")
            began, home = time.monotonic(), self.run.folder.parents[1]
            with closing(job.run({**values, "run_key": run.key}, given, home.name, home.parent)) as events:
                yield from result_of(self._to_tell(events, lands))
        self.pace.ended(job.name, None if is_done else time.monotonic() - began)
        (self.keys if lands else self.keys_apart).append(run.key)
        if lands:
            yield Ended(run.key)
        return run

    def _turn(self, run_key: str) -> Steps[AbstractContextManager[Any]]:
        """Wait for the worker that is at a run, if there is one; returns the block in which no other is."""
        return wait_and_take(self._locks / f"{run_key}.lock", f"Waiting for another worker, which is at {run_key}")

    def _to_tell(self, events: Iterator[Event], lands: bool) -> Iterator[Event]:
        """The events of a run, without images that do not land, and without notices that an earlier one gave."""
        for event in events:
            if isinstance(event, Made) and not lands:
                continue
            if isinstance(event, Notice):
                if event.message in self._told:
                    continue
                self._told.add(event.message)
            yield event

    def _run_of(
        self, job: Job, run_key: str, values: dict[str, Any], records: list[Record]
    ) -> tuple[Run, dict[str, Any]]:
        """The run with these settings and images, or a new one, whose key ends in a number where another has it.

        Returns its settings too: images that a further run makes have other seeds than the first one's, lest the
        dataset hold them twice. Raises UserError where the dataset was loaded otherwise.
        """
        for number in count(1):
            run = self.run.sibling(run_key if number == 1 else f"{run_key}_{number}")
            own = dict(values)
            if job is GENERATE and number > 1 and not self._sets_seed(values):
                seed = values.get("seed", job.config_class().model_fields["seed"].default)
                own["seed"] = seed + number - 1
            if run.state == "new" or job.fits(run, {**own, "run_key": run.key}, records):
                return run, own
            if job.makes_dataset and not _is_dropped(run, job):
                raise UserError(
                    f"The dataset '{self.config.dataset_name}' was loaded with other settings, such as its source, "
                    "folds or number of images; choose another dataset_name for this experiment."
                )
            if job.makes_dataset:
                return run, own

    def _sets_seed(self, values: dict[str, Any]) -> bool:
        """Whether the seed of images is that of the experiment's settings."""
        given = self.config.settings.get(GENERATE.name, {}).get("seed")
        return given is not None and values.get("seed") == given


def _is_dropped(run: Run, job: Job) -> bool:
    """Remove a run of a job that never came to its end, unless another works on it; returns whether it was removed."""
    workers = Workers(run.folder)
    if run.has_result or run.job != job.name or not workers.join(alone=True):
        return False
    shutil.rmtree(run.folder)
    workers.leave()
    return True
