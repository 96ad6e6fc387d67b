"""Loading a base model and what is put on top of it. Weights are safetensors, never pickles."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import SingleFileComponentError, infer_diffusers_model_type
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError
from transformers import CLIPTextModel

from busaug_core.base.defaults import ADVICE, MINI, MINI_FOLDER, place_of
from busaug_core.base.kinds import refuse_other_kinds
from busaug_core.base.weights import kind_of_weights, refuse_not_finite, tensor_shapes
from busaug_core.errors import MissingWeights, UserError, first_sentence
from busaug_core.files import content_hash
from busaug_core.foreign import kind_of, read_document

# Loading tells its own errors below; the libraries' bars and notes would bury the job's progress.
diffusers.utils.logging.set_verbosity(logging.CRITICAL)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
"""The parts of a base that have weights, and their only class."""
NAMES = {**{part: network.__name__ for part, network in PARTS.items()}, "tokenizer": "one", "scheduler": "one"}
PIPELINES = {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"}
"""The pipelines in diffusers' layout that consist of these parts."""
SINGLE_FILES = {"v1", "v2"}
"""What diffusers calls whole checkpoints of Stable Diffusion 1 and 2."""
NO_CHECKER = dict(safety_checker=None, requires_safety_checker=False)
"""The safety checker blackens medical images; BUSAug's prompts are fixed, so it is left out."""
FAST_CHANNELS_LAST = {"cpu", "cuda"}
"""Where convolutions are faster with channels last: on a CPU, decoding takes two thirds of the time."""
BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError)
"""What the libraries raise on configurations and weights that do not belong together."""


