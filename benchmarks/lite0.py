"""The distance in EfficientNet-Lite0's features on real scans: what it sees, and how far real images lie apart.

    python benchmarks/lite0.py /path/to/Dataset_BUSI_with_GT
    python benchmarks/lite0.py --busbra /path/to/BUSBRA

Against the validation split stand as many scans of the training split, class by class, as they are and changed at
224 px: blurred, noisy, recompressed. Then the distance between real images, in twenty draws of that size each: of
any images; of images no two of which on opposite sides share a scan or a patient; and of the validation split against
such others, which is the floor that a variant is measured with.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from _changes import blurred, noisy, recompressed

from busaug_core.features.efficientnet_lite import Lite0
from busaug_core.jobs.roles import TRAIN, of_split
from busaug_core.jobs.runs import run_of
from busaug_core.measure.sets import common_counts, draw, matched
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.kid import kid
from busaug_core.records import Record
from busaug_core.registry import job

DATASET = "benchmark-lite0"
DRAWS = 20
CHANGES = {
    "as they are": lambda image: image,
    **{f"blurred by {sigma} px": blurred(sigma) for sigma in (0.5, 1, 2, 4)},
    **{f"noise of {std} levels": noisy(std) for std in (4, 8, 16, 32)},
    **{f"JPEG of quality {quality}": recompressed(quality) for quality in (75, 50, 25, 10)},
}


def main() -> None:
    """Print a line for each change, and one for each kind of real images against real images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("--busbra", type=Path, default=os.environ.get("BUSBRA"))
    options = parser.parse_args()
    if options.busbra:
        records = loaded("load_external", layout="bus_bra", split="80-20", source=str(options.busbra))
    elif options.busi:
        records = loaded("load_busi", source=str(options.busi))
    else:
        print("Needs real scans: give BUSI's folder, or BUS-BRA's as --busbra.")
        return
    extractor = Lite0(torch.device("cpu"))
    images = {r.path: extractor.load(r.path) for r in records}

    def features(chosen: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([extractor(chosen[i : i + 32]) for i in range(0, len(chosen), 32)])

    reference, others = matched(of_split(records, "val"), of_split(records, TRAIN), np.random.default_rng(51))
    real = features([images[r.path] for r in reference])
    print(f"{len(reference)} scans of the validation split against {len(others)} of the training split")
    for name, change in CHANGES.items():
        found = features([change(images[r.path]) for r in others])
        print(f"{name:20} FD {frechet_distance(real, found):6.1f}  KID {kid(real, found).value:8.4f}", flush=True)
    rows = dict(zip([r.path for r in records], features(list(images.values())), strict=True))
    for name, pairs in real_pairs(records).items():
        values = [frechet_distance(*(np.stack([rows[r.path] for r in side]) for side in pair)) for pair in pairs]
        print(f"{name:34} FD {np.mean(values):5.1f} ({min(values):.1f} to {max(values):.1f})", flush=True)


def loaded(name: str, **values: str) -> list[Record]:
    """The images of a set, audited and split."""
    dataset = f"{DATASET}-{name}"
    list(job(name).run(dict(dataset_name=dataset, run_key="load", **values), [], dataset))
    return [r for r in run_of(dataset, "load").products if r.splits]


def real_pairs(records: list[Record]) -> dict[str, list[tuple[list[Record], list[Record]]]]:
    """Pairs of real sets of equal class counts, as many as the validation split has."""
    rng, validation = np.random.default_rng(0), of_split(records, "val")
    counts = common_counts([validation, [r for r in records if "val" not in r.tags]])
    found = {"any images": [], "no scan or patient on both sides": [], "the validation split against these": []}
    for _ in range(DRAWS):
        one = draw(records, counts, rng)
        taken = {r.path for r in one}
        found["any images"].append((one, draw([r for r in records if r.path not in taken], counts, rng)))
        found["no scan or patient on both sides"].append((one, draw(apart(records, one), counts, rng)))
        one = draw(validation, counts, rng)
        found["the validation split against these"].append((one, draw(apart(records, validation), counts, rng)))
    return found


def apart(records: list[Record], side: list[Record]) -> list[Record]:
    """The records that share no scan and no patient with a side."""
    clusters = {r.cluster for r in side}
    return [r for r in records if r.cluster not in clusters]


if __name__ == "__main__":
    main()
