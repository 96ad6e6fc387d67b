"""LoRA: low-rank updates of the base's layers, put on and off as a whole."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.component import Attached, Component, refuse_pickle
from busaug_core.errors import UserError
from busaug_core.jobs.lineage import Product

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


class LoraComponent(Component):
    """A LoRA file of diffusers' or peft's key names."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> "AttachedLora":
        """Load the file; raises UserError where it fits no layer of this base."""
        from safetensors.torch import load_file

        refuse_pickle(path)
        weights = load_file(path)
        try:
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="busaug")
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} is no LoRA of this base model ({reason}); was it trained on another one?"
            ) from None
        parts = (pipe.unet, pipe.text_encoder)
        loaded = sum(".lora_" in name for part in parts for name, _ in part.named_parameters())
        wanted = sum(not name.endswith(".alpha") for name in weights)
        if loaded != wanted:
            raise UserError(
                f"{path} holds {wanted} tensors, but {loaded} fit this base model; was it trained on another one?"
            )
        attached = AttachedLora(pipe)
        attached.switch(False)
        return attached


class AttachedLora(Attached):
    """A LoRA on a pipeline; it may reach the text encoder."""

    changes_text = True

    def __init__(self, pipe: "StableDiffusionPipeline"):
        self.pipe = pipe

    def switch(self, on: bool) -> None:
        (self.pipe.enable_lora if on else self.pipe.disable_lora)()


LORA = LoraComponent(
    field="lora",
    title="LoRA",
    called="a LoRA",
    description="LoRA of the tuned variants: a run, a file or a folder.",
    product=Product("pytorch_lora_weights.safetensors", job="train_lora"),
)
