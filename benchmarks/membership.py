"""Does the membership figure tell an over-trained LoRA, and stay silent where there is nothing to tell?

    python benchmarks/membership.py --images 10 --steps 2000

A LoRA is trained on a few simulated scans for far too long, and its area under the curve is set beside that of the
base before it, and beside those of the same LoRA where membership is shuffled: half of the images that it never saw
are called learned from, many times over. The first must be flagged; of the shuffled intervals, about as many as their
level says must hold one half. Runs are kept under $BUSAUG_HOME.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from _runs import drained, run

from busaug_core.base.components import LORA
from busaug_core.base.loading import load_pipeline
from busaug_core.jobs.runs import run_of
from busaug_core.metrics.estimate import Estimate
from busaug_core.prompts import prompt_of
from busaug_core.records import Record
from busaug_core.train.batch import Batches
from busaug_core.train.config import Lora
from busaug_core.train.denoising import Denoising
from busaug_core.train.latents import encode_images
from busaug_core.train.validation import membership

HOME, LOAD = "benchmark-membership", "load"


class Finished(Denoising):
    """A base with what lies on it, of which nothing is trained."""

    def __init__(self, pipe):
        self.pipe = pipe

    def parameters(self):
        return {}

    def save(self, folder):
        pass


def area(method: Finished, records: list[Record], learned: list[Record], config: Lora) -> Estimate:
    """The membership area of a method where `learned` are called learned from and the other records held out."""
    every = learned + [r for r in records if r not in learned]
    prompts = [[prompt_of(r.label, config.prompts)] for r in every]
    moments = drained(encode_images(method.pipe, [r.path for r in every], config.resolution, run_of(HOME, LOAD)))
    method.batches = Batches(method.pipe, moments, prompts, config, len(learned))
    return drained(membership(method, every, len(learned), torch.float32))


def main() -> None:
    """Train, measure, shuffle, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10, help="that are learned from")
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--shuffles", type=int, default=20)
    options = parser.parse_args()
    total = options.images + options.held_out
    run("load_busi", [], HOME, run_key=LOAD, dataset_name=HOME, source="simulated", images=total, image_size=128)
    scans = run_of(HOME, LOAD).products
    order = np.random.default_rng(0).permutation(len(scans))
    chosen = {scans[i].path for i in order[: options.images]}
    records = [replace(r, tags=["train" if r.path in chosen else "val"]) for r in scans]
    values = dict(steps=options.steps, batch_size=4, resolution=options.resolution)
    key = f"lora_{options.images}_{options.steps}_{options.resolution}"
    result = run("train_lora", records, HOME, run_key=key, **values)
    config = Lora.parse(values).resolve()
    method = Finished(load_pipeline("mini", torch.device("cpu"), torch.float32))
    learned = [r for r in records if r.path in chosen]
    before = area(method, records, learned, config)
    print(f"base: {before.value:.2f} ({before.low:.2f} to {before.high:.2f})")
    after = result["membership"]
    print(f"over-trained: {after['value']:.2f} ({after['low']:.2f} to {after['high']:.2f})")
    print(*result["remarks"], sep="\n")
    LORA.attach(method.pipe, run_of(HOME, key).folder / LORA.product.name).switch(True)
    unseen = [r for r in records if r.path not in chosen]
    rng = np.random.default_rng(1)
    shuffled = [
        area(method, unseen, [unseen[i] for i in rng.choice(len(unseen), len(unseen) // 2, replace=False)], config)
        for _ in range(options.shuffles)
    ]
    held = sum(a.low <= 0.5 <= a.high for a in shuffled)
    mean = np.mean([a.value for a in shuffled])
    print(f"shuffled: mean {mean:.2f}, {held} of {len(shuffled)} intervals hold one half")


if __name__ == "__main__":
    main()
