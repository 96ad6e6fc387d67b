"""The App's form of a job, made from the fields of its config."""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fiftyone.operators import types
from pydantic_core import PydanticUndefined

from busaug_core.base.components import COMPONENTS
from busaug_core.errors import UserError
from busaug_core.jobs.config import FieldType, JobConfig, field_type, from_json

MARK = "form"
"""Says that a form sends the parameters; calls have none."""
ALL_SETTINGS = "all_settings"
BACKGROUND = "background"
PROBLEM = "problem"
FAILURE = "failure"
"""Why the job failed that the form was last sent for."""
TARGET = ("view_target", "custom_view_target")
"""Which samples to use, as FiftyOne names the choice."""
OWN = frozenset({MARK, ALL_SETTINGS, BACKGROUND, PROBLEM, FAILURE, "panel_state", *TARGET})
"""Parameters of every form that are no fields of the job's config; the App adds the state of a panel."""

LABELS = {"flip": "Mirror", "arch": "Architecture"}


@dataclass
class Suggestions:
    """What the dataset at hand lends to a form: values to choose from and values to start with."""

    choices: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """What is said of a choice, by its value."""
    defaults: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong with values by what the dataset holds, by field."""
    hidden: Collection[str] = ()
    runs: Path | None = None
    """The folder of the dataset's runs."""


def read_form(config: type[JobConfig], params: dict[str, Any], ignored: Collection[str] = ()) -> dict[str, Any]:
    """The job's values in a form's parameters: empty entries, the form's own and `ignored` ones left out."""
    values = {}
    for name, value in params.items():
        if name in OWN or name in ignored or value is None:
            continue
        if name in config.model_fields:
            kind = field_type(config, name)
            if kind.kind is dict and isinstance(value, str) and value:
                with suppress(UserError):  # which the form tells of
                    value = from_json(config, name, value)
            if isinstance(value, dict):
                value = {k: v for k, v in value.items() if v is not None}
            optional = kind.optional
            if value in ("", [], {}) and (optional or value != config.model_fields[name].default):
                continue
        values[name] = value
    return values


def is_form(params: dict[str, Any]) -> bool:
    """Whether a form sent the parameters, rather than a call."""
    return MARK in params


def begin(params: dict[str, Any]) -> types.Object:
    """The inputs of a form, which says that it is one, and why its job failed where it comes back for that."""
    inputs = types.Object()
    # The App sends no value of what it hides by itself.
    unseen = types.SwitchView(componentsProps={"container": {"sx": {"display": "none"}}})
    inputs.bool(MARK, default=True, view=unseen)
    if params.get(FAILURE):
        inputs.view(FAILURE, types.Error(label="This failed", description=params[FAILURE]))
    return inputs


def left_open(config: type[JobConfig], values: dict[str, Any], runs: Path | None) -> dict[str, str]:
    """What the fields that `values` leave open will be, and whose value that is; for `runs` see `JobConfig.resolve`."""
    wrong = {name.partition(".")[0] for name in config.find_problems(values)}
    given = {name: value for name, value in values.items() if name in config.model_fields and name not in wrong}
    preset = config.preset_values(dict(given))
    chosen = config.model_construct(**{**preset, **given})
    resolved = chosen
    with suppress(UserError):
        resolved = chosen.resolve(runs)
    found = {}
    for name, info in config.model_fields.items():
        value = getattr(resolved, name, None)
        if info.default is None and given.get(name) is None and value is not None:
            found[name] = f"{_short(value)}, by the preset" if name in preset else _short(value)
    return found


class Form:
    """Inputs for a config's fields; a field whose value is wrong, in the `values` of `params`, is marked invalid."""

    def __init__(
        self,
        inputs: types.Object,
        config: type[JobConfig],
        params: dict[str, Any],
        values: dict[str, Any],
        suggestions: Suggestions,
    ):
        self.inputs, self.config, self.values, self.suggestions = inputs, config, values, suggestions
        self.params = params
        self.left_open = left_open(config, values, suggestions.runs)
        self.problems: dict[str, list[str]] = {}
        for name, text in {**suggestions.problems, **config.find_problems(values)}.items():
            self.problems.setdefault(name.partition(".")[0], []).append(text)
        self.problems |= {name: [text] for name, text in _no_json(config, values).items()}

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
            description=self._describe(name, default),
            required=info.is_required(),
        )
        if default is not None:
            options["default"] = default
        choices, notes = kind.choices or self.suggestions.choices.get(name, []), self.suggestions.notes
        if kind.kind is bool and not kind.optional:
            return self.inputs.bool(name, **options)
        if kind.kind in (int, float) and not kind.choices:
            add = self.inputs.int if kind.kind is int else self.inputs.float
            return add(name, **kind.bounds, **options)
        if kind.kind is dict and (default or isinstance(self.params.get(name), dict)):
            return _add_entries(self.inputs, name, kind, default or {}, options)
        if kind.kind is dict:
            options["description"] += " As JSON."
            return self.inputs.str(name, **{**options, "default": ""}, allow_empty=True)
        if kind.kind is list:
            view = _autocomplete(
                choices, types.AutocompleteView(allow_user_input=not kind.choices, allow_duplicates=False)
            )
            return self.inputs.list(name, types.String(), view=view, **options)
        if kind.choices or kind.kind is bool:
            values = [*(kind.choices or ("yes", "no")), *([""] if kind.optional else [])]
            view = types.DropdownView()
            for value in values:
                view.add_choice(value, label=str(value) or "none")
            return self.inputs.enum(name, values, view=view, **options)
        if choices:
            options["view"] = _autocomplete(choices, types.AutocompleteView(allow_user_input=True), notes)
        return self.inputs.str(name, allow_empty=not info.is_required(), **options)

    def _describe(self, name: str, default: Any) -> str:
        """What the field holds: what it will be where it is left open, or what is known of what is chosen."""
        text = self.config.model_fields[name].description or ""
        if name in self.left_open:
            empty = self.left_open[name]
            text, told = re.subn(r"\(empty: ([^)]*)\)", lambda m: f"(empty: {_joined(empty, m[1])})", text)
            if not told:
                text += f" (empty: {empty})"
        chosen = self.values.get(name, default)
        note = self.suggestions.notes.get(chosen) if isinstance(chosen, str) else None
        return f"{text} {chosen}: {note}." if note else text


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


def _autocomplete(
    choices: Collection[str], view: types.AutocompleteView, notes: Mapping[str, str] = MappingProxyType({})
) -> types.AutocompleteView:
    for choice in choices:
        view.add_choice(choice, label=choice, description=notes.get(choice))
    return view


def _no_json(config: type[JobConfig], values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with texts that are to be dictionaries, by field."""
    found = {}
    for name, value in values.items():
        if name in config.model_fields and isinstance(value, str) and field_type(config, name).kind is dict:
            try:
                from_json(config, name, value)
            except UserError as problem:
                found[name] = str(problem)
    return found


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _joined(empty: str, described: str) -> str:
    """A value and whose it is, where the field's description says that and the preset does not."""
    return f"{empty}, {described}" if described.startswith("the base") and "," not in empty else empty


def _label(name: str) -> str:
    if name in COMPONENTS:
        return COMPONENTS[name].title
    return LABELS.get(name, name.replace("_", " ").capitalize())
