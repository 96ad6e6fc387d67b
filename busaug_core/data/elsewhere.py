"""Whether the images of a set are in other datasets too, and whether what one dataset holds out trains in another."""

from dataclasses import replace
from pathlib import Path

from busaug_core.data.audit.audit import audit_records, describe_files
from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.config import Audit
from busaug_core.data.loaded import loaded_images
from busaug_core.errors import UserError
from busaug_core.files import content_hash
from busaug_core.jobs.events import Notice, Steps
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.run import Run
from busaug_core.records import Record, Source
from busaug_core.words import counted


def images_of(dataset: str, run: Run, field: str = "compare_with") -> list[Record]:
    """The real images that were loaded as a dataset beside the run's, which a field names.

    Raises UserError where nothing was loaded under that name, or its images are not where they were.
    """
    home = run.folder.parents[2]
    found = [r for r in loaded_images(dataset, home) if not r.synthetic]
    if gone := [r.path for r in found if not Path(r.path).is_file()]:
        raise UserError(
            f"'{dataset}' has lost {len(gone)} of {counted(len(found), 'image')} since it was loaded, such as "
            f"{gone[0]}; put back what is gone, or leave '{dataset}' out of {field}."
        )
    return found


def find_held_out(records: list[Record]) -> Steps[list[tuple[Record, Record]]]:
    """The training images that show what another dataset holds out, each with an image of that.

    They are the same file, the same picture, another frame of its scan, or another image of its patient; a dataset's
    own split stays as it is. Raises UserError where a file is gone.
    """
    known = [r for r in records if r.splits and not r.synthetic]
    compared = [replace(r, tags=list(r.tags)) for r in known]
    descriptors = yield from describe_files(compared)
    yield from audit_records(compared, descriptors, Audit())
    marks = [{content_hash(r.path), r.split_group} - {None} for r in compared]
    held_out: dict[str, list[Record]] = {}
    for record, own in zip(known, marks, strict=True):
        for mark in own if TRAIN not in record.tags else ():
            held_out.setdefault(mark, []).append(record)
    found = []
    for record, own in zip(known, marks, strict=True):
        others = (h for mark in sorted(own) for h in held_out.get(mark, ()) if h.dataset != record.dataset)
        if TRAIN in record.tags and (shown := next(others, None)) is not None:
            found.append((record, shown))
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
            source = record.source or Source()
            known = [source.also_in] if source.also_in else []
            record.source = replace(source, also_in=", ".join([*known, name]))
        counts[name] = len(shared)
        yield Notice(
            f"{counted(len(shared), 'image shows', 'images show')} a scan that is in '{name}' too"
            + (f", such as {shared[0].path}; source.also_in tells which." if shared else ".")
        )
    return counts
