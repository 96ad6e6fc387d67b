"""Writing small sets to disk, and loading them."""

import csv
from functools import cache

import numpy as np
from PIL import Image

from busaug_core.jobs.events import Made, Notice
from busaug_core.registry import job
from busaug_core.simulate import simulate

NUMBERS = range(1, 9)


@cache
def simulated(label, number):
    return simulate(label, number, 64)


def write_scan(image, mask, number, label="benign"):
    scan = simulated(label, number)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scan.image).save(image)
    if mask is not None:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scan.mask.astype(np.uint8) * 255).save(mask)


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def label_of(number):
    return "malignant" if number % 3 == 0 else "benign"


def load(folder, root, records=(), **values):
    values = dict(source=str(folder), dataset_name="outside") | values
    return list(job("load_external").run(values, list(records), "outside", root))


def made(events):
    return [e.record for e in events if isinstance(e, Made)]


def notices(events):
    return " ".join(e.message for e in events if isinstance(e, Notice))
