"""Operators that score synthetic samples and reject those that miss a threshold."""

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.measure.config import FilterSynthetic as FilterConfig
from busaug_core.measure.thresholds import chosen, count
from busaug_core.words import counted

from .host.form import Suggestions
from .host.images import images_of
from .host.operator import JobOperator
from .host.samples import read_samples
from .host.suggestions import variants_of
from .measure import Measurement
from .results.filter import KEPT


class ScoreSynthetic(Measurement):
    """Writes each synthetic sample's scores, and a view of the likeliest copies beside their nearest real scan."""

    job_name = "score_synthetic"
    label = "score synthetic"
    icon = "grade"
    main_fields = ("classifier", "extractor", "variants", "reference")

    def summarise(self, result: dict[str, Any]) -> str:
        means = ", ".join(f"{r['variant']} {r['class_consistent']:.0%}" for r in result["means"])
        return f"{counted(result['n'], 'image')}; recognised as their class: {means}"


class FilterSynthetic(JobOperator):
    """Tags what misses a threshold as rejected and saves a view of what is kept."""

    job_name = "filter_synthetic"
    label = "filter synthetic"
    icon = "filter_alt"
    main_fields = (
        "variants",
        "class_consistent",
        "min_class_probability",
        "min_copy_ratio",
        "max_likeness",
        "min_realism",
        "max_herding",
        "max_influence",
    )

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        return Suggestions(choices={"variants": variants_of(dataset)})

    def remarks(self, ctx: ExecutionContext, config: FilterConfig) -> Iterator[types.View]:
        """A line for each variant of what would be kept at the thresholds so far."""
        try:
            synthetic = images_of(ctx.target_view()).match(F("origin") == "synthetic")
            rows = count(chosen(read_samples(synthetic, config.label_field), config), config)
        except UserError as problem:
            yield types.Notice(label=str(problem))
            return
        for variant in dict.fromkeys(r["variant"] for r in rows):
            of_variant = [r for r in rows if r["variant"] == variant]
            counts = ", ".join(f"{r['class']} {r['kept']} of {r['kept'] + r['rejected']}" for r in of_variant)
            yield types.Notice(label=f"{variant} keeps {counts}")

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield from super().show(ctx, dataset, result)
        if dataset.has_saved_view(KEPT):  # or the user has one that goes by that name
            yield ctx.ops.set_view(view=dataset.load_saved_view(KEPT))

    def summarise(self, result: dict[str, Any]) -> str:
        kept, rejected = (sum(r[name] for r in result["counts"]) for name in ("kept", "rejected"))
        return f"{counted(kept, 'image')} kept, {rejected} rejected"
