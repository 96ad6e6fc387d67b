"""Whether a loaded base is of the kind that is worked with: text to image, as Stable Diffusion 1 and 2 are."""

import torch
from diffusers import StableDiffusionPipeline

from busaug_core.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a base may predict: the noise, the velocity, or the clean latents."""
FURTHER_INPUTS = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")
"""Settings of a UNet that wants more than latents, timestep and text."""


def refuse_other_kinds(pipe: StableDiffusionPipeline, base_model: str) -> None:
    """Raises UserError where a base cannot be trained and sampled as Stable Diffusion is, with what it is instead."""
    for problem in (_unet(pipe), _autoencoder(pipe), _text(pipe), _scheduler(pipe)):
        if problem is not None:
            raise UserError(
                f"The base model '{base_model}' {problem}. Give a text-to-image base such as Stable Diffusion 1.5."
            )


def _unet(pipe: StableDiffusionPipeline) -> str | None:
    unet, latents = pipe.unet.config, pipe.vae.config.latent_channels
    if unet.in_channels != latents:
        what = {9: ", as bases for inpainting do", 8: ", as bases that edit or enlarge images do", 5: ", as with depth"}
        return f"has a UNet of {unet.in_channels} input channels, not its autoencoder's {latents}" + what.get(
            unet.in_channels, ""
        )
    if unet.out_channels != latents:
        return f"has a UNet of {unet.out_channels} output channels, not its autoencoder's {latents}"
    further = [f"{name}: {unet[name]}" for name in FURTHER_INPUTS if unet.get(name)]
    return f"has a UNet that wants further inputs ({', '.join(further)})" if further else None


def _autoencoder(pipe: StableDiffusionPipeline) -> str | None:
    vae = pipe.vae.config
    moved = [n for n in ("shift_factor", "latents_mean", "latents_std") if vae.get(n)]
    if moved:
        return f"has an autoencoder whose latents are shifted ({moved[0]}), which Stable Diffusion's are not"
    if vae.in_channels != 3 or vae.out_channels != 3:
        return f"has an autoencoder of {vae.in_channels} and {vae.out_channels} colours in and out, not 3"
    return None


def _text(pipe: StableDiffusionPipeline) -> str | None:
    encoder, tokenizer, width = pipe.text_encoder.config, pipe.tokenizer, pipe.unet.config.cross_attention_dim
    if width != encoder.hidden_size:
        return f"has a UNet that reads texts {width} wide, and a text encoder that is {encoder.hidden_size} wide"
    if len(tokenizer) > encoder.vocab_size:
        return f"has a tokenizer of {len(tokenizer)} words, and a text encoder of {encoder.vocab_size}"
    ids = tokenizer("an image", add_special_tokens=False).input_ids
    if not ids or tokenizer.unk_token_id in ids:
        return "has a tokenizer without a vocabulary (tokenizer.json, or vocab.json and merges.txt)"
    return None


def _scheduler(pipe: StableDiffusionPipeline) -> str | None:
    """What is tried is a step of sampling, since schedulers say only then what they do not know."""
    scheduler, name = pipe.scheduler, type(pipe.scheduler).__name__
    predicts = scheduler.config.get("prediction_type", PREDICTIONS[0])
    if predicts not in PREDICTIONS:
        return f"predicts '{predicts}'; what can be trained predicts {', '.join(PREDICTIONS)}"
    if not hasattr(scheduler, "alphas_cumprod"):
        return f"has the scheduler {name}, whose noise is not added in steps of variance as in diffusion"
    latents = torch.zeros(1, pipe.unet.config.in_channels, 2, 2)
    trial = type(scheduler).from_config(scheduler.config)
    try:
        trial.set_timesteps(10)
        trial.scale_model_input(latents, trial.timesteps[0])
        trial.step(latents, trial.timesteps[0], latents)
    except (AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"has the scheduler {name}, which cannot make images of what it predicts ('{predicts}': {error})"
    return None
