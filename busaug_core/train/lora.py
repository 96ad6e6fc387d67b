"""The job `train_lora`: low-rank adaptation of UNet and text encoder (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora.layer import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from busaug_core.base.components import LORA
from busaug_core.base.components.lora import remove_adapters
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.train.config import Lora
from busaug_core.train.denoising import Denoising
from busaug_core.train.learned_images import learned_images
from busaug_core.train.training import compared_images, prepare_base, train_denoising

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "conv", "conv_in", "conv_out", "time_emb_proj"]
LAYERS = {
    "attention": ATTENTION,
    "cross_attention": r".*\.attn2\.(to_q|to_k|to_v|to_out\.0)",
    "wide": [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", *CONVOLUTIONS],
}
"""Names of the UNet's layers as peft matches them."""
LARGEST_MERGED = 100_000
"""The numbers of a weight up to which merging is the faster; Stable Diffusion's have more."""
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj"]
UNET_PREFIX, TEXT_PREFIX = "unet.", "text_encoder.text_model."
"""What the names of a part's layers begin with in diffusers' files; new versions' modules have no `text_model`."""


def train_lora(config: Lora, run: Run) -> Steps[dict[str, Any]]:
    """Adapt the UNet, and perhaps the text encoder, to the training split's images and class prompts.

    Returns what `train_denoising` does. Raises UserError where no sample trains or a class has no prompt.
    """
    records = yield from learned_images(config, run)
    base = prepare_base(config, run)
    method = LoraMethod(base, config.rank, config.layers, config.alpha, config.dropout, config.text_encoder)
    return (yield from train_denoising(method, records, config, run, compared_images(config, run.records, records)))


def replace_forward(layers: Iterable[LoraLayer]) -> None:
    """Replace peft's forward by a faster one that computes the same; in half precision within autocast alone.

    That one casts x to float32, which autocast undoes, and scales what comes out of BA (`wide` on `mini` in bfloat16:
    a seventh of a step). Small layers of a base held in float32, if without dropout, compute by one weight, W + s·BA:
    gradients are the same, through that of the whole weight, which of few channels takes less time than a second path
    there and back (a tenth of a step). In half precision the sum would lose what is small beside W.
    """
    for layer in layers:
        weight = layer.get_base_layer().weight
        is_small = weight.dtype == torch.float32 and weight.numel() <= LARGEST_MERGED
        merges = is_small and isinstance(layer.lora_dropout["default"], nn.Identity)
        layer.forward = partial(_forward_merged if merges else _forward_apart, layer)


def _forward_apart(layer: LoraLayer, x: Tensor) -> Tensor:
    base = layer.get_base_layer()
    function = F.linear if isinstance(base, nn.Linear) else F.conv2d
    low_rank = layer.lora_A["default"](layer.lora_dropout["default"](x))
    return base(x) + function(low_rank, layer.scaling["default"] * layer.lora_B["default"].weight)


def _forward_merged(layer: LoraLayer, x: Tensor) -> Tensor:
    base = layer.get_base_layer()
    down, up = (path["default"].weight.flatten(1) for path in (layer.lora_A, layer.lora_B))
    weight = base.weight + layer.scaling["default"] * (up @ down).view(base.weight.shape)
    if isinstance(base, nn.Linear):
        return F.linear(x, weight, base.bias)
    return F.conv2d(x, weight, base.bias, base.stride, base.padding, base.dilation, base.groups)


class LoraMethod(Denoising):
    """Adapters on the UNet, and perhaps on the text encoder."""

    message = "Training the LoRA"
    product = LORA.product.name
    weight_decay = 1e-2

    def __init__(
        self,
        pipe: StableDiffusionPipeline,
        rank: int,
        layers: str,
        alpha: float | None = None,
        dropout: float = 0.0,
        text_encoder: bool = False,
    ):
        """`alpha` over the rank is the scale of the update; one where it is None."""
        self.pipe, self.scale = pipe, 1.0 if alpha is None else alpha / rank
        settings = dict(r=rank, lora_alpha=alpha or rank, lora_dropout=dropout, init_lora_weights="gaussian")
        self.parts_of = {UNET_PREFIX: pipe.unet} | ({TEXT_PREFIX: pipe.text_encoder} if text_encoder else {})
        self.trains_text, self.draws_in_loss = text_encoder, dropout > 0
        for part in self.parts_of.values():
            targets = LAYERS[layers] if part is pipe.unet else TEXT_LAYERS
            inject_adapter_in_model(PeftConfig(**settings, target_modules=targets), part)
            cast_training_params(part, dtype=torch.float32)
        self._adapted = [m for part in self.parts_of.values() for m in part.modules() if isinstance(m, LoraLayer)]
        replace_forward(self._adapted)
        self._drop(True)

    def _drop(self, on: bool) -> None:
        for layer in self._adapted:
            layer.lora_dropout.train(on)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        self._drop(False)
        try:
            yield
        finally:
            self._drop(True)

    def take_off(self) -> None:
        for layer in self._adapted:
            vars(layer).pop("forward", None)  # which holds on to the layer
        self._adapted.clear()
        for part in self.parts_of.values():
            remove_adapters(part)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        named = {name: p for name, p in self.pipe.unet.named_parameters() if p.requires_grad}
        if self.trains_text:
            text = self.pipe.text_encoder.named_parameters()
            named |= {f"{TEXT_PREFIX}{name}": p for name, p in text if p.requires_grad}
        return named

    def save(self, folder: Path) -> None:
        # peft's own names throughout: diffusers' converter renames attention layers alone, and its loader
        # then drops them without a word.
        layers = {
            f"{prefix}{name.removeprefix('text_model.')}": tensor
            for prefix, part in self.parts_of.items()
            for name, tensor in get_peft_model_state_dict(part).items()
        }
        # The file carries no alpha and is loaded at a scale of one, so the scale goes into the second matrices.
        scales = {name: self.scale if ".lora_B." in name else 1.0 for name in layers}
        layers = {name: (scales[name] * tensor.detach()).cpu().contiguous() for name, tensor in layers.items()}
        write_whole(folder / self.product, lambda partial: save_file(layers, partial, metadata={"format": "pt"}))
