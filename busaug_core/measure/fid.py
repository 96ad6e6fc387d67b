"""The job `compute_fid`: how far each variant's evaluation set lies from real images, by several metrics.

All variants are compared at the same class counts, and beside them stands the real-vs-real floor: what as many
real images of the other splits, none of a scan of the reference, give against it. Where the classifier behind the
features was trained on some of these, the floor may be too high. Intervals take images as independent, which
frames of one scan are not quite, and the units of z-scores as given; these are those of the whole split, so that all
rows against it have the same.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from busaug_core.errors import UserError
from busaug_core.features.cache import extract
from busaug_core.features.extractor import Extractor
from busaug_core.features.extractors import make_extractor
from busaug_core.files import content_hash
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Notice, Progress, Row, Steps
from busaug_core.jobs.roles import TRAIN, evaluation_sets, of_split, other_splits, refuse_shared_files
from busaug_core.jobs.run import Run
from busaug_core.measure.comparison import compare
from busaug_core.measure.config import NEAR_COPY, ComputeFid
from busaug_core.measure.copies import Originals
from busaug_core.measure.judge import Judge, train_judge
from busaug_core.measure.ladder import (
    Taken,
    Way,
    ladder,
    learned_by_autoencoder,
    refuse_other_autoencoder,
    take_along,
    ways_of,
)
from busaug_core.measure.remarks import caveat, remarks_on_counts, remarks_on_sets
from busaug_core.measure.report import write_report
from busaug_core.measure.rows import COPIES, REAL, Outcome, row_of
from busaug_core.measure.sets import ALL, common_counts, draw, of_class
from busaug_core.measure.texture import texture_rows
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.frd import family_shifts
from busaug_core.parallel import in_order
from busaug_core.records import Record, count_labels
from busaug_core.words import counted

MOST_MOVED = 10
"""Families of features that are told of each variant."""
LADDER, JUDGE = "ladder", "judge"


def compute_fid(config: ComputeFid, run: Run) -> Steps[dict[str, Any]]:
    """Yield a row for each reference, class, variant and metric, and the floor's rows, whose variant is `real`.

    The references are the config's and the training split. Returns all `rows`, the `ladders` and the
    verdicts of the `judges` (see these modules), what the Fréchet distance is called
    (`metric`), the `extractor` and its `weights`, the `preprocessing`, the `seed`, what `floor` means, the near-copies
    that were `left_out`, the `remarks` on the sets, and for an extractor whose features are named the families of them
    in which each variant `moved` most; writes `fid.json`, `fid.csv`, `fid.md`, `fid.png`, `ladder.png` and
    `spectra.png`.
    Raises UserError where a file or a near-copy is on both sides, or the extractor's classifier
    knows more than real training images.
    """
    everything = config.measured(run.records)
    references = {split: of_split(everything, split) for split in dict.fromkeys([config.reference, TRAIN])}
    references = {split: members for split, members in references.items() if members}
    variants = evaluation_sets(everything, config.variants)
    real = [r for r in everything if not r.synthetic]
    records = real + [r for members in variants.values() for r in members]
    extractor = make_extractor(config.extractor, run, pick_device(), config.preprocessing)
    hash_of = dict(zip([r.path for r in real], in_order(content_hash, [r.path for r in real]), strict=True))
    others_of = {split: other_splits(real, members, split, hash_of) for split, members in references.items()}
    features = yield from extract(records, extractor, run, config.batch_size)
    measured, left_out, copy_rows, remarks = variants, [], [], []
    if run.is_main:
        refuse_shared_files(records, features.hashes)
        remarks = list(remarks_on_sets(variants, real, extractor))
        yield from remarks
        measured, left_out, copy_rows = yield from _without_copies(config, variants, real)
    opposite = _opposite(config, references, others_of)
    ways = ways_of(variants)
    along, judges = yield from _along(config, run, variants, ways, references, opposite, extractor)
    if not run.is_main:
        return {}
    variants = measured

    comparable = {split: features.standardised(extractor, members) for split, members in references.items()}

    def outcomes(split: str, pair: tuple[list[Record], list[Record]]) -> dict[str, Outcome]:
        groups = [r.cluster for side in pair for r in side]
        return compare(*map(comparable[split].of, pair), groups, config, extractor.metric)

    def shifts(split: str, pair: tuple[list[Record], list[Record]]) -> dict[str, float]:
        return family_shifts(*map(comparable[split].of, pair), extractor.families)

    rng = partial(_rng, config)

    rows: list[dict] = []
    ladders: list[dict] = []
    moved: dict[str, list[dict]] = {}
    steps = [(split, label) for split, members in references.items() for label in [ALL, *count_labels(members)]]
    for done, (split, label) in enumerate(steps, 1):
        reference = of_class(references[split], label)
        sides = {variant: of_class(members, label) for variant, members in variants.items()}
        others = of_class(others_of[split], label)
        has_floor = count_labels(reference).keys() <= count_labels(others).keys()
        counts = common_counts([reference, *sides.values(), *([others] if has_floor else [])])
        n = sum(counts.values())
        if split == config.reference:
            yield from remarks_on_counts(label, counts, len(reference))
        if not n:
            continue
        one_reference = draw(reference, counts, rng(split, label))
        drawn = {variant: draw(members, counts, rng(split, label, variant)) for variant, members in sides.items()}
        for variant, members in drawn.items():
            found = outcomes(split, (one_reference, members))
            rows += [row_of(variant, label, split, n, metric, outcome) for metric, outcome in found.items()]
        own, draws = rng(split, label, REAL), range(config.floor_draws if has_floor else 0)
        pairs = [(draw(reference, counts, own), draw(others, counts, own)) for _ in draws]
        if has_floor:
            rows += _floor_rows(label, split, n, [outcomes(split, pair) for pair in pairs])
        if (split, label) == steps[0] and has_floor:
            pair = one_reference, draw(opposite, counts, rng(LADDER))
            for taken in along:
                own = {variant: drawn[variant] for variant in ways[taken.way] if variant in drawn}
                ladders.append(ladder(taken, features, extractor, reference, pair, own, split))
        if (split, label) == steps[0] and extractor.families:
            of_real = [shifts(split, pair) for pair in pairs]
            moved = {v: _most_moved(shifts(split, (one_reference, members)), of_real) for v, members in drawn.items()}
        if (split, label) == steps[0] and "speckle" in config.metrics:
            rows += yield from texture_rows(one_reference, drawn, split, run.folder)
        yield Progress(done, len(steps), "Comparing the sets")
    rows += copy_rows
    verdicts = []
    for judge in judges:
        verdicts.append((yield from judge.verdict({v: variants[v] for v in ways[judge.way] if v in variants})))
    for row in rows:
        yield Row(row)
    summary = {
        "rows": rows,
        "metric": extractor.metric,
        "reference": config.reference,
        "extractor": extractor.name,
        "weights": extractor.weights,
        "preprocessing": extractor.preprocessing,
        "seed": config.seed,
        "floor": f"mean and range of {config.floor_draws} class-matched draws of real images of other splits, of no "
        "scan or patient of the reference"
        + caveat(extractor.run, references[config.reference], others_of[config.reference]),
        "ladders": ladders,
        "judges": verdicts,
        "left_out": left_out,
        "remarks": [remark.message for remark in remarks],
        "moved": moved,
    }
    write_report(run.folder, summary)
    return summary


def _opposite(
    config: ComputeFid, references: dict[str, list[Record]], others_of: dict[str, list[Record]]
) -> list[Record]:
    """Real images of other splits that the ladder sets against the reference: as many of each class as both sides have.

    None where a class has none.
    """
    others = others_of[config.reference]
    counts = common_counts([references[config.reference], others])
    return draw(others, counts, _rng(config, LADDER)) if all(counts.values()) else []


def _along(
    config: ComputeFid,
    run: Run,
    variants: dict[str, list[Record]],
    ways: dict[Way, list[str]],
    references: dict[str, list[Record]],
    opposite: list[Record],
    extractor: Extractor,
) -> Steps[tuple[list[Taken], list[Judge]]]:
    """The ladder's and the judge's features along each way of the variants; a notice where they cannot be had.

    `opposite` are the real images against the reference.
    """
    reference, along, judges = references[config.reference], [], []
    asked = {LADDER, JUDGE} & set(config.metrics)
    if JUDGE in asked and config.reference == TRAIN:
        yield Notice("No judge of class consistency against 'train', on which it would be trained.")
        asked -= {JUDGE}
    if not opposite:
        asked -= {LADDER}
    for way, names in ways.items():
        try:
            refuse_other_autoencoder(way, [r for name in names for r in variants[name]], run)
            if LADDER in asked:
                if learned := learned_by_autoencoder(way, opposite, run):
                    yield Notice(
                        f"The autoencoder of {way.vae} was trained on {len(learned)} of the {len(opposite)} real "
                        "images that the ladder passes through it, so that step may be a little too short."
                    )
                along.append((yield from take_along(way, reference + opposite, extractor, run, config.batch_size)))
            if JUDGE in asked:
                evaluation, training = [r for name in names for r in variants[name]], references.get(TRAIN, [])
                judges.append((yield from train_judge(way, training, reference, evaluation, run, config.batch_size)))
        except UserError as reason:
            yield Notice(f"{', '.join(names)}: no {' and no '.join(sorted(asked, reverse=True))}. {reason}")
    return [taken for taken in along if taken], [judge for judge in judges if judge]


def _rng(config: ComputeFid, *what: str) -> np.random.Generator:
    """Draws that depend on what is drawn alone, not on what else is measured."""
    return np.random.default_rng([config.seed, crc32(" ".join(what).encode())])


def _without_copies(
    config: ComputeFid, variants: dict[str, list[Record]], everything: list[Record]
) -> Steps[tuple[dict[str, list[Record]], list[dict], list[dict]]]:
    """The variants without near-copies of real images, these, and rows with the share of those of training images.

    Raises UserError where copies are refused, or nothing is left.
    """
    training = of_split(everything, TRAIN)
    trained_on = {r.path for r in training}
    others = [r for r in everything if r.path not in trained_on]
    originals = {name: Originals(members) for name, members in ((TRAIN, training), (REAL, others)) if members}
    kept, copies, rows = {}, [], []
    for variant, members in variants.items():
        is_copy = np.zeros(len(members), bool)
        for name, of_this_kind in originals.items():
            likeness, real = yield from of_this_kind.nearest(members)
            found = likeness >= NEAR_COPY
            copies += [
                {"variant": variant, "path": members[i].path, "real": real[i].path, "likeness": float(likeness[i])}
                for i in np.flatnonzero(found & ~is_copy)
            ]
            is_copy |= found
            if name == TRAIN:
                rows.append(row_of(variant, ALL, TRAIN, len(members), COPIES, float(found.mean())))
        if is_copy.any() and config.on_copies == "leave_out":
            n = counted(int(is_copy.sum()), "near-copy of a real image is", "near-copies of real images are")
            yield Notice(f"{variant}: {n} left out of the measurement.")
        if not is_copy.all():
            kept[variant] = [r for r, copy in zip(members, is_copy, strict=True) if not copy]
    if copies and config.on_copies == "refuse":
        first = copies[0]
        raise UserError(
            f"{counted(len(copies), 'image is a near-copy', 'images are near-copies')} of real ones, the first "
            f"{first['path']} of {first['real']} (likeness {first['likeness']:.2f}). Remove such images, or "
            "set on_copies to 'leave_out', in a new run."
        )
    if not kept:
        raise UserError("All images of all evaluation sets are near-copies of real ones; there is nothing to measure.")
    return kept, copies, rows


def _floor_rows(label: str, split: str, n: int, draws: list[dict[str, Outcome]]) -> Iterator[dict]:
    """The mean and the range of each metric over draws of real images against real images."""
    for metric in draws[0]:
        values = [draw[metric].value for draw in draws if isinstance(draw[metric], Estimate)]
        found = Estimate(float(np.mean(values)), min(values), max(values)) if values else draws[0][metric]
        yield row_of(REAL, label, split, n, metric, found)


def _most_moved(shifts: dict[str, float], of_real: list[dict[str, float]]) -> list[dict]:
    """The families of features that a variant has moved in most, and how far real images have, on average."""
    return [
        {"family": family, "shift": shift, "floor": float(np.mean([s[family] for s in of_real])) if of_real else None}
        for family, shift in list(shifts.items())[:MOST_MOVED]
    ]
