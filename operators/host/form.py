"""The App's form of a job, made from the fields of its config."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fiftyone.operators import types
from pydantic_core import PydanticUndefined

from busaug_core.base.components import COMPONENTS
from busaug_core.jobs.config import FieldType, JobConfig, field_type

MARK = "form"
"""Says that a form sends the parameters; calls have none."""
ALL_SETTINGS = "all_settings"
BACKGROUND = "background"
PROBLEM = "problem"
TARGET = ("view_target", "custom_view_target")
"""Which samples to use, as FiftyOne names the choice."""
OWN = frozenset({MARK, ALL_SETTINGS, BACKGROUND, PROBLEM, *TARGET})
"""Parameters of every form that are no fields of the job's config."""

LABELS = {"flip": "Mirror", "arch": "Architecture"}


@dataclass
class Suggestions:
    """What the dataset at hand lends to a form: values to choose from and values to start with."""

    choices: dict[str, list[str]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    hidden: Collection[str] = ()


def read_form(config: type[JobConfig], params: dict[str, Any], ignored: Collection[str] = ()) -> dict[str, Any]:
    """The job's values in a form's parameters: empty entries, the form's own and `ignored` ones left out."""
    values = {}
    for name, value in params.items():
        if name in OWN or name in ignored or value is None:
            continue
        if name in config.model_fields:
            optional = field_type(config, name).optional
            if value in ("", []) and (optional or value != config.model_fields[name].default):
                continue
            if isinstance(value, dict):
                value = {k: v for k, v in value.items() if v is not None}
        values[name] = value
    return values


def is_form(params: dict[str, Any]) -> bool:
    """Whether a form sent the parameters, rather than a call."""
    return MARK in params


class Form:
    """Inputs for a config's fields; a field whose value in `values` is wrong is marked invalid."""

    def __init__(self, inputs: types.Object, config: type[JobConfig], values: dict[str, Any], suggestions: Suggestions):
        self.inputs, self.config, self.suggestions = inputs, config, suggestions
        self.problems: dict[str, list[str]] = {}
        for name, text in config.find_problems(values).items():
            self.problems.setdefault(name.partition(".")[0], []).append(text)
        # The App sends no value of what it hides by itself.
        unseen = types.SwitchView(componentsProps={"container": {"sx": {"display": "none"}}})
        inputs.bool(MARK, default=True, view=unseen)

    def add(self, names: Collection[str]) -> None:
        """Add an input for each named field that is not hidden."""
        for name in names:
            if name in self.suggestions.hidden:
                continue
            prop = self._add_field(name)
            if name in self.problems:
                prop.invalid, prop.error_message = True, " ".join(self.problems.pop(name))

    def close(self) -> None:
        """Say what is wrong with the fields that the form does not show, or with the whole."""
        messages = [f"{name}: {text}" if name else text for name, texts in self.problems.items() for text in texts]
        if messages:
            text = "; ".join(messages)
            prop = self.inputs.view(PROBLEM, types.Error(label=text[:1].upper() + text[1:]))
            prop.invalid, prop.error_message = True, text

    def _add_field(self, name: str) -> types.Property:
        info, kind = self.config.model_fields[name], field_type(self.config, name)
        default = self.suggestions.defaults.get(name, None if info.default is PydanticUndefined else info.default)
        options: dict[str, Any] = dict(
            label=_label(name),
            description=info.description,
            required=info.is_required(),
        )
        if default is not None:
            options["default"] = default
        choices = kind.choices or self.suggestions.choices.get(name, [])
        if kind.kind is bool:
            return self.inputs.bool(name, **options)
        if kind.kind in (int, float) and not kind.choices:
            add = self.inputs.int if kind.kind is int else self.inputs.float
            return add(name, **kind.bounds, **options)
        if kind.kind is dict:
            return _add_entries(self.inputs, name, kind, default or {}, options)
        if kind.kind is list:
            view = _autocomplete(
                choices, types.AutocompleteView(allow_user_input=not kind.choices, allow_duplicates=False)
            )
            return self.inputs.list(name, types.String(), view=view, **options)
        if kind.choices:
            values = [*kind.choices, *([""] if kind.optional else [])]
            view = types.DropdownView()
            for value in values:
                view.add_choice(value, label=str(value) or "none")
            return self.inputs.enum(name, values, view=view, **options)
        if choices:
            options["view"] = _autocomplete(choices, types.AutocompleteView(allow_user_input=True))
        return self.inputs.str(name, allow_empty=not info.is_required(), **options)


def _add_entries(
    inputs: types.Object, name: str, kind: FieldType, entries: dict[str, Any], options: dict[str, Any]
) -> types.Property:
    """An input for each entry of a dictionary."""
    prop = inputs.obj(name, **options)
    for key, value in entries.items():
        if kind.element is int:
            prop.type.int(key, label=key, default=value, min=0)
        else:
            prop.type.str(key, label=key, default=value)
    return prop


def _autocomplete(choices: Collection[str], view: types.AutocompleteView) -> types.AutocompleteView:
    for choice in choices:
        view.add_choice(choice, label=choice)
    return view


def _label(name: str) -> str:
    if name in COMPONENTS:
        return COMPONENTS[name].title
    return LABELS.get(name, name.replace("_", " ").capitalize())
