"""The published weights of feature networks, which come as pickles: read as tensors alone, so that no code is run."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from busaug_core.errors import UserError
from busaug_core.foreign import kind_of


def read_pickled(path: Path, wanted: str) -> dict[str, Tensor]:
    """The tensors of a file of torch.save by name, on the CPU.

    Raises UserError where it is no such file (`wanted`, in words), or holds more than tensors.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError):
        # torch's own words advise to load it with all the code in it
        raise UserError(f"{path} cannot be read as {wanted}; it seems to be {kind_of(path)}. Fetch it again.") from None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(f"{path} cannot be read as {wanted}; it holds something else than tensors by name.")
    return weights
