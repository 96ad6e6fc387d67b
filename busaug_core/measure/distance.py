"""The job `compute_fid`: how far each variant's evaluation set lies from real images, by several metrics.

Every comparison is at equal class counts, and beside it stands the real-vs-real floor: what as many other
real images, drawn from the other splits, give against the same reference. Where the features are those of a
classifier that was trained on these others, the floor is too high if anything.
"""

from collections.abc import Iterator

import numpy as np

from busaug_core.data.records import Record, count_labels, of_split
from busaug_core.device import pick_device
from busaug_core.errors import UserError
from busaug_core.events import Event, Notice, Progress, Row
from busaug_core.job import Run
from busaug_core.measure.comparison import Comparison, Outcome
from busaug_core.measure.config import ComputeFid
from busaug_core.measure.estimate import Estimate
from busaug_core.measure.extractors import make_extractor
from busaug_core.measure.features import extract
from busaug_core.measure.report import write_report
from busaug_core.measure.sets import (
    ALL,
    NearestReal,
    details_of,
    evaluation_sets,
    matched,
    of_class,
    refuse_shared_files,
)
from busaug_core.measure.texture import texture_rows

REAL = "real"
TRAIN = "train"
COPIES = "share of near-copies of training images"


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
    features, hashes = yield from extract(records, extractor, run, config.batch_size)
    if not run.is_main:
        return {}
    refuse_shared_files(records, hashes)
    variants, copy_rows = yield from _without_copies(config, variants, references)
    of = {record.path: i for i, record in enumerate(records)}
    compare = Comparison(config, extractor.metric)
    compare_real = Comparison(_without_infinity(config), extractor.metric)

    def sides(pair: tuple[list[Record], list[Record]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The features of two sets, and which of their images belong together."""
        groups = [r.split_group or r.pair or r.path for side in pair for r in side]
        return *(features[[of[r.path] for r in side]] for side in pair), groups

    rng = np.random.default_rng(config.seed)
    rows: list[dict] = []
    steps = [(split, label) for split, members in references.items() for label in [ALL, *count_labels(members)]]
    for done, (split, label) in enumerate(steps, 1):
        reference = of_class(references[split], label)
        for variant, members in variants.items():
            pair = matched(reference, of_class(members, label), rng)
            if split == config.reference and len(pair[0]) < len(reference):
                yield Notice(
                    f"{variant}, {label}: compared at {len(pair[0])} of {len(reference)} images, class for class."
                )
            if pair[0]:
                found = compare(*sides(pair))
                rows += [_row(variant, label, split, len(pair[0]), metric, outcome) for metric, outcome in found]
        others = [r for r in real if split not in r.tags]
        draws = [matched(reference, others, rng) for _ in range(config.floor_draws)]
        if draws[0][0]:
            found = [dict(compare_real(*sides(pair))) for pair in draws]
            rows += _floor_rows(label, split, len(draws[0][0]), found)
        yield Progress(done, len(steps), "Comparing the sets")
    rows += copy_rows
    if "speckle" in config.metrics:
        rows += yield from texture_rows(references[config.reference], variants, config.reference, run.folder)
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
        "floor": f"mean and 95 % range of {config.floor_draws} class-matched draws of other real images"
        + extractor.caveat,
    }
    write_report(run.folder, summary)
    return summary


def _without_copies(
    config: ComputeFid, variants: dict[str, list[Record]], references: dict[str, list[Record]]
) -> Iterator[Event]:
    """The variants without near-copies of real images, and rows with the share of near-copies of training images."""
    on_a_side = [r for members in references.values() for r in members]
    details = details_of(on_a_side)
    trained = len(references.get(TRAIN, []))
    kept, rows = {}, []
    for variant, members in variants.items():
        nearest = NearestReal(members, on_a_side, details)
        if config.on_copies == "refuse":
            nearest.refuse_copies()
        copies = set(nearest.copies)
        if copies:
            yield Notice(f"{variant}: {len(copies)} near-copies of real images are left out of the measurement.")
        kept[variant] = [r for i, r in enumerate(members) if i not in copies]
        if trained:
            of_training = NearestReal(members, on_a_side[-trained:], details[-trained:])
            rows.append(_row(variant, ALL, TRAIN, len(members), COPIES, of_training.near_copies))
    if trained and config.reference != TRAIN:
        reference = NearestReal(references[config.reference], on_a_side[-trained:], details[-trained:])
        rows.append(_row(REAL, ALL, TRAIN, len(reference.records), COPIES, reference.near_copies))
    return kept, rows


def _floor_rows(label: str, split: str, n: int, draws: list[dict[str, Outcome]]) -> Iterator[dict]:
    """The mean and the 95 % range of each metric over draws of real images against real images."""
    for metric, first in draws[0].items():
        if isinstance(first, str):
            yield _row(REAL, label, split, n, metric, first)
            continue
        values = [draw[metric].value for draw in draws]
        low, high = np.percentile(values, [2.5, 97.5])
        yield _row(REAL, label, split, n, metric, Estimate(float(np.mean(values)), float(low), float(high)))


def _without_infinity(config: ComputeFid) -> ComputeFid:
    """The config for the floor: extrapolated to infinite N, it is nought."""
    return config.model_copy(update={"metrics": [m for m in config.metrics if m != "fid_infinity"]})


def _row(variant: str, label: str, reference: str, n: int, metric: str, outcome: Outcome | float) -> dict:
    """A line of the table; a bare number has no interval."""
    row = {"variant": variant, "class": label, "reference": reference, "n": n, "metric": metric}
    match outcome:
        case str():
            return {**row, "value": None, "low": None, "high": None, "note": outcome}
        case Estimate():
            return {**row, "value": outcome.value, "low": outcome.low, "high": outcome.high, "note": None}
    return {**row, "value": outcome, "low": None, "high": None, "note": None}
