"""Results of the jobs that load: a dataset, or samples of the one at hand and a new audit of those that it had."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo

from busaug_core.errors import UserError
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.run import Run

from ..host.appearance import tidy
from ..host.classes import label_field_of
from ..host.fields import all_fields, declare_fields
from ..host.images import every_image
from ..host.names import INFO, refuse_unusable_name
from ..host.samples import insert_missing
from .audit import FIELDS, audited
from .ids import SampleIds
from .overwritten import Overwritten
from .results import Results
from .values import Values


class LoadedSamples(Results):
    keeps_values = True

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        return [*FIELDS, "origin", "variant", "lesions", "source"]

    def open(self, dataset: fo.Dataset | None, run: Run) -> fo.Dataset:
        """The dataset at hand, or the one that the run has made or makes now."""
        name = run.result["dataset"]
        if dataset is not None or name is None:
            return super().open(dataset, run)
        refuse_taken_name(name, run.folder)
        if fo.dataset_exists(name):
            dataset = fo.load_dataset(name)
            if dataset.persistent:
                return dataset
            dataset.delete()  # made by a load that was killed
        return _make_dataset(name, run)

    def insert(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        new = set(self.new_files(run))
        if not is_made_by(dataset, run):
            kept.note(added=sorted(new.difference(every_image(dataset).values("filepath"))))
        insert_missing(dataset, (record for record in run.products if record.path in new), run)

    def new_files(self, run: Run) -> list[str]:
        given = {record.path for record in run.records}
        return [record.path for record in run.products if record.path not in given]

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        new = set(self.new_files(run))
        return audited((record for record in run.products if record.path not in new), ids)

    def refuse_removal(self, dataset: fo.Dataset, run: Run) -> None:
        if is_made_by(dataset, run):
            raise UserError(
                f"Run '{run.key}' made the dataset '{dataset.name}', so that it cannot be taken back from it; delete "
                f'the dataset instead: fo.delete_dataset("{dataset.name}").'
            )

    def remove_samples(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        ids = SampleIds(dataset, run)
        dataset.delete_samples([id_ for path in kept.added for id_ in ids.of_file(path)[:1]])


def is_made_by(dataset: fo.Dataset, run: Run) -> bool:
    """Whether the run has made the dataset."""
    return _maker(dataset) == str(run.folder)


def refuse_taken_name(name: str, folder: Path | None) -> None:
    """Raises UserError where FiftyOne takes no such name, or the run in the folder has not made the dataset of it.

    Where `folder` holds several runs, any of them may have made it.
    """
    refuse_unusable_name(name)
    maker = Path(_maker(fo.load_dataset(name)) or "/") if fo.dataset_exists(name) else None
    if maker is not None and folder not in (maker, maker.parent):
        raise UserError(
            f"There is a dataset '{name}' already; choose another dataset_name, or delete it with "
            f'fo.delete_dataset("{name}").'
        )


def _maker(dataset: fo.Dataset) -> str | None:
    return dataset.info.get(INFO, {}).get("loaded_from")


def _make_dataset(name: str, run: Run) -> fo.Dataset:
    """A dataset of the run's images; it is persistent when it is complete."""
    dataset = fo.Dataset(name)
    try:
        dataset.info[INFO] = {"loaded_from": str(run.folder)}
        dataset.save()
        declare_fields(dataset, {path.split(".")[0] for path in all_fields()} - {LABEL_FIELD})
        insert_missing(dataset, run.products, run)
        dataset.default_classes = sorted(filter(None, run.result["counts"]))
        dataset.save()
        tidy(dataset, label_field_of(run))
        dataset.persistent = True
    except BaseException:
        dataset.delete()
        raise
    return dataset
