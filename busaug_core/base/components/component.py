"""What a component is, and what it becomes when it is put on a base."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.jobs.lineage import Product
from busaug_core.prompts import MODALITY

if TYPE_CHECKING:
    import numpy as np
    from diffusers import StableDiffusionPipeline


class Attached:
    """A component on a pipeline."""

    changes_text: bool = False
    """Whether prompts are encoded otherwise while it is on."""

    def switch(self, on: bool) -> None:
        """Put it on or off; one that acts through the prompt alone has nothing to switch."""

    def prompt(self, prompt: str, modality: str = MODALITY) -> str:
        """The prompt as it is to be while the component is on; `modality` is its word for how images are taken."""
        return prompt

    def condition(self, masks: "list[np.ndarray]") -> None:
        """Take the lesion masks of the N images to be made next, bool H×W each; most components take none."""


@dataclass(frozen=True)
class Component(ABC):
    """One kind of thing that can be put on a base.

    Attributes:
        field: the config field that names it, and its name in an image's provenance
        title: its name alone, as on a form
        called: what a sentence calls it, with its article
        description: what the config field holds
        product: the file or folder that it lies in, and the job that makes it
        takes_mask: whether its images are conditioned on lesion masks
        for_all: whether it is on, where it is named, in all variants that put anything on the base
        in_diffusers: lines of Python that put it on a diffusers pipeline `pipe`, with {path}, its {folder} and {name}
    """

    field: str
    title: str
    called: str
    description: str
    product: Product
    takes_mask: bool = False
    for_all: bool = False
    in_diffusers: str = ""

    @abstractmethod
    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> Attached:
        """Load it into the pipeline, switched off where it can be; raises UserError where it does not fit."""
