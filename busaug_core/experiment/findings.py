"""All that an experiment has found, before it is told."""

from dataclasses import dataclass, field
from typing import Any

from busaug_core.experiment.arms import parse_arm
from busaug_core.experiment.claims import Claim
from busaug_core.experiment.classifiers import Choice
from busaug_core.experiment.tested import Classifiers, Tested
from busaug_core.jobs.run import Run
from busaug_core.measure.rows import REAL, overall_distances

METRICS = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC", "ppv": "PPV", "recall": "recall"}
"""A classifier's metrics, and what their columns are called."""
IN_FILE = {**METRICS, "specificity": "specificity", "ece": "ECE"}
"""Those of the file, which has room for more."""
COMPARED = ("accuracy", "auc")
"""Those whose differences and curves are shown; the result has the differences of all."""
MISSING = dict.fromkeys(("value", "low", "high"))


@dataclass(frozen=True)
class External:
    """What the arms' classifiers say of another dataset, untouched.

    Attributes:
        name: the dataset
        tested, claims: on its images, as on the held-out ones
        at_home: the held-out images of the same classes
        note: which images were left out, and what became of the classes that it lacks
    """

    name: str
    tested: Tested
    claims: list[Claim]
    at_home: Tested
    note: str


@dataclass(frozen=True)
class Networks:
    """The original and the best arm as networks, on the held-out images.

    Attributes:
        arms: the runs of each one's networks
        winners: which arm did best within the training images, in each fold
    """

    arms: dict[str, Classifiers]
    winners: list[Choice]
    tested: Tested
    claims: list[Claim]


@dataclass(frozen=True)
class Findings:
    """All that an experiment has found.

    Attributes:
        arms: the runs of each arm's classifiers, those without synthetic images first
        tested: what these say of the held-out images
        claims: the arms compared, or nothing where no two can be
        distances, scores: the results of `compute_fid` and `score_synthetic`
        external: what they say of another dataset, if one was named
        components: the runs that trained the generators, a list by the folds for each field of `generate`
        chosen: in each fold which arm's variant stood for the best; nothing where none was asked for
        fewer: the runs of probes of a share of the real training images alone, by the share
        networks: the original and the best arm as networks, if that was asked for
        looks: the runs that map where each arm's first classifier looks, if that was asked for
    """

    arms: dict[str, Classifiers]
    tested: Tested
    claims: list[Claim]
    distances: dict[str, Any]
    scores: dict[str, Any]
    external: External | None = None
    components: dict[str, list[Run]] = field(default_factory=dict)
    chosen: list[Choice] = field(default_factory=list)
    fewer: dict[float, Classifiers] = field(default_factory=dict)
    networks: Networks | None = None
    looks: dict[str, Run] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, tuple[float, dict, dict[str, dict]]]:
        """Each arm's number of training images, mean of the folds, its variant's distance, and its metrics."""
        by_variant = {row["variant"]: row for row in overall_distances(self.distances)}
        found = {}
        for arm, runs in self.arms.items():
            variant = REAL if arm == self.tested.baseline else _only_variant(arm)
            n_train = sum(of_fold[0].result["n_train"] for of_fold in runs) / len(runs)
            metrics = self.tested.metrics[arm]
            found[arm] = n_train, by_variant.get(variant, MISSING), {m: metrics.get(m, MISSING) for m in IN_FILE}
        return found


def _only_variant(arm: str) -> str | None:
    """The variant whose images an arm takes, all of them as they are, if it is one alone."""
    parsed = parse_arm(arm)
    return parsed.include[0] if len(parsed.include) == 1 and not parsed.filtered else None


def cell(estimate: dict[str, Any], digits: int, with_interval: bool, word: str = "") -> str:
    """An estimate in a table, `word` before its interval; without it where there is none or it has no width."""
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.{digits}f}"
    if with_interval and estimate["low"] is not None and estimate["low"] < estimate["high"]:
        text += f" ({word}{estimate['low']:.{digits}f} to {estimate['high']:.{digits}f})"
    return text
