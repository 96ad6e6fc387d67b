"""The jobs `load_busi` and `load_external`: files on disk, or simulated scans, as audited and split records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from busaug_core.data import external
from busaug_core.data.audit.audit import BUSI_COUNTS, audit_records, describe_files
from busaug_core.data.busi import list_scans
from busaug_core.data.config import SIMULATED, Audit, Load, LoadBusi, LoadExternal
from busaug_core.data.deal import assign_splits, refuse_undealable, with_official
from busaug_core.data.elsewhere import find_elsewhere, images_of
from busaug_core.data.folders import CLASSES, class_of
from busaug_core.data.reading import Reader
from busaug_core.data.scans import Scan
from busaug_core.data.sources import BUSI, open_source, refuse_unusable
from busaug_core.errors import UserError
from busaug_core.jobs.events import Made, Notice, Progress, Steps
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.words import counted


def check_busi(config: LoadBusi, run: Run, records: list[Record]) -> None:
    """Raises UserError where the source cannot be had."""
    if config.source != SIMULATED:
        refuse_unusable(config.source, BUSI)


def check_external(config: LoadExternal, run: Run, records: list[Record]) -> None:
    """Raises UserError where the source, or a dataset to compare with, cannot be had."""
    refuse_unusable(config.source, external.SETS[config.layout].published)
    for name in config.compare_with:
        images_of(name, run)


def load_busi(config: LoadBusi, run: Run) -> Steps[dict[str, Any]]:
    """Yield a record for every image, checked, with its groups of copies and its split's tag."""
    if config.source == SIMULATED:
        origin, folder = "simulated", run.folder / "Dataset_BUSI_with_GT"
        yield from _simulate(config, folder)
    else:
        origin, folder = "real", (yield from open_source(config.source, run.folder / "source", BUSI))
    reader = Reader(config, folder, run.folder)
    scans = yield from reader.sift(list_scans(folder))
    refuse_undealable(scans, config, is_exact=config.on_error == "raise")
    records, descriptors = yield from reader.read(scans, [origin], origin)
    found = yield from audit_records(records, descriptors, Audit())
    yield from assign_splits(records, config)
    return (yield from _finish(records, records, config, run, reader, audit=found))


def load_external(config: LoadExternal, run: Run) -> Steps[dict[str, Any]]:
    """Yield a record for every image of an external set; audited together with the records at hand.

    The products are the set's records, then those at hand with their groups and tags brought up to date.
    """
    kind = external.SETS[config.layout]
    elsewhere = {name: images_of(name, run) for name in config.compare_with}
    folder = yield from open_source(config.source, run.folder / "source", kind.published)
    listing = kind.list_scans(folder)
    known_here = run.records if config.dataset_name is None else []
    present = [replace(r, tags=list(r.tags)) for r in known_here if not r.synthetic]
    reader = Reader(config, folder, run.folder)
    scans = yield from reader.sift(listing)
    scans = yield from _new(scans, present)
    scans = with_official(_renamed(scans, config.rename), config)
    refuse_undealable(scans, config, is_exact=config.on_error == "raise" and not present)
    name = external.name_of(config.layout, config.source)
    records, descriptors = yield from reader.read(scans, ["real", "external", config.layout])
    for record in records:
        record.source = replace(record.source, set=name)
    yield from _tell_new_classes(name, records, present)
    own = len(descriptors)
    descriptors += yield from describe_files(present)
    found = yield from audit_records(records + present, descriptors, Audit())
    groups = {r.split_group for r in present} - {None}
    shared = [r for r in records if r.split_group in groups]
    if shared:
        yield Notice(
            f"{counted(len(shared), f'image of {name} shows', f'images of {name} show')} a scan that the dataset holds "
            f"already, such as {shared[0].path}: in its split_group, and without a split. Leave such images out where "
            "the set is to test what was trained on the dataset."
        )
    also_in = yield from find_elsewhere(records, descriptors[:own], elsewhere)
    yield from assign_splits([r for r in records if r.split_group not in groups], config)
    more = dict(audit=found, licence=kind.licence, also_in=also_in)
    return (yield from _finish(records, records + present, config, run, reader, **more))


def _new(scans: list[Scan], present: list[Record]) -> Steps[list[Scan]]:
    """The scans that are not among the records at hand; raises UserError where all are."""
    known = {r.path for r in present} | {r.source.file for r in present if r.source}
    new = [scan for scan in scans if str(scan.path) not in known]
    if again := len(scans) - len(new):
        if not new:
            raise UserError(f"The dataset holds all of it already ({counted(again, 'image')}).")
        yield Notice(f"{counted(again, 'file is', 'files are')} in the dataset already, and left alone.")
    return new


def _renamed(scans: list[Scan], rename: list[str]) -> list[Scan]:
    """The scans with their classes under the project's names; raises UserError for a name that no class has."""
    names = {old.strip().lower(): new.strip() for old, _, new in (pair.partition("=") for pair in rename)}
    known = {scan.label: class_of(scan.label) or scan.label for scan in scans}
    unknown = sorted(names.keys() - {name.strip().lower() for pair in known.items() for name in pair})
    if unknown and scans:
        raise UserError(
            f"rename names {', '.join(unknown)}, but the classes are {', '.join(sorted(set(known.values())))}."
        )
    labels = {raw: names.get(raw.strip().lower(), names.get(name.lower(), name)) for raw, name in known.items()}
    return [replace(scan, label=labels[scan.label]) for scan in scans]


def _tell_new_classes(name: str, records: list[Record], present: list[Record]) -> Steps[None]:
    if foreign := {label: n for label, n in count_labels(records).items() if label not in (*CLASSES, "")}:
        told = ", ".join(f"{label} ({n})" for label, n in sorted(foreign.items()))
        yield Notice(
            f"Classes of the set's own: {told}. Where these are none or misspelt, correct the set or use rename."
        )
    new = sorted({r.label for r in records} - {r.label for r in present} - {""})
    if any(r.label for r in present) and new:
        yield Notice(
            f"{name} adds the class(es) {', '.join(new)} to the dataset; where one is a class that it has under "
            "another name, delete these samples and load again with rename, as in 'cyst=benign'."
        )


def _finish(
    records: list[Record], products: list[Record], config: Load, run: Run, reader: Reader, **more: Any
) -> Steps[dict[str, Any]]:
    run.write_products(products)
    for record in records:
        yield Made(record)
    splits = {s: count_labels(of_split(records, s)) for s in SPLITS}
    return {
        "dataset": config.dataset_name,
        "counts": count_labels(records),
        "splits": {s: counts for s, counts in splits.items() if counts},
        "skipped": reader.skipped,
        "assumed": reader.assumed,
        **more,
    }


def _simulate(config: LoadBusi, folder: Path) -> Steps[None]:
    from busaug_core.simulate.dataset import write_busi

    total = sum(BUSI_COUNTS.values())
    counts = {c: max(2, round(config.images * n / total)) for c, n in BUSI_COUNTS.items()}
    counts[CLASSES[0]] += config.images - sum(counts.values())
    for done, all_ in write_busi(folder, counts, seed=config.seed, size=config.image_size):
        yield Progress(done, all_, "Simulating scans")
