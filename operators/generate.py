"""The operator that generates synthetic samples."""

from collections.abc import Collection
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.base.components import COMPONENTS
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs, next_seed

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import BASES, prompts_for

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

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        counts = _training_counts(dataset)
        # The same seed would make the same images again.
        seed = next_seed(dataset.name, self.job_name, first=self.config_class.model_fields["seed"].default)
        defaults = {
            "balance_to": max(counts.values(), default=None),
            "ratio": 1.0,
            "counts": dict.fromkeys(counts, 10),
            "seed": seed,
            "prompts": {**prompts_for(dataset), **_learned_prompts(dataset.name)},
        }
        return Suggestions(choices={"base_model": BASES}, defaults=defaults)

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        if ctx.params.get("mode") != "evaluation":
            choice = types.RadioGroup()
            for amount, label in AMOUNTS.items():
                choice.add_choice(amount, label=label)
            inputs.enum(name, list(AMOUNTS), default=_amount({}), label="How many", view=choice)

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{result['images']} images, run {result['run_key']}"


def _amount(params: dict[str, Any]) -> str:
    """Which field says how many images to make: the chosen one, or else the one that is given."""
    return params.get("amount") or next((n for n in AMOUNTS if params.get(n) is not None), "balance_to")


def _training_counts(dataset: fo.Dataset) -> dict[str, int]:
    if dataset.get_field("ground_truth.label") is None:
        return {}
    training = dataset.match_tags(TRAIN)
    if dataset.get_field("origin") is not None:
        training = training.match({"origin": {"$ne": "synthetic"}})
    counts = training.count_values("ground_truth.label")
    return {label: counts[label] for label in sorted(counts.keys() - {None})}


def _learned_prompts(dataset: str) -> dict[str, str]:
    """The prompts that the newest LoRA was trained with."""
    loras: list[Run] = list_runs(dataset, "train_lora", done=True)
    return loras[0].config["prompts"] if loras else {}
