"""What an experiment tells in words and tables: of each arm its classifiers' metrics and its variant's distance."""

import csv
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from busaug_core.experiment import growth, looks
from busaug_core.experiment.arms import BEST_ARM, ORIGINAL
from busaug_core.experiment.claims import CLAIMED, Claim, answer, least_shown
from busaug_core.experiment.classifiers import Choice
from busaug_core.experiment.findings import COMPARED, IN_FILE, METRICS, MISSING, External, Findings, Networks, cell
from busaug_core.experiment.published import published
from busaug_core.experiment.tested import Classifiers, Tested
from busaug_core.jobs.run import Run
from busaug_core.measure.report import markdown_table, sections
from busaug_core.measure.rows import COPIES, overall_distances
from busaug_core.metrics.estimate import LEVEL
from busaug_core.words import counted

ARMS, COMPARISON, BY_CLASS = "Arms", f"Compared with the {ORIGINAL.name}", "By class"
LOOKS, GROWTH, NETWORKS = "Where the classifiers look", "More images", "As networks"
"""Titles of what is told."""
OVER = "over these trainings and draws of the held-out scans, images of one scan together"
WITH_INTERVAL = "accuracy"
"""The metric whose interval the table shows too; the file has all of them."""
PARTS = ("", " low", " high")
"""Of a figure in the file, as its columns' names end."""
ONE_CLASS = 0.95
"""Share of the images that are taken for one class, from which classifiers are said to tell nothing apart."""
UNKNOWN = (
    "Whether an arm is better than the original is not known: each classifier was trained once, or all held-out images "
    "are of one scan. Set seeds for networks, or resamples of train_classifier for probes."
)


def told_of(findings: Findings) -> tuple[str, dict[str, list[str]]]:
    """The answer in words, and what it rests on: lines of Markdown by their title."""
    claims, tested, distances = findings.claims, findings.tested, findings.distances
    header = ["arm", "N", distances["metric"], *METRICS.values()]
    table = []
    for arm, (n_train, distance, metrics) in findings.rows.items():
        word = "floor, " if arm == tested.baseline else ""
        cells = [cell(metrics[name], 3, name == WITH_INTERVAL) for name in METRICS]
        table.append([_named(arm), f"{n_train:.0f}", cell(distance, 2, True, word), *cells])
    told = {ARMS: [*markdown_table(header, table), "", *_notes(findings)]}
    if claims:
        told[COMPARISON] = _differences(claims)
    if lines := published(findings.arms, tested.images):
        told["As published"] = lines
    told[BY_CLASS] = _by_class(tested)
    if lines := growth.told(findings):
        told[GROWTH] = lines
    if findings.networks is not None:
        told[NETWORKS] = _as_networks(findings.networks)
    if lines := looks.told(findings.looks, in_fold=tested.folds is not None):
        told[LOOKS] = lines
    if findings.external is not None:
        told[_on(findings.external)] = _elsewhere(findings.external)
    return answer(claims) if claims else UNKNOWN, {**told, **sections(distances)}


def write_file(path: Path, findings: Findings) -> None:
    """Write the tables as CSV, each figure with its interval: a row an arm, after the title of its table."""
    distance = findings.distances["metric"]
    header = ["table", "arm", "N", *(f"{name}{part}" for name in (distance, *IN_FILE.values()) for part in PARTS)]
    tables = {ARMS: [(_named(arm), *of_arm) for arm, of_arm in findings.rows.items()]}
    tables[BY_CLASS] = [
        (f"{_named(arm)}, {label}", None, MISSING, metrics)
        for arm in findings.tested.logits
        for label, metrics in findings.tested.by_class(arm).items()
    ]
    tables[GROWTH] = [(name, n, MISSING, metrics) for name, n, metrics in growth.points(findings)]
    beside = {} if findings.networks is None else {NETWORKS: findings.networks.tested}
    if findings.external is not None:
        beside[_on(findings.external)] = findings.external.tested
    tables |= {
        title: [(_named(arm), None, MISSING, metrics) for arm, metrics in tested.metrics.items()]
        for title, tested in beside.items()
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for title, of_table in tables.items():
            for name, n, far, metrics in of_table:
                figures = (far, *(metrics.get(metric, MISSING) for metric in IN_FILE))
                rows.writerow([title, name, n, *(figure[part] for figure in figures for part in MISSING)])


def write_claims(path: Path, findings: Findings) -> None:
    """Write all differences to the original as CSV: a row an arm and metric, after the title of its table."""
    tables = {COMPARISON: findings.claims}
    if findings.networks is not None:
        tables[NETWORKS] = findings.networks.claims
    if findings.external is not None:
        tables[_on(findings.external)] = findings.external.claims
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, ["table", *(field.name for field in fields(Claim))])
        rows.writeheader()
        rows.writerows({"table": title, **asdict(claim)} for title, claims in tables.items() for claim in claims)


