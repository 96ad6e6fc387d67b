"""The operator that says what this machine can do."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext


class CheckSetup(foo.Operator):
    """Checks devices, weights and packages, with the command that fixes what is missing."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="check_setup",
            label="BUSAug: check setup",
            description="What this machine can do, what is missing, and the command that fixes it.",
            icon="build_circle",
        )

    def execute(self, ctx: ExecutionContext) -> dict[str, Any]:
        from busaug_core.setup import check_setup

        return {"state": "done", "checks": [asdict(check) for check in check_setup()]}

    def __call__(self) -> dict[str, Any]:
        """The checks as plain JSON, each with `name`, `ok`, `found` and `fix`."""
        return self.execute(None)

    def resolve_output(self, ctx: ExecutionContext) -> types.Property:
        outputs = types.Object()
        lines = ["| | what | found | to fix it |", "|---|---|---|---|"]
        for check in ctx.results.get("checks", []):
            mark = "✅" if check["ok"] else "⚠️"
            fix = f"`{check['fix']}`" if check["fix"] and not check["ok"] else ""
            lines.append(f"| {mark} | {check['name']} | {check['found']} | {fix} |")
        outputs.str("table", default="\n".join(lines), view=types.MarkdownView(read_only=True))
        return types.Property(outputs, view=types.View(label="BUSAug: check setup"))
