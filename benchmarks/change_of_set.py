"""What a probe of BUSI loses on BUS-BRA by the change of set, and by what: marks, shape, depth, crop, gray levels.

    python benchmarks/change_of_set.py /path/to/Dataset_BUSI_with_GT /path/to/BUSBRA

Probes on EfficientNet-Lite0's features of images reduced to 128 px are trained in five folds of either set, on draws of
the training images; their choice is among benign and malignant, and normal scans train, but are not tested on. Printed
are, with 95 % intervals over trainings and scans or patients:

- balanced accuracy, AUC and both recalls at home (held-out folds) and there; the same at the threshold that suits the
  other half of the scans or patients, and with the mean and deviation of each feature there made those of home;
- what probes of BUS-BRA reach there, on as many images as BUSI's and on all: how hard the set is by itself;
- the same where both sets are changed alike before training, so that what is lost falls into two parts: there by
  probes of BUS-BRA less at home (harder by itself), and there by probes of BUSI less that (the change of set);
- what changing the tested images alone brings, on the same images. Pictures unlike all that the probe was trained on
  cost for that reason too: a loss here is an upper bound of what the change explains;
- subgroups of BUS-BRA, and what its own probes reach in them.

Features and sets are kept under $BUSAUG_HOME.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _set_changes import (
    as_large,
    blurred,
    cropped,
    deeper,
    equalised,
    erased,
    lesion_alone,
    measured,
    of_both,
    shallower,
    shaped,
    toned,
    written,
)
from _two_sets import FIGURES, FOLDS, Scans, looks, subgroups

from busaug_core.metrics.estimate import Estimate, spread
from busaug_core.metrics.paired import differences
from busaug_core.records import count_labels

DATASET = "benchmark-change-of-set"
BOTH = {
    "marks erased": erased,
    "gray levels equalised": equalised,
    "mirrored to a square": shaped(1),
    "blurred by 1.5 px": blurred,
}
LESIONS = {
    "the lesion and 1.5 times its size on each side *": lesion_alone(1.5),
    "the lesion and half its size on each side *": lesion_alone(0.5),
    "… and marks erased *": of_both(erased, lesion_alone(0.5)),
    "… and blurred by 1.5 px *": of_both(blurred, lesion_alone(0.5)),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("busbra", type=Path, nargs="?", default=os.environ.get("BUSBRA"))
    options = parser.parse_args()
    if not (options.busi and options.busbra):
        print("Needs real scans: give the folders of BUSI and BUS-BRA, or set BUSI and BUSBRA.")
        return
    home = Scans(DATASET, "load_busi", source=str(options.busi))
    other = dict(layout="bus_bra", source=str(options.busbra), compare_with=[DATASET])
    there = Scans(f"{DATASET}-there", "load_external", **other)
    seen, met = home.features(), there.features()
    probes = home.probes(seen)
    at_home, away = home.judged(probes, seen, own=True), there.judged(probes, met)
    amounts = {c: round(n * (1 - 1 / FOLDS)) for c, n in count_labels(home.tested).items()}
    alike, every = there.probes(met, amounts), there.probes(met)
    print(f"{len(home.tested)} images of BUSI, {len(there.tested)} of BUS-BRA; in training {amounts}, and normal scans")
    header("\nprobes and images", *FIGURES)
    rows = {"BUSI, held out": home.figures(at_home, True), "BUS-BRA": there.figures(away)}
    rows["BUSI, held out, threshold moved"] = home.figures(home.shifted(at_home), True)
    rows["BUS-BRA, threshold moved"] = there.figures(there.shifted(away))
    means, spreads = seen[: len(home.tested)].mean(0), seen[: len(home.tested)].std(0)
    moved = (met - met.mean(0)) / (met.std(0) + 1e-6) * spreads + means
    rows["BUS-BRA, features' mean and deviation as at home"] = there.figures(there.judged(probes, moved))
    rows["BUS-BRA by its own probes, as many images"] = there.figures(there.judged(alike, met, own=True), True)
    rows["BUS-BRA by its own probes, all images"] = there.figures(there.judged(every, met, own=True), True)
    rows["BUSI by probes of BUS-BRA, as many images"] = home.figures(home.judged(alike, seen))
    for name, found in rows.items():
        line(name, *(spread(found[figure]) for figure in FIGURES))

    print("\n* no normal scan in training\n")
    header(
        "both sets changed before training", "home", "there", "own probes there", "change of set", "harder by itself"
    )
    few = len(home.tested)
    trained = {"as they are": (seen, met), "as they are *": (seen[:few], met)}
    trained |= {name: (home.features(change), there.features(change)) for name, change in BOTH.items()}
    trained |= {name: (home.features(c, home.tested), there.features(c)) for name, c in LESIONS.items()}
    for name, (a, b) in trained.items():
        of_home, of_there = home.probes(a), there.probes(b, amounts)
        kept = home.figures(home.judged(of_home, a, own=True), True)
        lost, reached = there.figures(there.judged(of_home, b)), there.figures(there.judged(of_there, b, True), True)
        for f in FIGURES[:2]:
            parts = lost[f] - reached[f], reached[f] - kept[f]
            line(f"{name}: {f}", *map(spread, (kept[f], lost[f], reached[f], *parts)))

    header("\ntested images changed, probes as they were", "balanced accuracy", "AUC", *FIGURES[2:])
    levels, shares, ratios = zip(*(looks(s.tested) for s in (home, there)), strict=True)
    of_home = {f"{share:.0%} of each side cut away": cropped(share) for share in (0.05, 0.1, 0.2)}
    of_home |= {"lower quarter cut away": shallower, "a third added below, black": deeper}
    of_home |= {"text drawn in": written, "calipers drawn in": measured}
    of_there = {"5% of each side cut away": cropped(0.05)}
    for name, place, base, own, changes, i in (
        ("BUSI", home, at_home, True, of_home, 0),
        ("BUS-BRA", there, away, False, of_there, 1),
    ):
        changes |= {"marks erased": erased, "gray levels as in the other set": toned(levels[i], levels[1 - i])}
        changes |= {"lesions as large as in the other set": as_large(shares[i], shares[1 - i])}
        changes |= {f"mirrored to the other set's shape ({ratios[1 - i]:.2f})": shaped(ratios[1 - i])}
        changes |= {"blurred by 1.5 px": blurred}
        logits = {n: place.judged(probes, place.features(c, place.tested), own) for n, c in changes.items()}
        found = differences(place.truth, base, logits, place.groups, True, place.folds if own else None)
        recalls = {n: place.figures(v, own) for n, v in logits.items()}
        before = place.figures(base, own)
        for n, v in found.items():
            line(f"{name}: {n}", v["recall"], v["auc"], *(spread(recalls[n][f] - before[f]) for f in FIGURES[2:]))

    header("\nsubgroups", "images", "balanced accuracy", "AUC", *FIGURES[2:], "own probes: balanced accuracy", "AUC")
    own = there.judged(alike, met, own=True)
    for name, place, logits in (("BUSI", home, at_home), ("BUS-BRA", there, away)):
        for group, chosen in subgroups(place.tested, shares[0]).items():
            counts = np.bincount(place.truth[chosen], minlength=2)
            if counts.min() < 20:
                continue
            cells = [spread(place.figures(logits, False, chosen)[f]) for f in FIGURES]
            of_own = place.figures(own, False, chosen) if place is there else {}
            cells += [spread(of_own[f]) if of_own else "" for f in FIGURES[:2]]
            line(f"{name}: {group}", f"{counts[0]} + {counts[1]}", *cells)


def header(*cells: str) -> None:
    """The head of a table in Markdown."""
    first, *others = cells
    lead = "\n" * first.count("\n")
    print(f"{lead}| {first.strip()} | {' | '.join(others)} |\n|{' --- |' * len(cells)}")


def line(name: str, *cells: Estimate | str) -> None:
    """A row of a table in Markdown."""
    told = [c if isinstance(c, str) else f"{c.value:.3f} ({c.low:.2f} to {c.high:.2f})" for c in cells]
    print(f"| {name} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
