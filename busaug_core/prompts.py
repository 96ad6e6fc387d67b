"""What each class is called in a prompt."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from busaug_core.errors import UserError

BUSI_PROMPTS = {
    "benign": "ultrasound image of a benign breast lesion",
    "malignant": "ultrasound image of a malignant breast lesion",
    "normal": "ultrasound image of normal breast tissue",
}
"""The wording of the hybrid-diffusion paper, section 2.2."""


def named(name: str, known: Iterable[str]) -> str | None:
    """The one of the known names that is meant, case and outer blanks aside; None where there is none."""
    wanted = name.strip().casefold()
    return next((k for k in known if k.strip().casefold() == wanted), None)


def proposed(label: str) -> str:
    """BUSI's prompt of a class, or one in that manner."""
    name = named(label, BUSI_PROMPTS)
    return BUSI_PROMPTS[name] if name else f"ultrasound image of the breast, {label}"


def _merged(given: dict[str, str]) -> dict[str, str]:
    """BUSI's prompts, of which those that are given take the place class by class."""
    prompts: dict[str, str] = {}
    for name, prompt in given.items():
        label = named(name, BUSI_PROMPTS) or named(name, prompts) or name.strip()
        other = prompts.get(label, proposed(label))
        if prompt != other != proposed(label) != prompt:
            raise ValueError(f"the class '{label}' is named twice; names of classes are told apart case aside")
        prompts[label] = other if prompt == proposed(label) else prompt
    return {**BUSI_PROMPTS, **prompts}


Prompts = Annotated[dict[str, str], AfterValidator(_merged)]
"""A config's prompts: what is given goes before BUSI's, class by class, the case of their names aside."""

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
WORD_OF_TOKEN = re.compile(rf"(?<![^\W_]){TOKEN_STANDS_FOR}(?![^\W_])", re.IGNORECASE)
"""That word, whatever marks stand beside it."""


def prompt_of(label: str, prompts: dict[str, str]) -> str:
    """The prompt of a class, the case of its name aside; raises UserError where none is configured."""
    name = named(label, prompts)
    if name is None:
        raise UserError(f"No prompt for class '{label}'; add it to `prompts` (there are {sorted(prompts)}).")
    return prompts[name]


def refuse_unknown_classes(prompts: dict[str, str], classes: Iterable[str]) -> None:
    """Raises UserError where a prompt that was not just proposed is of none of the classes: it would have no effect."""
    classes = sorted(set(classes))
    for name in prompts:
        if named(name, classes) is None and name not in BUSI_PROMPTS and prompts[name] != proposed(name):
            raise UserError(f"`prompts` names '{name}', which is no class of these images; they are {classes}.")


def with_adjective(prompt: str, adjective: str) -> str:
    """The prompt with an adjective before it, as MEDDAP words it: "Dark ultrasound image of …"."""
    return f"{adjective} {prompt}"


def written(token: str) -> str:
    """A token's name as the tokenizer of Stable Diffusion leaves it, in small letters: diffusers finds the further
    vectors of a token by that name alone."""
    return unicodedata.normalize("NFC", token.lower())


def with_token(prompt: str, token: str) -> str:
    """The prompt with the learned token in the place of the first "ultrasound".

    Raises UserError where the prompt lacks that word, since the token would be without effect.
    """
    replaced, n = WORD_OF_TOKEN.subn(lambda _: written(token), prompt, count=1)
    if not n:
        raise UserError(f"The prompt {prompt!r} has no word '{TOKEN_STANDS_FOR}' for the token {token} to stand for.")
    return replaced
