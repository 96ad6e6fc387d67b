"""The images of a dataset as the runs that loaded it have left them, where no FiftyOne tells."""

from pathlib import Path

from busaug_core.data.config import LOADS
from busaug_core.errors import UserError
from busaug_core.jobs.runs import datasets_with, list_runs
from busaug_core.records import Record


def loaded_images(dataset: str, root: Path | None = None) -> list[Record]:
    """All images that were loaded into a dataset, each as the last run that loaded it has left it.

    Raises UserError where nothing was loaded under that name.
    """
    loads = [run for run in list_runs(dataset, done=True, root=root) if run.job in LOADS]
    found = {record.path: record for load in reversed(loads) for record in load.products}
    if not found:
        here = ", ".join(datasets_with(LOADS, root)) or "none yet"
        raise UserError(f"No images were loaded as a dataset '{dataset}'; loaded here were {here}.")
    return list(found.values())
