"""Results of `apply_classifier`: a field of predictions, and their evaluation where some are held out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import fiftyone as fo
import numpy as np

from busaug_core.jobs.run import Run

from ..host.fields import Declaration
from .results import Results
from .values import Values

if TYPE_CHECKING:
    from busaug_core.classify.predictions import Prediction


class Predictions(Results):
    keeps_values = True

    def fields(self, run: Run) -> Mapping[str, Declaration]:
        key = run.result["classifier"]
        description = f"Prediction of {key}; its logits are those of {', '.join(run.result['classes'])}"
        return {_field(run): (fo.EmbeddedDocumentField, dict(embedded_doc_type=fo.Classification), description)}

    def values(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> Values:
        found = [p for p in _read(run) if p.path in ids]
        return {_field(run): {ids[p.path]: _classification(p) for p in found}}

    def derived(self, run: Run) -> set[str]:
        return {_evaluation(run)} if run.result.get("metrics") else set()

    def derive(self, dataset: fo.Dataset, run: Run, ids: Mapping[str, str]) -> None:
        self.drop(dataset, run)
        evaluated = [ids[p.path] for p in _read(run) if p.evaluated and p.path in ids]
        if not evaluated:
            return
        options = dict(gt_field="ground_truth", classes=run.result["classes"], progress=False)
        dataset.select(evaluated).evaluate_classifications(_field(run), eval_key=_evaluation(run), **options)

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        if dataset.has_evaluation(_evaluation(run)):
            dataset.delete_evaluation(_evaluation(run))


def _field(run: Run) -> str:
    return f"predictions_{run.result['classifier']}"


def _evaluation(run: Run) -> str:
    return f"eval_{run.result['classifier']}"


def _read(run: Run) -> "list[Prediction]":
    from busaug_core.classify.predictions import read_predictions  # loads SciPy

    return read_predictions(run.folder)


def _classification(prediction: "Prediction") -> fo.Classification:
    logits = np.asarray(prediction.logits, dtype=np.float32)
    return fo.Classification(label=prediction.label, confidence=prediction.confidence, logits=logits)
