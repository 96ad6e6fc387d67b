"""How near to real scans the adapted base comes: its recipes, judged by what took no part in them, several seeds.

    python benchmarks/adapt_busi.py /path/to/Dataset_BUSI_with_GT --recipes lora unet --seeds 1 2 3

For each seed and recipe: the trainings on the training split, an evaluation set in the validation split's class counts,
and of each of its variants what decides whether it is of use. All sides are seen in the images' own size:

- distance to the validation split, also in radiomic features and the small network's, and the share of near-copies of
  training images;
- what share of each class is recognised, by a probe and by a small network from random weights, both of them trained
  on real training images;
- AUC on the validation split of a probe that was trained on the variant alone, beside as many real training images;
- coverage of the validation split, and how far images of a class lie apart, as shares of what real ones reach;
- how well the losses tell training from held-out images.

`--inner` does all of it within the training split, to choose between recipes without a look at the validation split.
`--layout bus_bra` and that set's folder take another set of real scans, on which nothing was tuned.
`--times 4 --by network` makes four times as many images and keeps of each class those that `filter_synthetic` chooses
by herding in the small network's features, or with `--by efficientnet_lite0` in those that all but this network's
recall is measured in.
`--generate '{"steps": 20, "guidance_scale": 2, "guidance_end": 1}'` generates otherwise than by default.
Runs are kept under $BUSAUG_HOME and resumed when the script is called again.
"""

import argparse
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _runs import drained, run
from scipy.spatial.distance import pdist

from busaug_core.classify.predictions import read_predictions
from busaug_core.classify.regression import FALLBACK, Regression
from busaug_core.data.splits import grouped_split
from busaug_core.features.cache import Seen, extract
from busaug_core.features.extractors import LITE0, RADIOMICS, make_extractor
from busaug_core.jobs.device import pick_device
from busaug_core.jobs.roles import REJECTED, evaluation_sets, of_split
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import run_of
from busaug_core.measure.grids import mask_grid, variant_grid
from busaug_core.measure.rows import COPIES
from busaug_core.metrics.classification import classification_metrics
from busaug_core.metrics.fid import frechet_distance
from busaug_core.metrics.prdc import prdc
from busaug_core.records import Record, count_labels

DATASET = "benchmark-adapt-busi"
SIDE = 128
DRAWS = 5
SEEN = 37_000
"""Training images shown to the network from random weights in all, whatever the set's size."""

LORA = ("train_lora", "lora", dict(steps=300))
UNET = ("finetune_unet", "unet", dict(steps=350, learning_rate=3e-4, schedule="constant"))
LONG = ("finetune_unet", "unet", dict(steps=3000))
LONGER = ("finetune_unet", "unet", dict(steps=6000))
DECODER = ("finetune_decoder", "vae", dict(steps=1000))
LORA_LONG = ("train_lora", "lora", dict(steps=2500, schedule="cosine"))
CONTROLNET = ("train_controlnet", "controlnet", dict(uses="unet"))
TUNED = dict(variants=["ft", "ft_mask"])
RECIPES: dict[str, tuple[list[tuple[str, str, dict]], dict[str, Any]]] = {
    "base": ([], dict(variants=["base"])),
    "lora": ([LORA], dict(variants=["sd", "sd_img2img"])),
    "mask": ([LORA, ("train_controlnet", "controlnet", dict(uses="lora"))], dict(variants=["sd_mask"])),
    "lora-decoder": ([DECODER, LORA], dict(variants=["sd", "sd_img2img"])),
    "lora-long": ([DECODER, LORA_LONG], dict(variants=["sd"])),
    "unet": ([UNET], dict(variants=["ft"])),
    "long": ([DECODER, LONG], dict(variants=["ft"])),
    "long-mask": ([DECODER, LONG, CONTROLNET], TUNED),
    "longer-mask": ([DECODER, LONGER, CONTROLNET], TUNED),
}
"""By name: the trainings in order (job, the field that takes what it makes, settings), and what is generated."""


