"""Measuring: wall time and peak memory beside pytorch-fid, torch-fidelity, clean-fid and prdc.

    python benchmarks/measure.py                     # ready features, 780 against 780, 2048 wide
    python benchmarks/measure.py --sizes 780 5000 20000 --ours
    python benchmarks/measure.py --whole             # from image files on, four variants

Each line is a process of its own on one core, without a GPU; every library sees the same numbers, or with `--whole`
the same files and the same (random) Inception weights. There the others compute one FID for each variant against the
157 validation images, as one does with them; ours is the whole `compute_fid` with pytorch-fid's preprocessing: all
metrics with intervals and floors, of four variants, for each class, against the validation and the training split
(780 simulated images, 4 × 157). The value is the last variant's FID.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

WIDTH = 2048
VARIANTS = ("sd", "sd_img2img", "sd_ti", "sd_ti_img2img")


def features(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of n correlated feature vectors, float32."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(256, WIDTH)).astype(np.float32) / 16
    one, other = (rng.normal(size=(n, 256)).astype(np.float32) @ mixing for _ in range(2))
    noise = rng.normal(size=(2, n, WIDTH)).astype(np.float32)
    return np.maximum(one + noise[0], 0), np.maximum(other * 1.1 + noise[1] + 0.1, 0)


def fid_ours(real, synthetic):
    from busaug_core.metrics.fid import frechet_distance

    return lambda: frechet_distance(real, synthetic)


def fid_pytorch_fid(real, synthetic):
    from pytorch_fid.fid_score import calculate_frechet_distance

    def run():
        moments = [m for f in (real, synthetic) for m in (f.mean(0), np.cov(f, rowvar=False))]
        return calculate_frechet_distance(*moments)

    return run


def fid_torch_fidelity(real, synthetic):
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def run():
        statistics = (fid_features_to_statistics(torch.from_numpy(side)) for side in (real, synthetic))
        return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]

    return run


def fid_clean_fid(real, synthetic):
    from cleanfid.fid import fid_from_feats

    return lambda: fid_from_feats(real, synthetic)


def kid_ours(real, synthetic):
    from busaug_core.metrics.kid import kid

    return lambda: kid(real, synthetic, subset_size=100, subsets=100).value


def kid_torch_fidelity(real, synthetic):
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    one, other = torch.from_numpy(real), torch.from_numpy(synthetic)
    options = dict(kid_subset_size=100, kid_subsets=100, rng_seed=0, verbose=False)
    return lambda: kid_features_to_metric(one, other, **options)["kernel_inception_distance_mean"]


def kid_clean_fid(real, synthetic):
    from cleanfid.fid import kernel_distance

    return lambda: kernel_distance(real, synthetic, num_subsets=100, max_subset_size=100)


def prdc_ours(real, synthetic):
    from busaug_core.metrics.prdc import prdc

    return lambda: prdc(real, synthetic).coverage.value


def prdc_prdc(real, synthetic):
    from prdc import compute_prdc

    return lambda: compute_prdc(real, synthetic, nearest_k=5)["coverage"]


def interval_ours(real, synthetic):
    from busaug_core.metrics.influence import frechet_interval

    return lambda: frechet_interval(real, synthetic).high


STATISTICS: dict[str, Callable] = {
    "FID | ours": fid_ours,
    "FID | pytorch-fid": fid_pytorch_fid,
    "FID | torch-fidelity": fid_torch_fidelity,
    "FID | clean-fid": fid_clean_fid,
    "FID interval | ours": interval_ours,
    "KID | ours": kid_ours,
    "KID | torch-fidelity": kid_torch_fidelity,
    "KID | clean-fid": kid_clean_fid,
    "PRDC | ours": prdc_ours,
    "PRDC | prdc": prdc_prdc,
}


class Scratch:
    """A folder with simulated BUSI, its validation split in `val`, the variants beside it, and random weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "inception.pth"
        self.val = folder / "val"
        self.variants = [folder / name for name in VARIANTS]

    def make(self) -> None:
        from _random_inception import write_random_inception

        from busaug_core.data.audit.audit import BUSI_COUNTS
        from busaug_core.jobs.runs import run_of
        from busaug_core.registry import job
        from busaug_core.simulate import write_busi

        for _ in write_busi(self.folder / "real", BUSI_COUNTS, workers=os.cpu_count() or 1):
            pass
        values = dict(source=str(self.folder / "real"), split="80-20", run_key="load")
        for _ in job("load_busi").run(values, [], "whole", self.folder / "home"):
            pass
        self.val.mkdir()
        counts: dict[str, int] = {}
        for record in run_of("whole", "load", self.folder / "home").products:
            if "val" in record.tags:
                (self.val / Path(record.path).name).symlink_to(record.path)
                counts[record.label] = counts.get(record.label, 0) + 1
        for seed, folder in enumerate(self.variants, 1):
            for _ in write_busi(self.folder / f"seed_{seed}", counts, seed=seed, workers=os.cpu_count() or 1):
                pass
            folder.mkdir()
            for path in (self.folder / f"seed_{seed}").glob("*/*).png"):
                (folder / path.name).symlink_to(path)
        write_random_inception(self.weights)

    def pytorch_fids(self):
        """The module of pytorch-fid's networks, which finds these weights in the place of its download."""
        import torch
        from pytorch_fid import inception

        state = torch.load(self.weights, weights_only=True)
        inception.load_state_dict_from_url = lambda *_, **__: state
        return inception


