"""Training steps that survive a kill: numbered, seeded by their number, saved as they go."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch


def resumable_steps(path: Path, steps: int, seed: int, state: dict[str, object], every: int) -> Iterator[int]:
    """Yield the step numbers still to do, from the checkpoint at `path` where there is one.

    Everything in `state` has `state_dict` and `load_state_dict` (modules, optimizers, averages).
    The random state depends on `seed` and the step alone, so a resumed run repeats what an
    uninterrupted one would have drawn. A checkpoint is written after every `every` steps and
    after the last one.
    """
    start = 0
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        start = saved.pop("step")
        for name, part in state.items():
            part.load_state_dict(saved[name])
    for step in range(start, steps):
        torch.manual_seed(seed * 1_000_003 + step)
        yield step
        if (step + 1) % every == 0 or step + 1 == steps:
            parts = {name: part.state_dict() for name, part in state.items()}
            atomically(path, lambda p, n=step + 1, s=parts: torch.save({"step": n, **s}, p))


def atomically(path: Path, write) -> None:
    """Call `write(temporary)` and rename the outcome to `path`, so that `path` is never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    os.replace(temporary, path)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, hold: float) -> None:
    """Learning rate: warm-up over 2 %, each group's `peak` until `hold`, then cosine to zero."""
    done = (step + 1) / steps
    factor = min(1.0, done / 0.02)
    if done > hold:
        factor *= 0.5 + 0.5 * math.cos(math.pi * (done - hold) / (1 - hold))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def averaged(module: torch.nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """An exponential moving average of `module`'s weights, of short memory at first."""

    def update(average, current, count):
        d = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - d)

    return torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=update)
