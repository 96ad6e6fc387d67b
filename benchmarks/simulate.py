"""Images a second of the simulator on one core.

Usage: python benchmarks/simulate.py [--count 60] [--size 128]
"""

import argparse
import time

from busaug_core.simulate import LABELS, simulate


def main() -> None:
    """Print a line for each label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="images of each label")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    options = parser.parse_args()

    simulate("normal", 0, options.size)  # fills the spline tables
    for label in LABELS:
        start, cpu = time.perf_counter(), time.process_time()
        for seed in range(options.count):
            simulate(label, seed, options.size)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"{label:10} {options.count / wall:5.1f} images/s ({options.count / cpu:5.1f} per CPU second)")


if __name__ == "__main__":
    main()
