"""Checkpoints to resume a training from: tensors, an Adam's state and a loss scale in one safetensors file."""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_checkpoint(
    path: Path,
    step: int,
    tensors: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write the tensors, the optimizer and the loss scale after `step` steps; all or nothing."""
    entries = {f"tensor.{name}": t.detach() for name, t in tensors.items()}
    for index, state in optimizer.state_dict()["state"].items():
        entries |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    document = {"step": step, "scaler": scaler.state_dict() if scaler else {}}
    partial = path.with_suffix(".partial")
    entries = {name: t.contiguous().cpu() for name, t in entries.items()}
    save_file(entries, partial, metadata={"busaug": json.dumps(document)})
    os.replace(partial, path)


def restore_checkpoint(
    path: Path,
    tensors: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> int:
    """Load a checkpoint in place, if there is one; returns the number of steps done."""
    if not path.exists():
        return 0
    entries = load_file(path)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(entries[f"tensor.{name}"])
    state = optimizer.state_dict()
    for key, value in entries.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, entry = rest.partition(".")
            state["state"].setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict(state)
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["busaug"])
    if scaler and document["scaler"]:
        scaler.load_state_dict(document["scaler"])
    return document["step"]
