"""Results of `compute_fid`: each variant's Fréchet distance, on its samples."""

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from busaug_core.jobs.run import Run
from busaug_core.measure.rows import overall_distances
from busaug_core.records import Distance

from .results import Results
from .values import Values


class Distances(Results):
    uses_fields = True
    keeps_values = True

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        rows = {row["variant"]: row for row in overall_distances(run.result)}
        known = [r for r in run.records if r.synthetic and r.variant in rows and r.path in ids]
        return {"distance": {ids[r.path]: _document(run, rows[r.variant]) for r in known}}


def _document(run: Run, row: dict[str, Any]) -> fo.DynamicEmbeddedDocument:
    distance = Distance(
        metric=row["metric"],
        value=row["value"],
        n=row["n"],
        extractor=run.result["extractor"],
        reference=row["reference"],
        run=run.key,
    )
    return fo.DynamicEmbeddedDocument(**distance.to_json())
