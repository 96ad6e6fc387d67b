"""The images of a dataset as the run that loaded it last left them, where no FiftyOne tells."""

from pathlib import Path

from busaug_core.data.config import LOADS
from busaug_core.errors import UserError
from busaug_core.jobs.runs import datasets_with, list_runs
from busaug_core.records import Record


def loaded_last(dataset: str, root: Path | None = None) -> list[Record]:
    """The images of the run that loaded a dataset last, or added to it; raises UserError where none did."""
    load = next((run for run in list_runs(dataset, done=True, root=root) if run.job in LOADS), None)
    if load is None:
        raise UserError(f"No run has loaded a dataset '{dataset}', but {loaded_here(root)}.")
    return load.products


def loaded_here(root: Path | None = None) -> str:
    """Which datasets were loaded, in words."""
    return f"loaded here were {', '.join(datasets_with(LOADS, root)) or 'none yet'}"
