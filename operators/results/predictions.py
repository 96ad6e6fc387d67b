"""Results of the classifier jobs: a field of predictions, one of heat maps, and an evaluation where some are held out.

`train_classifier` predicts the held-out images alone, `apply_classifier` every image, in the same field.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
from fiftyone.operators.store import ExecutionStore

from busaug_core.classify.config import ATTENTION
from busaug_core.classify.config import PREDICTIONS as FILE
from busaug_core.files import read_rows
from busaug_core.jobs.run import Run

from ..host.classes import HEATMAPS, PREDICTIONS, is_classification, label_field_of
from ..host.fields import Declaration
from ..host.images import every_image
from .ids import SampleIds
from .results import Results
from .values import Values

if TYPE_CHECKING:
    from busaug_core.classify.predictions import Prediction

MACRO = {"f1": "F1", "ppv": "precision (PPV)", "recall": "recall", "specificity": "specificity", "auc": "AUC"}
"""The macro averages among a classifier's metrics, and what they are called."""
INDEXES = 40
"""So many indexes leave room for the user's own: MongoDB takes 64."""
PANEL = "model_evaluation_panel_builtin"
"""Where FiftyOne's panel of evaluations keeps its notes."""


class Predictions(Results):
    keeps_values = True

    def fields(self, run: Run) -> Mapping[str, Declaration]:
        if not _read(run):  # a classifier that an earlier version trained
            return {}
        key = _classifier(run)
        description = f"Prediction of {key}; its logits are those of {', '.join(run.result['classes'])}"
        declared = {_field(run): (fo.EmbeddedDocumentField, dict(embedded_doc_type=fo.Classification), description)}
        if _attention(run):
            about = f"Where what speaks for the class lies that {key} predicts, by Grad-CAM"
            declared[_map_field(run)] = (fo.EmbeddedDocumentField, dict(embedded_doc_type=fo.Heatmap), about)
        return declared

    def values(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> Values:
        found = {id_: _classification(p) for p in _read(run) for id_ in ids.of_file(p.path)}
        maps = {id_: _heatmap(run, row) for row in _attention(run) for id_ in ids.of_file(row["path"])}
        return {name: values for name, values in ((_field(run), found), (_map_field(run), maps)) if values}

    def derived(self, run: Run) -> set[str]:
        return {_evaluation(run)} if run.result.get("metrics") and _read(run) else set()

    def derive(self, dataset: fo.Dataset, run: Run, ids: SampleIds) -> None:
        """An evaluation of what is held out; FiftyOne makes none on a string field."""
        self.drop(dataset, run)
        evaluated = [id_ for p in _read(run) if p.evaluated for id_ in ids.of_file(p.path)]
        truth = label_field_of(run)
        if not evaluated or not is_classification(dataset.get_field(truth)):
            return
        options = dict(gt_field=truth, classes=run.result["classes"], progress=False)
        every_image(dataset).select(evaluated).evaluate_classifications(
            _field(run), eval_key=_evaluation(run), **options
        )
        _set_note(dataset, _evaluation(run), _explain(run))
        if len(dataset.list_indexes()) < INDEXES:
            dataset.create_index(f"{_field(run)}.label", wait=False)

    def drop(self, dataset: fo.Dataset, run: Run) -> None:
        dataset.drop_index(f"{_field(run)}.label")  # that of a deleted field would stay
        if dataset.has_evaluation(_evaluation(run)):
            _set_note(dataset, _evaluation(run), None)
            dataset.delete_evaluation(_evaluation(run))


def _classifier(run: Run) -> str:
    """What the run's classifier is called: as the run that trained it is here."""
    return run.result.get("classifier", run.key)


def _field(run: Run) -> str:
    return PREDICTIONS + _classifier(run)


def _map_field(run: Run) -> str:
    return HEATMAPS + _classifier(run)


def _evaluation(run: Run) -> str:
    return f"eval_{_classifier(run)}"


def _read(run: Run) -> "list[Prediction]":
    from busaug_core.classify.predictions import read_predictions  # loads SciPy

    return read_predictions(run.folder) if (run.folder / FILE).exists() else []


def _attention(run: Run) -> list[dict[str, Any]]:
    """What the run says of its heat maps; nothing where it drew none."""
    return read_rows(run.folder / ATTENTION) if (run.folder / ATTENTION).exists() else []


def _heatmap(run: Run, row: dict[str, Any]) -> fo.Heatmap:
    return fo.Heatmap(map_path=str(run.folder / row["heatmap"]), range=[0, 255])


def _classification(prediction: "Prediction") -> fo.Classification:
    logits = np.asarray(prediction.logits, dtype=np.float32)
    return fo.Classification(label=prediction.label, confidence=prediction.confidence, logits=logits)


def _explain(run: Run) -> str:
    """The run's own figures, and why the panel shows others."""
    metrics = run.result["metrics"]
    own = ", ".join(f"{label} {metrics[name]:.3f}" for name, label in MACRO.items() if metrics[name] is not None)
    return (
        f"Macro averages over the classes, as run {run.key} tells them: {own}. The precision, recall and F1 of the "
        "summary are micro averages over the images, which all equal the accuracy."
    )


def _set_note(dataset: fo.Dataset, key: str, text: str | None) -> None:
    """Set what the panel says of an evaluation, or take it away."""
    store = ExecutionStore.create(PANEL, dataset._doc.id)
    notes = store.get("notes") or {}
    notes[str(dataset._doc.evaluations[key].id)] = text
    store.set("notes", {id_: note for id_, note in notes.items() if note})
