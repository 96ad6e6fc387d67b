"""The job `train_lora`: low-rank adaptation of the UNet (Hu et al. 2021, arXiv 2106.09685)."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig as PeftConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from busaug_core.base.components import LORA
from busaug_core.files import write_whole
from busaug_core.jobs.events import Steps
from busaug_core.jobs.roles import remarks_on_training, training_images
from busaug_core.jobs.run import Run
from busaug_core.prompts import prompt_of
from busaug_core.records import count_labels
from busaug_core.train.config import Lora
from busaug_core.train.denoising import Denoising, load_base, train_denoising

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

    Returns `weights` (the file), the mean `loss` of the last tenth, `images` by class, `remarks` on them,
    `trained_parameters` and their `share_of_unet`. Raises UserError where no sample trains or a class has no prompt.
    """
    records = training_images(run.records)
    prompts = [prompt_of(r.label, config.prompts) for r in records]
    method = LoraMethod(load_base(config, run), config.rank, config.layers)
    loss = yield from train_denoising(method, records, prompts, config, run)
    trained = sum(p.numel() for p in method.parameters().values())
    total = sum(p.numel() for p in method.pipe.unet.parameters())
    return {
        "weights": str(run.folder / LORA.product.name),
        "loss": loss,
        "images": count_labels(records),
        "remarks": remarks_on_training(records),
        "trained_parameters": trained,
        "share_of_unet": trained / (total - trained),
    }


class LoraMethod(Denoising):
    """Adapters on the UNet; prompts are encoded once, since the text encoder stays as it is."""

    message = "Training the LoRA"
    weight_decay = 1e-2

    def __init__(self, pipe: StableDiffusionPipeline, rank: int, layers: str):
        self.pipe = pipe
        pipe.unet.add_adapter(
            # alpha = rank: diffusers' files carry no alpha and are loaded at a scale of one.
            PeftConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LAYERS[layers])
        )
        cast_training_params(pipe.unet, dtype=torch.float32)
        self._states: dict[str, Tensor] = {}

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.pipe.unet.named_parameters() if p.requires_grad}

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        with torch.no_grad():
            for prompt in set(prompts) - self._states.keys():
                states, _ = self.pipe.encode_prompt(prompt, self.pipe.device, 1, False)
                self._states[prompt] = states[0]
        return torch.stack([self._states[p] for p in prompts])

    def save(self, folder: Path) -> None:
        # peft's own names throughout: diffusers' converter renames attention layers alone, and its loader
        # then drops them without a word.
        layers = {f"unet.{name}": tensor for name, tensor in get_peft_model_state_dict(self.pipe.unet).items()}
        layers = {name: tensor.detach().cpu().contiguous() for name, tensor in layers.items()}
        write_whole(folder / LORA.product.name, lambda partial: save_file(layers, partial, metadata={"format": "pt"}))
