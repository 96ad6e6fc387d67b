"""What a job's run writes to a dataset, and how that is taken back; a file a job.

A run that was made where there was no FiftyOne is written like any other.
"""

import fiftyone as fo

from busaug_core.errors import UserError
from busaug_core.jobs.run import Run
from busaug_core.registry import JOBS

from ..host.fields import declare_fields, move_old_fields
from . import mirror
from .audit import AuditResults
from .chain import ChainResults
from .embeddings import Embeddings
from .fid import Distances
from .filter import FilterResults
from .generate import GeneratedSamples
from .load import LoadedSamples, refuse_taken_name
from .overwritten import Overwritten, written_to
from .predictions import Predictions
from .results import Results
from .scores import ScoreResults

__all__ = ["prepare", "refuse_taken_name", "remove", "results_of", "sample_ids", "write"]

RESULTS: dict[str, Results] = {
    "load_busi": LoadedSamples(),
    "load_external": LoadedSamples(),
    "audit": AuditResults(),
    "generate": GeneratedSamples(),
    "compute_embeddings": Embeddings(),
    "compute_fid": Distances(),
    "score_synthetic": ScoreResults(),
    "filter_synthetic": FilterResults(),
    "apply_classifier": Predictions(),
}
"""The jobs whose runs write more than themselves."""


def results_of(job: str | None) -> Results:
    """What the runs of a job write."""
    if job in JOBS and JOBS[job].chain:
        return ChainResults()
    return RESULTS.get(job, Results())


def prepare(dataset: fo.Dataset, job: str) -> None:
    """Give the dataset the fields that a job's results need; raises UserError where it has others of these names."""
    if results_of(job).uses_fields:
        declare_fields(dataset)
    else:
        move_old_fields(dataset)


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
    prepare(dataset, run.job)
    again = mirror.is_saved(dataset, run)
    kept = _kept(dataset, run, again)
    results.insert(dataset, run, kept)
    if results.keeps_values:
        ids = sample_ids(dataset, run)
        fields = results.fields(run)
        kept.note(made=[name for name in fields if dataset.get_field(name) is None])
        for name, (field, options, description) in fields.items():
            if dataset.get_field(name) is None:
                dataset.add_sample_field(name, field, description=description, **options)
        kept.write(results.values(dataset, run, ids), again)
        if not again and results.derived(run):
            results.derive(dataset, run, ids)
    if not again:
        mirror.save(dataset, run)
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
        _renew_derived(dataset, run)
    kept.forget()
    mirror.remove(dataset, run)


def sample_ids(dataset: fo.Dataset, run: Run) -> dict[str, str]:
    """The ids of the dataset's samples by image file, also for files that have moved since the run was given them."""
    ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
    present = set(ids.values())
    moved = {record.path: record.id for record in run.records if record.id in present}
    return {**moved, **ids}


def _renew_derived(dataset: fo.Dataset, run: Run) -> None:
    """Delete what was made of the run's values, or make it of those of the last other run that makes the like."""
    results = results_of(run.job)
    names = results.derived(run)
    others = [kept.run for kept in written_to(dataset, run) if kept.run.job == run.job]
    others = [other for other in others if other.state == "done" and names & results.derived(other)]
    results.drop(dataset, run)
    if others:
        results.derive(dataset, others[-1], sample_ids(dataset, others[-1]))


def _kept(dataset: fo.Dataset, run: Run, again: bool) -> Overwritten:
    """What the run has overwritten; of one that an earlier version wrote, which kept nothing, what is likely."""
    results = results_of(run.job)
    kept = Overwritten(run, dataset)
    if results.keeps_values and again and not kept.exists:
        values = results.values(dataset, run, sample_ids(dataset, run))
        kept.assume(values, list(results.fields(run)), results.new_files(run))
    return kept
