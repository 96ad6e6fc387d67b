"""Loading a base model and what is put on top of it. Weights are safetensors, never pickles."""

from collections.abc import Iterable
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import try_to_load_from_cache

from busaug_core.base.defaults import MINI, MINI_FOLDER
from busaug_core.errors import MissingWeights, UserError
from busaug_core.files import content_hash

# Loading tells its own errors below; the libraries' bars and notes would bury the job's progress.
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

PARTS = ("unet", "vae", "text_encoder")
PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
NO_CHECKER = dict(safety_checker=None, requires_safety_checker=False)
"""The safety checker blackens medical images; BUSAug's prompts are fixed, so it is left out."""


def load_pipeline(base_model: str, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """A text2img pipeline of a base, frozen and in evaluation mode.

    Args:
        base_model: `mini`, a diffusers folder, a single `.safetensors` file or a Hub id

    Raises:
        UserError: the base is a pickle
        MissingWeights: it cannot be had here
    """
    path = MINI_FOLDER if base_model == MINI else Path(base_model).expanduser()
    if path.suffix in PICKLES:
        raise UserError(
            f"{path} is a pickle, which can run code when it is loaded. Convert it to safetensors first, "
            "for instance with StableDiffusionPipeline.from_single_file(...).save_pretrained(folder)."
        )
    try:
        if path.is_file():
            pipe = StableDiffusionPipeline.from_single_file(str(path), dtype=dtype, **NO_CHECKER)
        else:
            source = str(path) if path.is_dir() else base_model
            pipe = StableDiffusionPipeline.from_pretrained(source, dtype=dtype, use_safetensors=True, **NO_CHECKER)
    except (OSError, ValueError, SingleFileComponentError) as error:
        raise MissingWeights(
            f"The base model '{base_model}' cannot be loaded ({str(error).splitlines()[0]}). Give a diffusers "
            "folder with safetensors, or a Hub id that can be downloaded here (HF_HUB_OFFLINE must be unset)."
        ) from None
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.requires_grad_(False).eval()
    return pipe.to(device)


def fingerprint(base_model: str) -> dict[str, str]:
    """SHA-256 of each weight file of a base that was loaded: of its UNet, autoencoder and text encoder."""
    path = MINI_FOLDER if base_model == MINI else Path(base_model).expanduser()
    if path.is_file():
        return {path.name: content_hash(path)}
    if not path.is_dir():
        path = Path(try_to_load_from_cache(base_model, "model_index.json")).parent
    files = [f for part in PARTS for f in (path / part).glob("*.safetensors")]
    # A dot in the stem marks a variant such as .fp16, which is not what is loaded.
    return {str(f.relative_to(path)): content_hash(f) for f in sorted(files) if "." not in f.stem}


def refuse_long(pipe: StableDiffusionPipeline, prompts: Iterable[str]) -> None:
    """Raises UserError where a prompt has more tokens than the text encoder reads; diffusers would cut it."""
    limit = pipe.tokenizer.model_max_length
    for prompt in prompts:
        length = len(pipe.tokenizer(pipe.maybe_convert_prompt(prompt, pipe.tokenizer)).input_ids)
        if length > limit:
            prompt = f"{prompt[:60]}…"
            raise UserError(
                f"The prompt {prompt!r} is {length} tokens long, and this base reads {limit}; shorten it, or its token."
            )
