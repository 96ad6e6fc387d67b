"""The job `filter_synthetic`: rejects the synthetic images that miss a threshold, and says what that does to FID."""

from dataclasses import replace
from typing import Any

import numpy as np

from busaug_core.features.cache import extract
from busaug_core.features.extractors import CANONICAL, make_extractor
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Notice, Row, Steps
from busaug_core.jobs.roles import REJECTED, is_evaluation, of_split
from busaug_core.jobs.run import Run
from busaug_core.measure.config import FilterSynthetic
from busaug_core.measure.sets import matched
from busaug_core.measure.thresholds import chosen, count, misses
from busaug_core.metrics.fid import frechet_distance
from busaug_core.records import Record
from busaug_core.words import counted

DRAWS = 20
LEAST = 10
"""Images that a Fréchet distance is taken of."""


def filter_synthetic(config: FilterSynthetic, run: Run) -> Steps[dict[str, Any]]:
    """Tag the images that miss a threshold `rejected`, and take the tag from all others.

    The products are all synthetic images of the chosen variants with their tags. Returns `counts` by variant and
    class, and `rows` with the Fréchet distance of what is kept of each evaluation set beside that of as many
    images drawn from all of it.
    """
    records = [_tagged(record, config) for record in chosen(run.records, config)]
    run.write_products(records)
    rows = yield from _distances(config, run, records)
    return {"counts": count(records, config), "rows": rows}


def _tagged(record: Record, config: FilterSynthetic) -> Record:
    tags = [tag for tag in record.tags if tag != REJECTED]
    return replace(record, tags=[*tags, REJECTED] if misses(record, config) else tags)


def _distances(config: FilterSynthetic, run: Run, records: list[Record]) -> Steps[list[dict]]:
    keys = sorted({r.scores.run for r in records if r.scores and r.scores.run})
    if not keys:
        return []
    if len(keys) > 1 or run.sibling(keys[0]).state != "done":
        yield Notice(
            f"The images were scored by the run(s) {', '.join(keys)}; for Fréchet distances of what is kept there must "
            "be one, of this dataset. Score all variants in one run."
        )
        return []
    scored = run.sibling(keys[0]).config
    reference = of_split(run.records, scored["reference"])
    extractor = make_extractor(scored["extractor"], run, pick_device(), scored.get("preprocessing", CANONICAL))
    everything = reference + [r for r in records if is_evaluation(r)]
    found = yield from extract(everything, extractor, run, scored["batch_size"])
    features = found.standardised(extractor, reference)
    notes = []
    if config.max_influence is not None:
        notes.append("the influence that was filtered by is on this very distance")
    if config.max_herding is not None and config.max_herding < 1:
        notes.append("herding chose in these very features; measure by another extractor too")
    rng = np.random.default_rng(config.seed)

    def distance(left: list[Record], right: list[Record]) -> float:
        return frechet_distance(features.of(left), features.of(right))

    rows = []
    for variant in sorted({r.variant for r in everything if r.synthetic}):
        members = [r for r in everything if r.synthetic and r.variant == variant]
        real, kept = matched(reference, [r for r in members if REJECTED not in r.tags], rng)
        row = {"variant": variant, "reference": scored["reference"], "metric": extractor.metric, "n": len(kept)}
        if len(kept) < LEAST:
            row |= {"kept": None, "all": None, "all_low": None, "all_high": None}
            row["note"] = f"{counted(len(kept), 'image is', 'images are')} too few to compare"
        else:
            draws = [distance(real, matched(kept, members, rng)[1]) for _ in range(DRAWS)]
            low, high = np.percentile(draws, [2.5, 97.5])
            row |= {"kept": distance(real, kept), "all": float(np.mean(draws))}
            row |= {"all_low": float(low), "all_high": float(high), "note": "; ".join(notes) or None}
        rows.append(row)
        yield Row(row)
    return rows
