"""Results of `compute_embeddings`: a vector field, and its UMAP as a brain run."""

import warnings
from collections.abc import Mapping

import fiftyone as fo
import numpy as np

from busaug_core.jobs.run import Run

from ..host.fields import Declaration
from .results import Results
from .values import Values

FILE = "features.npy"
NEIGHBORS = 15
FEWEST = 5
"""Samples that a UMAP is made of."""


class Embeddings(Results):
    keeps_values = True

    def fields(self, run: Run) -> Mapping[str, Declaration]:
        description = f"Features of the extractor {run.result['extractor']}, float32"
        return {run.result["field"]: (fo.VectorField, {}, description)}

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        features = np.load(run.folder / FILE)
        rows = {ids[record.path]: features[i] for i, record in enumerate(run.products) if record.path in ids}
        return {run.result["field"]: rows}

    def derived(self, run: Run) -> set[str]:
        return {umap_key(run)}

    def derive(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> None:
        """A UMAP of all vectors of the field."""
        import fiftyone.brain as fob

        self.drop(dataset, run)
        view = dataset.exists(run.result["field"])
        if len(view) < FEWEST:
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="n_jobs value 1 overridden")
            fob.compute_visualization(
                view,
                embeddings=run.result["field"],
                method="umap",
                brain_key=umap_key(run),
                seed=run.config["seed"],
                verbose=False,
                n_neighbors=min(NEIGHBORS, len(view) - 2),
            )

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        if dataset.has_brain_run(umap_key(run)):
            dataset.delete_brain_run(umap_key(run))


def umap_key(run: Run) -> str:
    """The key of the UMAP of a run's field."""
    return run.result["field"].replace("features_", "umap_", 1)
