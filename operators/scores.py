"""Operators that score synthetic samples and reject those that miss a threshold."""

import json
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run
from busaug_core.measure.thresholds import chosen, count

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.samples import read_samples
from .host.suggestions import real_classifiers, variants_of
from .measure import Measurement

COPIES = "likeliest copies"
KEPT = "kept synthetic"
PAIRS = 20


class ScoreSynthetic(Measurement):
    """Writes each synthetic sample's scores, and a view of the likeliest copies beside their nearest real scan."""

    job_name = "score_synthetic"
    label = "score synthetic"
    icon = "grade"
    main_fields = ("classifier", "extractor", "variants", "reference")
    writes_fields = True

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        suggestions = super().suggest(dataset)
        keys = real_classifiers(dataset)
        suggestions.choices["classifier"] = keys
        suggestions.defaults |= {"classifier": keys[0]} if keys else {}
        return suggestions

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        from busaug_core.measure.scores import FILE, suspected, suspicion  # heavy, and loaded by the job already

        ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
        with (run.folder / FILE).open(encoding="utf-8") as lines:
            rows = [row for row in map(json.loads, lines) if row["path"] in ids]
        documents: dict[str, fo.DynamicEmbeddedDocument] = {}
        copies_of: dict[str, list[str]] = {}
        for row in sorted(rows, key=suspicion):
            original = ids.get(suspected(row))
            path = row.pop("path")
            real = {f"{kind}_real_id": ids.get(row.pop(f"{kind}_real_path")) for kind in ("nearest", "likest")}
            known = {k: v for k, v in row.items() if v is not None}
            documents[path] = fo.DynamicEmbeddedDocument(**real, **known)
            if original and len(documents) <= PAIRS:
                copies_of.setdefault(original, []).append(ids[path])
        dataset.set_values("scores", documents, key_field="filepath")
        dataset.save_view(
            COPIES,
            dataset.select([id_ for original, made in copies_of.items() for id_ in (original, *made)], ordered=True),
            description="Training images, each followed by the synthetic ones nearest to it; likely copies first",
            overwrite=True,
        )

    def summarise(self, result: dict[str, Any]) -> str:
        means = ", ".join(f"{r['variant']} {r['class_consistent']:.0%}" for r in result["means"])
        return f"{result['n']} images; recognised as their class: {means}"


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
        "max_fid_influence",
        "count",
    )

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        return Suggestions(choices={"variants": variants_of(dataset)})

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        """A line for each variant of what would be kept at the thresholds so far."""
        try:
            config = self.config_class.parse(self._values(ctx.params))
            synthetic = ctx.target_view().match(F("origin") == "synthetic")
            rows = count(chosen(read_samples(synthetic), config), config)
        except UserError as problem:
            inputs.view(name, types.Notice(label=str(problem)))
            return
        for variant in dict.fromkeys(r["variant"] for r in rows):
            of_variant = [r for r in rows if r["variant"] == variant]
            counts = ", ".join(f"{r['class']} {r['kept']} of {r['kept'] + r['rejected']}" for r in of_variant)
            inputs.view(f"{name}_{variant}", types.Notice(label=f"{variant} keeps {counts}"))

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        rejected = {r.path for r in run.products if "rejected" in r.tags}
        chosen = dataset.match(F("filepath").is_in([r.path for r in run.products]))
        chosen.untag_samples("rejected")
        chosen.match(F("filepath").is_in(list(rejected))).tag_samples("rejected")
        kept = dataset.match(F("origin") == "synthetic").match_tags("rejected", bool=False)
        description = "The synthetic images that no filter has rejected"
        dataset.save_view(KEPT, kept, description=description, overwrite=True)

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield from super().show(ctx, dataset, result)
        yield ctx.ops.set_view(view=dataset.load_saved_view(KEPT))

    def summarise(self, result: dict[str, Any]) -> str:
        kept, rejected = (sum(r[name] for r in result["counts"]) for name in ("kept", "rejected"))
        return f"{kept} images kept, {rejected} rejected"
