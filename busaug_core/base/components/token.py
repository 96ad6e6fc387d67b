"""A learned token: new words of the text encoder, which stand in the prompt for "ultrasound", or another modality."""

from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.component import Attached, Component
from busaug_core.base.weights import kind_of_weights, load_weights
from busaug_core.errors import UserError
from busaug_core.jobs.lineage import Product
from busaug_core.prompts import MODALITY, with_token, written

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

NAMELESS = "emb_params"
"""The web UIs' key of the vectors, whose token is called as its file."""


class TokenComponent(Component):
    """A file of textual inversion with one token: diffusers' (its name, its vectors) or the web UIs' (`emb_params`)."""

    def attach(self, pipe: "StableDiffusionPipeline", path: Path) -> "AttachedToken":
        """Add the token to tokenizer and text encoder; raises UserError where it does not fit or would take a word."""
        learned = load_weights(path, self.called)
        if len(learned) != 1 or next(iter(learned.values())).ndim > 2:
            raise UserError(
                f"{path} is no learned token of Stable Diffusion 1 or 2, which is one tensor; it seems to be "
                f"{kind_of_weights(learned)}."
            )
        (name, vectors), width = next(iter(learned.items())), pipe.text_encoder.config.hidden_size
        if vectors.shape[-1] != width:
            raise UserError(f"The token of {path} is {vectors.shape[-1]} wide, the base's text encoder {width}.")
        token = written("-".join((f"<{path.stem}>" if name == NAMELESS else name).split()))
        refuse_known(pipe.tokenizer, token)
        pipe.load_textual_inversion({token: vectors})
        return AttachedToken(token)


def refuse_known(tokenizer: "CLIPTokenizer", token: str) -> None:
    """Raises UserError where a token is found in a word of the vocabulary, which would then be read as the token."""
    word = next((word for word in tokenizer.get_vocab() if token in word), None)
    if word is not None:
        raise UserError(
            f"The token '{token}' is a word of this base already, or in one ({word.removesuffix('</w>')}), which it "
            f"would take over; choose another name for it, such as <{token.strip('<>')}-learned>."
        )


class AttachedToken(Attached):
    """A token that the text encoder knows; it acts where a prompt holds it."""

    def __init__(self, token: str):
        self.token = token

    def prompt(self, prompt: str, modality: str = MODALITY) -> str:
        return with_token(prompt, self.token, modality)


TOKEN = TokenComponent(
    field="token",
    title="Token",
    called="a learned token",
    description="Learned token of the _ti variants: a run, a file or a folder.",
    product=Product("learned_embeds.safetensors", job="train_textual_inversion"),
    in_diffusers='pipe.load_textual_inversion("{path}")',
)
