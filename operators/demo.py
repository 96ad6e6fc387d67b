"""The main job end to end, on simulated scans or a copy of BUSI: `python -m operators.demo`.

Every stage is an operator called with a run key of its own, so a demo that was stopped goes on where it
was, and one that is done only prints its table again.
"""

import argparse
import csv
import os
import sys
import time
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.plugins as fop

from busaug_core.base.defaults import MINI
from busaug_core.data.config import SIMULATED
from busaug_core.errors import UserError
from busaug_core.features.extractors import INCEPTION, inception_weights
from busaug_core.jobs.run import Run, runs_folder
from busaug_core.measure.grids import variant_grid
from busaug_core.records import of_split

from .measure import overall_distances

VARIANTS = ["sd", "sd_img2img", "sd_ti", "sd_ti_img2img"]

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # Under 15 minutes on two cores with the mini base.
    "demo": {
        "load": dict(images=240, image_size=128),
        "lora": dict(preset="demo"),
        "token": dict(preset="demo"),
        "classifier": dict(preset="demo"),
        "generate": dict(preset="demo"),
    },
    # The same stages at sizes that show that they work, and nothing else.
    "minute": {
        "load": dict(images=30, image_size=64),
        "lora": dict(steps=4, batch_size=4, resolution=64),
        "token": dict(steps=4, batch_size=4, resolution=64),
        "classifier": dict(arch="resnet18", epochs=1, batch_size=8, resolution=32),
        "generate": dict(steps=4, batch_size=16, resolution=64),
    },
}

URI = "@busaug/busaug/"
STAGES = 14
ORIGINAL = "clf_original"
COLUMNS = ("arm", "N", "{distance}", "accuracy", "F1", "AUC", "PPV", "recall")
FIGURES = ("accuracy", "f1", "auc", "ppv", "recall")


