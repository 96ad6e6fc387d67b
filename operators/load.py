"""The operators that load a set of images as a new dataset, or into the one at hand."""

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.config import FOLDERS, SIMULATED
from busaug_core.errors import UserError
from busaug_core.jobs.run import Run, runs_folder

from .audit import write_audit
from .host.appearance import tidy
from .host.form import Suggestions
from .host.operator import JobOperator
from .host.samples import declare_fields, insert_missing

INFO = "busaug"


class Load(JobOperator):
    """Makes a labelled dataset, which appears when all of it is loaded."""

    icon = "download"
    whole_dataset = True  # a copy may be of any image that is there
    writes_fields = True

    def dataset_name(self, ctx: ExecutionContext, values: dict[str, Any]) -> str:
        return self.config_class.parse(values).dataset_name or super().dataset_name(ctx, values)

    def open_dataset(self, ctx: ExecutionContext, values: dict[str, Any]) -> fo.Dataset | None:
        name = values.get("dataset_name") or self.config_class.model_fields["dataset_name"].default
        if name is None:
            return super().open_dataset(ctx, values)
        folder = str(runs_folder(name) / values["run_key"])
        if fo.dataset_exists(name) and fo.load_dataset(name).info.get(INFO, {}).get("loaded_from") != folder:
            raise UserError(
                f"There is a dataset '{name}' already; choose another dataset_name, or delete it with "
                f'fo.delete_dataset("{name}").'
            )
        return None

    def store(self, ctx: ExecutionContext, dataset: fo.Dataset | None, run: Run) -> fo.Dataset:
        """Make the dataset, or add the run's images to the one at hand."""
        name = run.result["dataset"]
        if dataset is None and fo.dataset_exists(name):
            dataset = fo.load_dataset(name)
            if not dataset.persistent:  # made by a load that was killed
                dataset.delete()
                dataset = None
        if dataset is not None:
            given = {r.path for r in run.records}
            insert_missing(dataset, (r for r in run.products if r.path not in given))
            return dataset
        dataset = fo.Dataset(name)
        try:
            dataset.info[INFO] = {"loaded_from": str(run.folder)}
            dataset.save()
            declare_fields(dataset)
            insert_missing(dataset, run.products)
            dataset.default_classes = sorted(run.result["counts"])
            dataset.save()
            tidy(dataset)
            dataset.persistent = True
        except BaseException:
            dataset.delete()
            raise
        return dataset

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield ctx.ops.open_dataset(dataset.name)
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")

    def summarise(self, result: dict[str, Any]) -> str:
        counts = ", ".join(f"{n} {label}" for label, n in result["counts"].items())
        return f"{sum(result['counts'].values())} images ({counts})"


class LoadBusi(Load):
    """BUSI, or simulated scans in its place."""

    job_name = "load_busi"
    label = "load BUSI"
    main_fields = ("source", "dataset_name", "split", "images")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        return self.make_form(ctx, Suggestions(choices={"source": [SIMULATED]}))


class LoadExternal(Load):
    """Another published set, or a folder a class."""

    job_name = "load_external"
    label = "load external set"
    main_fields = ("layout", "source", "dataset_name", "split")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        return self.make_form(ctx, Suggestions(choices={"split": ["80-20", FOLDERS]}))

    def write(self, ctx: ExecutionContext, dataset: fo.Dataset, run: Run) -> None:
        write_audit(dataset, run.products)
