"""Writing mini as a diffusers folder in half precision, and its card."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from busaug_core.base.licence import RESEARCH_USE
from busaug_core.files import read_json, write_json, written_whole
from busaug_core.pretrain.config import PretrainMini
from busaug_core.pretrain.diffusion import build_scheduler
from busaug_core.pretrain.text import ADJECTIVES
from busaug_core.prompts import BUSI_PROMPTS


def pipeline(vae, unet, text_encoder, tokenizer) -> StableDiffusionPipeline:
    """The parts as a plain StableDiffusionPipeline, without safety checker."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(folder: Path, vae, unet, text_encoder, tokenizer, card: str) -> None:
    """Save float16 safetensors and the card; `folder` is replaced only once all is written."""
    half = [copy.deepcopy(m).cpu().to(torch.float16).eval() for m in (vae, unet, text_encoder)]
    with written_whole(folder) as partial:
        pipeline(*half, tokenizer).save_pretrained(partial, safe_serialization=True)
        # transformers would load the text encoder in the dtype named here, the rest comes in float32.
        settings = partial / "text_encoder" / "config.json"
        write_json(settings, {**read_json(settings), "dtype": "float32"})
        (partial / "README.md").write_text(card, encoding="utf-8")
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(folder, ignore_errors=True)


def write_card(config: PretrainMini, parameters: int, measured: dict[str, Any]) -> str:
    """The card's text: what mini is, how it was made, what was measured, and what it cannot do."""
    settings = config.model_dump(mode="json", exclude={"run_key", "workers", "checkpoint_seconds", "busi", "out"})
    return CARD.format(
        parameters=f"{parameters / 1e6:.2f} million",
        research_use=RESEARCH_USE,
        prompt=BUSI_PROMPTS["benign"],
        steps=config.sampling_steps,
        guidance_scale=config.guidance_scale,
        data=f"{3 * config.phantoms} simulated scans (a third each normal, benign and malignant) of"
        " `busaug_core.simulate`, and their mirror images.",
        busi_note="; real BUSI was only measured on" if config.busi else "",
        config=json.dumps(settings, indent=2),
        measured=json.dumps(measured, indent=2),
        accuracy=measured["classifier_accuracy"],
        adjectives=", ".join(ADJECTIVES),
    )


CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
license: apache-2.0
tags: [stable-diffusion, ultrasound, synthetic, research-only]
---
# mini: a small text-to-image base for breast ultrasound, trained on simulated scans

A latent diffusion pipeline of Stable Diffusion 1.5's classes (AutoencoderKL,
UNet2DConditionModel, CLIPTextModel, CLIPTokenizer), {parameters} parameters, 128×128 pixels,
float16 safetensors. It lets the whole of BUSAug run offline on two CPU cores; it is a stand-in
for Stable Diffusion 1.5, not a rival.

{research_use}

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("mini", safety_checker=None,
                                               requires_safety_checker=False)
pipe("{prompt}", num_inference_steps={steps}, guidance_scale={guidance_scale}).images[0]
```

## Data
{data} None of its weights was trained on an image of a patient{busi_note}.

## Recipe
`python -m busaug_core pretrain_mini` with this configuration (seeds included):

```json
{config}
```

## Measured
```json
{measured}
```

- `reconstruction`: decoder(encoder(x)), float32; mean PSNR in dB, and the power of reconstruction
  over that of the original in bands of radial frequency (cycles a pixel), Hann window.
- `prompt_gap`: ‖v(a) − v(b)‖ / ‖(v(a) + v(b)) / 2‖ between predictions for two class prompts,
  over timesteps 999, 900, 800, 700 and 600 on simulated images.
- `predicted`: what a small classifier trained on simulated scans ({accuracy} of held-out
  simulated scans right) takes the images of each class prompt for
  (normal, benign, malignant). It says that the classes differ as the simulator's do, not that the
  images look real.
- `power`: samples over simulated scans, in the same bands.

## What it cannot do
- It knows simulated breasts only: what BUSI looks like it must learn by LoRA, textual inversion or
  fine-tuning. On so small a base adapters that reach convolutions and residual blocks do
  that, attention-only adapters hardly.
- Three class prompts and a few wordings; of the adjectives only {adjectives}. Other words are
  known to the tokenizer but mean nothing yet. Gray images, 128×128, one field of view.
- Texture above .25 cycles a pixel is invented by the decoder: right in its statistics, not in
  place. Do not measure speckle on what went through it.
"""
