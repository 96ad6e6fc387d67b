"""Which synthetic images miss a threshold of their scores; needs no torch, so that a form can count as one types."""

from collections import Counter

from busaug_core.errors import UserError
from busaug_core.jobs.roles import refuse_unknown_variants
from busaug_core.jobs.run import Run
from busaug_core.measure.config import FilterSynthetic
from busaug_core.records import Record, Scores
from busaug_core.words import counted

LIMITS = {
    "class_probability": "min_class_probability",
    "copy_ratio": "min_copy_ratio",
    "likeness": "max_likeness",
    "realism": "min_realism",
    "herding": "max_herding",
    "influence": "max_influence",
}
"""The scores that have a threshold, and the field that sets it."""


def check(config: FilterSynthetic, run: Run, records: list[Record]) -> None:
    """Raises UserError where `chosen` does."""
    chosen(records, config)


def chosen(records: list[Record], config: FilterSynthetic) -> list[Record]:
    """The synthetic records of the config's variants.

    Raises UserError where there is none, one lacks the scores that the thresholds need, or places in an order are of
    several orders.
    """
    refuse_unknown_variants(records, config.variants)
    found = [r for r in records if r.synthetic and (config.variants is None or r.variant in config.variants)]
    if not found:
        raise UserError("There is no synthetic image to filter; generate some first.")
    asked = config.class_consistent or any(getattr(config, limit) is not None for limit in LIMITS.values())
    needed = {score for score, limit in LIMITS.items() if getattr(config, limit) is not None} - {"influence"}
    without = [r for r in found if asked and not (r.scores and needed <= r.scores.to_json().keys())]
    if without:
        lacking = counted(len(without), "image lacks", "images lack")
        if not (scores := without[0].scores):
            raise UserError(f"{lacking} scores ({without[0].path}); run score_synthetic first.")
        missing = ", ".join(sorted(needed - scores.to_json().keys()))
        raise UserError(f"{lacking} the score {missing} ({without[0].path}); run score_synthetic on them again.")
    if config.max_herding is not None:
        for variant in sorted({r.variant for r in found}):
            runs = sorted({r.scores.run or "" for r in found if r.scores and r.variant == variant})
            if len(runs) > 1:
                raise UserError(
                    f"The images of {variant} were ordered apart, by the runs {', '.join(runs)}; for max_herding score "
                    "all of them in one."
                )
    return found


def misses(record: Record, config: FilterSynthetic) -> bool:
    """Whether a record misses one of the thresholds; a score that it lacks is no reason to reject it."""
    scores = record.scores or Scores()
    if config.class_consistent and scores.class_consistent is False:
        return True
    for score, limit in LIMITS.items():
        value, bound = getattr(scores, score), getattr(config, limit)
        if value is None or bound is None:
            continue
        # Places in an order are counted from 0, so that of n images a share keeps n times itself, rounded up.
        if value < bound if limit.startswith("min") else value > bound or (limit == "max_herding" and value == bound):
            return True
    return False


def count(records: list[Record], config: FilterSynthetic) -> list[dict]:
    """Images kept and rejected by variant and class, one row for each."""
    found = Counter((r.variant, r.label, misses(r, config)) for r in records)
    groups = sorted({(variant, label) for variant, label, _ in found})
    return [{"variant": v, "class": c, "kept": found[v, c, False], "rejected": found[v, c, True]} for v, c in groups]
