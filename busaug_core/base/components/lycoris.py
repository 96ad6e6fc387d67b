"""Files in the names of kohya's trainer and of LyCORIS: LoRA, LoCon, LoHa, LoKr and their DoRA, of a base's layers.

LyCORIS is Yeh et al. 2024, arXiv 2309.14859.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from busaug_core.base.components.change import Change, not_finite
from busaug_core.errors import UserError

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

PREFIXES = {"unet": ("lora_unet_", "lycoris_"), "text_encoder": ("lora_te_", "lora_te1_")}
"""How the names of a part's layers begin, in which every dot is an underscore."""
DORA = "dora_scale"
COMMON = {"alpha", DORA}
LORA = {"lora_down.weight", "lora_up.weight", "lora_mid.weight"}
LOHA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}
LOKR = {*(f"lokr_w{i}{end}" for i in (1, 2) for end in ("", "_a", "_b")), "lokr_t2"}
OTHERS = {
    "oft_": "OFT",
    "on_input": "an (IA)³",
    "a1.weight": "a GLoRA",
    "b1.weight": "a GLoRA",
    "diff": "whole weights (LyCORIS' full)",
    "w_norm": "norms that were trained whole",
    "b_norm": "norms that were trained whole",
    "bias_": "a bias of LoKr or LoHa",
}
"""What a layer's tensors are whose names begin so; the first that fits."""
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
        if not any(tensors.keys() <= kinds | COMMON for kinds in (LORA, LOHA, LOKR)):
            other = sorted(tensors.keys() - (LORA | LOHA | LOKR | COMMON)) or sorted(tensors)
            kind = next((k for start, k in OTHERS.items() if any(name.startswith(start) for name in other)), None)
            raise UserError(
                f"{path} changes {layer} by {', '.join(other)}, which is {kind or 'not known here'} and cannot be "
                "loaded; a LoRA, LoCon, LoHa or LoKr can, with DoRA too: train it as one of these."
            )
    return layers


def weight_changes(pipe: "StableDiffusionPipeline", path: Path, layers: Layers) -> list[Change]:
    """What the layers' weights become; raises UserError where tensors are missing, of another size, or too large."""
    changes = []
    for (part, name), tensors in layers.items():
        weight = getattr(pipe, part).get_submodule(name).weight
        tensors = {kind: tensor.float() for kind, tensor in tensors.items()}
        try:
            form = next(form for kinds, form in FORMS if tensors.keys() & kinds)
            changed = weight.data.float().cpu() + form(tensors).reshape(weight.shape)
            if DORA in tensors:
                changed = dora(changed, tensors[DORA])
        except (KeyError, RuntimeError, StopIteration) as error:
            raise UserError(
                f"{path} does not fit {name} ({error}); was it trained on another base, or is it not whole?"
            ) from None
        on = changed.to(weight)
        if not on.isfinite().all():
            raise not_finite(path)
        changes.append(Change(weight, weight.data, on))
    return changes


def lora(tensors: dict[str, Tensor]) -> Tensor:
    """The product of two low-rank matrices, of convolutions perhaps with a core between them (LoCon), scaled."""
    down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
    core = tensors.get("lora_mid.weight")
    change = up.flatten(1) @ down.flatten(1) if core is None else _product(core, up.flatten(1).T, down.flatten(1))
    return change * _scale(tensors, down.shape[0])


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


FORMS = ((LORA, lora), (LOHA, loha), (LOKR, lokr))
"""What a layer's tensors add to its weight, float32, by the names of which it has some."""


def dora(changed: Tensor, scale: Tensor) -> Tensor:
    """A weight whose columns have the norms `scale` (Liu et al. 2024, arXiv 2402.09353, equation 5).

    Of each output in later versions of LyCORIS, out×1(×1×1); of each input in earlier ones, 1×in(×1×1).
    """
    axis = 0 if scale.shape[0] == changed.shape[0] else 1
    shape = [-1 if i == axis else 1 for i in range(changed.ndim)]
    if scale.numel() != changed.shape[axis]:
        raise RuntimeError(f"{DORA} of {tuple(scale.shape)} for a weight of {tuple(changed.shape)}")
    norms = changed.transpose(0, axis).flatten(1).norm(dim=1)
    return changed * (scale.flatten() / (norms + torch.finfo(norms.dtype).eps)).reshape(shape)


def _product(core: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """A @ B, or with a core, of convolutions, their Tucker product."""
    return a @ b if core is None else torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _scale(tensors: dict[str, Tensor], rank: int) -> float:
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0
