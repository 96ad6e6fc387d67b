"""A chain of runs: each has a key of its own, is reused when it is done, and gives its images to those that follow."""

from dataclasses import replace
from typing import Any

from busaug_core.experiment.config import RunExperiment
from busaug_core.jobs.events import Begun, Ended, Made, Steps
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.run import Run
from busaug_core.records import SPLITS, Record


class Chain:
    """The runs of an experiment, which lie beside its own.

    Those of the first fold land in the dataset, whose splits are that fold's. Those of the others stay in their
    folders: what learned from images that the dataset holds out has no place there.

    Attributes:
        keys, keys_apart: the keys of the runs so far that land, and of those that do not
        records: all images that those of the fold at hand have loaded or made
        fold: its number, from 1
    """

    def __init__(self, run: Run, config: RunExperiment, total: int):
        self.run, self.config, self.total = run, config, total
        self.keys: list[str] = []
        self.keys_apart: list[str] = []
        self.records: list[Record] = []
        self.fold, self._number = 1, 0

    def enter(self, fold: int, loaded: list[Record]) -> None:
        """Go on with a fold: its images validate, all others that were loaded train."""
        self.fold = fold
        if self.config.folds is None:
            self.records = loaded
            return
        self.records = []
        for record in loaded:
            split = SPLITS[1] if f"fold_{fold}" in record.tags else SPLITS[0]
            self.records.append(replace(record, tags=[split, *(tag for tag in record.tags if tag not in SPLITS)]))

    def call(
        self, title: str, job: Job, run_key: str, fixed: dict[str, Any] | None = None, **values: Any
    ) -> Steps[dict[str, Any]]:
        """Run a job on the images so far, or take its result where it is done; returns the result.

        The experiment's settings go before `values`, and `fixed` before both. Of another fold than the first the key
        ends in its number.
        """
        self._number += 1
        if self.config.folds is not None and self.records:
            title = f"Fold {self.fold} of {self.config.folds}: {title}"
        run_key = self.key(run_key)
        yield Begun(self._number, self.total, title, run_key)
        values = {**values, **self.config.settings.get(job.name, {}), **(fixed or {}), "run_key": run_key}
        given = self.records if job.takes_samples else []
        name, home = self.run.folder.parents[1].name, self.run.folder.parents[2]
        events = job.run(values, given, name, home)
        if self.fold > 1:
            events = (event for event in events if not isinstance(event, Made))
        result = yield from result_of(events)
        if self.fold == 1:
            self.keys.append(run_key)
            yield Ended(run_key)
        else:
            self.keys_apart.append(run_key)
        return result

    def apart(self, title: str, job: Job, run_key: str, records: list[Record], **values: Any) -> Steps[Run]:
        """Run a job on other records; its run, which is returned, does not land."""
        self._number += 1
        yield Begun(self._number, self.total, title, run_key)
        name, home = self.run.folder.parents[1].name, self.run.folder.parents[2]
        yield from result_of(job.run({**values, "run_key": run_key}, records, name, home))
        self.keys_apart.append(run_key)
        return Run(self.run.folder.parent / run_key)

    def key(self, run_key: str) -> str:
        """A run's key in the fold at hand."""
        return run_key if self.fold == 1 else f"{run_key}_fold{self.fold}"

    def make(self, title: str, job: Job, run_key: str, **values: Any) -> Steps[list[Record]]:
        """`call` a job that loads or makes images, which join the chain's; returns them."""
        yield from self.call(title, job, run_key, **values)
        made = self.sibling(run_key).products
        self.records = self.records + made
        return made

    def sibling(self, run_key: str) -> Run:
        """A run of the chain in the fold at hand."""
        return Run(self.run.folder.parent / self.key(run_key))
