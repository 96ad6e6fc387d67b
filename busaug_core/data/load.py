"""The jobs `load_busi` and `load_external`: files on disk, or simulated scans, as audited and split records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from busaug_core.data import external
from busaug_core.data.audit.audit import BUSI_COUNTS, audit_records, describe_files
from busaug_core.data.audit.descriptors import Descriptors, describe
from busaug_core.data.busi import CLASSES, list_scans
from busaug_core.data.config import FOLDERS, SIMULATED, Audit, Load, LoadBusi, LoadExternal
from busaug_core.data.scans import Scan, read_scan
from busaug_core.data.sources import BUSI, open_source
from busaug_core.data.splits import fold_numbers, grouped_split, leaked, too_few
from busaug_core.errors import UserError
from busaug_core.jobs.events import Made, Notice, Progress, Steps
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import SPLITS, Record, count_labels

HINT = "(Set on_error to 'skip' to load the others.)"


def load_busi(config: LoadBusi, run: Run) -> Steps[dict[str, Any]]:
    """Yield a record for every image, checked, with its groups of copies and its split's tag."""
    if config.source == SIMULATED:
        origin, folder = "simulated", run.folder / "Dataset_BUSI_with_GT"
        yield from _simulate(config, folder)
    else:
        origin, folder = "real", (yield from open_source(config.source, run.folder / "source", BUSI))
    scans, problems = list_scans(folder)
    records, descriptors, skipped = yield from _read(scans, problems, config.on_error, [origin], origin)
    found = yield from audit_records(records, descriptors, Audit())
    yield from _assign_splits(records, config)
    return (yield from _finish(records, records, config, run, audit=found, skipped=skipped))


def load_external(config: LoadExternal, run: Run) -> Steps[dict[str, Any]]:
    """Yield a record for every image of an external set; audited together with the records at hand.

    The products are the set's records, then those at hand with their groups and tags brought up to date.
    """
    kind = external.SETS[config.layout]
    folder = yield from open_source(config.source, run.folder / "source", kind.published)
    scans, problems = kind.list_scans(folder)
    known_here = run.records if config.dataset_name is None else []
    present = [replace(r, tags=list(r.tags)) for r in known_here if not r.synthetic]
    known = {r.path for r in present}
    if again := sum(str(scan.path) in known for scan in scans):
        yield Notice(f"{again} files are in the dataset already and are left as they are.")
    scans = _renamed([scan for scan in scans if str(scan.path) not in known], config.rename)
    name = external.name_of(config.layout, config.source)
    tags = ["real", "external", config.layout]
    records, descriptors, skipped = yield from _read(scans, problems, config.on_error, tags)
    for record in records:
        record.source = replace(record.source, set=name)
    new = sorted({r.label for r in records} - {r.label for r in present})
    if any(r.label for r in present) and new:
        yield Notice(
            f"{name} adds the class(es) {', '.join(new)} to the dataset; where one is a class that it has under "
            "another name, delete these samples and load again with rename, as in 'cyst=benign'."
        )
    descriptors += yield from describe_files(present)
    found = yield from audit_records(records + present, descriptors, Audit())
    groups = {r.split_group for r in present} - {None}
    shared = [r for r in records if r.split_group in groups]
    if shared:
        yield Notice(
            f"{len(shared)} images of {name} show a scan that the dataset holds already; they share its "
            "split_group and get no split. Leave them out where the set is to test what was trained on the dataset."
        )
    yield from _assign_splits([r for r in records if r.split_group not in groups], config)
    more = dict(audit=found, skipped=skipped, licence=kind.licence)
    return (yield from _finish(records, records + present, config, run, **more))


def _read(
    scans: list[Scan], problems: list[str], on_error: str, tags: list[str], origin: str = "real"
) -> Steps[tuple[list[Record], list[Descriptors], list[str]]]:
    """Read every file once; returns the records, their descriptors, and what was left out."""
    skipped = []

    def refuse(problem: str) -> Notice:
        if on_error == "raise":
            raise UserError(f"{problem} {HINT}")
        skipped.append(problem)
        return Notice(f"Left out: {problem}")

    for problem in problems:
        yield refuse(problem)
    records, descriptors = [], []
    for n, result in enumerate(in_order(_read_one, scans), 1):
        if isinstance(result, UserError):
            yield refuse(str(result))
        else:
            record, found = result
            record.origin = record.variant = origin
            record.tags = list(tags)
            records.append(record)
            descriptors.append(found)
        if n % 20 == 0 or n == len(scans):
            yield Progress(n, len(scans), "Reading images and masks")
    if not records:
        raise UserError(" ".join(["No image could be loaded.", *skipped[:3]]))
    return records, descriptors, skipped


