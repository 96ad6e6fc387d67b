"""A chain of runs: each has a key of its own, is reused when it is done, and gives its images to those that follow."""

from typing import Any

from busaug_core.experiment.config import RunExperiment
from busaug_core.jobs.events import Begun, Ended, Steps
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.run import Run
from busaug_core.records import Record


class Chain:
    """The runs of an experiment, which lie beside its own.

    Attributes:
        keys: the keys of the runs so far
        records: all images that they have loaded or made
    """

    def __init__(self, run: Run, config: RunExperiment, total: int):
        self.run, self.config, self.total = run, config, total
        self.keys: list[str] = []
        self.records: list[Record] = []

    def call(
        self, title: str, job: Job, run_key: str, fixed: dict[str, Any] | None = None, **values: Any
    ) -> Steps[dict[str, Any]]:
        """Run a job on the images so far, or take its result where it is done; returns the result.

        The experiment's settings go before `values`, and `fixed` before both.
        """
        yield Begun(len(self.keys) + 1, self.total, title, run_key)
        values = {**values, **self.config.settings.get(job.name, {}), **(fixed or {}), "run_key": run_key}
        given = self.records if job.takes_samples else []
        name, home = self.run.folder.parents[1].name, self.run.folder.parents[2]
        result = yield from result_of(job.run(values, given, name, home))
        self.keys.append(run_key)
        yield Ended(run_key)
        return result

    def make(self, title: str, job: Job, run_key: str, **values: Any) -> Steps[list[Record]]:
        """`call` a job that loads or makes images, which join the chain's; returns them."""
        yield from self.call(title, job, run_key, **values)
        made = self.sibling(run_key).products
        self.records = self.records + made
        return made

    def sibling(self, run_key: str) -> Run:
        """A run of the chain."""
        return Run(self.run.folder.parent / run_key)
