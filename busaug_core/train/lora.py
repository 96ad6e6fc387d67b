"""The job `train_lora`: low-rank adaptation of the UNet (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig as PeftConfig
from peft.tuners.lora.layer import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from busaug_core.base.components import LORA
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.run import Run
from busaug_core.train.config import Lora
from busaug_core.train.denoising import Denoising
from busaug_core.train.images import learned_images
from busaug_core.train.training import compared_images, prepare_base, train_denoising

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "conv", "conv_in", "conv_out", "time_emb_proj"]
LAYERS = {
    "attention": ATTENTION,
    "cross_attention": r".*\.attn2\.(to_q|to_k|to_v|to_out\.0)",
    "wide": [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", *CONVOLUTIONS],
}
"""Names of the UNet's layers as peft matches them."""


def train_lora(config: Lora, run: Run) -> Steps[dict[str, Any]]:
    """Adapt the UNet to the training split's images and class prompts.

    Returns what `train_denoising` does, `trained_parameters` and their `share_of_unet`. Raises UserError where no
    sample trains or a class has no prompt.
    """
    records = yield from learned_images(config, run)
    method = LoraMethod(prepare_base(config, run), config.rank, config.layers, config.alpha, config.dropout)
    result = yield from train_denoising(method, records, config, run, compared_images(config, run.records, records))
    trained = sum(p.numel() for p in method.parameters().values())
    total = sum(p.numel() for p in method.pipe.unet.parameters())
    return {**result, "trained_parameters": trained, "share_of_unet": trained / (total - trained)}


class LoraMethod(Denoising):
    """Adapters on the UNet."""

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
    ):
        """`alpha` over the rank is the scale of the update; one where it is None."""
        self.pipe, self.scale = pipe, 1.0 if alpha is None else alpha / rank
        settings = dict(r=rank, lora_alpha=alpha or rank, lora_dropout=dropout, init_lora_weights="gaussian")
        pipe.unet.add_adapter(PeftConfig(**settings, target_modules=LAYERS[layers]))
        self._dropouts = [m.lora_dropout for m in pipe.unet.modules() if isinstance(m, LoraLayer)]
        self._drop(True)
        cast_training_params(pipe.unet, dtype=torch.float32)

    def _drop(self, on: bool) -> None:
        for dropout in self._dropouts:
            dropout.train(on)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        self._drop(False)
        try:
            yield
        finally:
            self._drop(True)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.pipe.unet.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        # peft's own names throughout: diffusers' converter renames attention layers alone, and its loader
        # then drops them without a word.
        layers = {f"unet.{name}": tensor for name, tensor in get_peft_model_state_dict(self.pipe.unet).items()}
        # The file carries no alpha and is loaded at a scale of one, so the scale goes into the second matrices.
        scales = {name: self.scale if ".lora_B." in name else 1.0 for name in layers}
        layers = {name: (scales[name] * tensor.detach()).cpu().contiguous() for name, tensor in layers.items()}
        write_whole(folder / self.product, lambda partial: save_file(layers, partial, metadata={"format": "pt"}))