def _read_one(scan: Scan) -> tuple[Record, Descriptors] | UserError:
    try:
        image, lesions = read_scan(scan)
    except UserError as error:
        return error
    size = [*image.size, len(image.getbands())]
    return Record(str(scan.path), scan.label, lesions=lesions, size=size, source=scan.source), describe(image)


def _assign_splits(records: list[Record], config: Load) -> Steps[None]:
    """Tag each record with its split and fold."""
    by_group = config.split_by == "group"
    if config.split is not None and records:
        yield from _tag_splits(records, config, by_group)
    if config.folds and records:
        small = [c for c, n in count_labels(records).items() if n < config.folds]
        dealt = yield from _without_classes(small, records, config, "are in no fold")
        groups = [r.split_group if by_group else None for r in dealt]
        numbers = fold_numbers([r.label for r in dealt], groups, config.folds, config.seed)
        for record, number in zip(dealt, numbers, strict=True):
            if number is not None:
                record.tags.append(f"fold_{number}")


def _tag_splits(records: list[Record], config: Load, by_group: bool) -> Steps[None]:
    if config.split == FOLDERS:
        splits = [r.source.split if r.source else None for r in records]
        if not all(splits):
            raise UserError("The split 'folders' needs images in folders train, val or test; choose another split.")
    else:
        small = too_few(count_labels(records), config.split)
        dealt = yield from _without_classes(small, records, config, "train")
        groups = [r.split_group if by_group else None for r in dealt]
        split = grouped_split([r.label for r in dealt], groups, config.split, config.seed)
        split_of = dict(zip([r.path for r in dealt], split, strict=True))
        splits = [split_of.get(r.path, SPLITS[0]) for r in records]
    if leaks := leaked(splits, [r.split_group for r in records]):
        yield Notice(
            f"{leaks} held-out images have a copy, or another frame of their scan, in training; metrics on them "
            "are too good. Set split to percentages and split_by to 'group'."
        )
    for record, name in zip(records, splits, strict=True):
        record.tags.insert(0, name)


def _without_classes(small: list[str], records: list[Record], config: Load, instead: str) -> Steps[list[Record]]:
    """The records without those of the classes that are too small, where `on_error` lets these be left out."""
    if not small or config.on_error == "raise":
        return records
    yield Notice(f"Too few images of {', '.join(small)}: all of them {instead}.")
    return [r for r in records if r.label not in small]


def _finish(
    records: list[Record], products: list[Record], config: Load, run: Run, **more: Any
) -> Steps[dict[str, Any]]:
    run.write_products(products)
    for record in records:
        yield Made(record)
    splits = {s: count_labels(of_split(records, s)) for s in SPLITS}
    return {
        "dataset": config.dataset_name,
        "counts": count_labels(records),
        "splits": {s: counts for s, counts in splits.items() if counts},
        **more,
    }


def _renamed(scans: list[Scan], rename: list[str]) -> list[Scan]:
    """The scans with their classes under the project's names; raises UserError for a name that no class has."""
    names = {old.strip().lower(): new.strip() for old, _, new in (pair.partition("=") for pair in rename)}
    unknown = sorted(set(names) - {scan.label.lower() for scan in scans})
    if unknown and scans:
        found = ", ".join(sorted({scan.label for scan in scans}))
        raise UserError(f"rename names {', '.join(unknown)}, but the classes are {found}.")
    return [replace(scan, label=names.get(scan.label.lower(), scan.label)) for scan in scans]


def _simulate(config: LoadBusi, folder: Path) -> Steps[None]:
    from busaug_core.simulate.dataset import write_busi

    total = sum(BUSI_COUNTS.values())
    counts = {c: max(2, round(config.images * n / total)) for c, n in BUSI_COUNTS.items()}
    counts[CLASSES[0]] += config.images - sum(counts.values())
    for done, all_ in write_busi(folder, counts, seed=config.seed, size=config.image_size):
        yield Progress(done, all_, "Simulating scans")
