"""Where the arithmetic runs, and in which precision."""

import os

import torch
from accelerate import PartialState

from busaug_core.errors import UserError


def pick_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; under `accelerate launch` the process's own device."""
    return join_processes().device


def join_processes() -> PartialState:
    """The processes that share a job's work, by `accelerate launch` or `torchrun`; most often this one alone."""
    # Left to itself, accelerate joins several processes on GPUs only.
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return PartialState(cpu=True) if several and not torch.cuda.is_available() else PartialState()


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of `fp32`, `bf16`, `fp16`, or of `auto`: half precision where the device has units for it.

    Raises UserError for fp16 on a CPU.
    """
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU; set it to 'auto' on this machine.")
    if precision in named:
        return named[precision]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bfloat16_units() else torch.float32


def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return torch.cpu._is_avx512_bf16_supported() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
