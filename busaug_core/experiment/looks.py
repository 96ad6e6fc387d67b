"""Where the arms' classifiers look: how much of their maps lies on lesions and marks, and how much more than before."""

import numpy as np

from busaug_core.classify.attention import LESION, MARKS, REAL, TARGETS, Attention, Target, mean_over_clusters
from busaug_core.classify.config import APPLY_CLASSIFIER, ATTENTION
from busaug_core.experiment.arms import HELD_OUT
from busaug_core.experiment.chain import Chain
from busaug_core.files import read_rows
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.measure.report import markdown_table
from busaug_core.metrics.bootstrap import groups_of
from busaug_core.records import Record

COLUMNS = {LESION: ("on the lesion", "on other scans' lesions"), MARKS: ("on burnt-in marks", "on other scans' marks")}
NOTES = {
    LESION: "The share of the heat maps (Grad-CAM, of the predicted class) that lies inside the lesion's mask, of {n} "
    "held-out scans with a lesion{fold}, by each arm's first classifier. A map that always shows the middle, where "
    "lesions are, has as much inside other scans' lesions. In brackets 95 % intervals over scans or patients. The "
    "masks cover {area:.3f} of the images.",
    MARKS: "The share of the heat maps that lies on burnt-in marks (calipers, text, colour), of the {n} held-out scans"
    "{fold} on which the audit's detector finds some, which cover {area:.3f} of these. A cell of a map is larger than "
    "a letter, and calipers lie on lesions: maps that follow lesions have more on marks too, and more than on those of "
    "other scans.",
}


def look(chain: Chain, classifiers: dict[str, Run], held_out: list[Record]) -> Steps[dict[str, Run]]:
    """Map where a classifier of each arm looks in the held-out images; returns the runs."""

    def of_arm(arm: str) -> Steps[Run]:
        one = classifiers[arm]
        text, key = f"Map where the classifier of {arm} looks", f"looks_{one.key}"
        values = dict(classifier=one.key, heatmaps=True, evaluate_on=HELD_OUT)
        return chain.apart(text, APPLY_CLASSIFIER, key, held_out, **values)

    return (yield from chain.each("looks", classifiers, of_arm))


def told(looks: dict[str, Run], in_fold: bool) -> list[str]:
    """A table of what the maps of each arm show of lesions, and one of burnt-in marks."""
    tables = [lines for target in TARGETS if (lines := _table(looks, in_fold, target))]
    return [line for lines in tables for line in ("", *lines)][1:]


def _table(looks: dict[str, Run], in_fold: bool, target: Target) -> list[str]:
    """What the maps of each arm show of a target; nothing where no image has it or all that have are of one scan."""
    shares = {
        arm: {a.path: a for a in read_attention(run) if getattr(a, target.share) is not None}
        for arm, run in looks.items()
    }
    paths = sorted(set.intersection(*map(set, shares.values()))) if shares else []
    records = {r.path: r for run in looks.values() for r in run.records}
    clusters = groups_of([records[path].cluster for path in paths]) if paths else np.array([])
    if len(np.unique(clusters)) < 2:
        return []
    values = {arm: np.array([getattr(of_image[p], target.share) for p in paths]) for arm, of_image in shares.items()}
    baseline, rows = next(iter(values)), []
    for arm, own in values.items():
        (row,) = [r for r in looks[arm].result[target.rows] if r["variant"] == REAL]
        mean, gained = mean_over_clusters(own, clusters), mean_over_clusters(own - values[baseline], clusters)
        more = "–" if arm == baseline else f"{gained.value:.3f} ({gained.low:.3f} to {gained.high:.3f})"
        rows.append([arm, f"{mean.value:.3f} ({mean.low:.3f} to {mean.high:.3f})", more, f"{row['on_others']:.3f}"])
    on_own, on_others = COLUMNS[target]
    area = np.mean([getattr(shares[baseline][path], target.area) for path in paths])
    note = NOTES[target].format(n=len(paths), fold=" of the first fold" if in_fold else "", area=area)
    return [*markdown_table(["arm", on_own, f"more than the {baseline}", on_others], rows), "", note]


def read_attention(run: Run) -> list[Attention]:
    """What the heat maps of a run of `apply_classifier` show, image by image."""
    return [Attention(**row) for row in read_rows(run.folder / ATTENTION)]
