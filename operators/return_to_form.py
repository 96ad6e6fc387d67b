"""The operator that brings a form back whose job has failed; it has no form of its own."""

import asyncio

import fiftyone.operators as foo
from fiftyone.operators.executor import ExecutionContext

from .host.execution import RETURN_TO_FORM

PAUSE = 1.5
"""Seconds for the App to close the form; it closes whatever form is open when a job has ended."""


class ReturnToForm(foo.Operator):
    """Opens a form as it was filled in, once the App has closed it."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=RETURN_TO_FORM,
            label="BUSAug: return to the form",
            description="Brings a form back whose job has failed.",
            unlisted=True,
        )

    async def execute(self, ctx: ExecutionContext) -> None:
        await asyncio.sleep(PAUSE)
        ctx.prompt(ctx.params["form"], params=ctx.params["params"])
