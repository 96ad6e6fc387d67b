"""Does the LoRA bring the base nearer to real BUSI? Fréchet distance of `base` and `sd`, several seeds.

    python benchmarks/adapt_busi.py /path/to/Dataset_BUSI_with_GT --seeds 1 2 3

For each seed: a LoRA on the training split, an evaluation set with the validation split's class counts
for `base` and `sd`, and the distance of each to the validation split in the default extractor's features. The
floor and the share of near-copies of training images stand beside it. Runs are kept under $BUSAUG_HOME and
resumed when the script is called again.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from _runs import run

from busaug_core.jobs.roles import of_split
from busaug_core.jobs.runs import run_of
from busaug_core.measure.grids import variant_grid
from busaug_core.measure.rows import COPIES, overall_distances

DATASET = "benchmark-adapt-busi"


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", default="mini")
    parser.add_argument("--steps", type=int, default=2000, help="of the LoRA")
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    run("load_busi", [], DATASET, run_key="load", source=str(options.busi), dataset_name=DATASET)
    real = run_of(DATASET, "load").products
    table: dict[str, list[float]] = {}
    for seed in options.seeds:
        run(
            "train_lora", real, DATASET, run_key=f"lora_{seed}", base_model=options.base, steps=options.steps, seed=seed
        )
        key = f"images_{seed}"
        variants = ["base", "sd"]
        run(
            "generate",
            real,
            DATASET,
            run_key=key,
            base_model=options.base,
            lora=f"lora_{seed}",
            variants=variants,
            mode="evaluation",
            seed=seed,
        )
        records = real + run_of(DATASET, key).products
        result = run("compute_fid", records, DATASET, run_key=f"fid_{seed}", metrics=["fid"])
        for row in overall_distances(result) + [r for r in result["rows"] if r["metric"] == COPIES]:
            table.setdefault(f"{row['metric']} | {row['variant']}", []).append(row["value"])
        grid = run_of(DATASET, key).folder / "grid.png"
        variant_grid(of_split(real, "val") + run_of(DATASET, key).products, grid, rows_per_class=3)
        print(grid)
    for name, values in table.items():
        numbers = "  ".join(f"{v:.3f}" for v in values)
        print(f"{name}: {numbers}   mean {np.mean(values):.3f}, spread {np.ptp(values):.3f}")


if __name__ == "__main__":
    main()
