"""The exceptions a user may meet; each message says what was found and what to do."""


class UserError(Exception):
    """Something the user can put right: a wrong file, field or option."""


class MissingWeights(UserError):
    """Weights that this job needs cannot be had here."""


class OtherSettings(UserError):
    """The run of that key was begun with other settings."""
