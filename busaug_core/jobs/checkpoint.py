"""Checkpoints to resume a training from: tensors, optimizers' state and a loss scale in one safetensors file."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from busaug_core.files import write_whole


def save_checkpoint(
    path: Path,
    step: int,
    tensors: dict[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write the tensors, the optimizers and the loss scale after `step` steps; all or nothing."""
    entries = {f"tensor.{name}": t.detach() for name, t in tensors.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            entries |= {f"optimizer.{number}.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    document = {"step": step, "scaler": scaler.state_dict() if scaler else {}}
    entries = {name: t.contiguous().cpu() for name, t in entries.items()}
    write_whole(path, lambda partial: save_file(entries, partial, metadata={"busaug": json.dumps(document)}))


def restore_checkpoint(
    path: Path,
    tensors: dict[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    scaler: torch.amp.GradScaler | None = None,
) -> int:
    """Load a checkpoint in place, if there is one; returns the number of steps done."""
    if not path.exists():
        return 0
    entries = load_file(path)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(entries[f"tensor.{name}"])
    states = [optimizer.state_dict() for optimizer in optimizers]
    for name, value in entries.items():
        if name.startswith("optimizer."):
            *number, index, key = name.split(".")[1:]  # earlier versions knew but one optimizer
            states[int(number[0]) if number else 0]["state"].setdefault(int(index), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
        for parameter, own in optimizer.state.items():
            # A fused optimizer takes it for granted that both lie in memory alike, be it channels last.
            own |= {key: _laid_out_as(parameter, value) for key, value in own.items() if torch.is_tensor(value)}
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["busaug"])
    if scaler and document["scaler"]:
        scaler.load_state_dict(document["scaler"])
    return document["step"]


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The values in the memory format of a parameter, if they are of its shape."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
