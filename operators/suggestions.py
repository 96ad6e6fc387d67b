"""What forms propose: base models, and the variants a dataset holds."""

import fiftyone as fo

from busaug_core.base.defaults import MINI, STABLE_DIFFUSION

BASES = [MINI, STABLE_DIFFUSION]


def variants_of(dataset: fo.Dataset) -> list[str]:
    """The variants of the dataset's synthetic samples."""
    if dataset.get_field("variant") is None or dataset.get_field("origin") is None:
        return []
    return dataset.match({"origin": "synthetic"}).distinct("variant")
