"""Frames of one scan: which threshold of likeness finds BUSI's pairs, and how often it is right on BUS-BRA.

    python benchmarks/audit_pairs.py --busi /path/to/Dataset_BUSI_with_GT --bus_bra /path/to/BUSBRA

Recall is of BUSI's pairs: those of the published list, and those judged by eye in `docs/busi-pairs.csv`. Precision
is the share of BUS-BRA's pairs that are of one patient, as `bus_data.csv` has them; the audit itself knows these
patients and keeps different ones apart, so this is what its threshold is worth where they are not known. A threshold
is chosen on the patients of one half, and judged on the other.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from busaug_core.data.audit.audit import published_pairs
from busaug_core.data.audit.descriptors import describe
from busaug_core.data.audit.perceptual_hash import HashIndex
from busaug_core.data.audit.similarity import likeness
from busaug_core.data.busi import list_scans
from busaug_core.data.config import COPY, SCAN
from busaug_core.data.external import list_bus_bra
from busaug_core.data.scans import Scan
from busaug_core.images import open_image
from busaug_core.metrics.estimate import wilson_interval
from busaug_core.parallel import in_order

VERDICTS = Path(__file__).resolve().parents[1] / "docs" / "busi-pairs.csv"
THRESHOLDS = [round(0.30 + 0.01 * n, 2) for n in range(11)] + [0.45, 0.5, 0.6, COPY]
SEED = 11


def main() -> None:
    """Compare all images with one another and print a line for each threshold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", type=Path, default=os.environ.get("BUSI"))
    parser.add_argument("--bus_bra", type=Path, default=os.environ.get("BUSBRA"))
    options = parser.parse_args()
    if not (options.busi and options.bus_bra):
        print("Needs both real sets: give their folders, or set BUSI and BUSBRA.")
        return
    scans = list_scans(options.busi)[0]
    pairs, values = alike(scans)
    alike_of = dict(
        zip([tuple(sorted((scans[i].path.name, scans[j].path.name))) for i, j in pairs], values, strict=True)
    )
    listed = [alike_of.get(pair, 0.0) for pair in published_pairs()]
    verdicts = {(r["first"], r["second"]): r["verdict"] for r in csv.DictReader(VERDICTS.open(encoding="utf-8"))}
    right = [alike_of.get(pair, 0.0) for pair, verdict in verdicts.items() if verdict in ("copy", "same scan")]
    scans = list_bus_bra(options.bus_bra)[0]
    pairs, values = alike(scans)
    patient = np.array([int(scan.source.patient) for scan in scans])
    half = np.random.default_rng(SEED).random(patient.max() + 1) < 0.5
    ours, theirs = patient[pairs].T
    print("           recall on BUSI       BUS-BRA's pairs of one patient, of all")
    print("threshold   published  by eye   patients to choose by                | to report on")
    for threshold in THRESHOLDS:
        recalls = [f"{np.mean(np.array(of) >= threshold):.3f}" for of in (listed, right)]
        cells = [share((ours == theirs)[(values >= threshold) & inside]) for inside in in_halves(half, ours, theirs)]
        mark = {SCAN: " frames of one scan", COPY: " copies"}.get(threshold, "")
        print(f"{threshold:<10}{recalls[0]:>10}{recalls[1]:>8}   {cells[0]:36} | {cells[1]}{mark}")
    for n in np.flatnonzero((values >= SCAN) & (ours != theirs)):
        print("of different patients:", *(scans[i].path.stem for i in pairs[n]), f"{values[n]:.2f}")


def in_halves(half: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Which pairs lie in the half to choose by, and which in the other; those across are in none."""
    return [half[ours] & half[theirs], ~half[ours] & ~half[theirs]]


def alike(scans: list[Scan]) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that the audit compares, int M×2, and their likeness."""
    descriptors = list(in_order(lambda scan: describe(open_image(scan.path)), scans))
    pairs = np.unique(HashIndex(np.stack([d.perceptual_hash for d in descriptors])).candidates(slice(None)), axis=0)
    return pairs, likeness(np.stack([d.normalised for d in descriptors]), pairs)


def share(right: np.ndarray) -> str:
    """How many are right, and Wilson's 95 % interval of their share."""
    if not len(right):
        return "no pair"
    value, n = right.mean(), len(right)
    estimate = wilson_interval(value, np.sqrt(value * (1 - value) / n), n)
    return f"{right.sum()} of {n}: {value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


if __name__ == "__main__":
    main()