def load_pipeline(base_model: str, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """A text2img pipeline of a base, frozen and in evaluation mode.

    Args:
        base_model: `mini`, a diffusers folder, a single `.safetensors` file or a Hub id

    Raises:
        UserError: the base is a pickle, broken, or no text2img base of Stable Diffusion 1's or 2's kind
        MissingWeights: it cannot be had here
    """
    place = _place_of(base_model)
    pipe = _from_file(place, dtype) if place.is_file() else _from_folder(place, dtype)
    refuse_other_kinds(pipe, base_model)
    pipe.set_progress_bar_config(disable=True)
    for name, part in ((name, getattr(pipe, name)) for name in PARTS):
        refuse_not_finite(f"{base_model}, its {name},", part.state_dict())
        part.requires_grad_(False).eval()
    if device.type in FAST_CHANNELS_LAST:
        for part in (pipe.unet, pipe.vae):
            part.to(memory_format=torch.channels_last)
    return pipe.to(device)


def fingerprint(base_model: str) -> dict[str, str]:
    """SHA-256 of each weight file of a base that was loaded: of its UNet, autoencoder and text encoder."""
    path = MINI_FOLDER if base_model == MINI else Path(base_model).expanduser()
    if path.is_file():
        return {path.name: content_hash(path)}
    if not path.is_dir():
        path = Path(try_to_load_from_cache(base_model, "model_index.json")).parent
    files = [f for part in PARTS for f in weight_files(path / part)[0]]
    return {str(f.relative_to(path)): content_hash(f) for f in sorted(files)}


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


def _place_of(base_model: str) -> Path:
    """The file or folder of a base; that of a Hub id is downloaded, where it is not in the cache."""
    if (path := place_of(base_model)) is not None:
        return path
    try:
        index = hf_hub_download(base_model, "model_index.json")
        _refuse_other_pipeline(read_document(index, "the index of a base model"), base_model)
        try:
            folder = StableDiffusionPipeline.download(base_model, use_safetensors=True, **NO_CHECKER)
        except (OSError, ValueError):  # as where there is nothing but half precision
            folder = StableDiffusionPipeline.download(base_model, variant="fp16", use_safetensors=True, **NO_CHECKER)
    except (OSError, ValueError) as error:
        raise MissingWeights(
            f"The base model '{base_model}' is neither a file nor a folder, and cannot be had from the Hub "
            f"({first_sentence(error)}). {ADVICE}"
        ) from None
    return Path(folder)


def _from_file(path: Path, dtype: torch.dtype) -> StableDiffusionPipeline:
    """A whole checkpoint in one file; what it is stands in its header."""
    shapes = tensor_shapes(path, "a base model")
    kind = kind_of_weights(shapes)
    if not any(name.startswith("model.diffusion_model.") for name in shapes):
        raise UserError(f"{path} is no base model: it seems to be {kind}. Give a whole checkpoint.")
    model = infer_diffusers_model_type({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    if model not in SINGLE_FILES:
        raise UserError(f"{path} is a checkpoint of another kind ({model}); give one of Stable Diffusion 1 or 2.")
    try:
        return StableDiffusionPipeline.from_single_file(str(path), dtype=dtype, **NO_CHECKER)
    except (*BROKEN, SingleFileComponentError) as error:
        raise MissingWeights(
            f"The base model '{path}' cannot be loaded ({first_sentence(error)}). A single file needs its "
            "configuration from the Hub once, so HF_HUB_OFFLINE must be unset; or give a diffusers folder."
        ) from None


def _from_folder(folder: Path, dtype: torch.dtype) -> StableDiffusionPipeline:
    """A pipeline in diffusers' layout, each part of which is looked at before any is loaded."""
    index = folder / "model_index.json"
    listed = read_document(index, "the index of a base model")
    _refuse_other_pipeline(listed, folder)
    for part in NAMES:
        refuse_broken_files(folder / part)
        name = (listed.get(part) or [None])[-1]
        if name is None or (part in PARTS and name != PARTS[part].__name__):
            raise UserError(f"{index} names {name} as its {part}; Stable Diffusion has {NAMES[part]} there.")
    loaded = {part: load_part(folder / part, network, dtype) for part, network in PARTS.items()}
    try:
        return StableDiffusionPipeline.from_pretrained(
            str(folder), dtype=dtype, feature_extractor=None, **loaded, **NO_CHECKER
        )
    except BROKEN as error:
        raise UserError(
            f"The tokenizer or the scheduler of {folder} cannot be loaded ({first_sentence(error)}); fetch them again."
        ) from None


def _refuse_other_pipeline(index: dict[str, Any], base_model: str | Path) -> None:
    if (pipeline := index.get("_class_name")) not in PIPELINES:
        raise UserError(
            f"{base_model} is a base of another kind ({pipeline}); give a StableDiffusionPipeline, as Stable "
            "Diffusion 1 and 2 are."
        )


def load_part(folder: Path, network: type, dtype: torch.dtype) -> torch.nn.Module:
    """A part with its weights; layers that these lack would be random, and are refused."""
    files, variant = weight_files(folder)
    if not files:
        pickles = sorted(f.name for f in folder.glob("*.bin"))
        found = f"only pickles ({', '.join(pickles)}); convert it to safetensors first" if pickles else "none"
        raise MissingWeights(f"{folder} should hold the weights of {network.__name__} as safetensors, and has {found}.")
    try:
        part, report = network.from_pretrained(
            str(folder), dtype=dtype, variant=variant, use_safetensors=True, output_loading_info=True
        )
    except BROKEN as error:
        raise UserError(
            f"{folder} holds no weights of the {network.__name__} that its config.json describes "
            f"({first_sentence(error)}); fetch both again from one place."
        ) from None
    if missing := sorted(report["missing_keys"]):
        names = {name: () for file in files for name in tensor_shapes(file, f"weights of {network.__name__}")}
        raise UserError(
            f"{files[0]} lacks {len(missing)} tensors of {network.__name__}, {missing[0]} among them; it seems to be "
            f"{kind_of_weights(names)}."
        )
    return part


def weight_files(folder: Path) -> tuple[list[Path], str | None]:
    """The weights of a part, and their variant: fp16 or another where there are no plain ones."""
    stem = "model" if folder.name == "text_encoder" else "diffusion_pytorch_model"
    files = sorted(folder.glob(f"{stem}*.safetensors"))
    # What follows a dot in the stem is the variant's name, and perhaps a shard's number.
    variants = {f: f.stem.partition(".")[2].partition("-")[0] for f in files}
    chosen = min(variants.values(), key=lambda variant: (variant != "", variant != "fp16", variant), default="")
    return [f for f in files if variants[f] == chosen], chosen or None


def refuse_broken_files(folder: Path) -> None:
    """Raises UserError where a file of a part is not what its name says: a pointer, a page, cut."""
    for path in sorted(folder.glob("*.json")):
        read_document(path, "a JSON document")
    for path in weight_files(folder)[0]:
        tensor_shapes(path, f"the weights of a base's {folder.name}")
    for path in sorted(folder.glob("*.txt")):
        if not (kind := kind_of(path)).startswith("a text"):
            raise UserError(f"{path} should be a vocabulary; it seems to be {kind}.")
