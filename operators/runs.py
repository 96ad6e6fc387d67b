"""Runs of the core as FiftyOne knows them: custom runs of the same key, and entries of its queue."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.splits import NAMES
from busaug_core.errors import UserError
from busaug_core.job import Run, make_folder, new_key, runs_folder

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
    found = []
    for folder in runs_folder(dataset).glob("*"):
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if config.get("job") == job and state.get("state") == "done":
            found.append((folder.stat().st_mtime, folder.name))
    return [name for _, name in sorted(found, reverse=True)]


def refuse_other_images(run: Run, dataset: fo.Dataset) -> None:
    """Raises UserError where a run was given real images that the dataset lacks, or has in other splits.

    So it is with the runs of a dataset that was deleted and loaded anew under its name.
    """
    present = dict(zip(*dataset.values(["filepath", "tags"]), strict=True))
    given = [r for r in run.records if not r.synthetic]
    known = [r for r in given if r.path in present]
    moved = [r for r in known if {*r.tags} & {*NAMES} != {*present[r.path]} & {*NAMES}]
    if moved or (given and not known):
        what = f"{len(moved)} images lie in other splits now" if moved else "the dataset holds none of its images"
        raise UserError(
            f"Run '{run.key}' was made from other data ({what}): perhaps of a deleted dataset of this name. Choose "
            f"another run_key, or delete {run.folder}."
        )


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
