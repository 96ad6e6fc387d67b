"""Loading: images a second and peak memory, as the set grows.

    python benchmarks/load.py --sizes 780 5000 20000        # simulated sets of 128 px, made once
    python benchmarks/load.py --busi /path/to/Dataset_BUSI_with_GT

Each load runs in a process of its own: `core` reads, audits and splits; `FiftyOne` also makes the dataset,
by the plugin that lies or is linked in FiftyOne's plugins folder.
Simulated sets are kept under $BUSAUG_HOME/benchmark-load.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from busaug_core.data.audit.audit import BUSI_COUNTS
from busaug_core.jobs.runs import home
from busaug_core.simulate.dataset import write_busi

NAME = "benchmark-load"


def main() -> None:
    """Load each set both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[780])
    parser.add_argument("--busi", type=Path, default=os.environ.get("BUSI"))
    parser.add_argument("--run", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        way, folder = options.run
        measure(way, folder)
        return
    sets = {f"simulated {n}": simulated(n) for n in options.sizes}
    if options.busi:
        sets["BUSI"] = options.busi
    print(f"{'set':16} {'way':9} {'images':>7} {'seconds':>8} {'images/s':>9} {'peak MiB':>9}")
    for name, folder in sets.items():
        for way in ("core", "FiftyOne"):
            found = subprocess.run(
                [sys.executable, __file__, "--run", way, str(folder)], check=True, capture_output=True, text=True
            )
            images, seconds, peak = (float(x) for x in found.stdout.split()[-3:])
            print(f"{name:16} {way:9} {images:7.0f} {seconds:8.1f} {images / seconds:9.0f} {peak:9.0f}", flush=True)


def simulated(n: int) -> Path:
    """A simulated set of n images in BUSI's class proportions."""
    folder = home() / NAME / f"{n}"
    counts = {c: max(1, round(n * k / 780)) for c, k in BUSI_COUNTS.items()}
    for done, total in write_busi(folder, counts, size=128, workers=os.cpu_count() or 1):
        if done % 1000 == 0:
            print(f"  simulated {done} of {total}", flush=True)
    return folder


def measure(way: str, folder: str) -> None:
    """Load a folder in this process; prints images, seconds and the peak of memory in MiB."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["BUSAUG_HOME"] = scratch
        values = dict(source=folder, dataset_name=NAME, split="80-20")
        if way == "core":
            from busaug_core.registry import job

            begun = time.perf_counter()
            for event in job("load_busi").run(values, [], NAME):
                last = event
            counts = last.result["counts"]
        else:
            import fiftyone as fo
            import fiftyone.operators as foo

            load = foo.get_operator("@busaug/busaug/load_busi")
            if fo.dataset_exists(NAME):
                fo.delete_dataset(NAME)
            begun = time.perf_counter()
            counts = load(**values)["counts"]
            fo.delete_dataset(NAME)
        seconds = time.perf_counter() - begun
    print(sum(counts.values()), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