def main() -> None:
    """Run all recipes with all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?", help="the set's folder; $BUSI or $BUSBRA")
    parser.add_argument("--layout", default="busi", help="of another set, as in load_external")
    parser.add_argument("--recipes", nargs="+", choices=sorted(RECIPES), default=["base", "lora", "unet"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", default="mini")
    parser.add_argument("--inner", action="store_true", help="split the training images anew, and measure there")
    parser.add_argument("--times", type=int, default=1, help="how many times as many images to choose from")
    parser.add_argument("--by", choices=["network", LITE0], default="network", help="the features to choose in")
    parser.add_argument("--generate", type=json.loads, default={}, help="fields of generate, as JSON")
    options = parser.parse_args()
    given = options.source or os.environ.get({"busi": "BUSI", "bus_bra": "BUSBRA"}.get(options.layout, ""))
    if given is None:
        print("Needs real scans: give the set's folder, or set BUSI or BUSBRA.")
        return
    dataset = DATASET if options.layout == "busi" else f"{DATASET}-{options.layout}"
    dataset += "-inner" if options.inner else ""
    source = dict(source=str(given), dataset_name=dataset, run_key="load")
    if options.layout == "busi":
        run("load_busi", [], dataset, **source)
    else:
        run("load_external", [], dataset, layout=options.layout, split="80-20", **source)
    real = [r for r in run_of(dataset, "load").products if r.label]
    if options.inner:
        real = within_training(real)
    network = dict(arch="resnet18", resolution=SIDE, balance="oversample", augmentation="trivial")
    network |= dict(learning_rate=1e-3, epochs=round(SEEN / len(of_split(real, "train"))), run_key="network")
    run("train_classifier", real, dataset, **network)
    table: dict[str, list[float]] = dict(of_real(real, run_of(dataset, "load")))
    for name in options.recipes:
        for seed in options.seeds:
            for figure, value in measured(name, seed, options, real, dataset):
                table.setdefault(figure, []).append(value)
        show(table)


def within_training(real: list[Record]) -> list[Record]:
    """The training split alone, split once more."""
    inner = [replace(r, tags=[t for t in r.tags if t != "train"]) for r in of_split(real, "train")]
    names = grouped_split([r.label for r in inner], [r.cluster for r in inner], "80-20", 7)
    return [replace(r, tags=[*r.tags, name]) for r, name in zip(inner, names, strict=True)]


def measured(
    name: str, seed: int, options: argparse.Namespace, real: list[Record], dataset: str
) -> list[tuple[str, float]]:
    """Train and generate by a recipe; returns what is told of it, by name."""
    trainings, generation = RECIPES[name]
    shared, made, found = dict(base_model=options.base, seed=seed), {}, []
    for job, field, settings in trainings:
        values = dict(settings)
        if used := values.pop("uses", None):
            values[used] = made[used]
        told = "_".join(f"{k}_{v}" for k, v in values.items())
        key = re.sub(r"\W+", "_", f"{field}_{told}_{seed}")
        result = run(job, real, dataset, run_key=key, **values, **shared)
        made[field] = key
        found += [(f"membership {b} | {name} {field}", result["membership"][b]) for b in ("value", "high")]
    of_set = re.sub(r"\W+", "_", "_".join([name, *(f"{k}_{v}" for k, v in options.generate.items()), str(seed)]))
    images = f"images_{of_set}"
    generation = {"mode": "evaluation", **generation, **made, **options.generate}
    run("generate", real, dataset, run_key=images, **generation, **shared)
    synthetic = run_of(dataset, images).products
    if options.times > 1:
        for more in range(1, options.times):
            key, other = f"{images}_more_{more}", {**shared, "seed": seed + 1000 * more}
            run("generate", real, dataset, run_key=key, **generation, **other)
            synthetic += run_of(dataset, key).products
        of_set += f"_{options.times}_by_{options.by}"
        synthetic = chosen(synthetic, real, dataset, options, of_set)
    every = real + synthetic
    result = run("compute_fid", every, dataset, run_key=f"fid_{of_set}", metrics=["fid", "ladder", "judge"])
    applied = f"network_{of_set}"
    recognised = run("apply_classifier", every, dataset, run_key=applied, classifier="network")
    grid = run_of(dataset, f"fid_{of_set}").folder / "grid.png"
    variant_grid(of_split(real, "val") + synthetic, grid, rows_per_class=3)
    mask_grid(every, grid.with_name("masks.png"))
    print(grid, recognised["recognised"])
    for ladder in result["ladders"]:
        rows = [r for r in ladder["rows"] if r["reference"].endswith("px")] or ladder["rows"]
        found += [(f"distance | {name} {row['variant']}", row["value"]) for row in rows]
    for judge in result["judges"]:
        found += [(f"probe sees {row['class']} | {name} {row['variant']}", row["value"]) for row in judge["rows"]]
    found += [(f"copies | {name} {row['variant']}", row["value"]) for row in result["rows"] if row["metric"] == COPIES]
    predicted = {p.path: p.label for p in read_predictions(run_of(dataset, applied).folder)}
    held_out = of_split(real, "val")
    for variant, members in {"real": held_out, **evaluation_sets(synthetic, None)}.items():
        for label in count_labels(members):
            hits = [predicted[r.path] == label for r in members if r.label == label]
            found.append((f"network sees {label} | {name} {variant}", float(np.mean(hits))))
    for variant, members in evaluation_sets(synthetic, None).items():
        found += [
            (f"{figure} | {name} {variant}", v)
            for judged in (usefulness, elsewhere)
            for figure, v in judged(members, real, run_of(dataset, images))
        ]
    return found


def chosen(
    synthetic: list[Record], real: list[Record], dataset: str, options: argparse.Namespace, of_set: str
) -> list[Record]:
    """Of each variant and class one in `options.times`, by herding."""
    scores, kept, every = f"scores_{of_set}", f"filter_{of_set}", real + synthetic
    run("score_synthetic", every, dataset, run_key=scores, extractor=options.by, classifier="network")
    every = real + run_of(dataset, scores).products
    run("filter_synthetic", every, dataset, run_key=kept, max_herding=1 / options.times)
    return [r for r in run_of(dataset, kept).products if REJECTED not in r.tags]


def features(records: list[Record], of_run: Run, extractor: str = LITE0) -> np.ndarray:
    """What the extractor sees in the images, reduced to `SIDE`."""
    found = make_extractor(extractor, of_run, pick_device())
    return drained(extract(records, found, of_run, 32, Seen(side=SIDE))).matrix


def auc(training: np.ndarray, labels: list[str], held_out: np.ndarray, truth: list[str]) -> float:
    """Macro AUC, one class against the others, of a probe on features."""
    probe = Regression(training, labels).fit(FALLBACK)
    logits = probe.logits(held_out)
    places = np.array([probe.classes.index(label) for label in truth])
    return classification_metrics(places, logits)["auc"]


def spread(matrix: np.ndarray, labels: list[str]) -> dict[str, float]:
    """The mean distance between two images of a class."""
    return {c: float(pdist(matrix[[i for i, x in enumerate(labels) if x == c]]).mean()) for c in sorted(set(labels))}


def usefulness(members: list[Record], real: list[Record], of_run: Run) -> list[tuple[str, float]]:
    """What a variant's images are good for."""
    held_out = of_split(real, "val")
    reference, seen = features(held_out, of_run), features(members, of_run)
    truth, labels = [r.label for r in held_out], [r.label for r in members]
    apart, of_real = spread(seen, labels), spread(reference, truth)
    return [
        ("AUC of a probe of it alone", auc(seen, labels, reference, truth)),
        ("coverage", prdc(reference, seen).coverage.value),
        *((f"spread of {c}", apart[c] / of_real[c]) for c in sorted(apart)),
    ]


