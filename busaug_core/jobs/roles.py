"""Which image and which run may serve for what: train, be held out, be measured, score. Decided here alone."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from busaug_core.errors import UserError
from busaug_core.files import refuse_missing
from busaug_core.jobs.config import LABEL_FIELD
from busaug_core.jobs.lineage import Ancestor, ancestors, learned_by_parents, run_that_made, seen_by
from busaug_core.jobs.run import Run
from busaug_core.prompts import named
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.words import counted

REJECTED, EVALUATION = "rejected", "evaluation"
"""Tags of images: what was thrown out, and what was made to be measured; neither ever trains."""
TRAIN = SPLITS[0]


def of_split(records: Iterable[Record], split: str) -> list[Record]:
    """The real or simulated records that carry a split's tag; never a synthetic one.

    Raises UserError where one of them carries another split's tag too, or another sample of its file in the same
    dataset does, and where one carries the split's tag in capitals alone, which whoever wrote it took for the split.
    """
    real = [r for r in records if not r.synthetic]
    chosen = [r for r in real if split in r.tags]
    alike = [(r, tag) for r in real if split not in r.tags for tag in r.tags if tag.strip().lower() == split]
    if alike:
        first, tag = alike[0]
        raise UserError(
            f"{counted(len({r.path for r, _ in alike}), 'image bears', 'images bear')} the tag '{tag}' (the first "
            f"{first.path}), which is no split, since tags of splits are lower case; tag them '{split}' too: "
            f"dataset.match_tags({tag!r}).tag_samples({split!r})."
        )
    splits: dict[tuple[str | None, str], set[str]] = {}
    for record in real:
        splits.setdefault((record.dataset, record.path), set()).update(record.splits)
    doubtful = [r for r in chosen if len(splits[r.dataset, r.path]) > 1]
    if doubtful:
        first = doubtful[0]
        raise UserError(
            f"{counted(len(doubtful), 'image is', 'images are')} in more than one split, the first {first.path} "
            f"({' and '.join(s for s in SPLITS if s in splits[first.dataset, first.path])}); leave each the tag of one."
        )
    return chosen


def _never_trains(record: Record) -> bool:
    """Whether a filter has thrown an image out, or it was made to be measured."""
    return bool({REJECTED, EVALUATION} & {*record.tags})


def _training_split(records: Iterable[Record]) -> list[Record]:
    return [r for r in of_split(records, TRAIN) if not _never_trains(r)]


def training_images(records: Iterable[Record]) -> list[Record]:
    """The real images that a diffusion model may learn from; raises UserError where none is tagged, or one is gone."""
    chosen = _training_split(records)
    if not chosen:
        raise UserError(
            "None of the chosen samples is tagged 'train'; choose others, tag some, or load a dataset with a split."
        )
    refuse_missing(r.path for r in chosen)
    return chosen


def with_datasets(
    records: list[Record], datasets: Iterable[str], own: str, read: Callable[[str], list[Record]]
) -> list[Record]:
    """The records of a job's dataset, and of further ones the real images of their splits, but for what never trains.

    Args:
        records: those of the job's own dataset
        datasets: the names of the others
        own: that of the job's own
        read: gives the records of a dataset; raises UserError where there is none

    Classes of the same name, case aside, are one. Raises UserError where the job's own dataset is named again.
    """
    found = list(records)
    for name in datasets:
        if name == own:
            raise UserError(f"datasets names '{name}', which the job works on already; name others, or leave it out.")
        labels = sorted({r.label for r in found})
        for record in read(name):
            # Tags of splits in capitals too, for `of_split` to refuse.
            splits = {tag.strip().lower() for tag in record.tags} & {*SPLITS}
            never = TRAIN in splits and _never_trains(record)
            if splits and not record.synthetic and not never:
                found.append(replace(record, label=named(record.label, labels) or record.label, dataset=name))
    return found


def refuse_unused_datasets(datasets: Iterable[str], learned: list[Record]) -> None:
    """Raises UserError where a further dataset has no image among those that are learned from."""
    if missing := sorted(set(datasets) - {r.dataset for r in learned}):
        raise UserError(
            f"Of the dataset '{missing[0]}' no image can be learned from: none is tagged 'train', or each of these "
            "shows what another dataset holds out; tag some, or leave it out of datasets."
        )


def held_out_images(records: list[Record], chosen: list[Record]) -> list[Record]:
    """The images that validate, then those that test, of the classes of the chosen ones, whose files are there."""
    labels, files = {r.label for r in chosen}, {r.path for r in chosen}
    real = [r for r in records if not r.synthetic and r.label in labels and r.path not in files]
    found = [r for split in SPLITS[1:] for r in real if r.splits == [split]]
    return [r for r in found if Path(r.path).is_file()]


def validation_images(records: list[Record]) -> list[Record]:
    """The images that validate, by which a training may be chosen; raises UserError where there are not two, or some
    files are gone.
    """
    found = of_split(records, SPLITS[1])
    if len(found) < 2:
        raise UserError(
            f"validate_every compares with images tagged 'val', and there {'is one' if found else 'are none'}; leave "
            "it open, or tag some."
        )
    refuse_missing(r.path for r in found)
    return found


def masked_images(chosen: list[Record], like: list[Record] | None = None) -> list[Record]:
    """Those that a mask describes: of a class in which some of `like` have lesions these, of any other class all.

    `like` is `chosen` itself where it is not given. Raises UserError where none has a lesion.
    """
    classes = {r.label for r in like or chosen if r.lesions}
    if not classes:
        raise UserError(
            "None of the training images has a lesion's mask; load the dataset with its masks, or add them as "
            "Detections with masks in the field lesions."
        )
    return [r for r in chosen if r.lesions or r.label not in classes]


def remarks_on_training(chosen: list[Record]) -> list[str]:
    """A sentence where classes have but one image to learn from; none otherwise."""
    lone = [label for label, n in count_labels(chosen).items() if n == 1]
    if not lone:
        return []
    return [f"A single image of {', '.join(lone)} is learned from: all that can be learned of it is that image."]


def training_set(
    records: list[Record],
    include: list[str],
    ratio: float | None = None,
    balance_to: int | None = None,
    synthetic_only: bool = False,
) -> list[Record]:
    """The training split and the synthetic images of the variants in `include` that may train a classifier.

    Of each variant all of them, or of each class the first: `ratio` times as many as the split has, or what it lacks to
    `balance_to`. With `synthetic_only` they are all there is. Raises UserError where a named variant has no image to
    train with, or fewer than are to be taken.
    """
    real = _training_split(records)
    amounts = amounts_of(count_labels(real), ratio, balance_to)
    chosen = [] if synthetic_only else real
    for variant in include:
        members = [r for r in records if r.synthetic and r.variant == variant]
        added = [r for r in members if not _never_trains(r)]
        if not added:
            known = ", ".join(sorted({r.variant for r in records if r.synthetic})) or "no synthetic image"
            why = f"all {len(members)} are tagged 'rejected' or 'evaluation'" if members else f"there is {known}"
            raise UserError(f"No synthetic image of variant '{variant}' can be trained with ({why}); generate some.")
        chosen += added if ratio is balance_to is None else first_of(added, variant, amounts)
    if balance_to is not None and not sum(amounts.values()):
        raise UserError(
            f"Every class has {balance_to} real training images already; raise balance_to, or leave it out."
        )
    return chosen


def amounts_of(training: dict[str, int], ratio: float | None, balance_to: int | None) -> dict[str, int]:
    """Synthetic images of each class, given the real ones in training: a share of these, or what they lack to a number.

    No image where there is neither.
    """
    if balance_to is not None:
        return {label: max(0, balance_to - n) for label, n in training.items()}
    # rounded first: 1.1 · 110 is a little more than 121 in binary
    return {label: math.ceil(round((ratio or 0) * n, 6)) for label, n in training.items()}


def first_of(images: list[Record], variant: str, amounts: dict[str, int]) -> list[Record]:
    """The first of a variant's images, so many of each class; raises UserError where there are fewer."""
    found = []
    for label, n in amounts.items():
        members = [r for r in images if r.label == label]
        if len(members) < n:
            raise UserError(
                f"Of {label} there are {len(members)} images of variant '{variant}' to train with, not {n}; generate "
                "more, or take fewer (ratio, balance_to)."
            )
        found += members[:n]
    return found


