"""Operators that measure: embeddings and Fréchet distances."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.run import Run

from .host.form import Suggestions
from .host.operator import JobOperator
from .host.suggestions import real_classifiers, variants_of

NEIGHBORS = 15
EXTRACTORS = ("inception", "dinov2", "clip", "torchvision:resnet50")


class Measurement(JobOperator):
    """What the operators that measure share."""

    main_fields = ("extractor", "variants", "reference")

    def suggest(self, dataset: fo.Dataset) -> Suggestions:
        extractors = [*EXTRACTORS, *real_classifiers(dataset)]
        return Suggestions(choices={"extractor": extractors, "variants": variants_of(dataset)})


class ComputeEmbeddings(Measurement):
    """Writes each sample's features and a UMAP for the Embeddings panel."""

    job_name = "compute_embeddings"
    label = "compute embeddings"
    icon = "scatter_plot"

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        from busaug_core.measure.embeddings import FILE  # heavy, and loaded by the job already

        features = np.load(run.folder / FILE)
        field = run.result["field"]
        if dataset.get_field(field) is None:
            description = f"Features of the extractor {run.result['extractor']}, float32"
            dataset.add_sample_field(field, fo.VectorField, description=description)
        ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
        rows = [(ids[r.path], i) for i, r in enumerate(run.products) if r.path in ids]
        dataset.set_values(field, {id_: features[i] for id_, i in rows}, key_field="id")
        _add_umap(dataset, field, run.config["seed"])

    def summarise(self, result: dict[str, Any]) -> str:
        return f"{result['field']}, and its UMAP in the Embeddings panel"


class ComputeFid(Measurement):
    """Writes each variant's Fréchet distance on its samples and shows the table."""

    job_name = "compute_fid"
    label = "compute FID"
    icon = "straighten"
    writes_fields = True

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        for row in overall_distances(run.result):
            document = fo.DynamicEmbeddedDocument(
                value=row["value"],
                n=row["n"],
                extractor=run.result["extractor"],
                reference=row["reference"],
                run=run.key,
            )
            view = dataset.match((F("origin") == "synthetic") & (F("variant") == row["variant"]))
            view.set_values("fid", [document] * len(view))

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
        for key in ("variant", "class", "reference", "metric", "n", "value", "low", "high", "note"):
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


def overall_distances(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that hold the Fréchet distance over all classes, among them the floor's (variant `real`)."""
    wanted = (result["metric"], result["reference"], "all")
    rows = [r for r in result["rows"] if (r["metric"], r["reference"], r["class"]) == wanted]
    return [r for r in rows if r["value"] is not None]


def _plots(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A Plotly figure for each metric that is told with an interval: a dot for each variant, the floor as a band."""
    plots: dict[str, dict[str, Any]] = {}
    rows = [r for r in result["rows"] if r["class"] == "all" and r["reference"] == result["reference"]]
    rows = [r for r in rows if r["low"] is not None and not r["metric"].startswith("speckle")]
    for number, metric in enumerate(dict.fromkeys(r["metric"] for r in rows)):
        variants = [r for r in rows if r["metric"] == metric and r["variant"] != "real"]
        floor = next((r for r in rows if r["metric"] == metric and r["variant"] == "real"), None)
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


def _add_umap(dataset: fo.Dataset, field: str, seed: int) -> None:
    """A UMAP of all vectors of a field as a brain run of the dataset; fewer than five samples have none."""
    import fiftyone.brain as fob

    key = field.replace("features_", "umap_", 1)
    view = dataset.exists(field)
    if dataset.has_brain_run(key):
        dataset.delete_brain_run(key)
    if len(view) < 5:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value 1 overridden")
        fob.compute_visualization(
            view,
            embeddings=field,
            method="umap",
            brain_key=key,
            seed=seed,
            verbose=False,
            n_neighbors=min(NEIGHBORS, len(view) - 2),
        )
