"""What the results of a job's runs are in a dataset: the base of a file for each job."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import fiftyone as fo
from fiftyone.core.utils import to_slug

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run

from ..host.fields import Declaration
from .ids import SampleIds
from .overwritten import Overwritten
from .values import Values


class Results:
    """Nothing but the run itself, unless a subclass says more; all of it can be written again, and taken back."""

    inserts_live: ClassVar[bool] = False
    """Whether images become samples while the job still runs."""
    keeps_values: ClassVar[bool] = False
    """Whether values of samples are written, and what they overwrite is kept."""

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        """Those of the fields in `fields.all_fields` that a run of these settings writes, whatever it finds."""
        return ()

    def members(self, run: Run) -> list[Run]:
        """The runs of a chain, whose results are written first."""
        return []

    def open(self, dataset: fo.Dataset | None, run: Run) -> fo.Dataset:
        """The dataset that the run is written to; raises UserError where there is none."""
        if dataset is None:
            raise UserError(f"The results of {run.job} are written to a dataset; open or pass one.")
        return dataset

    def insert(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        """Add the samples that the run made and the dataset lacks."""

    def new_files(self, run: Run) -> list[str]:
        """The image files that become samples beside those that the run was given."""
        return []

    def fields(self, run: Run) -> Mapping[str, Declaration]:
        """The fields that are the run's own, beside those that `declare_fields` adds."""
        return {}

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        """The values of each field or tag; `ids` tells which samples the run's images are."""
        return {}

    def derived(self, run: Run) -> set[str]:
        """The names of what is made of the values: brain runs, evaluations, saved views."""
        return set()

    def derive(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> None:
        """Make what `derived` names, over what has these names."""

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        """Delete what `derived` names, where it is there."""

    def refuse_removal(self, dataset: fo.Dataset, run: Run) -> None:
        """Raises UserError where the run cannot be taken back from the dataset."""

    def remove_samples(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        """Delete the samples that the run made; no other, and no file."""


def save_own_view(dataset: fo.Dataset, name: str, view: fo.DatasetView, about: str) -> None:
    """Save a view anew, unless the user has one of that name; ours is known by its description, `about`."""
    delete_own_view(dataset, name, about)
    # FiftyOne takes two names for one that differ by capitals or signs alone.
    if to_slug(name) not in map(to_slug, dataset.list_saved_views()):
        dataset.save_view(name, view, description=about)


def delete_own_view(dataset: fo.Dataset, name: str, about: str) -> None:
    """Delete a saved view, where there is one and it is ours."""
    if dataset.has_saved_view(name) and dataset.get_saved_view_info(name)["description"] == about:
        dataset.delete_saved_view(name)
