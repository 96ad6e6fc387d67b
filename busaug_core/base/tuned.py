"""Bases that are runs which tuned a UNet: the base that they began with, with that UNet."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from busaug_core.base.defaults import BASE
from busaug_core.base.loading import fingerprint, load_pipeline
from busaug_core.base.networks import load_network, refuse_other_shape
from busaug_core.files import folder_hash
from busaug_core.jobs.lineage import resolve_product
from busaug_core.jobs.run import Ancestor, Run


def load_base(run: Run, base_model: str, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """The base that a run's config, or an image of its dataset, names: as `load_pipeline`, or a run that tuned one.

    Raises UserError and MissingWeights as `load_pipeline` does.
    """
    tuned = _tuned(run, base_model)
    if tuned is None:
        return load_pipeline(base_model, device, dtype)
    pipe = load_base(tuned.run, tuned.run.config["base_model"], device, dtype)
    unet = load_network(tuned.path, UNet2DConditionModel, dtype)
    refuse_other_shape(tuned.path, unet, pipe.unet)
    pipe.unet.load_state_dict(unet.state_dict())
    return pipe


def fingerprint_of(run: Run, base_model: str) -> dict[str, str]:
    """SHA-256 of each weight file of what `load_base` has loaded."""
    tuned = _tuned(run, base_model)
    if tuned is None:
        return fingerprint(base_model)
    root = fingerprint_of(tuned.run, tuned.run.config["base_model"])
    kept = {name: value for name, value in root.items() if not name.startswith("unet/")}
    return kept | {f"unet/{name}": value for name, value in folder_hash(tuned.path).items()}


def root_of(run: Run, base_model: str) -> tuple[str, Path | None]:
    """The base that `load_base` begins with, and the UNet's folder that takes the place of its own, if one does."""
    tuned = _tuned(run, base_model)
    if tuned is None:
        return base_model, None
    return root_of(tuned.run, tuned.run.config["base_model"])[0], tuned.path


def _tuned(run: Run, base_model: str) -> Ancestor | None:
    """The UNet and the run where a base is a run that tuned one."""
    found = resolve_product(run, base_model, BASE)
    return found if found is not None and found.run is not None and found.run.job == BASE.job else None