def whole_ours(scratch: Scratch) -> float:
    from busaug_core.jobs.runs import run_of
    from busaug_core.measure.rows import overall_distances
    from busaug_core.records import Record
    from busaug_core.registry import job

    records = run_of("whole", "load", scratch.folder / "home").products
    for folder in scratch.variants:
        for path in sorted(folder.iterdir()):
            label = path.name.split(" (")[0]
            tags = ["evaluation", folder.name]
            records.append(Record(str(path), label, origin="synthetic", variant=folder.name, tags=tags))
    values = dict(extractor=f"inception:{scratch.weights}", preprocessing="legacy", run_key="fid")
    with tempfile.TemporaryDirectory() as home:
        for event in job("compute_fid").run(values, records, "whole", Path(home)):
            last = event
    return next(row["value"] for row in overall_distances(last.result) if row["variant"] == VARIANTS[-1])


def whole_pytorch_fid(scratch: Scratch) -> float:
    scratch.pytorch_fids()
    from pytorch_fid.fid_score import calculate_fid_given_paths

    sides = ([str(scratch.val), str(folder)] for folder in scratch.variants)
    return [calculate_fid_given_paths(side, 32, "cpu", WIDTH, num_workers=0) for side in sides][-1]


def whole_torch_fidelity(scratch: Scratch) -> float:
    import torch_fidelity

    options = dict(fid=True, cuda=False, verbose=False, cache=False, batch_size=32, save_cpu_ram=True)
    options |= dict(feature_extractor_weights_path=str(scratch.weights))
    sides = (dict(input1=str(scratch.val), input2=str(folder)) for folder in scratch.variants)
    return [torch_fidelity.calculate_metrics(**options, **s)["frechet_inception_distance"] for s in sides][-1]


def whole_clean_fid(scratch: Scratch) -> float:
    from cleanfid import fid

    network = scratch.pytorch_fids().InceptionV3([3]).eval()

    def extract(batch):
        return network(batch / 255)[0].flatten(1)

    options = dict(mode="clean", num_workers=0, custom_feat_extractor=extract, device="cpu", verbose=False)
    return [fid.compute_fid(str(scratch.val), str(folder), **options) for folder in scratch.variants][-1]


WHOLE: dict[str, Callable] = {
    "whole | ours": whole_ours,
    "4 FIDs | pytorch-fid": whole_pytorch_fid,
    "4 FIDs | torch-fidelity": whole_torch_fidelity,
    "4 FIDs | clean-fid": whole_clean_fid,
}


def main() -> None:
    """Print a table with a line for each library and metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[780])
    parser.add_argument("--ours", action="store_true", help="leave the other libraries out")
    parser.add_argument("--whole", action="store_true", help="from image files on")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measure(*options.run)
        return
    print(f"{'metric | library':24} {'N':>6} {'seconds':>8} {'ratio':>6} {'peak MiB':>9}  value")
    if options.whole:
        with tempfile.TemporaryDirectory() as scratch:
            Scratch(Path(scratch)).make()
            base = None
            for name in WHOLE:
                seconds = print_line(name, scratch, "4×157", base)
                base = base or seconds
        return
    for n in options.sizes:
        own: dict[str, float | None] = {}
        for name in STATISTICS:
            metric, library = name.split(" | ")
            if library == "ours" or not options.ours:
                seconds = print_line(name, str(n), str(n), own.get(metric))
                own[metric] = own.get(metric) or seconds


def print_line(name: str, size_or_folder: str, n: str, base: float | None) -> float | None:
    """Measure in a process of its own and print it beside `base` seconds, or its own; returns its seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, "--run", name, size_or_folder]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    if found.returncode:
        print(f"{name:24} {n:>6} failed: {found.stderr.strip()[-80:] or found.returncode}", flush=True)
        return None
    seconds, peak, value = (float(x) for x in found.stdout.split()[-3:])
    print(f"{name:24} {n:>6} {seconds:8.2f} {seconds / (base or seconds):6.1f} {peak:9.0f}  {value:.6g}", flush=True)
    return seconds


def measure(name: str, size_or_folder: str) -> None:
    """Time one metric of one library in this process; prints seconds, the peak of memory and the value."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if name in WHOLE:
        scratch = Scratch(Path(size_or_folder))
        metric = partial(WHOLE[name], scratch)
    else:
        metric = STATISTICS[name](*features(int(size_or_folder)))
    begun = time.perf_counter()
    value = metric()
    seconds = time.perf_counter() - begun
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, float(value))


if __name__ == "__main__":
    main()
