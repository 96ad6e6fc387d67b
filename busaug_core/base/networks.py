"""Networks that stand in for a base's UNet or beside it: loading their folders, and telling whether they fit."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin, StableDiffusionPipeline
from torch import nn

from busaug_core.base.loading import FAST_CHANNELS_LAST, load_part, refuse_broken_files, weight_files
from busaug_core.base.weights import kind_of_weights, refuse_not_finite, tensor_shapes
from busaug_core.errors import UserError
from busaug_core.foreign import read_document

NetworkT = TypeVar("NetworkT", bound=ModelMixin)

WITHOUT_EFFECT = {"sample_size", "dropout", "upcast_attention"}
"""Entries of a configuration that do not decide what trained weights compute."""


def load_network(path: Path, network: type[NetworkT], dtype: torch.dtype) -> NetworkT:
    """The network of a folder in diffusers' layout, or of the weights in it, on the CPU.

    Raises UserError where the folder holds none of that class, or weights that are not finite; MissingWeights where
    it holds no weights.
    """
    folder = path.parent if path.is_file() else path
    settings = folder / "config.json"
    if not settings.is_file():
        kind = (
            kind_of_weights(tensor_shapes(path, f"a {network.__name__}")) if path.is_file() else "no network's folder"
        )
        raise UserError(
            f"{path} seems to be {kind}, and there is no config.json of a {network.__name__} beside it; give a folder "
            "in diffusers' layout."
        )
    found = read_document(settings, "the configuration of a network").get("_class_name")
    if found != network.__name__:
        raise UserError(f"{folder} holds a {found}, no {network.__name__}.")
    if path.is_file() and weight_files(folder)[0] != [path]:
        names = ", ".join(file.name for file in weight_files(folder)[0]) or "none"
        raise UserError(f"{path} is not what is read of its folder ({names}); put it into a folder of its own.")
    refuse_broken_files(folder)
    loaded = load_part(folder, network, dtype)
    refuse_not_finite(folder, loaded.state_dict())
    return loaded


def put_beside(pipe: StableDiffusionPipeline, network: nn.Module) -> None:
    """Put a network on the pipeline's device, in the memory format of its UNet."""
    network.to(pipe.device)
    if pipe.device.type in FAST_CHANNELS_LAST:
        network.to(memory_format=torch.channels_last)


def refuse_other_shape(path: Path, network: nn.Module, unet: nn.Module) -> None:
    """Raises UserError where a network was made for another UNet, by the settings that both have."""
    own, its = unet.config, network.config
    shared = {name for name in own.keys() & its.keys() if not name.startswith("_")} - WITHOUT_EFFECT
    if other := sorted(name for name in shared if _plain(own[name]) != _plain(its[name])):
        told = ", ".join(f"{name} {its[name]} where this base has {own[name]}" for name in other[:3])
        raise UserError(f"{path} was made for another base model ({told}).")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
