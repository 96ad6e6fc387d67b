"""Files in the names of kohya's trainer and of LyCORIS: LoRA, LoHa and LoKr of a base's layers.

LyCORIS is Yeh et al. 2024, arXiv 2309.14859.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from busaug_core.base.components.change import Change
from busaug_core.errors import UserError

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig

PREFIXES = {"unet": ("lora_unet_", "lycoris_"), "text_encoder": ("lora_te_", "lora_te1_")}
"""How the names of a part's layers begin, in which every dot is an underscore."""
LORA = {"lora_down.weight", "lora_up.weight", "alpha"}
LOHA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "alpha"}
LOKR = {*(f"lokr_w{i}{end}" for i in (1, 2) for end in ("", "_a", "_b")), "lokr_t2", "alpha"}
Layers = dict[tuple[str, str], dict[str, Tensor]]
"""A file's tensors by their short names, by part and layer."""


def is_kohyas(weights: dict[str, Tensor]) -> bool:
    """Whether all names are kohya's or LyCORIS'."""
    prefixes = tuple(prefix for some in PREFIXES.values() for prefix in some)
    return bool(weights) and all(name.startswith(prefixes) for name in weights)


def by_layer(pipe: "StableDiffusionPipeline", path: Path, weights: dict[str, Tensor]) -> Layers:
    """A file's tensors by layer, all of them of one kind; raises UserError where one fits no layer of the base."""
    known = {
        prefix + infix + name.replace(".", "_"): (part, name)
        for part, prefixes in PREFIXES.items()
        for name, layer in getattr(pipe, part).named_modules()
        if isinstance(getattr(layer, "weight", None), Tensor)
        for prefix in prefixes
        for infix in ("", "text_model_")
    }
    layers: Layers = {}
    for name, tensor in weights.items():
        layer, _, kind = name.partition(".")
        if layer not in known:
            raise UserError(f"{path} changes {layer}, which is no layer of this base; was it trained on another one?")
        layers.setdefault(known[layer], {})[kind] = tensor
    for (_, layer), tensors in layers.items():
        if not any(tensors.keys() <= kinds for kinds in (LORA, LOHA, LOKR)):
            other = sorted(tensors.keys() - (LORA | LOHA | LOKR)) or sorted(tensors)
            raise UserError(
                f"{path} changes {layer} by {', '.join(other)}, which is more than a LoRA, LoHa or LoKr (a dora_scale "
                "is LyCORIS' DoRA, a lora_mid a LoCon in Tucker's form) and cannot be loaded; train it without."
            )
    return layers


def lora_of(layers: Layers) -> dict[str, tuple["LoraConfig", dict[str, Tensor]]]:
    """Kohya's LoRA as peft has it: for each part its settings and tensors. Raises KeyError where a half is missing."""
    from peft import LoraConfig

    found = {}
    for part in dict.fromkeys(part for part, _ in layers):
        own = {f"^{layer}": tensors for (of, layer), tensors in layers.items() if of == part}
        ranks = {name: tensors["lora_down.weight"].shape[0] for name, tensors in own.items()}
        scales = {name: float(tensors.get("alpha", ranks[name])) for name, tensors in own.items()}
        state = {
            f"{name[1:]}.lora_{half}.weight": tensors[f"lora_{theirs}.weight"]
            for name, tensors in own.items()
            for half, theirs in (("A", "down"), ("B", "up"))
        }
        targets = [name[1:] for name in own]
        found[part] = LoraConfig(target_modules=targets, rank_pattern=ranks, alpha_pattern=scales), state
    return found


def weight_changes(pipe: "StableDiffusionPipeline", path: Path, layers: Layers) -> list[Change]:
    """What a LoHa's or LoKr's tensors add to which weights; raises UserError where they are of another size."""
    changes = []
    for (part, name), tensors in layers.items():
        weight = getattr(pipe, part).get_submodule(name).weight
        tensors = {kind: tensor.float() for kind, tensor in tensors.items()}
        try:
            change = loha(tensors) if "hada_w1_a" in tensors else lokr(tensors)
            changed = weight.data.float() + change.reshape(weight.shape).to(weight.device)
            changes.append(Change(weight, weight.data, changed.to(weight.dtype)))
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{path} does not fit {name} ({error}); was it trained on another base, or is it not whole?"
            ) from None
    return changes


def loha(tensors: dict[str, Tensor]) -> Tensor:
    """The elementwise product of two low-rank matrices (Hyeon-Woo et al. 2022, arXiv 2108.06098), scaled."""
    first, second = (
        _product(tensors.get(f"hada_t{i}"), tensors[f"hada_w{i}_a"], tensors[f"hada_w{i}_b"]) for i in (1, 2)
    )
    return first * second * _scale(tensors, tensors["hada_w1_b"].shape[0])


def lokr(tensors: dict[str, Tensor]) -> Tensor:
    """The Kronecker product of two matrices, each whole or of low rank, scaled where one is of low rank."""
    factors, rank = [], None
    for i in (1, 2):
        whole = tensors.get(f"lokr_w{i}")
        if whole is None:
            a, b = tensors[f"lokr_w{i}_a"], tensors[f"lokr_w{i}_b"]
            whole, rank = _product(tensors.get(f"lokr_t{i}"), a, b), b.shape[0]
        factors.append(whole)
    first, second = factors
    change = torch.kron(first[..., None, None] if second.ndim == 4 else first, second)
    return change if rank is None else change * _scale(tensors, rank)


def _product(core: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """A @ B, or with a core, of convolutions, their Tucker product."""
    return a @ b if core is None else torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _scale(tensors: dict[str, Tensor], rank: int) -> float:
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0
