"""The job `compute_embeddings`: features of every image, and how the variants overlap with real ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from busaug_core.errors import UserError
from busaug_core.features.cache import Features, extract
from busaug_core.features.extractors import make_extractor
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.events import Row, Steps
from busaug_core.jobs.roles import is_evaluation, of_split, refuse_unknown_variants
from busaug_core.jobs.run import Run
from busaug_core.measure.config import FEATURES, ComputeEmbeddings
from busaug_core.measure.sets import matched
from busaug_core.metrics.prdc import prdc
from busaug_core.metrics.two_sample import two_sample_accuracy
from busaug_core.records import Record


def compute_embeddings(config: ComputeEmbeddings, run: Run) -> Steps[dict[str, Any]]:
    """Write `features.npy`, float32 N×D, in the order of the run's products."""
    records = selected(run.records, config.variants)
    extractor = make_extractor(config.extractor, run, pick_device(), config.preprocessing)
    features = yield from extract(records, extractor, run, config.batch_size)
    if not run.is_main:
        return {}
    features = features.standardised(extractor, of_split(records, config.reference))
    np.save(run.folder / FEATURES, features.matrix.astype(np.float32, copy=False))
    run.write_products(records)
    overlap = list(_overlap(records, features, config, extractor.name))
    for row in overlap:
        yield Row(row)
    return {
        "field": f"features_{extractor.name}",
        "extractor": extractor.name,
        "weights": extractor.weights,
        "preprocessing": extractor.preprocessing,
        "n": len(records),
        "width": features.matrix.shape[1],
        "overlap": overlap,
    }


def selected(records: list[Record], variants: list[str] | None) -> list[Record]:
    """The real records, and the synthetic ones of the given variants (None: all).

    Raises UserError where there is no record, or a named variant has none.
    """
    refuse_unknown_variants(records, variants)
    chosen = [r for r in records if not r.synthetic or variants is None or r.variant in variants]
    if not chosen:
        raise UserError("There is no sample to measure.")
    return chosen


def _overlap(records: list[Record], features: Features, config: ComputeEmbeddings, extractor: str) -> Iterator[dict]:
    """The overlap of each variant's evaluation set with the reference, at equal class counts."""
    reference = of_split(records, config.reference)
    rng = np.random.default_rng(config.seed)
    for variant in sorted({r.variant for r in records if r.synthetic}):
        real, own = matched(reference, [r for r in records if r.variant == variant and is_evaluation(r)], rng)
        row = {"variant": variant, "reference": config.reference, "extractor": extractor, "n": len(own)}
        if len(own) < config.neighbors + 2:
            yield {**row, "coverage": None, "two_sample_accuracy": None, "note": "no evaluation set, or too few images"}
            continue
        one, other = features.of(real), features.of(own)
        yield {
            **row,
            "coverage": prdc(one, other, config.neighbors).coverage.value,
            "two_sample_accuracy": two_sample_accuracy(one, other),
        }
