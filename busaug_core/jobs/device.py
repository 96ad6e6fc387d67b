"""Where the arithmetic runs, and in which precision."""

import torch

from busaug_core.errors import UserError
from busaug_core.jobs.config import Precision
from busaug_core.jobs.processes import join_processes


def pick_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; under `accelerate launch` the process's own device."""
    return join_processes().device


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
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


def autocast_to(device: torch.device, arithmetic: torch.dtype) -> torch.autocast:
    """A block with matrix products and convolutions in a dtype; float32 leaves them as the weights are."""
    return torch.autocast(device.type, arithmetic, enabled=arithmetic != torch.float32)


def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return torch.cpu._is_avx512_bf16_supported() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def bfloat16_where_fast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16 on devices that multiply it in hardware; on others, where it is many times slower, none."""
    fast = device.type == "cuda" or (device.type == "cpu" and has_bfloat16_units())
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and fast)


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
