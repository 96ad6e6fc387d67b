"""What adapting the base to real BUSI brings: a LoRA and a tuned UNet at about equal time, several seeds.

    python benchmarks/adapt_busi.py /path/to/Dataset_BUSI_with_GT --seeds 1 2 3

For each seed: a LoRA and a tuned UNet on the training split, an evaluation set with the validation split's class
counts of `base`, `sd` and `ft`, and for each the distance to the validation split with both sides in the images' own
size, what share of each class the independent judge recognises, the share of near-copies of training images, and how
well the losses tell training from held-out images. What real images have stands beside it. Runs are kept under
$BUSAUG_HOME and resumed when the script is called again.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _runs import run

from busaug_core.jobs.roles import of_split
from busaug_core.jobs.runs import run_of
from busaug_core.measure.grids import variant_grid
from busaug_core.measure.rows import COPIES

DATASET = "benchmark-adapt-busi"


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", default="mini")
    parser.add_argument("--lora-steps", type=int, default=600)
    parser.add_argument("--unet-steps", type=int, default=700)
    parser.add_argument("--sampling-steps", type=int, help="of the images; the base's own without")
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    run("load_busi", [], DATASET, run_key="load", source=str(options.busi), dataset_name=DATASET)
    real = run_of(DATASET, "load").products
    table: dict[str, list[float]] = {}
    for seed in options.seeds:
        shared = dict(base_model=options.base, seed=seed)
        lora, unet, images = (f"{name}_{seed}" for name in ("lora", "unet", "images"))
        trained = {
            "sd": run("train_lora", real, DATASET, run_key=lora, steps=options.lora_steps, **shared),
            "ft": run("finetune_unet", real, DATASET, run_key=unet, steps=options.unet_steps, **shared),
        }
        variants = ["base", *trained]
        made = dict(lora=lora, unet=unet, variants=variants, mode="evaluation", steps=options.sampling_steps)
        run("generate", real, DATASET, run_key=images, **made, **shared)
        synthetic = run_of(DATASET, images).products
        metrics = ["fid", "ladder", "judge"]
        result = run("compute_fid", real + synthetic, DATASET, run_key=f"fid_{seed}", metrics=metrics)
        for name, value in figures(result, trained):
            table.setdefault(name, []).append(value)
        grid = run_of(DATASET, images).folder / "grid.png"
        variant_grid(of_split(real, "val") + synthetic, grid, rows_per_class=3)
        print(grid)
    for name, values in table.items():
        numbers = "  ".join(f"{v:.3f}" for v in values)
        print(f"{name}: {numbers}   mean {np.mean(values):.3f}, spread {np.ptp(values):.3f}")


def figures(result: dict, trained: dict[str, dict]) -> list[tuple[str, float]]:
    """What is told of a seed, by name."""
    found = []
    for ladder in result["ladders"]:
        rows = [r for r in ladder["rows"] if r["reference"].endswith("px")] or ladder["rows"]
        found += [(f"{row['metric']} against {row['reference']} | {row['variant']}", row["value"]) for row in rows]
    for judge in result["judges"]:
        found += [(f"recall of {row['class']} | {row['variant']}", row["value"]) for row in judge["rows"]]
    found += [(f"{COPIES} | {row['variant']}", row["value"]) for row in result["rows"] if row["metric"] == COPIES]
    for variant, training in trained.items():
        found += [(f"membership, {bound} | {variant}", training["membership"][bound]) for bound in ("value", "high")]
    return found


if __name__ == "__main__":
    main()
