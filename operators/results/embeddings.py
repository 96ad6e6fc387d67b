"""Results of `compute_embeddings`: a vector field, and as brain runs its UMAP and an index of similar samples."""

import warnings
from collections.abc import Mapping

import fiftyone as fo
import numpy as np

from busaug_core.jobs.run import Run
from busaug_core.measure.config import FEATURES

from ..host.fields import Declaration
from ..host.images import every_image
from .ids import SampleIds
from .results import Results
from .values import Values

NEIGHBORS = 15
FEWEST = 5
"""Samples that a UMAP is made of."""


class Embeddings(Results):
    keeps_values = True

    def fields(self, run: Run) -> Mapping[str, Declaration]:
        description = f"Features of the extractor {run.result['extractor']}, float32"
        return {run.result["field"]: (fo.VectorField, {}, description)}

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        features = np.load(run.folder / FEATURES)
        rows = {id_: features[i] for i, record in enumerate(run.products) for id_ in ids.of(record)}
        return {run.result["field"]: rows}

    def derived(self, run: Run) -> set[str]:
        return {umap_key(run), similar_key(run)}

    def derive(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> None:
        """A UMAP of all vectors of the field, and their similarity by cosine."""
        import fiftyone.brain as fob

        self.drop(dataset, run)
        field = run.result["field"]
        view = every_image(dataset).exists(field)
        if len(view) < FEWEST:
            return
        fob.compute_similarity(view, embeddings=field, brain_key=similar_key(run), backend="sklearn", metric="cosine")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="n_jobs value 1 overridden")
            fob.compute_visualization(
                view,
                embeddings=field,
                method="umap",
                brain_key=umap_key(run),
                seed=run.config["seed"],
                verbose=False,
                num_neighbors=min(NEIGHBORS, len(view) - 2),
            )

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        for key in self.derived(run):
            if dataset.has_brain_run(key):
                dataset.delete_brain_run(key)


def umap_key(run: Run) -> str:
    """The key of the UMAP of a run's field."""
    return run.result["field"].replace("features_", "umap_", 1)


def similar_key(run: Run) -> str:
    """The key of the index that finds samples like one by a run's field."""
    return run.result["field"].replace("features_", "similar_", 1)