def elsewhere(members: list[Record], real: list[Record], of_run: Run) -> list[tuple[str, float]]:
    """The distance to the validation split in other features than all else is measured in."""
    found = []
    for name in (RADIOMICS, "network"):
        extractor = make_extractor(name, of_run, pick_device())
        reference, seen = (features(records, of_run, name) for records in (of_split(real, "val"), members))
        sides = (extractor.standardise(matrix, reference) for matrix in (reference, seen))
        found.append((f"distance in {name}", frechet_distance(*sides)))
    return found


def of_real(real: list[Record], of_run: Run) -> list[tuple[str, list[float]]]:
    """The same of as many real training images, for several draws."""
    held_out, training = of_split(real, "val"), of_split(real, "train")
    reference, seen = features(held_out, of_run), features(training, of_run)
    truth, labels = [r.label for r in held_out], np.array([r.label for r in training])
    found: dict[str, list[float]] = {"AUC | real, all": [auc(seen, list(labels), reference, truth)]}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in count_labels(held_out).items()]
        )
        found.setdefault("AUC | real, as many", []).append(auc(seen[rows], list(labels[rows]), reference, truth))
        found.setdefault("coverage | real", []).append(prdc(reference, seen[rows]).coverage.value)
    return list(found.items())


def show(table: dict[str, list[float]]) -> None:
    """A line a figure: each seed's value, and their mean."""
    for name, values in table.items():
        print(f"{name:60} {np.mean(values):7.3f}   {'  '.join(f'{v:.3f}' for v in values)}")


if __name__ == "__main__":
    main()
