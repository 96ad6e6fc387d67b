"""The base of every job's config: typed, with defaults, bounds, help and presets; unknown keys are errors.

`FieldType` is the one reading of a field's annotation; forms and the command line are made from it.
"""

import json
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from busaug_core.errors import UserError

KEY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
LABEL_FIELD = "ground_truth"
"""Where a dataset holds each image's class, unless a config says otherwise."""
LONGEST = 120
"""Characters of a wrong value that are told; of a longer one, such as many jobs' settings, the message says enough."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Names of the arithmetic; `device.dtype_of` says what `auto` is."""


@dataclass(frozen=True)
class Choices:
    """Annotation of a field that takes one of a registry's names, looked up when it is used."""

    names: Callable[[], Iterable[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return AfterValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def _check(self, value: Any) -> Any:
        known = list(self.names())
        for name in value if isinstance(value, list) else [value]:
            if name is not None and name not in known:
                raise ValueError(f"there is no '{name}'; there are {', '.join(known)}")
        return value


class JobConfig(BaseModel):
    """The base of every job's config; unknown keys are errors.

    A field left at None takes the preset's value, or else what `resolve` fills in.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=())
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not decide the results, so that a run may be taken up again with others."""
    before: ClassVar[dict[str, Any]] = {}
    """What fields that earlier versions did not have were then, where that is not their default now."""
    of_dataset: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how a dataset is read; the command line, whose images come from runs, does not take them."""

    run_key: str | None = Field(None, description="Name of the run; made from the job and the time when empty.")

    @field_validator("run_key")
    @classmethod
    def _identifier(cls, key: str | None) -> str | None:
        if key is not None and not re.fullmatch(KEY_PATTERN, key):
            raise ValueError("a run's name is of letters, digits and _ and begins with no digit; or leave it out")
        return key

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
    def parse(cls, values: dict[str, Any]) -> Self:
        """Validate plain values; raises UserError with a line for each field that is wrong."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UserError("\n".join(_sentence(name, text) for name, text in explain(error, cls))) from None

    @classmethod
    def find_problems(cls, values: dict[str, Any]) -> dict[str, str]:
        """What is wrong with plain values: a sentence by field, that of the whole under the empty name.

        Fields that are missing are not listed; a form asks for them itself.
        """
        try:
            cls(**values)
        except ValidationError as error:
            return dict(explain(error, cls, missing=False))
        return {}

    def resolve(self, runs: Path | None = None) -> Self:
        """A copy with every field that was left open filled in; what the run stores.

        `runs` is the folder of the dataset's runs, which a field may name.
        """
        return self

    def also_makes(self, images: int) -> tuple[str, ...]:
        """The files that a run with these settings on so many images holds when it is done, besides its job's `files`.

        Paths within the run's folder.
        """
        return ()

    def fill(self, open_fields: dict[str, Any]) -> Self:
        """A copy in which the fields that are None have the given values."""
        return self.model_copy(update={k: v for k, v in open_fields.items() if getattr(self, k) is None})


class OnSamples(JobConfig):
    """The base of the configs of jobs that work on a dataset's samples."""

    of_dataset = frozenset({"label_field"})

    label_field: str = Field(
        LABEL_FIELD,
        min_length=1,
        description="The dataset's field that holds each image's class: a Classification, which the Model Evaluation "
        "panel needs, or a string.",
    )


@dataclass(frozen=True)
class FieldType:
    """What a field of a config takes.

    Attributes:
        kind: bool, int, float, str, list or dict
        optional: whether it may be left open
        element: the type of a list's elements or a dictionary's values
        choices: the values it is confined to; none where it is free
        bounds: `min` and `max`, where it has them
    """

    kind: type
    optional: bool
    element: type
    choices: tuple[Any, ...]
    bounds: dict[str, float]


def field_type(config: type[JobConfig], name: str) -> FieldType:
    """What the field takes, read from its annotation."""
    info = config.model_fields[name]
    annotation, optional = info.annotation, False
    if get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(members) < len(get_args(annotation))
        annotation = members[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    kind, element, choices = annotation, annotation, ()
    if origin is Literal:
        kind, choices = type(arguments[0]), arguments
    elif origin is not None:
        kind, element = origin, arguments[-1]
        if get_origin(element) is Annotated:
            element = get_args(element)[0]
        if get_origin(element) is Literal:
            choices, element = get_args(element), type(get_args(element)[0])
    named = next((rule for rule in info.metadata if isinstance(rule, Choices)), None)
    if named is not None:
        choices = tuple(named.names())
    return FieldType(kind, optional, element, choices, _bounds(info))


def from_json(config: type[JobConfig], name: str, text: str) -> Any:
    """What a dictionary field's text holds; raises UserError where that is no JSON."""
    kind = field_type(config, name)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        values = {
            int: {"benign": 5},
            float: {"normal": 0.5},
            str: {"benign": "…"},
            dict: {"train_lora": {"steps": 100}},
        }
        example = json.dumps(values.get(get_origin(kind.element) or kind.element, {"arch": "…"}), ensure_ascii=False)
        raise UserError(f"{text!r} is not JSON ({error}); write a dictionary as '{example}'.") from None


def explain(error: ValidationError, config: type[JobConfig], missing: bool = True) -> list[tuple[str, str]]:
    """The problems of an error: each field's name, empty for the whole, and what is wrong with it."""
    found = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(config.model_fields))
            found.append((name, f"is not a field of this job; its fields are {known}."))
        elif problem["type"] == "missing":
            text = config.model_fields[name].description or ""
            if missing:
                found.append((name, f"is required: {text[:1].lower()}{text[1:]}"))
        else:
            value = repr(problem["input"])
            seen = f" (found {value})" if problem["loc"] and len(value) <= LONGEST else ""
            found.append((name, f"{problem['msg'].removeprefix('Value error, ').removesuffix('.')}{seen}."))
    return found


def _sentence(name: str, text: str) -> str:
    if not name:
        return text
    return f"'{name}' {text}" if text.startswith("is ") else f"'{name}': {text}"


def _bounds(info: FieldInfo) -> dict[str, float]:
    bounds = {}
    for rule in info.metadata:
        for bound, name in (("ge", "min"), ("le", "max")):
            if getattr(rule, bound, None) is not None:
                bounds[name] = getattr(rule, bound)
    return bounds
