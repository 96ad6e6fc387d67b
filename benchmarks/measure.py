"""Measuring: wall time and peak memory beside pytorch-fid, torch-fidelity, clean-fid and prdc.

    python benchmarks/measure.py                     # ready features, 780 against 780, 2048 wide
    python benchmarks/measure.py --sizes 780 5000 20000 --ours

Each line is a process of its own with one thread; every library sees the same numbers.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

WIDTH = 2048


def features(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of n correlated feature vectors, float32."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(256, WIDTH)).astype(np.float32) / 16
    one, other = (rng.normal(size=(n, 256)).astype(np.float32) @ mixing for _ in range(2))
    noise = rng.normal(size=(2, n, WIDTH)).astype(np.float32)
    return np.maximum(one + noise[0], 0), np.maximum(other * 1.1 + noise[1] + 0.1, 0)


def fid_ours(real, synthetic):
    from busaug_core.measure.fid import frechet_distance

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
    from busaug_core.measure.kid import kid

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
    from busaug_core.measure.prdc import prdc

    return lambda: prdc(real, synthetic).coverage.value


def prdc_prdc(real, synthetic):
    from prdc import compute_prdc

    return lambda: compute_prdc(real, synthetic, nearest_k=5)["coverage"]


def interval_ours(real, synthetic):
    from busaug_core.measure.influence import frechet_interval

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


def main() -> None:
    """Print a table with a line for each library and metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[780])
    parser.add_argument("--ours", action="store_true", help="leave the other libraries out")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measure(options.run[0], int(options.run[1]))
        return
    print(f"{'metric | library':24} {'N':>6} {'seconds':>8} {'ratio':>6} {'peak MiB':>9}  value")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for n in options.sizes:
        own = {}
        for name in STATISTICS:
            metric, library = name.split(" | ")
            if options.ours and library != "ours":
                continue
            command = [sys.executable, __file__, "--run", name, str(n)]
            found = subprocess.run(command, capture_output=True, text=True, env=environment)
            if found.returncode:
                print(f"{name:24} {n:6} failed: {found.stderr.strip().splitlines()[-1][:80]}")
                continue
            seconds, peak, value = (float(x) for x in found.stdout.split()[-3:])
            own.setdefault(metric, seconds)
            print(f"{name:24} {n:6} {seconds:8.2f} {seconds / own[metric]:6.1f} {peak:9.0f}  {value:.6g}", flush=True)


def measure(name: str, n: int) -> None:
    """Time one metric of one library in this process; prints seconds, the peak of memory and the value."""
    metric = STATISTICS[name](*features(n))
    begun = time.perf_counter()
    value = metric()
    seconds = time.perf_counter() - begun
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, float(value))


if __name__ == "__main__":
    main()
