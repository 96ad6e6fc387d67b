"""What each class is called in a prompt."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from busaug_core.errors import UserError

MODALITY = "ultrasound"
"""The word that prompts here have for how images are taken; a config's `modality` may put another in its place."""
OR = "|"
"""What stands between several wordings of a prompt."""
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


def _joined(given: Any) -> Any:
    """Wordings that are given as a list, in the one text that a form can show."""
    if not isinstance(given, dict):
        return given
    lists = {k: v for k, v in given.items() if isinstance(v, list) and v and all(isinstance(w, str) for w in v)}
    return {**given, **{name: f" {OR} ".join(wordings) for name, wordings in lists.items()}}


def _merged(given: dict[str, str]) -> dict[str, str]:
    """BUSI's prompts, of which those that are given take the place class by class."""
    prompts: dict[str, str] = {}
    for name, prompt in given.items():
        if not prompt.strip():
            raise ValueError(f"the prompt of '{name}' is empty; write one, or leave it out to have the usual one")
        if len(parts := _parts(prompt)) > 1 and "" in parts:
            raise ValueError(f"a wording of the class '{name}' is empty; between two of them stands one '{OR}'")
        label = named(name, BUSI_PROMPTS) or named(name, prompts) or name.strip()
        other = prompts.get(label, proposed(label))
        if prompt != other != proposed(label) != prompt:
            raise ValueError(f"the class '{label}' is named twice; names of classes are told apart case aside")
        prompts[label] = other if prompt == proposed(label) else prompt
    return {**BUSI_PROMPTS, **prompts}


Prompts = Annotated[dict[str, str], BeforeValidator(_joined), AfterValidator(_merged)]
"""A config's prompts: what is given goes before BUSI's, class by class, the case of their names aside.

A prompt may have several wordings, parted by `OR` or given as a list.
"""
Modality = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
MODALITY_HELP = (
    f"What stands in the prompts for '{MODALITY}', such as MRI or mammography, and what a token takes the place of."
)

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


def wordings_of(label: str, prompts: dict[str, str], modality: str = MODALITY) -> list[str]:
    """The wordings of a class's prompt, the case of its name aside; raises UserError where none is configured."""
    name = named(label, prompts)
    if name is None:
        raise UserError(f"No prompt for class '{label}'; add it to `prompts` (there are {sorted(prompts)}).")
    parts = _parts(prompts[name])
    return parts if modality == MODALITY else [_word(MODALITY).sub(lambda _: modality, part) for part in parts]


def prompt_of(label: str, prompts: dict[str, str], modality: str = MODALITY) -> str:
    """The first wording of a class's prompt; see `wordings_of`."""
    return wordings_of(label, prompts, modality)[0]


def _parts(prompt: str) -> list[str]:
    return [part.strip() for part in prompt.split(OR)] if OR in prompt else [prompt]


def _word(words: str) -> re.Pattern[str]:
    """These words in a text, whatever marks stand beside them."""
    return re.compile(rf"(?<![^\W_]){re.escape(words)}(?![^\W_])", re.IGNORECASE)


def refuse_unused_modality(modality: str, prompts: Iterable[str]) -> None:
    """Raises UserError where none of the prompts, as they are shown to the model, holds the modality that was set."""
    if modality != MODALITY and not any(_word(modality).search(prompt) for prompt in prompts):
        raise UserError(
            f"modality '{modality}' has no effect, since no prompt holds it or the word '{MODALITY}' in whose place it "
            "would stand; write it into `prompts`, or leave it out."
        )


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


def with_token(prompt: str, token: str, modality: str = MODALITY) -> str:
    """The prompt with the learned token in the place of the first word for the modality.

    Raises UserError where the prompt lacks that word, since the token would be without effect.
    """
    replaced, n = _word(modality).subn(lambda _: written(token), prompt, count=1)
    if not n:
        raise UserError(f"The prompt {prompt!r} has no word '{modality}' for the token {token} to stand for.")
    return replaced
