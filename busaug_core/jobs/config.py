"""The base of every job's config: typed, with defaults, bounds, help and presets; unknown keys are errors."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from busaug_core.errors import UserError

KEY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"


class JobConfig(BaseModel):
    """The base of every job's config; unknown keys are errors.

    A field left at None takes the preset's value, or else what `resolve` fills in.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=())
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    run_key: str | None = Field(
        None, pattern=KEY_PATTERN, description="Name of the run; made from the job and the time when empty."
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = {k: v for k, v in values.items() if v is not None}
        return {**cls.preset_values(given), **given}

    @classmethod
    def preset_values(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What the preset says where the user has set the values `given`."""
        preset = given.get("preset", "")
        return cls.presets.get(preset, {}) if isinstance(preset, str) else {}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "JobConfig":
        """Validate plain values; raises UserError with a line for each field that is wrong."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UserError(_explain(error, cls)) from None

    def resolve(self) -> "JobConfig":
        """A copy with every field that was left open filled in; what the run stores."""
        return self

    def fill(self, open_fields: dict[str, Any]) -> "JobConfig":
        """A copy in which the fields that are None have the given values."""
        return self.model_copy(update={k: v for k, v in open_fields.items() if getattr(self, k) is None})


def _explain(error: ValidationError, config: type[JobConfig]) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(config.model_fields))
            lines.append(f"'{name}' is not a field of this job; its fields are {known}.")
        elif problem["type"] == "missing":
            help_text = config.model_fields[name].description or ""
            lines.append(f"'{name}' is required: {help_text[:1].lower()}{help_text[1:]}")
        else:
            found = f" (found {problem['input']!r})" if problem["loc"] else ""
            told = f"{problem['msg'].removeprefix('Value error, ')}{found}."
            lines.append(f"'{name}': {told}" if name else told)
    return "\n".join(lines)
