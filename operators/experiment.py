"""The operator that runs an experiment end to end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.config import LOADS, SIMULATED
from busaug_core.experiment.arms import FILTERED, TREATMENTS
from busaug_core.generate.recipes import RECIPES
from busaug_core.jobs.runs import datasets_with

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.pictures import address_of
from .host.suggestions import BASES

EXAMPLES = ("sd@100%", "sd+filtered", "sd@100%+alone", "best@100%", "best+filtered", "best+confidence")
"""Arms that show how others are written."""


class RunExperiment(JobOperator):
    """Loads, trains, generates, classifies and measures, for an arm of real images alone and others."""

    job_name = "run_experiment"
    label = "run experiment"
    icon = "science"
    main_fields = ("preset", "source", "dataset_name", "base_model", "arms", "folds")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        choices = {"source": [SIMULATED], "base_model": BASES, "arms": [*RECIPES, *TREATMENTS, FILTERED, *EXAMPLES]}
        choices["candidates"] = [*RECIPES, "sd@50%", "sd@100%"]
        choices["external"] = datasets_with(LOADS)
        return self.make_form(ctx, Suggestions(choices=choices))

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield ctx.ops.open_dataset(dataset.name)
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")
        outputs = types.Object()
        values = self.add_results(outputs, result)
        yield ctx.ops.show_output(types.Property(outputs).to_json(), values)

    def add_results(self, outputs: types.Object, result: dict[str, Any]) -> dict[str, Any]:
        outputs.str("table", label="Results", view=types.MarkdownView(read_only=True))
        report, told = Path(result["results"]) / "report.html", list(result["table"])
        if report.exists():  # an earlier version wrote none
            told = [f"[The whole report, to read, send or print]({address_of(report)})", "", *told]
        return {"table": "\n".join(told)}

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{len(result['runs'])} runs; the report lies in {result['results']}"
