"""The operator that generates synthetic samples."""

from collections.abc import Collection, Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.base.components import COMPONENTS
from busaug_core.errors import UserError
from busaug_core.generate.config import Generation
from busaug_core.generate.pace import expected_seconds
from busaug_core.generate.plan import class_counts
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.runs import list_runs, next_seed
from busaug_core.prompts import MODALITY
from busaug_core.words import counted, lasting

from .host.form import Suggestions
from .host.names import home_of
from .host.operator import JobOperator
from .host.suggestions import BASES, prompts_for, split_counts

AMOUNTS = {
    "balance_to": "Fill each class up to a number",
    "ratio": "A share of the training samples",
    "counts": "A number for each class",
}


class Generate(JobOperator):
    """Generates variants × classes; the samples appear as they are made."""

    job_name = "generate"
    label = "generate"
    icon = "auto_awesome"
    starts_with_newest = True

    @property
    def main_fields(self) -> tuple[str, ...]:
        return ("base_model", *COMPONENTS, "variants", "mode", "amount", *AMOUNTS, "reference", "seed")

    def hidden_fields(self, params: dict[str, Any]) -> Collection[str]:
        if params.get("mode") == "evaluation":
            return tuple(AMOUNTS)
        return ("reference", *(name for name in AMOUNTS if name != _amount(params)))

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        counts = split_counts(dataset, TRAIN, label_field)
        # The same seed would make the same images again.
        seed = next_seed(home_of(dataset), self.job_name, first=self.config_class.model_fields["seed"].default)
        loras = list_runs(home_of(dataset), "train_lora", done=True)
        learned = loras[0].config if loras else {}
        defaults = {
            "balance_to": max(counts.values(), default=None),
            "ratio": 1.0,
            "counts": dict.fromkeys(counts, 10),
            "seed": seed,
            "prompts": prompts_for(dataset, label_field, learned.get("prompts", {})),
            "modality": learned.get("modality", MODALITY),
        }
        return Suggestions(choices={"base_model": BASES}, defaults=defaults)

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        if ctx.params.get("mode") != "evaluation":
            choice = types.RadioGroup()
            for amount, label in AMOUNTS.items():
                choice.add_choice(amount, label=label)
            inputs.enum(name, list(AMOUNTS), default=_amount({}), label="How many", view=choice)

    def remarks(self, ctx: ExecutionContext, config: Generation) -> Iterator[types.View]:
        """How many images the run will make, and how long it may take."""
        view = ctx.target_view()
        try:
            counts = class_counts(config, lambda split: split_counts(view, split, config.label_field))
        except UserError as problem:
            yield types.Warning(label=str(problem))
            return
        each, variants = sum(counts.values()), len(config.variants)
        told = ", ".join(f"{n} {label}" for label, n in counts.items())
        told += f", of each of {variants} variants" if variants > 1 else ""
        seconds = expected_seconds(config, each, home_of(ctx.dataset))
        yield types.Notice(
            label=f"Will make {counted(each * variants, 'image')}: {told}",
            description=f"About {lasting(seconds)}, by the runs before."
            if seconds
            else "No run on this base tells yet how long that takes.",
        )

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield from super().show(ctx, dataset, result)
        yield ctx.ops.set_view(view=dataset.match({"synthesis.run": result["run_key"]}))

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{counted(result['images'], 'image')}, run {result['run_key']}"


def _amount(params: dict[str, Any]) -> str:
    """Which field says how many images to make: the chosen one, or else the one that is given."""
    return params.get("amount") or next((n for n in AMOUNTS if params.get(n) is not None), "balance_to")
