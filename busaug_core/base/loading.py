"""Loading a base model and what is put on top of it. Weights are safetensors, never pickles."""

import os
from collections.abc import Iterable
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file

from busaug_core.base.defaults import MINI, MINI_FOLDER
from busaug_core.errors import MissingWeights, UserError
from busaug_core.images import content_hash

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


def add_lora(pipe: StableDiffusionPipeline, file: Path) -> None:
    """Load a LoRA file into the pipeline, ready to be switched on and off.

    Raises UserError where the file fits no layer of this base.
    """
    _refuse_pickle(file)
    weights = load_file(file)
    try:
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="busaug")
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} is no LoRA of this base model ({reason}); was it trained on another one?") from None
    parts = (pipe.unet, pipe.text_encoder)
    loaded = sum(".lora_" in name for part in parts for name, _ in part.named_parameters())
    wanted = sum(not name.endswith(".alpha") for name in weights)
    if loaded != wanted:
        raise UserError(
            f"{file} holds {wanted} tensors, but {loaded} fit this base model; was it trained on another one?"
        )


def add_token(pipe: StableDiffusionPipeline, file: Path) -> str:
    """Load a learned token into tokenizer and text encoder; returns the token.

    Raises UserError where the file holds no token, or one of another width.
    """
    _refuse_pickle(file)
    learned = load_file(file)
    if len(learned) != 1:
        raise UserError(f"{file} holds {sorted(learned)}; a learned token file holds exactly one token.")
    (token, vectors), width = next(iter(learned.items())), pipe.text_encoder.config.hidden_size
    if vectors.shape[-1] != width:
        raise UserError(f"The token {token} is {vectors.shape[-1]} wide, the base's text encoder {width}.")
    pipe.load_textual_inversion(str(file), token=token)
    return token


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


def make_readable(file: Path) -> None:
    """Give a weight file the usual permissions; safetensors writes it for its owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    file.chmod(0o666 & ~umask)


def _refuse_pickle(file: Path) -> None:
    if file.suffix != ".safetensors":
        raise UserError(f"{file} is not a .safetensors file; convert it first.")
