"""The operator that generates synthetic samples."""

import time
from collections.abc import Collection, Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.events import Made, Progress
from busaug_core.jobs.run import Run, runs_folder
from busaug_core.records import Record

from .host import runs
from .host.form import Suggestions
from .host.operator import JobOperator
from .host.samples import insert_missing
from .host.suggestions import BASES, prompts_for

AMOUNTS = {
    "balance_to": "Fill each class up to a number",
    "ratio": "A share of the training samples",
    "counts": "A number for each class",
}
INTERVAL = 2.0


class Generate(JobOperator):
    """Generates variants × classes; the samples appear as they are made."""

    job_name = "generate"
    label = "generate"
    icon = "auto_awesome"
    main_fields = ("base_model", "lora", "token", "variants", "mode", "amount", *AMOUNTS, "reference", "seed")
    writes_fields = True

    def hidden_fields(self, params: dict[str, Any]) -> Collection[str]:
        if params.get("mode") == "evaluation":
            return tuple(AMOUNTS)
        return ("reference", *(name for name in AMOUNTS if name != _amount(params)))

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        loras = runs.finished_runs(dataset.name, "train_lora")
        tokens = runs.finished_runs(dataset.name, "train_textual_inversion")
        counts = _training_counts(dataset)
        defaults: dict[str, Any] = {"balance_to": max(counts.values(), default=None), "ratio": 1.0}
        defaults["counts"] = dict.fromkeys(counts, 10)
        # The same seed would make the same images again.
        defaults["seed"] = runs.next_seed(
            dataset.name, self.job_name, first=self.config_class.model_fields["seed"].default
        )
        defaults |= {name: keys[0] for name, keys in (("lora", loras), ("token", tokens)) if keys}
        learned = Run(runs_folder(dataset.name) / loras[0]).config["prompts"] if loras else {}
        defaults["prompts"] = {**prompts_for(dataset), **learned}
        return Suggestions(choices={"base_model": BASES, "lora": loras, "token": tokens}, defaults=defaults)

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        if ctx.params.get("mode") != "evaluation":
            choice = types.RadioGroup()
            for amount, label in AMOUNTS.items():
                choice.add_choice(amount, label=label)
            inputs.enum(name, list(AMOUNTS), default=_amount({}), label="How many", view=choice)

    def watch(self, ctx: ExecutionContext, dataset: fo.Dataset) -> "LiveInsertion":
        return LiveInsertion(ctx, dataset)

    def store(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> fo.Dataset:
        insert_missing(dataset, run.products)
        return dataset

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{result['images']} images, run {result['run_key']}"


class LiveInsertion:
    """Inserts the images of a running job every few seconds and has the App show them."""

    def __init__(self, ctx: ExecutionContext, dataset: fo.Dataset):
        self.ctx, self.dataset = ctx, dataset
        self.waiting: list[Record] = []
        self.inserted_at = 0.0

    def receive(self, event: Made | Progress) -> Iterator[Any]:
        """Take in an event; yields what the App is to be sent."""
        if isinstance(event, Made):
            self.waiting.append(event.record)
        elif self.waiting and time.monotonic() - self.inserted_at > INTERVAL:
            insert_missing(self.dataset, self.waiting)
            self.waiting = []
            yield self.ctx.ops.reload_samples() if self.inserted_at else self.ctx.ops.reload_dataset()
            self.inserted_at = time.monotonic()


def _amount(params: dict[str, Any]) -> str:
    """Which field says how many images to make: the chosen one, or else the one that is given."""
    return params.get("amount") or next((n for n in AMOUNTS if params.get(n) is not None), "balance_to")


def _training_counts(dataset: fo.Dataset) -> dict[str, int]:
    if dataset.get_field("ground_truth.label") is None:
        return {}
    counts = dataset.match_tags("train").count_values("ground_truth.label")
    return {label: counts[label] for label in sorted(counts.keys() - {None})}