def is_evaluation(record: Record) -> bool:
    """Whether a synthetic image is of a set that was made to be measured."""
    return record.synthetic and EVALUATION in record.tags


def evaluation_sets(records: list[Record], variants: list[str] | None) -> dict[str, list[Record]]:
    """The images made to be measured, by variant; balancing images never count.

    Raises UserError where there is none, or a named variant has none.
    """
    sets: dict[str, list[Record]] = {}
    for record in records:
        if is_evaluation(record) and (variants is None or record.variant in variants):
            sets.setdefault(record.variant, []).append(record)
    refuse_unknown_variants(records, variants)
    missing = sorted(set(variants or ()) - set(sets))
    if missing:
        raise UserError(f"Variant(s) {', '.join(missing)} have no evaluation set; run generate with mode 'evaluation'.")
    if not sets:
        raise UserError("There is no evaluation set to measure; run generate with mode 'evaluation' first.")
    return sets


def refuse_unknown_variants(records: list[Record], variants: list[str] | None) -> None:
    """Raises UserError where no synthetic record is of a named variant."""
    known = {r.variant for r in records if r.synthetic}
    if unknown := sorted(set(variants or ()) - known):
        there = f"there are {', '.join(sorted(known))}" if known else "generate some first"
        raise UserError(f"There is no synthetic image of variant(s) {', '.join(unknown)}; {there}.")