def _on(external: External) -> str:
    return f"On {external.name}"


def _named(arm: str) -> str:
    return arm if arm == ORIGINAL.name else f"+ {arm}"


def _by_class(tested: Tested) -> list[str]:
    """A table of each class's sensitivity and specificity by each arm."""
    counts = np.bincount(tested.truth, minlength=len(tested.classes))
    present = [i for i, n in enumerate(counts) if 0 < n < counts.sum()]
    rows = []
    for arm in tested.logits:
        shares = tested.confusion(arm)
        calls = counts @ shares - counts * shares.diagonal()
        cells = [f"{shares[i, i]:.2f} / {1 - calls[i] / (counts.sum() - counts[i]):.2f}" for i in present]
        rows.append([_named(arm), *cells])
    header = ["sensitivity / specificity", *(f"{tested.classes[i]} ({counts[i]})" for i in present)]
    return [*markdown_table(header, rows), "", "Means over the trainings; in brackets the number of scans."]


def _as_networks(networks: Networks) -> list[str]:
    """The answer of networks, their metrics and differences."""
    tested, claims = networks.tested, networks.claims
    rows = [
        [_named(arm), *(cell(metrics.get(m, MISSING), 3, m == WITH_INTERVAL) for m in METRICS)]
        for arm, metrics in tested.metrics.items()
    ]
    note = (
        f"{_trained(networks.arms[tested.baseline])}, on the same scans. The {BEST_ARM} is "
        f"{_by_fold(networks.winners)}: of those that differ from the original by synthetic images alone that whose "
        f"probe has the least log-loss in folds of its real training images. {_losses(networks.winners)}"
    )
    if tested.trainings > 1:
        note += f" Intervals of the metrics: {OVER}."
    compared = ["", *_differences(claims)] if claims else []
    return [
        answer(claims) if claims else UNKNOWN,
        "",
        *markdown_table(["arm", *METRICS.values()], rows),
        "",
        note,
        *compared,
    ]


def _elsewhere(external: External) -> list[str]:
    """A table of the arms' metrics on another dataset, beside those of the same classes at home."""
    claims = {(claim.arm, claim.metric): claim for claim in external.claims}
    rows = []
    for arm, metrics in external.tested.metrics.items():
        sides = [side.get(m, MISSING) for m in COMPARED for side in (external.at_home.metrics[arm], metrics)]
        gained = [cell(asdict(claims[arm, m]), 3, True) if (arm, m) in claims else "–" for m in COMPARED]
        rows.append([_named(arm), *(cell(side, 3, False) for side in sides), *gained])
    where = [f"{METRICS[m]} {place}" for m in COMPARED for place in ("at home", "there")]
    header = ["arm", *where, *(f"{METRICS[m]} gained there" for m in COMPARED)]
    lost = [side.metrics[external.tested.baseline]["recall"]["value"] for side in (external.at_home, external.tested)]
    shown = answer(external.claims) if external.claims else UNKNOWN
    return [
        shown,
        "",
        *markdown_table(header, rows),
        "",
        f"The same classifiers on {len(external.tested.truth)} images of {external.name}, at home on the "
        f"{len(external.at_home.truth)} held-out images of the same classes. {external.note} By the change "
        f"of set the mean recall (balanced accuracy) of the {external.tested.baseline} goes from {lost[0]:.3f} to "
        f"{lost[1]:.3f}.",
    ]


