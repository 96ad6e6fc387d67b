"""Synthetic images to measure."""

from pathlib import Path

import numpy as np
from PIL import Image

from busaug_core.records import Record
from busaug_core.simulate import simulate

MEASURE = dict(extractor="clf", floor_draws=4, kid_subsets=10)


def evaluation_set(records, folder, variant, shade):
    """An evaluation set: other simulated scans with some noise, which stand in for a generator's."""
    made = []
    for i, r in enumerate(x for x in records if "val" in x.tags):
        path = Path(folder) / f"{variant}{i}.png"
        noise = np.random.default_rng(i).normal(0, shade, (64, 64))
        Image.fromarray(np.clip(simulate(r.label, 700 + i, 64).image + noise, 0, 255).astype(np.uint8)).save(path)
        made.append(Record(str(path), r.label, "synthetic", variant, ["synthetic", variant, "evaluation"]))
    return made
