"""The App's form of a job, made from the fields of its config."""

import types as python_types
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from fiftyone.operators import types
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from busaug_core.jobs.config import JobConfig

ALL_SETTINGS = "all_settings"
BACKGROUND = "background"
OWN = frozenset({ALL_SETTINGS, BACKGROUND, "amount", "view_target", "custom_view_target", "problem"})
"""Parameters that belong to the form, not to the job."""

LABELS = {"lora": "LoRA", "flip": "Mirror", "run_key": "Run key", "arch": "Architecture"}


@dataclass
class Suggestions:
    """What the dataset at hand lends to a form: values to choose from and values to start with."""

    choices: dict[str, list[str]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    hidden: Collection[str] = ()


def read_form(config: type[JobConfig], params: dict[str, Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The job's values in a form's parameters: empty entries left out."""
    values = {}
    for name, value in params.items():
        if name in OWN or name in hidden or value is None:
            continue
        info = config.model_fields.get(name)
        if info is not None:
            _, optional = _kind(info.annotation)
            if value in ("", []) and (optional or value != info.default):
                continue
            if isinstance(value, dict):
                value = {k: v for k, v in value.items() if v is not None}
        values[name] = value
    return values


def find_problems(config: type[JobConfig], values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with the values: a sentence by field, that of the whole under the empty name.

    Fields that are missing are not listed; the App asks for them itself.
    """
    try:
        config(**values)
    except ValidationError as error:
        problems = {}
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else ""
            if problem["type"] != "missing":
                problems[name] = problem["msg"].removeprefix("Value error, ")
        return problems
    return {}


class Form:
    """Inputs for a config's fields; a field whose value in `params` is wrong is marked invalid."""

    def __init__(self, inputs: types.Object, config: type[JobConfig], params: dict[str, Any], suggestions: Suggestions):
        self.inputs, self.config, self.suggestions = inputs, config, suggestions
        self.problems = find_problems(config, read_form(config, params, suggestions.hidden))

    def add(self, names: Collection[str]) -> None:
        """Add an input for each named field that is not hidden."""
        for name in names:
            if name in self.suggestions.hidden:
                continue
            prop = _add_field(self.inputs, name, self.config.model_fields[name], self.suggestions)
            if name in self.problems:
                prop.invalid, prop.error_message = True, self.problems.pop(name)

    def close(self) -> None:
        """Say what is wrong with the fields that the form does not show, or with the whole."""
        messages = [f"{name}: {text}" if name else text for name, text in self.problems.items()]
        if messages:
            text = "; ".join(messages)
            prop = self.inputs.view("problem", types.Error(label=text[:1].upper() + text[1:]))
            prop.invalid, prop.error_message = True, text


def _add_field(inputs: types.Object, name: str, info: FieldInfo, suggestions: Suggestions) -> types.Property:
    kind, optional = _kind(info.annotation)
    default = suggestions.defaults.get(name, None if info.default is PydanticUndefined else info.default)
    choices = suggestions.choices.get(name, [])
    options: dict[str, Any] = dict(
        label=LABELS.get(name, name.replace("_", " ").capitalize()),
        description=info.description,
        required=info.is_required(),
    )
    if default is not None:
        options["default"] = default
    if kind is bool:
        return inputs.bool(name, **options)
    if kind is int:
        return inputs.int(name, **_bounds(info), **options)
    if kind is float:
        return inputs.float(name, **_bounds(info), **options)
    if get_origin(kind) is dict:
        prop = inputs.obj(name, **options)
        for key in default or {}:
            number = get_args(kind)[1] is int
            add = prop.type.int if number else prop.type.str
            add(key, label=key, default=default[key], **({"min": 0} if number else {}))
        return prop
    if get_origin(kind) is Literal:
        values = [*get_args(kind), *([""] if optional else [])]
        view = types.DropdownView()
        for value in values:
            view.add_choice(value, label=value or "none")
        return inputs.enum(name, values, view=view, **options)
    if get_origin(kind) is list:
        element = get_args(kind)[0]
        fixed = get_origin(element) is Literal
        view = types.AutocompleteView(allow_user_input=not fixed, allow_duplicates=False)
        for choice in get_args(element) if fixed else choices:
            view.add_choice(choice, label=choice)
        return inputs.list(name, types.String(), view=view, **options)
    if choices:
        view = types.AutocompleteView(allow_user_input=True)
        for choice in choices:
            view.add_choice(choice, label=choice)
        return inputs.str(name, allow_empty=not info.is_required(), view=view, **options)
    return inputs.str(name, allow_empty=not info.is_required(), **options)


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type of a field without None, and whether None is allowed."""
    optional = False
    if get_origin(annotation) in (Union, python_types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(members) < len(get_args(annotation))
        annotation = members[0]
    return annotation, optional


def _bounds(info: FieldInfo) -> dict[str, float]:
    bounds = {}
    for rule in info.metadata:
        if getattr(rule, "ge", None) is not None:
            bounds["min"] = rule.ge
        if getattr(rule, "le", None) is not None:
            bounds["max"] = rule.le
    return bounds
