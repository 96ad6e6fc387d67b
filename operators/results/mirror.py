"""A run as FiftyOne knows it: a custom run of the same key, with its settings and its result."""

from contextlib import suppress
from typing import Any

import fiftyone as fo

from busaug_core.jobs.run import Run

from ..host.names import note_home

METHOD = "busaug/"


def register(dataset: fo.Dataset, run: Run) -> None:
    """Register a run that has begun, with its settings; one of that key loses its results."""
    note_home(dataset)
    settings = {name: value for name, value in run.config.items() if name != "job"}
    dataset.register_run(run.key, dataset.init_run(method=METHOD + run.job, **settings), overwrite=True)


def save(dataset: fo.Dataset, run: Run) -> None:
    """Register a run that is done, with its result, so that `dataset.load_run_results(key)` gives it."""
    register(dataset, run)
    results = dataset.init_run_results(run.key)
    for name, value in run.result.items():
        setattr(results, name, value)
    dataset.save_run_results(run.key, results, overwrite=True)


def is_saved(dataset: fo.Dataset, run: Run) -> bool:
    """Whether the dataset holds the run's result."""
    return _folder(dataset, run) == str(run.folder)


def remove(dataset: fo.Dataset, run: Run) -> None:
    """Delete the custom run, unless it is that of another folder, as in a clone of the run's dataset."""
    if dataset.has_run(run.key) and _folder(dataset, run) in (None, str(run.folder)):
        dataset.delete_run(run.key)


def _folder(dataset: fo.Dataset, run: Run) -> Any:
    """The folder of the run that the dataset holds the result of under that key, None where it holds none."""
    if not dataset.has_run(run.key):
        return None
    results = None
    with suppress(ValueError):
        results = dataset.load_run_results(run.key)
    return getattr(results, "folder", None)