def other_splits(real: list[Record], reference: list[Record], split: str, hash_of: dict[str, str]) -> list[Record]:
    """Real images of other splits of which none has a file's bytes, a scan or a patient in common with the reference.

    Scans are told by the audit, patients by the set that the images are of.
    """
    clusters = {r.cluster for r in reference}
    files = {hash_of[r.path] for r in reference}
    others = [r for r in real if split not in r.tags and r.splits]
    return [r for r in others if r.cluster not in clusters and hash_of[r.path] not in files]


def refuse_shared_files(records: list[Record], hashes: list[str]) -> None:
    """Raises UserError where a synthetic file has the bytes of a real one."""
    real = {h: r.path for r, h in zip(records, hashes, strict=True) if not r.synthetic}
    for record, key in zip(records, hashes, strict=True):
        if record.synthetic and key in real:
            raise UserError(
                f"{record.path} is the same file as the real image {real[key]}; remove its sample (a file is never "
                "compared with itself, whatever on_copies says)."
            )


def refuse_learned(records: list[Record], used: Iterable[Ancestor]) -> None:
    """Raises UserError where a product has learned from images that validate or test now."""
    trained = [ancestor for ancestor in used if ancestor.run is not None]
    held_out = [r for split in SPLITS[1:] for r in of_split(records, split)] if trained else []
    for ancestor in trained:
        if again := seen_by(ancestor.run, held_out):
            raise UserError(
                f"'{ancestor.given}' was trained on {counted(len(again), 'image that is', 'images that are')} held out "
                f"now (the first {again[0].path}), so no number on these would be honest. Train it anew on this split."
            )


def refuse_learned_by_makers(images: Iterable[Record], held_out: list[Record]) -> None:
    """Raises UserError where a synthetic image is of a generator that has learned from one of some held-out images."""
    places = {Path(r.path).parent: r for r in images if r.synthetic}
    makers: dict[Path, tuple[Run, Record]] = {}
    for place, image in places.items():
        if (run := run_that_made(place)) is not None:
            makers.setdefault(run.folder, (run, image))
    for run, image in makers.values():
        if again := learned_by_parents(run, held_out):
            raise UserError(
                f"The images of run '{run.key}' (such as {image.path}) are of a generator that was trained on "
                f"{counted(len(again), 'image that is', 'images that are')} held out now (the first {again[0].path}), "
                "so no number on these would be honest. Leave them out, or generate by what was trained on this split."
            )


def synthetic_in_training(run: Run) -> list[str]:
    """The variants of synthetic images that a classifier's run was told to train with."""
    return sorted({variant for member in ancestors(run) for variant in _included(member)})


def refuse_synthetic_training(run: Run | None) -> None:
    """Raises UserError where a classifier that is to score images was trained with synthetic ones, or may have been."""
    if run is None:
        raise UserError(
            "Of a classifier's file outside of a run's folder nobody can say what it was trained with; name its run."
        )
    if included := synthetic_in_training(run):
        raise UserError(
            f"Classifier '{run.key}' was trained with synthetic images ({', '.join(included)}), which would flatter "
            "them; name one that was trained on real images alone."
        )


def refuse_unlabelled(records: list[Record], field: str = LABEL_FIELD) -> None:
    """Raises UserError where a record has no class; `field` is where the dataset should hold it."""
    if missing := [r.path for r in records if not r.label]:
        raise UserError(
            f"{counted(len(missing), 'sample has', 'samples have')} no class in the field {field} (the first: "
            f"{missing[0]}); give each a fo.Classification there, name the field that holds the class as label_field, "
            "or work on a view without them."
        )


def _included(run: Run) -> list[str]:
    return run.config.get("include", []) if run.job is not None else []
