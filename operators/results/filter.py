"""Results of `filter_synthetic`: the tag `rejected`, and a view of what is kept."""

from collections.abc import Mapping

import fiftyone as fo
from fiftyone import ViewField as F

from busaug_core.jobs.roles import REJECTED
from busaug_core.jobs.run import Run

from .results import Results, delete_view
from .values import TAGS, Values

KEPT = "kept synthetic"


class FilterResults(Results):
    keeps_values = True

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        chosen = [record for record in run.products if record.path in ids]
        return {TAGS + REJECTED: {ids[record.path]: REJECTED in record.tags for record in chosen}}

    def derived(self, run: Run) -> set[str]:
        return {KEPT}

    def derive(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> None:
        dataset.save_view(
            KEPT,
            dataset.match(F("origin") == "synthetic").match_tags(REJECTED, bool=False),
            description="The synthetic images that no filter has rejected",
            overwrite=True,
        )

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        delete_view(dataset, KEPT)
