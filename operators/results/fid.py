"""Results of `compute_fid`: each variant's Fréchet distance, on its samples."""

from collections.abc import Collection, Mapping
from typing import Any

import fiftyone as fo

from busaug_core.jobs.run import Run
from busaug_core.measure.rows import overall_distances
from busaug_core.records import Distance

from .ids import SampleIds
from .results import Results
from .values import Values


class Distances(Results):
    keeps_values = True

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        return ["distance"]

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        rows = {row["variant"]: row for row in overall_distances(run.result)}
        known = [r for r in run.records if r.synthetic and r.variant in rows]
        return {"distance": {id_: _document(run, rows[r.variant]) for r in known for id_ in ids.of(r)}}


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
