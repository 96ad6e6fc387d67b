"""What each class is called in a prompt."""

from typing import Annotated

from pydantic import AfterValidator

from busaug_core.errors import UserError

BUSI_PROMPTS = {
    "benign": "ultrasound image of a benign breast lesion",
    "malignant": "ultrasound image of a malignant breast lesion",
    "normal": "ultrasound image of normal breast tissue",
}
"""The wording of the hybrid-diffusion paper, section 2.2."""

Prompts = Annotated[dict[str, str], AfterValidator(lambda given: {**BUSI_PROMPTS, **given})]
"""A config's prompts: what is given goes before BUSI's, class by class."""

ADJECTIVES = (
    "Colorful",
    "Stylized",
    "High-contrast",
    "Low-contrast",
    "Posterized",
    "Sheared",
    "Solarized",
    "Bright",
    "Dark",
)
"""MEDDAP's adjectives, which go before the prompt."""

TOKEN_STANDS_FOR = "ultrasound"
"""The word of the prompt that a learned token replaces."""


def prompt_of(label: str, prompts: dict[str, str]) -> str:
    """The prompt of a class; raises UserError where none is configured."""
    if label not in prompts:
        raise UserError(f"No prompt for class '{label}'; add it to `prompts` (there are {sorted(prompts)}).")
    return prompts[label]


def with_adjective(prompt: str, adjective: str) -> str:
    """The prompt with an adjective before it, as MEDDAP words it: "Dark ultrasound image of …"."""
    return f"{adjective} {prompt}"


def with_token(prompt: str, token: str) -> str:
    """The prompt with the learned token in the place of the first "ultrasound".

    Raises UserError where the prompt lacks that word, since the token would be without effect.
    """
    words = prompt.split()
    for i, word in enumerate(words):
        if word.lower() == TOKEN_STANDS_FOR:
            return " ".join([*words[:i], token, *words[i + 1 :]])
    raise UserError(f"The prompt {prompt!r} has no word '{TOKEN_STANDS_FOR}' for the token {token} to stand for.")
