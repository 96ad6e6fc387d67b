"""Weight files of others: reading safetensors, and telling what one holds by the names in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.errors import UserError
from busaug_core.foreign import reading, refuse_pickle

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "oft_": "an OFT adapter",
    "ia3_l": "an (IA)³ adapter",
    "lora": "a LoRA",
    "emb_params": "a learned token",
    "clip_g": "a learned token of Stable Diffusion XL",
    "controlnet_cond_embedding": "a ControlNet",
    "control_model.": "a ControlNet",
    "model.diffusion_model.": "a whole checkpoint in one file",
    "double_blocks.": "a Flux transformer",
    "quant_conv": "an autoencoder",
    "decoder.up_blocks": "an autoencoder",
    "time_embedding.": "a UNet",
    "token_embedding": "a text encoder",
    "transformer_blocks": "a diffusion transformer",
}
"""What a file is whose tensors' names hold a word; the first that fits."""


def load_weights(path: Path, wanted: str) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, on the CPU; raises UserError where it is none (`wanted`, with its article).

    Raises it for values that are not finite too.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    refuse_pickle(path)
    with reading(path, wanted, SafetensorError):
        weights = load_file(path)
    refuse_not_finite(path, weights)
    return weights


def tensor_shapes(path: Path, wanted: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file, by name, from its header; raises UserError as `load_weights`."""
    from safetensors import SafetensorError, safe_open

    refuse_pickle(path)
    with reading(path, wanted, SafetensorError), safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def kind_of_weights(tensors: "Mapping[str, Tensor | tuple[int, ...]]") -> str:
    """What tensors are, told by their names, with an article: "a LoRA", "a UNet"."""
    kind = next((kind for word, kind in KINDS.items() if any(word in name for name in tensors)), None)
    if kind is None:
        some = ", ".join(sorted(tensors)[:2])
        kind = f"something else ({len(tensors)} tensors, such as {some})" if tensors else "a file without tensors"
    return kind


def refuse_not_finite(place: "Path | str", weights: "Mapping[str, Tensor]") -> None:
    """Raises UserError where weights hold NaN or infinite values, whose images would be blank."""
    broken = [
        name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.float().isfinite().all()
    ]
    if broken:
        raise UserError(
            f"{place} holds values that are not finite (NaN or infinite) in {len(broken)} of its {len(weights)} "
            f"tensors, such as {broken[0]}: it is damaged, or its training has diverged. Take another file, or "
            "train it anew at a lower learning rate."
        )
