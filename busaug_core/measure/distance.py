"""The job `compute_fid`: how far each variant's evaluation set lies from held-out real images.

Every comparison is at equal class counts, and beside it stands the real-vs-real floor: the distance of
as many other real images, drawn from the other splits, to the same reference. Where the features are those
of a classifier that was trained on these others, the floor is too high if anything.
"""

import csv
import json
from collections.abc import Iterator

import numpy as np

from busaug_core.data.records import Record, count_labels, of_split
from busaug_core.device import pick_device
from busaug_core.errors import UserError
from busaug_core.events import Event, Notice, Row
from busaug_core.images import PREPROCESSING
from busaug_core.job import Run
from busaug_core.measure.config import ComputeFid
from busaug_core.measure.copies import details_of, is_near_copy
from busaug_core.measure.extractors import make_extractor
from busaug_core.measure.features import extract
from busaug_core.measure.fid import frechet_distance

ALL = "all"
REAL = "real"
COLUMNS = ("variant", "class", "reference", "n", "metric", "value", "low", "high")


def compute_fid(config: ComputeFid, run: Run) -> Iterator[Event]:
    """Yield a row for each variant and class, and the floor's rows, whose variant is `real`.

    Returns all `rows`, the `extractor` and its `weights`, the `preprocessing`, the `seed`, and what `floor` means.
    Raises UserError where a side is empty, a file is on both sides, or the extractor's classifier knows more
    than real training images.
    """
    everything = run.records
    reference = of_split(everything, config.reference)
    others = [r for r in everything if not r.synthetic and config.reference not in r.tags]
    variants = evaluation_sets(everything, config.variants)
    if not reference:
        raise UserError(f"No real sample is tagged '{config.reference}' to compare with.")
    if not variants:
        raise UserError("There is no evaluation set to measure; run generate with mode 'evaluation' first.")
    records = reference + others + [r for members in variants.values() for r in members]
    extractor = make_extractor(config.extractor, run, pick_device())
    features, hashes = yield from extract(records, extractor, run, config.batch_size)
    refuse_shared_files(records, hashes)
    of = {record.path: i for i, record in enumerate(records)}

    def distance(left: list[Record], right: list[Record]) -> float:
        return frechet_distance(*(features[[of[r.path] for r in side]] for side in (left, right)))

    rng = np.random.default_rng(config.seed)
    rows = []
    for label in [ALL, *count_labels(reference)]:
        real = [r for r in reference if label in (ALL, r.label)]
        for variant, members in variants.items():
            pair = matched(real, [r for r in members if label in (ALL, r.label)], rng)
            if len(pair[0]) < len(real):
                yield Notice(f"{variant}, {label}: compared at {len(pair[0])} of {len(real)} images, class for class.")
            value = distance(*pair) if len(pair[0]) > 1 else None
            rows.append(_row(config, extractor.metric, variant, label, len(pair[0]), value))
        draws = [(distance(*pair), len(pair[0])) for pair in _draws(real, others, config.floor_draws, rng)]
        if draws:
            low, high = np.percentile([value for value, _ in draws], [2.5, 97.5])
            n = draws[0][1]
            rows.append(_row(config, extractor.metric, REAL, label, n, np.mean([v for v, _ in draws]), low, high))
    rows += _copy_rows(config, variants, reference, of_split(everything, "train"))
    for row in rows:
        yield Row(row)
    _write_table(run, rows)
    return {
        "rows": rows,
        "extractor": extractor.name,
        "weights": extractor.weights,
        "preprocessing": f"{PREPROCESSING}, {extractor.resolution} px",
        "seed": config.seed,
        "floor": f"mean and 95 % range of {config.floor_draws} class-matched draws of other real images"
        + extractor.caveat,
    }


def evaluation_sets(records: list[Record], variants: list[str] | None) -> dict[str, list[Record]]:
    """The images tagged `evaluation`, by variant; balancing images never count.

    Raises UserError where a named variant has none.
    """
    sets: dict[str, list[Record]] = {}
    for record in records:
        if record.synthetic and "evaluation" in record.tags and (variants is None or record.variant in variants):
            sets.setdefault(record.variant, []).append(record)
    missing = sorted(set(variants or ()) - set(sets))
    if missing:
        raise UserError(f"Variant(s) {', '.join(missing)} have no evaluation set; run generate with mode 'evaluation'.")
    return sets


def matched(left: list[Record], right: list[Record], rng: np.random.Generator) -> tuple[list[Record], list[Record]]:
    """Random subsets of two sets with equal class counts: of each class as many as both sides have."""
    one, other = count_labels(left), count_labels(right)
    wanted = {label: min(n, other.get(label, 0)) for label, n in one.items()}

    def draw(side: list[Record]) -> list[Record]:
        chosen = []
        for label, n in wanted.items():
            members = [r for r in side if r.label == label]
            chosen += [members[i] for i in np.sort(rng.choice(len(members), n, replace=False))]
        return chosen

    return draw(left), draw(right)


def refuse_shared_files(records: list[Record], hashes: list[str]) -> None:
    """Raises UserError where a synthetic file has the bytes of a real one."""
    real = {h: r.path for r, h in zip(records, hashes, strict=True) if not r.synthetic}
    for record, key in zip(records, hashes, strict=True):
        if record.synthetic and key in real:
            raise UserError(
                f"{record.path} is the same file as the real image {real[key]}; remove it before measuring."
            )


def _draws(
    real: list[Record], others: list[Record], draws: int, rng: np.random.Generator
) -> Iterator[tuple[list[Record], list[Record]]]:
    for _ in range(draws):
        pair = matched(real, others, rng)
        if len(pair[0]) > 1:
            yield pair


def _copy_rows(
    config: ComputeFid, variants: dict[str, list[Record]], reference: list[Record], training: list[Record]
) -> Iterator[dict]:
    """The share of near-copies of training images; its floor is that of the reference itself."""
    if config.reference == "train" or not training:
        return
    metric = "share of near-copies of training images"
    trained = details_of([r.path for r in training])
    for variant, members in [*variants.items(), (REAL, reference)]:
        share = float(is_near_copy(details_of([r.path for r in members]), trained).mean())
        yield {**_row(config, metric, variant, ALL, len(members), share), "reference": "train"}


def _row(
    config: ComputeFid,
    metric: str,
    variant: str,
    label: str,
    n: int,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
) -> dict:
    numbers = {k: None if v is None else float(v) for k, v in (("value", value), ("low", low), ("high", high))}
    return {
        "variant": variant,
        "class": label,
        "reference": config.reference,
        "n": n,
        "metric": metric,
        **numbers,
    }


def _write_table(run: Run, rows: list[dict]) -> None:
    (run.folder / "fid.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    with (run.folder / "fid.csv").open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
