"""The operator that loads BUSI, or simulated scans, as a new dataset."""

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.config import SIMULATED
from busaug_core.errors import UserError
from busaug_core.job import Run, runs_folder

from .appearance import tidy
from .form import Suggestions
from .job_operator import JobOperator
from .samples import declare_fields, insert_missing

INFO = "busaug"


class LoadBusi(JobOperator):
    """Makes a labelled and split dataset; it appears when all of it is loaded."""

    job_name = "load_busi"
    label = "load BUSI"
    icon = "download"
    main_fields = ("source", "dataset_name", "split", "images")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        return self.make_form(ctx, Suggestions(choices={"source": [SIMULATED]}))

    def add_controls(self, ctx: ExecutionContext, inputs: types.Object) -> None:
        """None: the job works on no dataset."""

    def dataset_name(self, ctx: ExecutionContext, values: dict[str, Any]) -> str:
        return self.config_class.parse(values).dataset_name

    def open_dataset(self, ctx: ExecutionContext, values: dict[str, Any]) -> None:
        name = self.dataset_name(ctx, values)
        folder = str(runs_folder(name) / values["run_key"])
        if fo.dataset_exists(name) and fo.load_dataset(name).info.get(INFO, {}).get("loaded_from") != folder:
            raise UserError(
                f"There is a dataset '{name}' already; choose another dataset_name, or delete it with "
                f'fo.delete_dataset("{name}").'
            )

    def store(self, ctx: ExecutionContext, dataset: None, run: Run) -> fo.Dataset:
        name = run.result["dataset"]
        if fo.dataset_exists(name):
            dataset = fo.load_dataset(name)
            insert_missing(dataset, run.products)
            return dataset
        dataset = fo.Dataset(name, persistent=True)
        try:
            dataset.info[INFO] = {"loaded_from": str(run.folder)}
            dataset.save()
            declare_fields(dataset)
            insert_missing(dataset, run.products)
            dataset.default_classes = sorted(run.result["counts"])
            dataset.save()
            tidy(dataset)
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
