"""Results of `score_synthetic`: scores of synthetic samples, and a view of the likeliest copies beside their scans."""

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from busaug_core.files import read_rows
from busaug_core.jobs.run import Run
from busaug_core.records import Scores

from .results import Results, delete_view
from .values import Values

COPIES = "likeliest copies"
PAIRS = 20


class ScoreResults(Results):
    uses_fields = True
    keeps_values = True

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        return {"scores": {ids[row["path"]]: _document(row, ids) for row in _rows(run) if row["path"] in ids}}

    def derived(self, run: Run) -> set[str]:
        return {COPIES}

    def derive(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> None:
        from busaug_core.measure.scores import copy_order, likely_original  # heavy

        copies_of: dict[str, list[str]] = {}
        rows = [row for row in _rows(run) if row["path"] in ids]
        for row in sorted(rows, key=copy_order)[:PAIRS]:
            if original := ids.get(likely_original(row)):
                copies_of.setdefault(original, []).append(ids[row["path"]])
        dataset.save_view(
            COPIES,
            dataset.select([id_ for original, made in copies_of.items() for id_ in (original, *made)], ordered=True),
            description="Training images, each followed by the synthetic ones nearest to it; likely copies first",
            overwrite=True,
        )

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        delete_view(dataset, COPIES)


def _rows(run: Run) -> list[dict[str, Any]]:
    """The run's scores; what an earlier version called otherwise, by its present name."""
    names = {"likest_real_path": "most_alike_real_path", "fid_influence": "influence"}
    return [{names.get(k, k): v for k, v in row.items()} for row in read_rows(run.folder / "scores.jsonl")]


def _document(row: dict[str, Any], ids: Mapping[str, str]) -> fo.DynamicEmbeddedDocument:
    """The scores of a row; the images that it names become samples."""
    kinds = ("nearest", "most_alike")
    real = {f"{kind}_real_id": ids.get(row.get(f"{kind}_real_path")) for kind in kinds}
    return fo.DynamicEmbeddedDocument(**Scores.from_json({**row, **real}).to_json())