def _notes(findings: Findings) -> list[str]:
    """What the numbers are, and what was looked at besides."""
    distances, tested = findings.distances, findings.tested
    n = max((row["n"] for row in overall_distances(distances)), default=0)
    copies = {r["variant"]: r["value"] for r in distances["rows"] if r["metric"] == COPIES}
    nearest = {r["variant"]: r["copy_ratio"] for r in findings.scores["means"]}
    runs = findings.arms[tested.baseline]
    folds = len(runs)
    split = runs[0][0].result["evaluated_on"]
    on = f"{len(tested.truth)} {split} scans"
    if folds > 1:
        on = f"{on}, each by what was trained, generators too, on the other {folds - 1} of {folds} folds"
    return [
        f"N: training images of the arm{', mean of the folds' if folds > 1 else ''}. {distances['metric']}: {n} images "
        f"of an evaluation set against {n} validation scans{' of the first fold' if folds > 1 else ''}, features of "
        f"{distances['extractor']} ({distances['preprocessing']}), seed {distances['seed']}.",
        f"In brackets 95 % intervals. Floor: {distances['floor']}; the ladder's is one of these draws.",
        f"Metrics: {_trained(runs)}, on {on}. F1, AUC, PPV and recall (balanced accuracy) are macro means.",
        *([f"Intervals of the metrics: {OVER}."] if tested.trainings > 1 else []),
        *_chosen(findings.chosen),
        *_trained_once(tested),
        *_undecided(tested),
        "Near-copies of training scans: " + ", ".join(f"{v} {share:.0%}" for v, share in copies.items()) + ".",
        "Mean copy ratio (0 a copy of a training scan, 1 as far as these lie apart): "
        + ", ".join(f"{v} {ratio:.2f}" for v, ratio in nearest.items())
        + ".",
        *_membership(findings.components),
    ]


def _membership(components: dict[str, list[Run]]) -> list[str]:
    """How well the generators' losses tell their training images from held-out ones."""
    measured, spared = [], []
    for name, runs in components.items():
        areas = [area for run in runs if (area := run.result.get("membership"))]
        if len(areas) < len(runs):
            spared.append(name)
            continue
        mean, high = np.mean([area["value"] for area in areas]), max(area["high"] for area in areas)
        measured.append(f"{name} {mean:.2f} ({high:.2f})")
    several = any(len(runs) > 1 for runs in components.values())
    told = []
    if measured:
        what = "mean of the folds, and the highest upper end of their" if several else "and the upper end of its"
        told.append(
            "Membership, the AUC by which a generator's losses tell training images from held-out ones (.5 is not at "
            f"all; {what} {LEVEL:.0%} interval): {', '.join(measured)}."
        )
    if spared:
        told.append(f"Membership was not measured of {', '.join(spared)}: settings spare it (membership).")
    return told


def _chosen(chosen: list[Choice]) -> list[str]:
    """Which arm's variant stood for the best."""
    if not chosen:
        return []
    return [
        f"Best: the variant of {_by_fold(chosen)}, by the log-loss of each one's probe in folds of its own training "
        f"images, from which the generators have learned; the held-out scans had no part in it. {_losses(chosen)}"
    ]


def _by_fold(chosen: list[Choice]) -> str:
    """What was chosen in each fold, in words."""
    names = [choice.arm.name for choice in chosen]
    return names[0] if len(set(names)) == 1 else ", ".join(f"{name} (fold {i})" for i, name in enumerate(names, 1))


def _losses(chosen: list[Choice]) -> str:
    """The losses that decided, least first."""
    means = {name: float(np.mean([choice.losses[name] for choice in chosen])) for name in chosen[0].losses}
    told = ", ".join(f"{means[name]:.3f} ({name})" for name in sorted(means, key=means.get))
    return f"Log-losses{', means of the folds' if len(chosen) > 1 else ''}: {told}."


