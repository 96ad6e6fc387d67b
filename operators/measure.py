"""Operators that measure: embeddings and Fréchet distances."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.features.extractors import NAMES
from busaug_core.jobs.roles import synthetic_in_training
from busaug_core.jobs.run import Run
from busaug_core.measure.rows import COLUMNS, REAL, overall, overall_distances

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import variants_of


class Measurement(JobOperator):
    """What the operators that measure share."""

    main_fields = ("extractor", "variants", "reference")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        return Suggestions(choices={"extractor": list(NAMES), "variants": variants_of(dataset)})

    def offers(self, field: str, run: Run) -> bool:
        """Only classifiers that were trained on real images alone may score synthetic ones."""
        return not synthetic_in_training(run)


class ComputeEmbeddings(Measurement):
    """Writes each sample's features and a UMAP for the Embeddings panel."""

    job_name = "compute_embeddings"
    label = "compute embeddings"
    icon = "scatter_plot"

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{result['field']}, and its UMAP in the Embeddings panel"


class ComputeFid(Measurement):
    """Writes each variant's Fréchet distance on its samples and shows the table."""

    job_name = "compute_fid"
    label = "compute FID"
    icon = "straighten"

    def __call__(self, *args: Any, **config: Any) -> dict[str, Any]:
        """Run the job as every operator does, and print its table over all classes."""
        result = super().__call__(*args, **config)
        if result["state"] == "done":
            from busaug_core.measure.report import brief

            print("\n".join(brief(result, Path(result["folder"]))), flush=True)
        return result

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield from super().show(ctx, dataset, result)
        table = types.TableView()
        for key in COLUMNS:
            table.add_column(key, label=key)
        outputs = types.Object()
        plots = _plots(result)
        for name, plot in plots.items():
            outputs.plot(name, layout=plot["layout"], config={"displaylogo": False})
        outputs.list("rows", types.Object(), view=table, label=f"Measured in the features of {result['extractor']}")
        rows = [{k: _short(v) for k, v in r.items()} for r in result["rows"]]
        data = {name: plot["data"] for name, plot in plots.items()}
        yield ctx.ops.show_output(types.Property(outputs).to_json(), {**data, "rows": rows})

    def summarise(self, result: dict[str, Any]) -> str:
        return ", ".join(f"{row['variant']} {row['value']:.1f}" for row in overall_distances(result))


def _plots(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A Plotly figure for each metric that is told with an interval: a dot for each variant, the floor as a band."""
    plots: dict[str, dict[str, Any]] = {}
    rows = [r for r in overall(result) if r["low"] is not None and not r["metric"].startswith("speckle")]
    for number, metric in enumerate(dict.fromkeys(r["metric"] for r in rows)):
        variants = [r for r in rows if r["metric"] == metric and r["variant"] != REAL]
        floor = next((r for r in rows if r["metric"] == metric and r["variant"] == REAL), None)
        trace = {
            "type": "scatter",
            "mode": "markers",
            "x": [r["value"] for r in variants],
            "y": [r["variant"] for r in variants],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [r["high"] - r["value"] for r in variants],
                "arrayminus": [r["value"] - r["low"] for r in variants],
            },
        }
        # The App leaves a title no room above the plot.
        axis = {"title": {"text": metric}, "automargin": True}
        layout = {"xaxis": axis, "height": 140 + 30 * len(variants), "showlegend": False}
        if floor:
            layout["shapes"] = [
                {
                    "type": "rect",
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "x0": floor["low"],
                    "x1": floor["high"],
                    "fillcolor": "gray",
                    "opacity": 0.25,
                    "line": {"width": 0},
                }
            ]
        plots[f"plot_{number}"] = {"data": [trace], "layout": layout}
    return plots


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
