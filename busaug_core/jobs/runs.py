"""The store of runs: where they lie, how they are named, which there are."""

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from busaug_core.errors import UserError
from busaug_core.files import make_folder
from busaug_core.jobs.run import Run
from busaug_core.paths import absolute
from busaug_core.records import Record, read_records

LONGEST = 200
"""Bytes of a folder's name; file systems take 255, and files written whole add to theirs."""
NAMED = 10
"""Datasets that a message names at most."""


def home() -> Path:
    """The folder of all runs: `$BUSAUG_HOME`, by default `~/fiftyone/busaug`."""
    return absolute(os.environ.get("BUSAUG_HOME") or "~/fiftyone/busaug")


def runs_folder(dataset: str, root: Path | None = None) -> Path:
    """The folder of a dataset's runs, `<home>/<dataset>/runs`, with characters no file system minds."""
    name = re.sub(r"[^\w.-]+", "-", dataset).strip(".-")
    if not name:
        raise UserError(f"The dataset's name {dataset!r} leaves no folder name; use letters or digits.")
    if len(name.encode()) > LONGEST:
        raise UserError(f"The dataset's name is too long for a folder of its runs ({len(name)} letters); shorten it.")
    return (root or home()) / name / "runs"


def run_of(dataset: str, key: str, root: Path | None = None) -> Run:
    """The run of that key; raises UserError where there is none."""
    runs = runs_folder(dataset, root)
    run = Run(runs / key)
    if run.state == "new" and not runs_in(runs):
        names = sorted(p.parent.name for p in (root or home()).glob("*/runs") if runs_in(p))
        there = ", ".join(names[:NAMED]) or "none yet"
        there += f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise UserError(f"There are no runs of a dataset '{dataset}' in {root or home()}; datasets there: {there}.")
    if run.state == "new":
        known = ", ".join(sorted(r.key for r in runs_in(runs))) or "none yet"
        raise UserError(f"There is no run '{key}' of dataset '{dataset}'; its runs: {known}.")
    return run


def list_runs(dataset: str, job: str | None = None, done: bool = False, root: Path | None = None) -> list[Run]:
    """The runs of a dataset that have begun, newest first: all, or those of a job, or those that are done."""
    return runs_in(runs_folder(dataset, root), job, done)


def runs_in(folder: Path, job: str | None = None, done: bool = False) -> list[Run]:
    """The runs in a folder that have begun; see `list_runs`."""
    found = []
    for path in folder.glob("*"):
        run = Run(path)
        with suppress(OSError, ValueError):  # a folder that goes meanwhile, or is no run's
            is_run = path.name.isidentifier() and run.job is not None
            if is_run and job in (None, run.job) and (not done or run.state == "done"):
                found.append((path.stat().st_mtime, path.name, run))
    return [run for *_, run in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def datasets_with(jobs: Iterable[str], root: Path | None = None) -> list[str]:
    """The datasets, by the name that their runs lie under, that have a finished run of one of the jobs."""
    folders = sorted(path for path in (root or home()).glob("*/runs"))
    return [path.parent.name for path in folders if any(runs_in(path, job, done=True) for job in jobs)]


def new_key(job: str, runs: Path) -> str:
    """A run key that is a Python identifier and not taken in the folder `runs`."""
    key = f"{job}_{time.strftime('%Y%m%d_%H%M%S')}"
    taken, n = key, 1
    while (runs / taken).exists():
        n += 1
        taken = f"{key}_{n}"
    return taken


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


def next_seed(dataset: str, job: str, first: int) -> int:
    """A seed that no run of the job has used, finished or not; `first` where there is no run."""
    return max((run.config["seed"] + 1 for run in list_runs(dataset, job)), default=first)


def gather(places: list[str], dataset: str, root: Path | None = None) -> list[Record]:
    """The records of runs and `.jsonl` files; where two know an image, such as an audit of it, the later one's.

    Raises UserError where a run is not done or made no images, or two have an image in different splits.
    """
    records: dict[str, Record] = {}
    for place in places:
        for record in _records_of(place, dataset, root):
            before = records.get(record.path, record)
            if before.splits != record.splits:
                raise UserError(f"{record.path} is in another split in '{place}'; name the runs of one split.")
            records[record.path] = record
    return list(records.values())


def _records_of(place: str, dataset: str, root: Path | None) -> list[Record]:
    if Path(place).is_file():
        return read_records(place)
    if Path(place).suffix or (Path(place).name != place and not Path(place).is_dir()):
        raise UserError(f"There is no file {absolute(place)}; name runs of the dataset, or .jsonl files of images.")
    run = run_of(dataset, place, root)
    if run.state != "done":
        raise UserError(f"Run '{place}' is {run.state}; call it again with its settings to finish it first.")
    if not run.products:
        raise UserError(f"Run '{place}' made no images; name runs such as those of load_busi and generate.")
    return run.products
