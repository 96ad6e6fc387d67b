"""Runs of the core as FiftyOne knows them: custom runs of the same key, and entries of its queue."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.run import Run, make_folder, new_key, runs_folder

METHOD = "busaug/"


def reserve_key(job: str, dataset: str) -> str:
    """A new run key, taken by making its folder, so that two runs queued at once do not share one."""
    folder = runs_folder(dataset)
    make_folder(folder)
    while True:
        key = new_key(job, folder)
        try:
            (folder / key).mkdir()
        except FileExistsError:
            continue
        return key


def free_unused_key(folder: Path) -> None:
    """Remove a run's folder in which nothing was ever written."""
    with suppress(OSError):
        folder.rmdir()


def finished_runs(dataset: str, job: str) -> list[str]:
    """The keys of a dataset's finished runs of a job, newest first."""
    done = [run for run in _runs_of(dataset, job) if run.state == "done"]
    return [run.key for run in sorted(done, key=lambda run: run.folder.stat().st_mtime, reverse=True)]


def next_seed(dataset: str, job: str, first: int) -> int:
    """A seed that no run of the job has used, finished or not; `first` where there is no run."""
    return max((run.config["seed"] + 1 for run in _runs_of(dataset, job)), default=first)


def _runs_of(dataset: str, job: str) -> Iterator[Run]:
    for folder in runs_folder(dataset).glob("*"):
        run = Run(folder)
        with suppress(OSError, ValueError):
            if run.config["job"] == job:
                yield run


def is_mirrored(dataset: fo.Dataset, key: str) -> bool:
    """Whether the dataset holds the run's results already."""
    return dataset.has_run(key) and dataset.load_run_results(key) is not None


def register_run(dataset: fo.Dataset, key: str, job: str, config: dict[str, Any]) -> None:
    """Register a run that begins, with its settings; one of that key loses its results."""
    settings = {name: value for name, value in config.items() if name != "job"}
    dataset.register_run(key, dataset.init_run(method=METHOD + job, **settings), overwrite=True)


def save_results(dataset: fo.Dataset, key: str, result: dict[str, Any]) -> None:
    """Store a run's result, plain JSON, so that `dataset.load_run_results(key)` gives it."""
    results = dataset.init_run_results(key)
    for name, value in result.items():
        setattr(results, name, value)
    dataset.save_run_results(key, results, overwrite=True)


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
