"""The exceptions a user may meet; each message says what was found and what to do."""


class UserError(Exception):
    """Something the user can put right: a wrong file, field or option."""


class MissingWeights(UserError):
    """Weights that this job needs cannot be had here."""


class OtherSettings(UserError):
    """The run of that key was begun with other settings."""


def first_sentence(error: Exception) -> str:
    """The first sentence of a library's error; what follows is advice to its callers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].split(". ")[0]
