"""A learned token: new words of the text encoder, which stand in the prompt for "ultrasound"."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.component import Attached, Component, refuse_pickle
from busaug_core.errors import UserError
from busaug_core.jobs.lineage import Product
from busaug_core.prompts import with_token

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


class TokenComponent(Component):
    """A file of textual inversion with one token."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> "AttachedToken":
        """Add the token to tokenizer and text encoder; raises UserError where there is none, or of another width."""
        from safetensors.torch import load_file

        refuse_pickle(path)
        learned = load_file(path)
        if len(learned) != 1:
            raise UserError(f"{path} holds {sorted(learned)}; a learned token file holds exactly one token.")
        (token, vectors), width = next(iter(learned.items())), pipe.text_encoder.config.hidden_size
        if vectors.shape[-1] != width:
            raise UserError(f"The token {token} is {vectors.shape[-1]} wide, the base's text encoder {width}.")
        pipe.load_textual_inversion(str(path), token=token)
        return AttachedToken(token)


class AttachedToken(Attached):
    """A token that the text encoder knows; it acts where a prompt holds it."""

    def __init__(self, token: str):
        self.token = token

    def prompt(self, prompt: str) -> str:
        return with_token(prompt, self.token)


TOKEN = TokenComponent(
    field="token",
    title="Token",
    called="a learned token",
    description="Learned token of the _ti variants: a run, a file or a folder.",
    product=Product("learned_embeds.safetensors", job="train_textual_inversion"),
)
