"""Results of `generate`: a sample for each image."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo

from busaug_core.base.components import COMPONENTS
from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.run import Run

from ..host.images import every_image
from ..host.samples import insert_missing
from .overwritten import Overwritten
from .results import Results


class GeneratedSamples(Results):
    inserts_live = True

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        takers = {c.field for c in COMPONENTS.values() if c.takes_mask}
        masked = any(takers & RECIPES[slug].components for slug in config.get("variants") or () if slug in RECIPES)
        return ["origin", "variant", "pair", "synthesis", *(["lesions"] if masked else [])]

    def insert(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        insert_missing(dataset, run.products, run)

    def remove_samples(self, dataset: fo.Dataset, run: Run, kept: Overwritten) -> None:
        dataset.delete_samples(own_samples(dataset, run))


def own_samples(dataset: fo.Dataset, run: Run) -> list[str]:
    """The ids of the samples whose file lies in the run's folder."""
    files = zip(*every_image(dataset).values(["id", "filepath"]), strict=True)
    return [id_ for id_, path in files if Path(path).is_relative_to(run.folder)]
