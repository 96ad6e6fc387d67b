"""The rows of a measurement's table: what they hold, and which of them speak of all classes."""

from collections.abc import Callable

from busaug_core.errors import UserError
from busaug_core.measure.sets import ALL
from busaug_core.metrics.estimate import Estimate

COLUMNS = ("variant", "class", "reference", "n", "metric", "value", "low", "high", "note")
REAL = "real"
"""The variant of the floor's rows."""
COPIES = "share of near-copies of training images"

Outcome = Estimate | str
"""A metric's value with its interval, or the reason why there is none."""


def row_of(variant: str, label: str, reference: str, n: int, metric: str, outcome: Outcome | float) -> dict:
    """A line of the table; a bare number has no interval."""
    row = {"variant": variant, "class": label, "reference": reference, "n": n, "metric": metric}
    match outcome:
        case str():
            return {**row, "value": None, "low": None, "high": None, "note": outcome}
        case Estimate():
            return {**row, "value": outcome.value, "low": outcome.low, "high": outcome.high, "note": None}
    return {**row, "value": outcome, "low": None, "high": None, "note": None}


def tried(metric: Callable[[], Outcome]) -> Outcome:
    """What the metric gives, or the reason why it cannot be taken of so few images."""
    try:
        return metric()
    except UserError as reason:
        return str(reason)


def overall(summary: dict) -> list[dict]:
    """The rows of all classes together against the reference that was asked for."""
    return [r for r in summary["rows"] if r["class"] == ALL and r["reference"] == summary["reference"]]


def overall_distances(summary: dict) -> list[dict]:
    """The rows that hold the Fréchet distance over all classes, among them the floor's (variant `real`)."""
    return [r for r in overall(summary) if r["metric"] == summary["metric"] and r["value"] is not None]
