"""Results of `filter_synthetic`: the tag `rejected`, and a view of what is kept."""

import fiftyone as fo
from fiftyone import ViewField as F

from busaug_core.jobs.roles import REJECTED
from busaug_core.jobs.run import Run

from ..host.images import every_image
from .ids import SampleIds
from .results import Results, delete_own_view, save_own_view
from .values import TAGS, Values

KEPT = "kept synthetic"
ABOUT = "The synthetic images that no filter has rejected"


class FilterResults(Results):
    keeps_values = True

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        return {TAGS + REJECTED: {id_: REJECTED in r.tags for r in run.products for id_ in ids.of(r)}}

    def derived(self, run: Run) -> set[str]:
        return {KEPT}

    def derive(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> None:
        kept = every_image(dataset).match(F("origin") == "synthetic").match_tags(REJECTED, bool=False)
        save_own_view(dataset, KEPT, kept, ABOUT)

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        delete_own_view(dataset, KEPT, ABOUT)
