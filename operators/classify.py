"""Operators that train a classifier and apply it."""

import json
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.run import Run

from .host import runs
from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import variants_of

ARCHITECTURES = ["resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16"]


class TrainClassifier(JobOperator):
    """Trains a classifier on the training split and chosen synthetic variants."""

    job_name = "train_classifier"
    label = "train classifier"
    icon = "school"
    main_fields = ("include", "preset", "arch", "epochs", "evaluate_on")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        return Suggestions(choices={"include": variants_of(dataset), "arch": ARCHITECTURES})

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{figures(result['metrics'])}, run {result['run_key']}"


class ApplyClassifier(JobOperator):
    """Writes a classifier's predictions and evaluates them on a split."""

    job_name = "apply_classifier"
    label = "apply classifier"
    icon = "fact_check"
    main_fields = ("classifier", "evaluate_on")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        keys = runs.finished_runs(dataset.name, "train_classifier")
        return Suggestions(choices={"classifier": keys}, defaults={"classifier": keys[0]} if keys else {})

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        from busaug_core.classify.apply import FILE  # heavy, and loaded by the job already

        key = run.result["classifier"]
        field = f"predictions_{key}"
        if dataset.get_field(field) is None:
            dataset.add_sample_field(
                field,
                fo.EmbeddedDocumentField,
                embedded_doc_type=fo.Classification,
                description=f"Prediction of {key}; its logits are those of {', '.join(run.result['classes'])}",
            )
        with (run.folder / FILE).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        present = set(dataset.values("filepath"))
        predictions = {row["path"]: _classification(row) for row in rows if row["path"] in present}
        dataset.set_values(field, predictions, key_field="filepath")
        eval_key = f"eval_{key}"
        if run.result.get("metrics"):
            held_out = dataset.match(F("filepath").is_in([row["path"] for row in rows if row["evaluated"]]))
            if dataset.has_evaluation(eval_key):
                dataset.delete_evaluation(eval_key)
            options = dict(gt_field="ground_truth", classes=run.result["classes"], progress=False)
            held_out.evaluate_classifications(field, eval_key=eval_key, **options)

    def summarise(self, result: dict[str, Any]) -> str:
        counted = f"{result['n']} predictions"
        return f"{counted}; {figures(result['metrics'])}" if result.get("metrics") else counted


def figures(metrics: dict[str, float]) -> str:
    """A classifier's figures in a few words."""
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))


def _classification(row: dict[str, Any]) -> fo.Classification:
    logits = np.asarray(row["logits"], dtype=np.float32)
    return fo.Classification(label=row["label"], confidence=row["confidence"], logits=logits)
