"""The Fréchet Radiomic Distance on real BUSI: its floor, what blur and noise do to it, and which features they move.

    python benchmarks/frd.py /path/to/Dataset_BUSI_with_GT

The reference is the validation split; against it stand as many scans of the training split, class by class, as they
are and changed at 224 px. Then the jackknife's error, the distances between random halves of all these scans, in units
of the half that is the reference and in units of all, and the time of an image.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from _changes import blurred, noisy

from busaug_core.features.radiomics import Radiomics
from busaug_core.jobs.roles import TRAIN, of_split
from busaug_core.jobs.runs import run_of
from busaug_core.measure.sets import matched
from busaug_core.metrics.estimate import jackknife_error
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.frd import family_shifts, z_scores
from busaug_core.metrics.influence import leave_one_out
from busaug_core.metrics.kid import kid
from busaug_core.metrics.radiomics.radiomics import radiomic_features
from busaug_core.registry import job

DATASET = "benchmark-frd"


CHANGES = {
    "as they are": lambda image: image,
    **{f"blurred by {sigma} px": blurred(sigma) for sigma in (0.5, 1, 2)},
    **{f"noise of {std} levels": noisy(std) for std in (4, 8, 16)},
}


def main() -> None:
    """Print a line for each change, what it moves, the two errors and the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    list(job("load_busi").run(dict(source=str(options.busi), dataset_name=DATASET, run_key="load"), [], DATASET))
    records = run_of(DATASET, "load").products
    sides = matched(of_split(records, "val"), of_split(records, TRAIN), np.random.default_rng(51))
    extractor = Radiomics(torch.device("cpu"))
    reference, others = ([extractor.load(r.path) for r in side] for side in sides)
    raw = extractor(reference)
    real = z_scores(raw, raw)
    classes = by_part(extractor.families, 1)
    images = by_part(extractor.families, 0)
    print(f"{len(reference)} scans of the validation split against {len(others)} of the training split")
    for name, change in CHANGES.items():
        found = extractor([change(image) for image in others])
        changed = z_scores(found, raw)
        distance = frechet_distance(real, changed)
        print(f"{name:20} FRD {distance:9.1f}  ln d² {np.log(distance):5.2f}  KID {kid(real, changed).value:10.3g}")
        for families in (extractor.families, classes, images):
            shifts = family_shifts(real, changed, families)
            print("    " + ", ".join(f"{family} {shift:.2f}" for family, shift in list(shifts.items())[:6]), flush=True)
        if name == "as they are":
            error = jackknife_error(*leave_one_out(real, changed))
            print(f"    error by leaving one out, in given units: {error:.1f}")
            for units, values in halves(np.concatenate([raw, found])).items():
                print(f"    between random halves, in units of {units}: {np.sort(values).round().astype(int).tolist()}")
    begun = time.process_time()
    for image in reference[:20]:
        radiomic_features(image)
    print(f"{(time.process_time() - begun) / 20:.3f} s an image on one core")


def by_part(families: dict[str, slice], part: int) -> dict[str, np.ndarray]:
    """The columns of each image that features are measured on (0), or of each class of them (1)."""
    found: dict[str, list[int]] = {}
    for family, columns in families.items():
        found.setdefault(family.rsplit(" ", 1)[part], []).extend(range(columns.start, columns.stop))
    return {name: np.array(columns) for name, columns in found.items()}


def halves(features: np.ndarray) -> dict[str, list[float]]:
    """FRD between twenty pairs of random halves."""
    rng, found = np.random.default_rng(0), {"the half": [], "all": []}
    for _ in range(20):
        one, other = np.array_split(features[rng.permutation(len(features))], 2)
        for units, reference in (("the half", one), ("all", features)):
            found[units].append(frechet_distance(z_scores(one, reference), z_scores(other, reference)))
    return found


if __name__ == "__main__":
    main()
