"""The panel that shows how a run stands while it goes on and afterwards: its progress, curves and pictures."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext

from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs

from .host.names import home_of
from .host.pictures import add_pictures
from .manage_runs import standing

INTERVAL = 5000
"""Milliseconds between looks at a run that is going on."""


class WatchRun(foo.Panel):
    """Shows a run of the dataset, the newest to begin with; it looks again by itself while the run goes on."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name="watch_run",
            label="BUSAug: watch a run",
            icon="monitoring",
            help_markdown="How a run stands: its progress, curves and samples, also while it is going on.",
        )

    def on_load(self, ctx: ExecutionContext) -> None:
        self.look(ctx)

    def on_change_dataset(self, ctx: ExecutionContext) -> None:
        ctx.panel.set_state("run_key", None)

    def look(self, ctx: ExecutionContext) -> None:
        """Render shows what there is by now; a run that is gone gives way to the newest."""

    def choose(self, ctx: ExecutionContext) -> None:
        """Show another run."""
        ctx.panel.set_state("run_key", ctx.params.get("value"))

    def render(self, ctx: ExecutionContext) -> types.Property:
        panel = types.Object()
        runs = {run.key: run for run in list_runs(home_of(ctx.dataset))} if ctx.dataset_name is not None else {}
        panel.btn("refresh", label="Refresh", on_click=self.look)
        if not runs:
            panel.md("This dataset has no runs yet.")
            return types.Property(panel)
        key = ctx.panel.get_state("run_key")
        run = runs.get(key) or next(iter(runs.values()))
        choices = types.DropdownView()
        for name, other in runs.items():
            choices.add_choice(name, label=f"{name} ({standing(other)})")
        panel.enum("run_key", list(runs), default=run.key, label="Run", view=choices, on_change=self.choose)
        panel.md(told(run), name="told")
        ctx.panel.set_data(add_pictures(panel, run))
        if standing(run) == "running":
            timer = types.TimerView(interval=INTERVAL, on_interval=self.look)
            panel.view("timer", timer)
        return types.Property(panel)


def told(run: Run) -> str:
    """How the run stands, in Markdown: its last progress, and why it failed."""
    lines = [f"**{run.key}** ({run.job}) is {standing(run)}."]
    if (last := run.last("Progress")) is not None and run.state != "done":
        values = "".join(f", {name} {_number(value)}" for name, value in last["values"].items())
        lines.append(f"{last['message']}: {last['done']} of {last['total']}{values}.")
    lines += [run.error] if run.error else []
    return "\n\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
