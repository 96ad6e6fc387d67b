"""What an experiment shows, in words: which arms are better or worse than that of the real images alone."""

import numpy as np

from busaug_core.classify.predictions import read_predictions, read_resampled
from busaug_core.classify.resampling import held_out_draws
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.run import Run
from busaug_core.metrics.classification import accuracy_gain
from busaug_core.metrics.estimate import LEVEL, Estimate


def gains(arms: dict[str, Run]) -> dict[str, Estimate]:
    """By how much each arm but the first differs from it in accuracy, over the same images and draws of them.

    The runs are of probes with as many `resamples` each, tested on one split. The intervals are of the level that
    `level_of` names.
    """
    original, *others = arms
    first = arms[original]
    held_out = of_split(first.records, first.result["evaluated_on"])
    draws = held_out_draws(held_out, first.config["seed"])
    right = {arm: _right(run) for arm, run in arms.items()}
    return {arm: accuracy_gain(right[original], right[arm], draws, level_of(len(others))) for arm in others}


def level_of(comparisons: int) -> float:
    """The level of each interval, so that with `LEVEL` all of them hold at once (Bonferroni)."""
    return 1 - (1 - LEVEL) / comparisons


def claim(found: dict[str, Estimate]) -> str:
    """What the gains of arms show; a gain is shown where its interval is above 0, a loss where it is below."""
    better = [_sentence(arm, "better", e.value, e.low, e.high) for arm, e in found.items() if e.low > 0]
    worse = [_sentence(arm, "worse", -e.value, -e.high, -e.low) for arm, e in found.items() if e.high < 0]
    return " ".join([*(better or ["No arm is shown to be better than the original."]), *worse])


def _sentence(arm: str, how: str, value: float, low: float, high: float) -> str:
    return f"+ {arm} is {how} than the original in accuracy by {value:.3f} ({low:.3f} to {high:.3f})."


def _right(run: Run) -> np.ndarray:
    """Whether each of the run's probes on draws is right on each held-out image, bool R × N."""
    classes, rows = run.result["classes"], read_predictions(run.folder)
    return read_resampled(run.folder).argmax(2) == [classes.index(row.truth) for row in rows]
