"""The job `compute_fid`: how far each variant's evaluation set lies from real images, by several metrics.

All variants are compared at the same class counts, and beside them stands the real-vs-real floor: what as many
real images of the other splits, none of a scan of the reference, give against it. Where the features are those of
a classifier that was trained on these others, the floor is too high if anything. Intervals take images as
independent, which frames of one scan are not quite.
"""

from collections.abc import Iterator

import numpy as np

from busaug_core.data.records import Record, count_labels, of_split
from busaug_core.data.splits import NAMES
from busaug_core.device import pick_device
from busaug_core.errors import UserError
from busaug_core.events import Event, Notice, Progress, Row
from busaug_core.job import Run
from busaug_core.measure.comparison import Outcome, compare
from busaug_core.measure.config import ComputeFid
from busaug_core.measure.estimate import Estimate
from busaug_core.measure.extractors import make_extractor
from busaug_core.measure.features import extract
from busaug_core.measure.report import COPIES, REAL, row_of, write_report
from busaug_core.measure.sets import (
    ALL,
    NearestReal,
    common_counts,
    details_of,
    draw,
    evaluation_sets,
    of_class,
    refuse_shared_files,
)
from busaug_core.measure.texture import texture_rows

TRAIN = "train"
CAVEAT = "; the classifier was trained on some of them, so the floor is too high if anything"


def compute_fid(config: ComputeFid, run: Run) -> Iterator[Event]:
    """Yield a row for each reference, class, variant and metric, and the floor's rows, whose variant is `real`.

    The references are the config's and the training split. Returns all `rows`, what the Fréchet distance is called
    (`metric`), the `extractor` and its `weights`, the `preprocessing`, the `seed`, and what `floor` means; writes
    `fid.json`, `fid.csv`, `fid.md`, `fid.png` and `spectra.png`.
    Raises UserError where a side is empty, a file or a near-copy is on both sides, or the extractor's classifier
    knows more than real training images.
    """
    everything = run.records
    references = {split: of_split(everything, split) for split in dict.fromkeys([config.reference, TRAIN])}
    if not references[config.reference]:
        raise UserError(f"No real sample is tagged '{config.reference}' to compare with.")
    references = {split: members for split, members in references.items() if members}
    variants = evaluation_sets(everything, config.variants)
    real = [r for r in everything if not r.synthetic]
    records = real + [r for members in variants.values() for r in members]
    extractor = make_extractor(config.extractor, run, pick_device(), config.preprocessing)
    features = yield from extract(records, extractor, run, config.batch_size)
    if not run.is_main:
        return {}
    refuse_shared_files(records, features.hashes)
    variants, copy_rows = yield from _without_copies(config, variants, references)

    def outcomes(pair: tuple[list[Record], list[Record]]) -> dict[str, Outcome]:
        groups = [r.split_group or r.pair or r.path for side in pair for r in side]
        return compare(*map(features.of, pair), groups, config, extractor.metric)

    rng = np.random.default_rng(config.seed)
    rows: list[dict] = []
    steps = [(split, label) for split, members in references.items() for label in [ALL, *count_labels(members)]]
    for done, (split, label) in enumerate(steps, 1):
        reference = of_class(references[split], label)
        sides = {variant: of_class(members, label) for variant, members in variants.items()}
        others = of_class(other_splits(real, references[split], split), label)
        has_floor = count_labels(reference).keys() <= count_labels(others).keys()
        counts = common_counts([reference, *sides.values(), *([others] if has_floor else [])])
        n = sum(counts.values())
        if split == config.reference and n < len(reference):
            yield Notice(
                f"{label}: compared at {n} of {len(reference)} images, as many of each class as all sets have."
            )
        if not n:
            continue
        one_reference = draw(reference, counts, rng)
        drawn = {variant: draw(members, counts, rng) for variant, members in sides.items()}
        for variant, members in drawn.items():
            found = outcomes((one_reference, members))
            rows += [row_of(variant, label, split, n, metric, outcome) for metric, outcome in found.items()]
        if has_floor:
            pairs = [(draw(reference, counts, rng), draw(others, counts, rng)) for _ in range(config.floor_draws)]
            rows += _floor_rows(label, split, n, [outcomes(pair) for pair in pairs])
        if (split, label) == steps[0] and "speckle" in config.metrics:
            rows += yield from texture_rows(one_reference, drawn, split, run.folder)
        yield Progress(done, len(steps), "Comparing the sets")
    rows += copy_rows
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
        "floor": f"mean and range of {config.floor_draws} class-matched draws of real images of other splits"
        + (CAVEAT if extractor.trained_on & {r.path for r in real} else ""),
    }
    write_report(run.folder, summary)
    return summary


def other_splits(real: list[Record], reference: list[Record], split: str) -> list[Record]:
    """Real images of other splits that show no scan of the reference."""
    groups = {r.split_group for r in reference} - {None}
    return [r for r in real if split not in r.tags and set(NAMES) & set(r.tags) and r.split_group not in groups]


def _without_copies(
    config: ComputeFid, variants: dict[str, list[Record]], references: dict[str, list[Record]]
) -> Iterator[Event]:
    """The variants without near-copies of real images, and rows with the share of near-copies of training images.

    Raises UserError where copies are refused, or nothing is left.
    """
    on_a_side = [r for members in references.values() for r in members]
    details = details_of(on_a_side)
    training = references.get(TRAIN, [])
    kept, rows = {}, []
    for variant, members in variants.items():
        own = details_of(members)
        nearest = NearestReal(members, own, on_a_side, details)
        if config.on_copies == "refuse":
            nearest.refuse_copies()
        copies = set(nearest.copies)
        if copies:
            yield Notice(f"{variant}: {len(copies)} near-copies of real images are left out of the measurement.")
        if len(copies) < len(members):
            kept[variant] = [r for i, r in enumerate(members) if i not in copies]
        if training:
            of_training = NearestReal(members, own, training, details[-len(training) :])
            rows.append(row_of(variant, ALL, TRAIN, len(members), COPIES, of_training.near_copies))
    if not kept:
        raise UserError("All images of all evaluation sets are near-copies of real ones; there is nothing to measure.")
    return kept, rows


def _floor_rows(label: str, split: str, n: int, draws: list[dict[str, Outcome]]) -> Iterator[dict]:
    """The mean and the range of each metric over draws of real images against real images."""
    for metric in draws[0]:
        values = [draw[metric].value for draw in draws if isinstance(draw[metric], Estimate)]
        found = Estimate(float(np.mean(values)), min(values), max(values)) if values else draws[0][metric]
        yield row_of(REAL, label, split, n, metric, found)
