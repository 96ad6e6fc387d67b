"""Operators that measure: embeddings and Fréchet distances."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.features.extractors import (
    LITE0,
    NAMES,
    WIDTHS,
    default_extractor,
    inception_weights,
    refuse_unknown,
)
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.measure.rows import COLUMNS, REAL, overall, overall_distances

from .host.form import Suggestions
from .host.names import home_of
from .host.operator import JobOperator
from .host.suggestions import variants_of

OVERLAP = ("variant", "reference", "n", "coverage", "two_sample_accuracy", "note")


class Measurement(JobOperator):
    """What the operators that measure share."""

    main_fields = ("extractor", "variants", "reference")

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        choices = {"extractor": list(NAMES), "variants": variants_of(dataset)}
        return Suggestions(choices=choices, defaults={"extractor": default_extractor()})

    def remarks(self, ctx: ExecutionContext, config: JobConfig) -> Iterator[types.View]:
        """Whether there is such an extractor, and what takes the place of Inception where its weights are not here."""
        extractor = config.extractor
        try:
            refuse_unknown(extractor, Run(runs_folder(home_of(ctx.dataset)) / self.job_name))
        except UserError as problem:
            yield types.Warning(label=str(problem))
            return
        kind, _, place = extractor.partition(":")
        if inception_weights() is not None or (kind in WIDTHS and place):
            return
        if kind in WIDTHS:
            yield types.Warning(
                label="The Inception weights are not here",
                description="They are downloaded at the first use, or put where `check_setup` says. Without them name "
                f"another extractor, such as {LITE0}.",
            )
        else:
            yield types.Notice(
                label=f"Measured in the features of {extractor}",
                description="There are no Inception weights here, so no distance is an FID. `check_setup` says where "
                "they go.",
            )


class ComputeEmbeddings(Measurement):
    """Writes each sample's features and a UMAP for the Embeddings panel."""

    job_name = "compute_embeddings"
    label = "compute embeddings"
    icon = "scatter_plot"

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield from super().show(ctx, dataset, result)
        if result["overlap"]:
            outputs = types.Object()
            title = f"How the variants overlap with real images, in the features of {result['extractor']}"
            outputs.list("overlap", types.Object(), view=_table(OVERLAP), label=title)
            yield ctx.ops.show_output(types.Property(outputs).to_json(), {"overlap": _rows(result["overlap"])})

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
        from busaug_core.measure.report import sections

        yield from super().show(ctx, dataset, result)
        outputs = types.Object()
        plots = _plots(result)
        for name, plot in plots.items():
            outputs.plot(name, layout=plot["layout"], config={"displaylogo": False})
        title = f"Measured in the features of {result['extractor']}"
        outputs.list("rows", types.Object(), view=_table(COLUMNS), label=title)
        data: dict[str, Any] = {name: plot["data"] for name, plot in plots.items()}
        data["rows"] = _rows(result["rows"])
        for number, (title, lines) in enumerate(sections(result).items()):
            name = f"section_{number}"
            outputs.str(name, label=title, view=types.MarkdownView(read_only=True))
            data[name] = "\n".join(lines)
        yield ctx.ops.show_output(types.Property(outputs).to_json(), data)

    def summarise(self, result: dict[str, Any]) -> str:
        return ", ".join(f"{row['variant']} {row['value']:.1f}" for row in overall_distances(result))


def _table(columns: Iterable[str]) -> types.TableView:
    table = types.TableView()
    for key in columns:
        table.add_column(key, label=key.replace("_", " "))
    return table


def _rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: _short(v) for k, v in row.items()} for row in rows]


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
