"""The audit of real BUSI: its pairs beyond the published list, for checking by eye.

    python benchmarks/audit_busi.py /path/to/Dataset_BUSI_with_GT /folder/for/the/pictures

Writes grids of the added pairs (pictures of patients: keep them out of the repository) and a table of them
with the verdicts known from `docs/busi-pairs.csv`.
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
from busaug_core.data.config import SCAN
from busaug_core.images import open_image
from busaug_core.measure.grids import pair_grid
from busaug_core.parallel import in_order

VERDICTS = Path(__file__).resolve().parents[1] / "docs" / "busi-pairs.csv"
SHEET = 24


def main() -> None:
    """Find the pairs, draw those that no list has, and count the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("pictures", type=Path, nargs="?", default=Path("busi-pairs"))
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    paths = [scan.path for scan in list_scans(options.busi)[0]]
    descriptors = list(in_order(lambda path: describe(open_image(path)), paths))
    index = HashIndex(np.stack([d.perceptual_hash for d in descriptors]))
    pairs = np.unique(index.candidates(slice(None)), axis=0)
    values = likeness(np.stack([d.normalised for d in descriptors]), pairs)
    order = np.argsort(-values)
    found = [
        (*sorted((paths[i].name, paths[j].name)), v) for (i, j), v in zip(pairs[order], values[order], strict=True)
    ]
    found = [pair for pair in found if pair[2] >= SCAN]
    listed = published_pairs()
    added = [pair for pair in found if pair[:2] not in listed]
    verdicts = {(r["first"], r["second"]): r["verdict"] for r in csv.DictReader(VERDICTS.open())}
    print(
        f"{len(found)} pairs of one scan, {len(found) - len(added)} of the {len(listed)} published, {len(added)} added"
    )
    for first, second, value in added:
        print(f"{first},{second},{value:.2f},{verdicts.get((first, second), '')}")
    of = {path.name: path for path in paths}
    options.pictures.mkdir(parents=True, exist_ok=True)
    for sheet in range(0, len(added), SHEET):
        captions = [(of[a], of[b], f"{a[:-4]} | {b[:-4]}  {v:.2f}") for a, b, v in added[sheet : sheet + SHEET]]
        pair_grid(captions, options.pictures / f"pairs-{sheet // SHEET + 1}.png")


if __name__ == "__main__":
    main()
