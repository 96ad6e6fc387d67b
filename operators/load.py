"""The operators that load a set of images as a new dataset, or into the one at hand."""

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.data.config import FIRST_FOLD, FOLDERS, LOADS, OFFICIAL, SIMULATED
from busaug_core.jobs.runs import datasets_with
from busaug_core.words import counted

from .host.form import Suggestions
from .host.operator import JobOperator


class Load(JobOperator):
    """Makes a labelled dataset, which appears when all of it is loaded."""

    icon = "download"
    whole_dataset = True  # a copy may be of any image that is there

    def show(self, ctx: ExecutionContext, dataset: fo.Dataset, result: dict[str, Any]) -> Iterator[Any]:
        yield ctx.ops.open_dataset(dataset.name)
        yield ctx.ops.notify(f"{self.label}: {self.summarise(result)}", variant="success")

    def summarise(self, result: dict[str, Any]) -> str:
        counts = ", ".join(f"{n} {label or 'without a class'}" for label, n in result["counts"].items())
        return f"{counted(sum(result['counts'].values()), 'image')} ({counts})"


class LoadBusi(Load):
    """BUSI, or simulated scans in its place."""

    job_name = "load_busi"
    label = "load BUSI"
    main_fields = ("source", "dataset_name", "split", "images")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        return self.make_form(ctx, Suggestions(choices={"source": [SIMULATED]}))


class LoadExternal(Load):
    """Another published set, a folder a class, or images without classes."""

    job_name = "load_external"
    label = "load external set"
    main_fields = ("layout", "source", "dataset_name", "split")

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        splits = ["80-20", FOLDERS, OFFICIAL, FIRST_FOLD]
        return self.make_form(ctx, Suggestions(choices={"split": splits, "compare_with": datasets_with(LOADS)}))
