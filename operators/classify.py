"""Operators that train a classifier and apply it."""

from collections.abc import Collection, Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.classify.config import OF_NETWORKS, OF_PROBES
from busaug_core.errors import UserError
from busaug_core.features.extractors import NAMES, PROBE, refuse_unknown
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.words import counted

from .host.form import Suggestions
from .host.names import home_of
from .host.operator import JobOperator
from .host.suggestions import remark_on_few, variants_of

ARCHITECTURES = [PROBE, "efficientnet_lite0", "resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16"]


class TrainClassifier(JobOperator):
    """Trains a classifier on the training split and chosen synthetic variants."""

    job_name = "train_classifier"
    label = "train classifier"
    icon = "school"
    main_fields = ("include", "preset", "arch", "extractor", "epochs", "resamples", "evaluate_on")

    def hidden_fields(self, params: dict[str, Any]) -> Collection[str]:
        return OF_NETWORKS if params.get("arch") == PROBE else OF_PROBES

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        choices = {"include": variants_of(dataset), "arch": ARCHITECTURES, "extractor": list(NAMES)}
        return Suggestions(choices=choices)

    def remarks(self, ctx: ExecutionContext, config: JobConfig) -> Iterator[types.View]:
        yield from remark_on_few(ctx.target_view(), config.label_field)
        try:
            if config.arch == PROBE:
                refuse_unknown(config.extractor, Run(runs_folder(home_of(ctx.dataset)) / self.job_name))
        except UserError as problem:
            yield types.Warning(label=str(problem))

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{in_words(result['metrics'])}, run {result['run_key']}"


class ApplyClassifier(JobOperator):
    """Writes a classifier's predictions and evaluates them on a split."""

    job_name = "apply_classifier"
    label = "apply classifier"
    icon = "fact_check"
    main_fields = ("classifier", "evaluate_on", "heatmaps")

    def summarise(self, result: dict[str, Any]) -> str:
        predictions = counted(result["n"], "prediction")
        return f"{predictions}; {in_words(result['metrics'])}" if result.get("metrics") else predictions


def in_words(metrics: dict[str, float]) -> str:
    """A classifier's metrics in a few words."""
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
