"""Checkpoints to resume a training from: tensors and an Adam's state in one safetensors file."""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE = "checkpoint.safetensors"


def save_checkpoint(path: Path, step: int, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Write the trained tensors and the optimizer after `step` steps; all or nothing."""
    entries = {f"tensor.{name}": t.detach() for name, t in tensors.items()}
    for index, state in optimizer.state_dict()["state"].items():
        entries |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous().cpu() for k, v in entries.items()}, partial, metadata={"step": str(step)})
    os.replace(partial, path)


def restore_checkpoint(path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint in place, if there is one; returns the number of steps done."""
    if not path.exists():
        return 0
    entries = load_file(path)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(entries[f"tensor.{name}"])
    document = optimizer.state_dict()
    for key, value in entries.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, entry = rest.partition(".")
            document["state"].setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict(document)
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
