"""Results of `generate`: a sample for each image."""

from pathlib import Path

import fiftyone as fo

from busaug_core.jobs.run import Run

from ..host.samples import insert_missing
from .overwritten import Overwritten
from .results import Results


class GeneratedSamples(Results):
    uses_fields = True
    inserts_live = True

    def insert(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        insert_missing(dataset, run.products)

    def remove_samples(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        dataset.delete_samples(own_samples(dataset, run))


def own_samples(dataset: fo.Dataset, run: Run) -> list[str]:
    """The ids of the samples whose file lies in the run's folder."""
    files = zip(*dataset.values(["id", "filepath"]), strict=True)
    return [id_ for id_, path in files if Path(path).is_relative_to(run.folder)]
