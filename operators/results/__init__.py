"""What a job's run writes to a dataset, and how that is taken back; a file a job.

A run that was made where there was no FiftyOne is written like any other.
"""

from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from busaug_core.errors import UserError
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.run import Run
from busaug_core.registry import JOBS

from ..host.appearance import tidy
from ..host.classes import label_field_of, likely_field, refuse_nested
from ..host.fields import declare_fields, fits, move_old_fields, refuse_other_fields
from ..host.names import home_of, refuse_shared_folder
from . import mirror
from .adoption import adopt
from .audit import AuditResults
from .chain import ChainResults
from .embeddings import Embeddings
from .fid import Distances
from .filter import FilterResults
from .generate import GeneratedSamples
from .ids import SampleIds
from .load import LoadedSamples, refuse_taken_name
from .overwritten import Overwritten, written_to
from .predictions import Predictions
from .results import Results
from .scores import ScoreResults
from .values import is_tag
from .views import refresh

__all__ = ["SampleIds", "prepare", "refuse_taken_name", "remove", "results_of", "write"]

RESULTS: dict[str, Results] = {
    "load_busi": LoadedSamples(),
    "load_external": LoadedSamples(),
    "audit": AuditResults(),
    "generate": GeneratedSamples(),
    "compute_embeddings": Embeddings(),
    "compute_fid": Distances(),
    "score_synthetic": ScoreResults(),
    "filter_synthetic": FilterResults(),
    "train_classifier": Predictions(),
    "apply_classifier": Predictions(),
}
"""The jobs whose runs write more than themselves."""


def results_of(job: str | None) -> Results:
    """What the runs of a job write."""
    if job in JOBS and JOBS[job].chain:
        return ChainResults()
    return RESULTS.get(job, Results())


def prepare(dataset: fo.Dataset, job: str, config: Mapping[str, Any]) -> None:
    """Move what an earlier version wrote to the present fields.

    Raises UserError where the dataset has a field of another type under a name that a run of these settings writes,
    or other datasets' runs would get into its folder.
    """
    refuse_shared_folder(dataset.name, home_of(dataset))
    move_old_fields(dataset)
    written = results_of(job).writes(config)
    refuse_other_fields(dataset, written)
    if "origin" in written:
        refuse_nested(config.get("label_field") or LABEL_FIELD)


def write(dataset: fo.Dataset | None, run: Run) -> fo.Dataset:
    """Write the results of a run that is done, and the run itself as a custom run; returns the dataset.

    What was written before stays as it is, save that what is missing since comes back. What is overwritten is kept
    in the run's folder, for `remove`. Raises UserError where the run is not done, or `dataset` is None and the run
    makes none.
    """
    if run.state != "done":
        raise UserError(f"Run '{run.key}' is {run.state} and has no results to write; finish it first.")
    results = results_of(run.job)
    for member in results.members(run):
        dataset = write(dataset, member)
    dataset = results.open(dataset, run)
    prepare(dataset, run.job, run.config)
    again = mirror.is_saved(dataset, run)
    kept = _kept(dataset, run, again)
    results.insert(dataset, run, kept)
    if results.keeps_values:
        ids = SampleIds(dataset, run)
        fields, values = results.fields(run), results.values(dataset, run, ids)
        lost = [name for name in kept.columns if not is_tag(name) and dataset.get_field(name) is None]
        kept.note(made=[name for name in fields if dataset.get_field(name) is None])
        for name, declared in fields.items():
            field, options, description = declared
            own = dataset.get_field(name)
            if not fits(own, declared):
                raise UserError(
                    f"The dataset has a field '{name}' of another kind, which run '{run.key}' writes to; rename it by "
                    f'dataset.rename_sample_field("{name}", "…") and call the same run again, which is done.'
                )
            if own is None:
                dataset.add_sample_field(name, field, description=description, **options)
        kept.note(made=declare_fields(dataset, [name for name in values if not is_tag(name)]))
        changed = kept.write(values, again, lost)
        if changed or not again or results.derived(run) - _derived_in(dataset):
            _derive(dataset, run, sorted([*written_to(dataset, run), kept], key=lambda other: other.order))
    if results.keeps_values or results.inserts_live:
        adopt(dataset, kept)
        tidy(dataset, _shown_field(dataset, run))
    if not again:
        mirror.save(dataset, run)
    refresh(dataset, _shown_field(dataset, run))
    return dataset


def remove(dataset: fo.Dataset, run: Run) -> None:
    """Take a run's results back: its samples, values, fields, tags and views, and the custom run; no file.

    What it overwrote is put back, unless it changed since. Raises UserError for a run that made the dataset.
    """
    results = results_of(run.job)
    results.refuse_removal(dataset, run)
    again = mirror.is_saved(dataset, run)
    kept = _kept(dataset, run, again)
    results.remove_samples(dataset, run, kept)
    kept.put_back()
    if (again or kept.exists) and run.state == "done" and results.derived(run):
        results.drop(dataset, run)
        _derive(dataset, run, written_to(dataset, run))
    kept.forget()
    mirror.remove(dataset, run)
    refresh(dataset, _shown_field(dataset, run))


def _derive(dataset: fo.Dataset, run: Run, candidates: list[Overwritten]) -> None:
    """Make what runs like this one make of their values, of those of the candidate that was written last."""
    names = results_of(run.job).derived(run)
    runs = [kept.run for kept in candidates if kept.run.state == "done" and not kept.run.missing]
    alike = [other for other in runs if names & results_of(other.job).derived(other)]
    if alike:
        results_of(alike[-1].job).derive(dataset, alike[-1], SampleIds(dataset, alike[-1]))


def _shown_field(dataset: fo.Dataset, run: Run) -> str:
    """The class field by which the App shows the dataset: the run's, or where it has none such the likely one."""
    name = label_field_of(run)
    return name if dataset.get_field(name) is not None else likely_field(dataset)


def _derived_in(dataset: fo.Dataset) -> set[str]:
    """The names of all that a dataset holds beside its samples and runs."""
    return {*dataset.list_brain_runs(), *dataset.list_evaluations(), *dataset.list_saved_views()}


def _kept(dataset: fo.Dataset, run: Run, again: bool) -> Overwritten:
    """What the run has overwritten; of one that an earlier version wrote, which kept nothing, what is likely."""
    results = results_of(run.job)
    kept = Overwritten(run, dataset)
    if results.keeps_values and again and not kept.exists and not run.missing:
        values = results.values(dataset, run, SampleIds(dataset, run))
        kept.assume(values, list(results.fields(run)), results.new_files(run))
    return kept