class Demo:
    """Calls one operator after the other and says so."""

    def __init__(self, source: str, base: str, preset: str):
        self.source, self.base, self.preset = source, base, PRESETS[preset]
        self.name = dataset_name(source, base, preset)
        self.number = 0

    def stage(self, text: str, operator: str, run_key: str, **config: Any) -> dict[str, Any]:
        """Run an operator on the dataset, with a line before and one after it."""
        self.number += 1
        print(f"[{self.number:2}/{STAGES}] {text}", flush=True)
        begun = time.monotonic()
        samples = [fo.load_dataset(self.name)] if operator != "load_busi" else []
        result = foo.get_operator(URI + operator)(*samples, run_key=run_key, **config)
        print(f"        {time.monotonic() - begun:.0f} s", flush=True)
        return result

    def run(self) -> list[str]:
        """All stages; returns the lines of the results table."""
        sizes, base = self.preset, dict(base_model=self.base)
        simulated = self.source == SIMULATED
        load = dict(source=self.source, dataset_name=self.name, **(sizes["load"] if simulated else {}))
        self.stage(f"Load {'simulated' if simulated else 'BUSI'} scans", "load_busi", "load", **load)
        # Up to the next ten: on BUSI 350, as in the hybrid-diffusion paper.
        largest = -(-max(self.training_counts().values()) // 10) * 10
        self.stage("Fine-tune the base: LoRA", "train_lora", "lora", **base, **sizes["lora"])
        text = "Learn a token of the modality: textual inversion"
        self.stage(text, "train_textual_inversion", "token", lora="lora", **base, **sizes["token"])
        arms = {"original": self.classifier("original", [])}
        parts = dict(lora="lora", token="token", variants=VARIANTS, **base, **sizes["generate"])
        text = f"Generate {len(VARIANTS)} variants that fill each class up to {largest}"
        self.stage(text, "generate", "balancing", balance_to=largest, **parts)
        text = "Generate sets to measure, in the validation split's class counts"
        self.stage(text, "generate", "evaluation", mode="evaluation", **parts)
        arms |= {variant: self.classifier(variant, [variant]) for variant in VARIANTS}
        text = "Classify every image with the classifier of the loaded scans alone"
        applied = self.stage(text, "apply_classifier", "predictions", classifier=ORIGINAL)
        extractor = choose_extractor()
        text = "Compute features and their UMAP"
        self.stage(text, "compute_embeddings", f"embeddings_{extractor}", extractor=extractor)
        text = "Measure the variants: Fréchet distance, its companions and the floor"
        fid = self.stage(text, "compute_fid", f"fid_{extractor}", extractor=extractor, on_copies="leave_out")
        text = "Score every synthetic image"
        scores = self.stage(text, "score_synthetic", f"scores_{extractor}", extractor=extractor, classifier=ORIGINAL)
        self.save_grid()
        return save_table(self.name, arms, fid, applied, scores)

    def save_grid(self) -> None:
        """Write a picture of the variants beside loaded scans, by class."""
        runs = runs_folder(self.name)
        records = of_split(Run(runs / "load").products, "val") + Run(runs / "evaluation").products
        variant_grid(records, runs.parent / "variants.png")

    def training_counts(self) -> dict[str, int]:
        """How many loaded scans of each class the training split has."""
        view = fo.load_dataset(self.name).match_tags("train").match({"origin": {"$ne": "synthetic"}})
        return view.count_values("ground_truth.label")

    def classifier(self, arm: str, include: list[str]) -> dict[str, Any]:
        """Train the classifier of an arm."""
        text = f"the loaded scans and {arm}" if include else "the loaded scans alone"
        options = dict(include=include, **self.preset["classifier"])
        return self.stage(f"Train a classifier on {text}", "train_classifier", f"clf_{arm}", **options)


def dataset_name(source: str, base: str, preset: str) -> str:
    """The demo's dataset: one for each source, base and preset."""
    parts = ["busaug-demo"]
    parts += ["busi"] if source != SIMULATED else []
    parts += [base.rstrip("/").split("/")[-1].removesuffix(".safetensors")] if base != MINI else []
    parts += [preset] if preset != "demo" else []
    return "-".join(parts)


def choose_extractor() -> str:
    """Inception where its weights are, else the classifier of real scans, and says so."""
    if inception_weights() is not None:
        return INCEPTION
    print(
        "        There are no Inception weights here, so no FID: the distance is FD (classifier), taken in the\n"
        f"        features of {ORIGINAL}. `check_setup` says where to put the weights.",
        flush=True,
    )
    return ORIGINAL


def save_table(
    name: str,
    arms: dict[str, dict[str, Any]],
    fid: dict[str, Any],
    applied: dict[str, Any],
    scores: dict[str, Any],
) -> list[str]:
    """Write `results.md` and `results.csv` into the dataset's folder; returns the lines of the first."""
    rows = overall_distances(fid)
    distances = {r["variant"]: r for r in rows}
    metric = fid["metric"]
    header = [c.format(distance=metric) for c in COLUMNS]
    table = []
    for arm, result in arms.items():
        distance = distances.get("real" if arm == "original" else arm)
        cell = "–" if distance is None else f"{distance['value']:.2f}"
        if distance is not None:
            cell += f" ({'floor, ' if arm == 'original' else ''}{distance['low']:.2f}–{distance['high']:.2f})"
        figures = [f"{result['metrics'][figure]:.3f}" for figure in FIGURES]
        table.append([arm if arm == "original" else f"+ {arm}", str(result["n_train"]), cell, *figures])
    copies = {r["variant"]: r["value"] for r in fid["rows"] if "near-copies" in r["metric"]}
    nearest = {r["variant"]: r["copy_ratio"] for r in scores["means"]}
    original = arms["original"]
    n = max((r["n"] for r in rows), default=0)
    notes = [
        f"N: training images of the arm. {metric}: {n} images of an evaluation set against {n} validation "
        f"scans, features of {fid['extractor']} ({fid['preprocessing']}), seed {fid['seed']}.",
        f"In brackets 95 % intervals. Floor: {fid['floor']}.",
        f"Figures: {original['arch']}, {original['epochs']} epochs at {original['resolution']} px, "
        f"{'ImageNet weights' if original['pretrained'] else 'from random weights'}, one seed, on "
        f"{original['metrics']['n']} {original['evaluated_on']} scans. F1, AUC, PPV and recall are macro means.",
        "Near-copies of training scans: " + ", ".join(f"{v} {share:.0%}" for v, share in copies.items()) + ".",
        "Mean copy ratio (0 a copy of a training scan, 1 as far as these lie apart): "
        + ", ".join(f"{v} {ratio:.2f}" for v, ratio in nearest.items())
        + ".",
        f"Recognised as their class by {ORIGINAL}: "
        + ", ".join(f"{variant} {share:.0%}" for variant, share in applied["recognised"].items())
        + ".",
        "Research use only; no figure here says anything about patients.",
    ]
    folder = runs_folder(name).parent
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *table])
    widths = [max(len(row[i]) for row in [header, *table]) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in [header, *table]]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    lines += ["", *notes]
    (folder / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def check_plugin() -> None:
    """Raise UserError where FiftyOne would take another copy of the plugin, or none."""
    root = Path(__file__).resolve().parents[1]
    found = [p.directory for p in fop.list_plugins() if p.name == URI.rstrip("/")]
    if not found or Path(found[0]).resolve() != root:
        where = f"finds it in {found[0]}" if found else "does not find it"
        raise UserError(
            f"FiftyOne {where}; run `make setup`, or set FIFTYONE_PLUGINS_DIR={root.parent} for this checkout."
        )


def main() -> int:
    """Run the demo as the environment says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", default=os.environ.get("BUSI"), help="a copy of BUSI; simulated scans without")
    parser.add_argument("--base", default=os.environ.get("BASE") or MINI, help="the base model")
    parser.add_argument("--preset", default=os.environ.get("PRESET") or "demo", choices=PRESETS)
    options = parser.parse_args()
    source = options.busi or SIMULATED
    begun = time.monotonic()
    try:
        check_plugin()
        demo = Demo(source, options.base, options.preset)
        lines = demo.run()
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    print("", *lines, "", sep="\n")
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes. Runs and results: {runs_folder(demo.name).parent}")
    if os.environ.get("OPEN", "1") != "0":
        print("The App shows the dataset; press Ctrl-C to leave.", flush=True)
        fo.launch_app(fo.load_dataset(demo.name)).wait(-1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
