"""Operators that train a classifier and apply it."""

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.config import JobConfig

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import remark_on_few, variants_of

ARCHITECTURES = ["efficientnet_lite0", "resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16"]


class TrainClassifier(JobOperator):
    """Trains a classifier on the training split and chosen synthetic variants."""

    job_name = "train_classifier"
    label = "train classifier"
    icon = "school"
    main_fields = ("include", "preset", "arch", "epochs", "evaluate_on")

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        return Suggestions(choices={"include": variants_of(dataset), "arch": ARCHITECTURES})

    def remarks(self, ctx: ExecutionContext, config: JobConfig) -> Iterator[types.View]:
        yield from remark_on_few(ctx.target_view(), config.label_field)

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{in_words(result['metrics'])}, run {result['run_key']}"


class ApplyClassifier(JobOperator):
    """Writes a classifier's predictions and evaluates them on a split."""

    job_name = "apply_classifier"
    label = "apply classifier"
    icon = "fact_check"
    main_fields = ("classifier", "evaluate_on")

    def summarise(self, result: dict[str, Any]) -> str:
        counted = f"{result['n']} predictions"
        return f"{counted}; {in_words(result['metrics'])}" if result.get("metrics") else counted


def in_words(metrics: dict[str, float]) -> str:
    """A classifier's metrics in a few words."""
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
