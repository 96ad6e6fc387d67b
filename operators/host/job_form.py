"""The form of a job's operator: its job's fields, what the dataset lends to them, and what is said of a run to be."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.lineage import product_fields, resolve_product
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.registry import Job, job

from .classes import class_fields, likely_field
from .form import ALL_SETTINGS, BACKGROUND, TARGET, Form, Suggestions, begin, is_form, read_form
from .images import other_slices
from .names import home_of
from .suggestions import describe, product_choices


class JobForm(foo.Operator):
    """A job of the core as a form; a subclass names the job and what its form shows."""

    job_name: ClassVar[str]
    label: ClassVar[str]
    icon: ClassVar[str]
    main_fields: ClassVar[tuple[str, ...]]
    """What the form shows before the user asks for all settings: fields of the config, and controls of its own."""
    whole_dataset: ClassVar[bool] = False
    """Whether the job is given all samples of the dataset, whatever the view."""
    starts_with_newest: ClassVar[bool] = False
    """Whether the form starts with the newest run also in fields of products that may be left open."""

    @property
    def job(self) -> Job:
        return job(self.job_name)

    @property
    def config_class(self) -> type[JobConfig]:
        return self.job.config_class()

    # What subclasses fill in

    def hidden_fields(self, params: dict[str, Any]) -> Collection[str]:
        """The fields that the form neither shows nor reads."""
        return ()

    def suggest(self, dataset: fo.Dataset, label_field: str) -> Suggestions:
        """What the dataset lends to the form, beside the runs for fields that name a product."""
        return Suggestions()

    def add_control(self, ctx: ExecutionContext, inputs: types.Object, name: str) -> None:
        """An input of the form's own, named in `main_fields` among those of the config."""

    def remarks(self, ctx: ExecutionContext, config: JobConfig) -> Iterator[types.View]:
        """What the form says of a config that is right: what the run will make of the samples, what is doubtful."""
        yield from ()

    # What is made of it

    def remarks_on_slices(self, dataset: fo.Dataset) -> list[str]:
        """What a job that takes the whole dataset leaves out of a grouped one."""
        others = other_slices(dataset) if self.whole_dataset else []
        if not others:
            return []
        return [
            f"Of the grouped dataset '{dataset.name}' only the slice '{dataset.group_slice}' is looked at, not "
            f"{', '.join(others)}; for another one set dataset.group_slice and run the job again."
        ]

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        known = Suggestions()
        if ctx.dataset_name is not None:
            known = self.all_suggestions(ctx.dataset, ctx.params.get("label_field"))
        return self.make_form(ctx, known)

    def all_suggestions(self, dataset: fo.Dataset, label_field: str | None = None) -> Suggestions:
        """What the dataset lends to the form; of fields that name a product, names that are no run come first.

        `label_field` is what the form says of it so far.
        """
        likely = likely_field(dataset)
        known = self.suggest(dataset, label_field or likely)
        known.runs = runs_folder(home_of(dataset))
        if "label_field" in self.config_class.model_fields:
            known.choices["label_field"], known.defaults["label_field"] = class_fields(dataset), likely
        for name, runs in product_choices(self.config_class, home_of(dataset)).items():
            keys = list(runs)
            known.choices[name] = [*known.choices.get(name, []), *keys]
            known.notes |= {key: describe(run) for key, run in runs.items()}
            info = self.config_class.model_fields[name]
            if keys and (info.is_required() or (self.starts_with_newest and info.default is None)):
                known.defaults.setdefault(name, keys[0])
        return known

    def unknown_products(self, home: str, values: dict[str, Any]) -> dict[str, str]:
        """What is wrong with the fields that name what another run has made, by field."""
        found = {}
        for name, product in product_fields(self.config_class).items():
            if isinstance(given := values.get(name), str) and given:
                try:
                    resolve_product(Run(runs_folder(home) / self.job_name), given, product)
                except UserError as problem:
                    found[name] = str(problem)
        return found

    def make_form(self, ctx: ExecutionContext, suggestions: Suggestions) -> types.Property:
        """The controls of the operator, the main fields, and on demand all others."""
        inputs, values = begin(ctx.params), self.read_form(ctx.params)
        suggestions.hidden = self.hidden_fields(ctx.params)
        if ctx.dataset_name is not None:
            suggestions.problems |= self.unknown_products(home_of(ctx.dataset), values)
        if ctx.dataset_name is not None and not self.whole_dataset:
            inputs.view_target(ctx, action_description="Use", default_target="DATASET")
        if ctx.dataset_name is not None:
            for number, text in enumerate(self.remarks_on_slices(ctx.dataset)):
                inputs.view(f"slice_{number}", types.Notice(label=text))
        form = Form(inputs, self.config_class, ctx.params, values, suggestions)
        fields = self.config_class.model_fields
        # What a form does not show the job does not get.
        suggested = [n for n, value in suggestions.defaults.items() if value != fields[n].default]
        shown = dict.fromkeys((*self.main_fields, *suggested))
        for name in shown:
            if name in fields:
                form.add([name])
            else:
                self.add_control(ctx, inputs, name)
        inputs.bool(ALL_SETTINGS, label="All settings", default=False, view=types.SwitchView())
        if ctx.params.get(ALL_SETTINGS):
            form.add([name for name in fields if name not in shown])
        inputs.bool(
            BACKGROUND,
            label="Run in the background",
            description="Queue the job for `fiftyone delegated launch` instead of running it now.",
            default=False,
        )
        form.close()
        if ctx.dataset_name is not None and not suggestions.problems:
            started = {n: value for n, value in suggestions.defaults.items() if n not in suggestions.hidden}
            with suppress(UserError):  # the form marks what is wrong, and what is still empty
                config = self.config_class.parse({**started, **values}).resolve(suggestions.runs)
                for number, view in enumerate(self.remarks(ctx, config)):
                    inputs.view(f"remark_{number}", view)
        return types.Property(inputs, view=types.View(label=f"BUSAug: {self.label}"))

    @property
    def controls(self) -> set[str]:
        """The names in `main_fields` that are inputs of the form's own."""
        return {name for name in self.main_fields if name not in self.config_class.model_fields}

    def read_form(self, params: dict[str, Any]) -> dict[str, Any]:
        """The job's values in the parameters of the form."""
        return read_form(self.config_class, params, {*self.controls, *self.hidden_fields(params)})

    def read_values(self, ctx: ExecutionContext) -> dict[str, Any]:
        """The job's values in the parameters of the form, or of a call."""
        if is_form(ctx.params):
            return self.read_form(ctx.params)
        return {name: value for name, value in ctx.params.items() if name not in (BACKGROUND, *TARGET)}
