"""Results of `score_synthetic`: scores of synthetic samples, and a view of the likeliest copies beside their scans."""

from collections.abc import Collection, Mapping
from typing import Any

import fiftyone as fo

from busaug_core.files import read_rows
from busaug_core.jobs.run import Run
from busaug_core.measure.config import SCORES
from busaug_core.records import Scores

from ..host.images import every_image
from .ids import SampleIds
from .results import Results, delete_own_view, save_own_view
from .values import Values

COPIES = "likeliest copies"
ABOUT = "Training images, each followed by the synthetic ones nearest to it; likely copies first"
PAIRS = 20


class ScoreResults(Results):
    keeps_values = True

    def writes(self, config: Mapping[str, Any]) -> Collection[str]:
        return ["scores"]

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        return {"scores": {id_: _document(row, ids) for row in _rows(run) for id_ in ids.of_file(row["path"])}}

    def derived(self, run: Run) -> set[str]:
        return {COPIES}

    def derive(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> None:
        from busaug_core.measure.scores import copy_order, likely_original  # heavy

        copies_of: dict[str, list[str]] = {}
        rows = [row for row in _rows(run) if ids.of_file(row["path"])]
        for row in sorted(rows, key=copy_order)[:PAIRS]:
            for original in ids.of_file(likely_original(row))[:1]:
                copies_of.setdefault(original, []).append(ids.of_file(row["path"])[0])
        chosen = [id_ for original, made in copies_of.items() for id_ in (original, *made)]
        save_own_view(dataset, COPIES, every_image(dataset).select(chosen, ordered=True), ABOUT)

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        delete_own_view(dataset, COPIES, ABOUT)


def _rows(run: Run) -> list[dict[str, Any]]:
    """The run's scores; what an earlier version called otherwise, by its present name."""
    names = {"likest_real_path": "most_alike_real_path", "fid_influence": "influence"}
    return [{names.get(k, k): v for k, v in row.items()} for row in read_rows(run.folder / SCORES)]


def _document(row: dict[str, Any], ids: SampleIds) -> fo.DynamicEmbeddedDocument:
    """The scores of a row; the images that it names become samples."""
    kinds = ("nearest", "most_alike")
    real = {f"{kind}_real_id": next(iter(ids.of_file(row.get(f"{kind}_real_path"))), None) for kind in kinds}
    return fo.DynamicEmbeddedDocument(**Scores.from_json({**row, **real}).to_json())
