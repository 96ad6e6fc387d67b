"""What an experiment's time goes into, and what it saves that its runs are shared.

    python benchmarks/experiment.py --preset demo

The arms of a preset are compared once as one experiment, then again with one arm more, then by several processes that
share it out, and then the plain way: each arm as an experiment of its own, which loads, trains, generates and decodes
for itself alone. Times are wall clock and CPU, those of several processes with their start; homes are made in a
temporary folder and removed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from busaug_core.experiment.config import RUN_EXPERIMENT, RunExperiment
from busaug_core.jobs.events import Begun, Finished
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import home


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--source", default="simulated")
    parser.add_argument("--more", default="sd+confidence", help="the arm of the second experiment")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    weights = home() / "weights"
    values = dict(preset=options.preset, source=options.source, dataset_name="benchmark")
    arms = RunExperiment.parse(values).arms
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        together, by_job = measured(values, whole, weights)
        for job, seconds in sorted(by_job.items(), key=lambda item: -item[1]):
            print(f"{job:24} {seconds:6.1f} s")
        told("one experiment", together)
        told(f"the same and {options.more}", measured(dict(values, arms=[*arms, options.more]), whole, weights)[0])
        several = launched(values, Path(folder) / "several", weights, options.processes)
        told(f"by {options.processes} processes", several)
        alone = [measured(dict(values, arms=[arm]), Path(folder) / arm, weights)[0] for arm in arms]
        plain = tuple(map(sum, zip(*alone, strict=True)))
        told("each arm by itself", plain)
        print(f"by itself over together: {plain[0] / together[0]:.2f} wall, {plain[1] / together[1]:.2f} CPU")


def measured(values: dict[str, Any], folder: Path, weights: Path) -> tuple[tuple[float, float], dict[str, float]]:
    """Seconds of wall clock and CPU of an experiment under a home of its own, and the former by job."""
    make_home(folder, weights)
    start, cpu = time.perf_counter(), time.process_time()
    by_job: dict[str, float] = defaultdict(float)
    last, began = None, start
    for event in RUN_EXPERIMENT.run(
        {**values, "run_key": f"of_{len(list(folder.iterdir()))}"}, [], "benchmark", folder
    ):
        if isinstance(event, Begun | Finished):
            now = time.perf_counter()
            if last is not None:
                by_job[Run(folder / "benchmark/runs" / last).job] += now - began
            last, began = getattr(event, "run_key", None), now
    return (time.perf_counter() - start, time.process_time() - cpu), by_job


def launched(values: dict[str, Any], folder: Path, weights: Path, processes: int) -> tuple[float, float]:
    """Seconds of wall clock and CPU of an experiment by so many processes, which share the cores."""
    make_home(folder, weights)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    options = [text for name, value in values.items() for text in (f"--{name}", value)]
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *launch, "-m", "busaug_core", "run_experiment", *options, "--run_key", "several"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def make_home(folder: Path, weights: Path) -> None:
    """Make a folder the home, with the weights of the present one."""
    folder.mkdir(exist_ok=True)
    if weights.is_dir() and not (folder / "weights").exists():
        (folder / "weights").symlink_to(weights)
    os.environ["BUSAUG_HOME"] = str(folder)


def told(what: str, seconds: tuple[float, float]) -> None:
    """A line of the table."""
    print(f"{what:40} {seconds[0]:7.1f} s wall {seconds[1]:7.1f} s CPU", flush=True)


if __name__ == "__main__":
    main()
