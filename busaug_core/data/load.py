"""The job `load_busi`: a folder of BUSI, or simulated scans in its place, as labelled and split records."""

from collections.abc import Iterator
from pathlib import Path

from busaug_core.data.audit import BUSI_COUNTS, audit_records
from busaug_core.data.busi import CLASSES, check_scan, list_scans
from busaug_core.data.config import SIMULATED, Audit, LoadBusi
from busaug_core.data.records import Record, count_labels, of_split, write_records
from busaug_core.data.sources import open_source
from busaug_core.data.splits import NAMES, fold_numbers, grouped_split, leaked
from busaug_core.errors import UserError
from busaug_core.events import Event, Made, Notice, Progress
from busaug_core.job import Run


def load_busi(config: LoadBusi, run: Run) -> Iterator[Event]:
    """Yield a record for every image, checked, with its groups of copies and its split's tag."""
    if config.source == SIMULATED:
        origin, folder = "simulated", run.folder / "Dataset_BUSI_with_GT"
        yield from _simulate(config, folder)
    else:
        origin, folder = "real", (yield from open_source(config.source, run.folder / "source"))
    scans = list_scans(folder)
    records, skipped = [], []
    for n, scan in enumerate(scans, 1):
        try:
            masks = check_scan(scan)
        except UserError as error:
            if config.on_error == "raise":
                raise UserError(f"{error} (Set on_error to 'skip' to load the others.)") from None
            skipped.append(str(scan.path))
            yield Notice(f"Left out: {error}")
            continue
        masks = [str(m) for m in masks]
        records.append(Record(str(scan.path), scan.label, origin, origin, tags=[origin], masks=masks))
        if n % 20 == 0 or n == len(scans):
            yield Progress(n, len(scans), "Reading images and masks")
    found = yield from audit_records(records, Audit())
    yield from _assign_splits(records, config)
    write_records(run.folder / "products.jsonl", records)
    for record in records:
        yield Made(record)
    return {
        "dataset": config.dataset_name,
        "counts": count_labels(records),
        "splits": {s: count_labels(of_split(records, s)) for s in NAMES if of_split(records, s)},
        "audit": found,
        "skipped": skipped,
    }


def _assign_splits(records: list[Record], config: LoadBusi) -> Iterator[Event]:
    """Tag each record with its split and fold."""
    labels, groups = [r.label for r in records], [r.split_group for r in records]
    kept = groups if config.split_by == "group" else [None] * len(records)
    splits = grouped_split(labels, kept, config.split, config.seed)
    if leaks := leaked(splits, groups):
        yield Notice(
            f"{leaks} held-out images have a copy, or another frame of their scan, in training; figures on them "
            "are too good. Set split_by to 'group'."
        )
    for record, split in zip(records, splits, strict=True):
        record.tags.insert(0, split)
    if config.folds:
        for record, number in zip(records, fold_numbers(labels, kept, config.folds, config.seed), strict=True):
            if number is not None:
                record.tags.append(f"fold_{number}")


def _simulate(config: LoadBusi, folder: Path) -> Iterator[Event]:
    from busaug_core.simulate.dataset import write_busi

    total = sum(BUSI_COUNTS.values())
    counts = {c: max(2, round(config.images * n / total)) for c, n in BUSI_COUNTS.items()}
    counts[CLASSES[0]] += config.images - sum(counts.values())
    for done, all_ in write_busi(folder, counts, seed=config.seed, size=config.image_size):
        yield Progress(done, all_, "Simulating scans")
