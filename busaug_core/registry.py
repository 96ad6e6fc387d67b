"""The list of jobs: where each one's config and code lie. Importing this file loads neither."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Event
from busaug_core.jobs.run import execute
from busaug_core.records import Record


@dataclass(frozen=True)
class Job:
    """A job by name; `config` and `function` are `module:name`, imported on use.

    A `distributed` job shares its work among the processes of `accelerate launch`; one that needs no classes takes
    images without one too.
    """

    name: str
    config: str
    function: str
    distributed: bool = False
    needs_classes: bool = True

    def config_class(self) -> type[JobConfig]:
        """The config's class; needs no torch."""
        return _import(self.config)

    def run(
        self, values: dict[str, Any], records: list[Record], dataset: str, root: Path | None = None
    ) -> Iterator[Event]:
        """Validate `values` and run the job; see `busaug_core.jobs.run.execute`."""
        config = self.config_class().parse(values)
        function = _import(self.function)
        return execute(self.name, function, config, records, dataset, root, self.distributed, self.needs_classes)


def _import(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


JOBS = {
    job.name: job
    for job in (
        Job("load_busi", "busaug_core.data.config:LoadBusi", "busaug_core.data.load:load_busi"),
        Job(
            "load_external",
            "busaug_core.data.config:LoadExternal",
            "busaug_core.data.load:load_external",
            needs_classes=False,
        ),
        Job("audit", "busaug_core.data.config:Audit", "busaug_core.data.audit.audit:audit", needs_classes=False),
        Job("train_lora", "busaug_core.train.config:Lora", "busaug_core.train.lora:train_lora", distributed=True),
        Job(
            "train_textual_inversion",
            "busaug_core.train.config:TextualInversion",
            "busaug_core.train.textual_inversion:train_textual_inversion",
            distributed=True,
        ),
        Job("generate", "busaug_core.generate.config:Generate", "busaug_core.generate.generate:generate"),
        Job(
            "compute_embeddings",
            "busaug_core.measure.config:ComputeEmbeddings",
            "busaug_core.measure.embeddings:compute_embeddings",
            distributed=True,
        ),
        Job(
            "compute_fid",
            "busaug_core.measure.config:ComputeFid",
            "busaug_core.measure.fid:compute_fid",
            distributed=True,
        ),
        Job(
            "score_synthetic",
            "busaug_core.measure.config:ScoreSynthetic",
            "busaug_core.measure.scores:score_synthetic",
            distributed=True,
        ),
        Job(
            "filter_synthetic",
            "busaug_core.measure.config:FilterSynthetic",
            "busaug_core.measure.filter:filter_synthetic",
        ),
        Job(
            "train_classifier",
            "busaug_core.classify.config:TrainClassifier",
            "busaug_core.classify.train:train_classifier",
        ),
        Job(
            "apply_classifier",
            "busaug_core.classify.config:ApplyClassifier",
            "busaug_core.classify.apply:apply_classifier",
            needs_classes=False,
        ),
    )
}


def job(name: str) -> Job:
    """The job of that name; raises UserError where there is none."""
    if name not in JOBS:
        raise UserError(f"There is no job '{name}'; there are {', '.join(JOBS)}.")
    return JOBS[name]
