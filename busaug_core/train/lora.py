"""The job `train_lora`: low-rank adaptation of the UNet (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig as PeftConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from busaug_core.base.loading import fingerprint, load_pipeline, make_readable
from busaug_core.errors import UserError
from busaug_core.jobs.device import describe, dtype_of, pick_device
from busaug_core.jobs.events import Event
from busaug_core.jobs.run import Run
from busaug_core.prompts import prompt_of
from busaug_core.records import count_labels, of_split
from busaug_core.train.config import Lora
from busaug_core.train.loop import NO_TRAINING, train

FILE = "pytorch_lora_weights.safetensors"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2", "conv_shortcut", "conv", "conv_in", "conv_out", "time_emb_proj"]
LAYERS = {
    "attention": ATTENTION,
    "cross_attention": r".*\.attn2\.(to_q|to_k|to_v|to_out\.0)",
    "wide": [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", *CONVOLUTIONS],
}
"""Names of the UNet's layers as peft matches them."""


def train_lora(config: Lora, run: Run) -> Iterator[Event]:
    """Adapt the UNet to the training split's images and class prompts.

    Returns `weights` (the file), the mean `loss` of the last tenth, `images` by class, `trained_parameters` and
    their `share_of_unet`. Raises UserError where no sample trains or a class has no prompt.
    """
    records = of_split(run.records, "train")
    if not records:
        raise UserError(NO_TRAINING)
    device = pick_device()
    pipe = load_pipeline(config.base_model, device, dtype_of(config.precision, device))
    torch.manual_seed(config.seed)
    method = LoraMethod(pipe, config.rank, config.layers)
    run.pin(base_weights=fingerprint(config.base_model))
    run.record_environment(device=describe(device))
    prompts = [prompt_of(r.label, config.prompts) for r in records]
    loss = yield from train(method, records, prompts, config, run)
    trained = sum(p.numel() for p in method.parameters().values())
    total = sum(p.numel() for p in pipe.unet.parameters())
    return {
        "weights": str(run.folder / FILE),
        "loss": loss,
        "images": count_labels(records),
        "trained_parameters": trained,
        "share_of_unet": trained / (total - trained),
    }


class LoraMethod:
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

    def after_step(self) -> None:
        """Nothing is held fixed in a LoRA."""

    def save(self, folder: Path) -> None:
        # peft's own names throughout: diffusers' converter renames attention layers alone, and its loader
        # then drops them without a word.
        layers = get_peft_model_state_dict(self.pipe.unet)
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
        make_readable(folder / FILE)