def _trained_once(tested: Tested) -> list[str]:
    """What probes on all training images have, where the table is of probes on draws of these."""
    if not tested.of_draws:
        return []
    right = {arm: (logits.argmax(1) == tested.truth).mean() for arm, logits in tested.first.items()}
    return [
        "A draw holds about two thirds of the images, some of them several times. Trained once on all of them, the "
        "probes have accuracies of " + ", ".join(f"{share:.3f} ({arm})" for arm, share in right.items()) + "."
    ]


def _undecided(tested: Tested) -> list[str]:
    """That an arm's classifiers tell nothing apart."""
    shares = {arm: np.bincount(x.argmax(2).ravel()).max() / x[..., 0].size for arm, x in tested.logits.items()}
    arms = [arm for arm, share in shares.items() if share > ONE_CLASS]
    if not arms:
        return []
    return [f"Nearly all images are taken for one class by the classifiers of {', '.join(arms)}: train them longer."]


def _trained(runs: Classifiers) -> str:
    """How the arms' classifiers were trained."""
    original = runs[0][0].result
    side = f" of images at {original['resolution']} px" if original["resolution"] else ""
    if "extractor" not in original:
        start = "ImageNet weights" if original["pretrained"] else "from random weights"
        seeds = "one seed" if len(runs[0]) == 1 else f"means over {len(runs[0])} seeds"
        more = f"augmentation {original['augmentation']}, balance {original['balance']}; arms as they say"
        return f"{original['arch']}, {counted(original['epochs'], 'epoch')}{side}, {start}, {seeds}, {more}"
    augmentation = runs[0][0].config["augmentation"]
    more = f", augmentation {augmentation}" if augmentation else ""
    probe = f"logistic regression on the features of {original['extractor']}{side}{more}"
    if "resampled" not in original:
        return f"{probe}, trained once"
    return f"{probe}, means over {original['resamples']} trainings on training images drawn anew with replacement"


def _differences(claims: list[Claim]) -> list[str]:
    """A table of the arms' differences to the original, and what it says."""
    first = claims[0]
    header = [
        "arm",
        *(f"{METRICS[metric]} gained" for metric in COMPARED),
        "p (Holm)",
        "McNemar",
        "AUC permuted",
        "t-test",
        "P(no better)",
    ]
    rows = []
    for arm in dict.fromkeys(claim.arm for claim in claims):
        of_arm = {claim.metric: claim for claim in claims if claim.arm == arm}
        of_images = of_arm[CLAIMED]
        permuted = of_arm["auc"].permuted if "auc" in of_arm else None
        chances = [of_images.p_holm, of_images.mcnemar, permuted, of_images.t_test, of_images.not_better]
        gained = [cell(asdict(of_arm[m]), 3, True) if m in of_arm else "–" for m in COMPARED]
        rows.append([f"+ {arm}", *gained, *("–" if chance is None else f"{chance:.2g}" for chance in chances)])
    note = (
        f"In brackets each arm's own 95 % interval, over {first.trainings} trainings and {first.n} images of "
        f"{first.groups} scans or patients alike. p: of no difference in {CLAIMED}, over all arms (Holm); below .05 an "
        "arm is called better or worse; the others are not corrected. McNemar: the exact p-value of the first "
        "classifiers. AUC permuted: that of their AUC, by exchanging what they say of whole scans or patients. "
        "P(no better): the probability that the arm is right no more often, after a flat prior. This and McNemar take "
        "each image by itself. t-test: the paired one over the trainings, as papers have it, which knows nothing of "
        "other images. One image "
        f"is {1 / first.n:.3f} of {CLAIMED}."
    )
    if least := least_shown(claims):
        note += f" An arm that is better by {least:.2f} would be shown to be so about four times in five."
    return [*markdown_table(header, rows), "", note]
