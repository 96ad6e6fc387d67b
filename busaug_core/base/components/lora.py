"""LoRA and its kin: low-rank updates of the base's layers, put on and off as a whole."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.change import AttachedChanges, Change, not_finite
from busaug_core.base.components.component import Attached, Component
from busaug_core.base.weights import kind_of_weights, load_weights
from busaug_core.errors import UserError
from busaug_core.foreign import read_document
from busaug_core.jobs.lineage import Product

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor, nn

NAME = "busaug"
"""What the adapter is called on the pipeline."""
PEFT_PREFIX, PEFT_CONFIG, PEFT_WEIGHTS = "base_model.model.", "adapter_config.json", "adapter_model.safetensors"
PEFT_TYPES = {"LORA", "LOHA", "LOKR"}
FOREIGN = {
    "lora_te2_": "of Stable Diffusion XL",
    "text_encoder_2": "of Stable Diffusion XL",
    "transformer.": "of Flux or another diffusion transformer",
    "double_blocks": "of Flux",
}
"""What a file is whose names hold a word, where it does not fit."""


class LoraComponent(Component):
    """A LoRA file of diffusers' (new or old), kohya's or peft's names, a LoCon, LoHa or LoKr; or peft's folder."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> Attached:
        """Load the file; raises UserError where it is none, or fits no layer of this base."""
        from busaug_core.base.components import lycoris

        weights = load_weights(path, self.called)
        if weights and all(name.startswith(PEFT_PREFIX) for name in weights):
            attached: Attached = _attach_peft(pipe, path, weights)
        elif lycoris.is_kohyas(weights):
            layers = lycoris.by_layer(pipe, path, weights)
            attached = AttachedChanges(lycoris.weight_changes(pipe, path, layers), changes_text=True)
        else:
            attached = _attach_lora(pipe, path, weights)
        attached.switch(False)
        return attached


def _attach_lora(pipe: "StableDiffusionPipeline", path: Path, weights: "dict[str, Tensor]") -> AttachedChanges:
    """By diffusers, which knows its own names, new and old; every tensor must have found its layer."""
    if not any("lora" in name for name in weights):
        raise UserError(f"{path} is no LoRA; it seems to be {kind_of_weights(weights)}.")
    first = next(iter(weights))
    source, options = str(path.parent), dict(weight_name=path.name)
    if path.suffix != ".safetensors":
        raise UserError(f"{path} is a safetensors file of another name; rename it to {path.stem}.safetensors.")
    if first.startswith(("down_blocks.", "mid_block.", "up_blocks.")):  # diffusers before 0.15
        source, options = {f"unet.{name}": tensor for name, tensor in weights.items()}, {}
    hint = next((f", it seems to be {kind}" for word, kind in FOREIGN.items() if any(word in n for n in weights)), "")
    try:
        pipe.load_lora_weights(source, adapter_name=NAME, **options)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no LoRA of this base model ({_reason(error)}){hint}; was it trained on another one?"
        ) from None
    loaded = sum(".lora_" in name for part in (pipe.unet, pipe.text_encoder) for name, _ in part.named_parameters())
    wanted = sum(not name.endswith(".alpha") for name in weights)
    if loaded != wanted:
        raise UserError(
            f"{path} holds {wanted} tensors, but {loaded} fit this base model{hint}; was it trained on another one?"
        )
    return _merged(pipe, path)


def _attach_peft(pipe: "StableDiffusionPipeline", path: Path, weights: "dict[str, Tensor]") -> AttachedChanges:
    """An adapter of peft by its own settings, on the part that has its layers; no tensor or layer may be left over."""
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict

    settings = path.with_name(PEFT_CONFIG)
    if not settings.exists():
        raise UserError(f"{path} is an adapter of peft without its {PEFT_CONFIG}; put that beside it.")
    if (kind := read_document(settings, "the settings of an adapter").get("peft_type")) not in PEFT_TYPES:
        raise UserError(f"{settings} is of the kind {kind}; adapters of {', '.join(sorted(PEFT_TYPES))} can be loaded.")
    state = {name.removeprefix(PEFT_PREFIX).removeprefix("text_model."): tensor for name, tensor in weights.items()}
    part = pipe.text_encoder if next(iter(state)).startswith("encoder.") else pipe.unet
    try:
        inject_adapter_in_model(PeftConfig.from_pretrained(str(path.parent)), part, adapter_name=NAME)
        report = set_peft_model_state_dict(part, state, adapter_name=NAME)
        part.requires_grad_(False).eval()
        part._hf_peft_config_loaded = True
        added = sum(f".{NAME}" in name for name, _ in part.named_parameters())
        if added != len(state) or report.unexpected_keys:
            raise ValueError(f"it holds {len(state)} tensors, its layers take {added}")
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no LoRA of this base model ({_reason(error)}); was it trained on another one?"
        ) from None
    return _merged(pipe, path)


def _merged(pipe: "StableDiffusionPipeline", path: Path) -> AttachedChanges:
    """The adapters as changes of weights, which spare a third of a small UNet's time.

    Raises UserError where a weight is not finite then, as in half precision it may become.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    changes = []
    for part in (pipe.unet, pipe.text_encoder):
        for module in [m for m in part.modules() if isinstance(m, BaseTunerLayer)]:
            base = module.get_base_layer()
            own = [(p, p.data) for p in (base.weight, base.bias) if p is not None]
            try:
                module.merge(safe_merge=True, adapter_names=[NAME])  # into tensors of their own
            except ValueError:
                raise not_finite(path) from None
            changes += [Change(p, before, p.data) for p, before in own if p.data is not before]
        remove_adapters(part)
    return AttachedChanges(changes, changes_text=True)


def remove_adapters(part: "nn.Module") -> None:
    """Take adapters off a part of a pipeline; weights that they were merged into stay as they are."""
    from diffusers.utils import recurse_remove_peft_layers

    recurse_remove_peft_layers(part)
    part._hf_peft_config_loaded = False
    part.__dict__.pop("peft_config", None)


def _reason(error: Exception) -> str:
    """The first two lines of a library's error; the first alone may only say that there was one."""
    lines = [line.strip() for line in str(error).strip().splitlines()[:2]]
    return " ".join(lines) or type(error).__name__


LORA = LoraComponent(
    field="lora",
    title="LoRA",
    called="a LoRA",
    description="LoRA of the tuned variants: a run, a file or a folder.",
    product=Product("pytorch_lora_weights.safetensors", job="train_lora", also=(PEFT_WEIGHTS,)),
    in_diffusers='pipe.load_lora_weights("{folder}", weight_name="{name}")',
)
