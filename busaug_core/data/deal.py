"""Dealing loaded images out to splits and folds, and refusing before any is read what cannot be dealt."""

from collections import Counter
from dataclasses import replace

from busaug_core.data.config import FIRST_FOLD, FOLDERS, OFFICIAL, Load
from busaug_core.data.scans import Scan
from busaug_core.data.splits import class_sizes, fold_numbers, grouped_split, leaked, refuse_small, too_few
from busaug_core.errors import UserError
from busaug_core.jobs.events import Notice, Steps
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.words import counted


def with_official(scans: list[Scan], config: Load) -> list[Scan]:
    """The scans with fold and split of the list that their set publishes: that of `folds`, or the shortest.

    Raises UserError where the split 'official' asks for a list that there is not.
    """
    lists = sorted({n for scan in scans for n in scan.official})
    wanted = config.split == OFFICIAL
    if wanted and not lists:
        raise UserError(
            "This set publishes no list of splits, or it lies not beside the images; set split to 'folders', where "
            "it has folders train and test, or to percentages."
        )
    if wanted and config.folds and config.folds not in lists and lists != [0]:
        known = " and ".join(map(str, lists))
        raise UserError(f"The official lists here have {known} folds, not {config.folds}; set folds to one of them.")
    number = config.folds if config.folds in lists else next(iter(lists), None)
    if wanted and (unlisted := [scan for scan in scans if number not in scan.official]):
        raise UserError(
            f"{counted(len(unlisted), 'image is', 'images are')} in no official list, such as {unlisted[0].path}; "
            "choose another split."
        )
    return [_placed(scan, *scan.official[number]) if number in scan.official else scan for scan in scans]


def _placed(scan: Scan, fold: int | None, split: str) -> Scan:
    return replace(scan, source=replace(scan.source, fold=fold, split=split))


def refuse_undealable(scans: list[Scan], config: Load, is_exact: bool) -> None:
    """Raises UserError where these scans cannot be dealt out as asked.

    Args:
        scans: what is about to be read
        config: the split and the folds
        is_exact: whether none of them will be left out
    """
    counts = Counter(scan.label for scan in scans)
    if config.split == FOLDERS:
        if outside := [scan for scan in scans if scan.source.split is None or scan.official]:
            raise UserError(
                "The split 'folders' needs images in folders train, val or test, but "
                f"{len(outside)} of {len(scans)} lie in none, such as {outside[0].path}; choose another split."
            )
    elif config.split not in (None, OFFICIAL, FIRST_FOLD):
        sizes = [int(size) for size in config.split.split("/")] if "/" in config.split else []
        if is_exact or sum(sizes) > len(scans):
            class_sizes(dict(counts), config.split)
    if config.folds and is_exact and not _has_official_folds(scans, config):
        refuse_small(counts, config.folds)


def _has_official_folds(scans: list[Scan], config: Load) -> bool:
    return config.split == OFFICIAL and any(config.folds in scan.official for scan in scans)


def assign_splits(records: list[Record], config: Load) -> Steps[None]:
    """Tag each record with its split and fold."""
    by_group = config.split_by == "group"
    if config.folds and records:
        yield from _tag_folds(records, config, by_group)
    if config.split is not None and records:
        yield from _tag_splits(records, config, by_group)


def _tag_folds(records: list[Record], config: Load, by_group: bool) -> Steps[None]:
    if config.split == OFFICIAL and all(r.source.fold for r in records):
        for record in records:
            record.tags.append(f"fold_{record.source.fold}")
        return
    small = [c for c, n in count_labels(records).items() if n < config.folds]
    dealt = yield from _without_classes(small, records, config, "are in no fold")
    groups = [r.split_group if by_group else None for r in dealt]
    numbers = fold_numbers([r.label for r in dealt], groups, config.folds, config.seed)
    for record, number in zip(dealt, numbers, strict=True):
        if number is not None:
            record.tags.append(f"fold_{number}")


def _tag_splits(records: list[Record], config: Load, by_group: bool) -> Steps[None]:
    if config.split in (FOLDERS, OFFICIAL):
        splits = [r.source.split for r in records]
    elif config.split == FIRST_FOLD:
        splits = [SPLITS["fold_1" in r.tags] for r in records]
    else:
        small = too_few(count_labels(records), config.split)
        dealt = yield from _without_classes(small, records, config, "train")
        groups = [r.split_group if by_group else None for r in dealt]
        split = grouped_split([r.label for r in dealt], groups, config.split, config.seed)
        split_of = dict(zip([r.path for r in dealt], split, strict=True))
        splits = [split_of.get(r.path, SPLITS[0]) for r in records]
    if leaks := leaked(splits, [r.split_group for r in records]):
        yield Notice(
            f"{counted(leaks, 'held-out image has', 'held-out images have')} a copy, or another frame of the scan, in "
            "training; metrics there are too good. Set split to percentages and split_by to 'group'."
        )
    for record, name in zip(records, splits, strict=True):
        record.tags.insert(0, name)


def _without_classes(small: list[str], records: list[Record], config: Load, instead: str) -> Steps[list[Record]]:
    """The records without those of the classes that are too small, where `on_error` lets these be left out."""
    if not small or config.on_error == "raise":
        return records
    yield Notice(f"Too few images of {', '.join(small)}: all of them {instead}.")
    return [r for r in records if r.label not in small]
