"""Whether a set's images are in other datasets too, whose images are known from the runs that loaded them."""

from dataclasses import replace
from pathlib import Path

from busaug_core.data.audit.audit import audit_records, describe_files
from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.config import LOADS, Audit
from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import datasets_with, list_runs
from busaug_core.records import Record
from busaug_core.words import counted


def images_of(dataset: str, run: Run) -> list[Record]:
    """The real images that were loaded as a dataset beside the run's.

    Raises UserError where nothing was loaded under that name, or its images are not where they were.
    """
    home = run.folder.parents[2]
    loads = [load for job in LOADS for load in list_runs(dataset, job, done=True, root=home)]
    found = list({r.path: r for load in loads for r in load.products if not r.synthetic}.values())
    if not found:
        names = ", ".join(datasets_with(LOADS, home)) or "none yet"
        raise UserError(f"compare_with names '{dataset}', but loaded here were {names}.")
    if gone := [r.path for r in found if not Path(r.path).is_file()]:
        raise UserError(
            f"'{dataset}' has lost {len(gone)} of {counted(len(found), 'image')} since it was loaded, such as "
            f"{gone[0]}; put back what is gone, or leave '{dataset}' out of compare_with."
        )
    return found


def find_elsewhere(
    records: list[Record], descriptors: list[Descriptors], elsewhere: dict[str, list[Record]]
) -> Steps[dict[str, int]]:
    """Note in `source.also_in` which datasets show an image's scan, or one of its patient; returns how many each.

    Args:
        records: the images
        descriptors: theirs, in the same order
        elsewhere: the images of each other dataset
    """
    counts: dict[str, int] = {}
    for name, others in elsewhere.items():
        described = yield from describe_files(others)
        both = [replace(r, tags=list(r.tags)) for r in (*records, *others)]
        yield from audit_records(both, descriptors + described, Audit())
        groups = {r.split_group for r in both[len(records) :]} - {None}
        shared = [record for record, twin in zip(records, both, strict=False) if twin.split_group in groups]
        for record in shared:
            known = [record.source.also_in] if record.source.also_in else []
            record.source = replace(record.source, also_in=", ".join([*known, name]))
        counts[name] = len(shared)
        yield Notice(
            f"{counted(len(shared), 'image shows', 'images show')} a scan that is in '{name}' too"
            + (f", such as {shared[0].path}; source.also_in tells which." if shared else ".")
        )
    return counts
