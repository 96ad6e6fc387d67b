"""The loop that every training shares: steps, optimizer, checkpoints, several processes.

What is trained and by which loss is a `Method`; the loop knows neither models nor objectives.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from busaug_core.errors import UserError
from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint
from busaug_core.jobs.device import autocast_to
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.processes import StopRequested, held_interrupts, on_cpus
from busaug_core.jobs.run import CHECKPOINT, Run
from busaug_core.train.side_by_side import SideBySide

OVERHEAD = 20
"""A checkpoint may take a twentieth of the time that passes between two."""


class Method(ABC):
    """One way of training; all random numbers of a step are drawn from its number alone.

    Attributes:
        message: what is going on, in words
        weight_decay: AdamW's
        clip: the largest norm of all gradients together, where it is bounded
        values: what is shown of the last step beside its loss
    """

    message: str
    weight_decay: float = 0.0
    clip: float | None = None
    values: dict[str, float] = {}

    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name, in float32."""

    def optimizers(self, learning_rate: float) -> list[torch.optim.Optimizer]:
        """The parameters' optimizer, and any others that `loss` steps itself, such as a discriminator's.

        The learning rates they are made with are the peaks that `rate` scales.
        """
        parameters = list(self.parameters().values())
        return [torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=self.weight_decay, fused=True)]

    def rate(self, done: float) -> float:
        """The share of its peak that the learning rate has in the step after which the share `done` is done."""
        return 1.0

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides parameters and optimizers, by name; tensors that change in place."""
        return {}

    @abstractmethod
    def draw(self, step: int) -> Any:
        """The batch of a step."""

    def parts(self, batch: Any) -> list[tuple[Any, float]]:
        """What `loss` is given, and the share of the batch that each is; gradients are added up."""
        return [(batch, 1.0)]

    @property
    def workers(self) -> int:
        """How many parts of a batch `loss` is called on at once, in as many threads; see `workers_for`.

        More than one asks of `loss` that it draws no random numbers and keeps nothing of a part, and is for a single
        process on a CPU alone.
        """
        return 1

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch or a part of it, a scalar; called within autocast to the arithmetic's dtype."""

    def step_loss(self, batch: Any) -> Tensor:
        """What a step calls for the loss: a method may have a faster way for batches that are alike in size."""
        return self.loss(batch)

    def after_step(self) -> None:  # noqa: B027 (a hook that most methods leave empty)
        """Called when the parameters have been updated."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the product."""


class Check(ABC):
    """What is looked at after some of the `steps`, of which 0 is before the first, and may end a training."""

    steps: Collection[int]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold of it, by name; tensors that change in place."""
        return {}

    @abstractmethod
    def look(self, step: int) -> Steps[bool]:
        """Look at the method after `step` steps; returns whether to stop.

        Doing it again at the same step changes nothing, as after a kill it is.
        """

    def finish(self) -> None:  # noqa: B027 (a hook that may be empty)
        """Called when the training has ended, before the product is written."""


def train(
    method: Method,
    run: Run,
    steps: int,
    learning_rate: float,
    arithmetic: torch.dtype,
    checkpoint_seconds: float,
    checkpoint: str = CHECKPOINT,
    checks: Sequence[Check] = (),
) -> Steps[float]:
    """Train a method; returns the mean loss of the last tenth.

    Args:
        method: what is trained, and how
        run: where checkpoint and product are written
        steps: optimizer steps
        learning_rate: the peak, and constant unless the method has a `rate`
        arithmetic: the dtype of matrix products and convolutions, whatever the weights are held in; losses of
            float16 are scaled
        checkpoint_seconds: at least so long between two checkpoints; longer where one takes long to write
        checkpoint: its file in the run's folder; a run of several trainings names one for each and removes it
        checks: what is looked at between steps, in this order; any may end the training

    Raises:
        UserError: the loss is not finite any more
    """
    accelerator = Accelerator(mixed_precision="no", cpu=on_cpus())
    device = accelerator.device
    run.record_environment(processes=accelerator.num_processes)
    parameters = method.parameters()
    optimizers = method.optimizers(learning_rate)
    objective = accelerator.prepare(_Objective(method, parameters))
    scaler = torch.amp.GradScaler(device.type, enabled=arithmetic == torch.float16)
    losses = torch.zeros(steps)
    kept = {**parameters, **method.state(), "losses": losses}
    for check in checks:
        kept |= check.state()
    start = done = restore_checkpoint(run.folder / checkpoint, kept, optimizers, scaler)
    peaks = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    saved, took = time.monotonic(), 0.0
    side_by_side = SideBySide(method.workers, parameters.values()) if method.workers > 1 else None

    def loss_of(part: Any) -> Tensor:
        with autocast_to(device, arithmetic):
            return objective(part)

    def backward(parts: Sequence[tuple[Any, float]]) -> Tensor:
        if side_by_side is not None:
            return side_by_side.backward(loss_of, parts)
        loss = torch.zeros((), device=device)
        for number, (part, share) in enumerate(parts, 1):
            with accelerator.no_sync(objective) if number < len(parts) else nullcontext():
                own = loss_of(part) * share
                accelerator.backward(scaler.scale(own))
            loss += own.detach()
        return loss

    def learn(step: int) -> None:
        for group, peak in peaks:
            group["lr"] = peak * method.rate((step + 1) / steps)
        losses[step] = accelerator.reduce(backward(method.parts(method.draw(step))), "mean")
        if not torch.isfinite(losses[step]):
            raise UserError(f"The loss is {losses[step]} at step {step + 1}; lower learning_rate, or set precision.")
        if method.clip is not None:
            scaler.unscale_(optimizers[0])
            nn.utils.clip_grad_norm_(parameters.values(), method.clip)
        scaler.step(optimizers[0])
        scaler.update()
        optimizers[0].zero_grad()
        method.after_step()

    def keep() -> None:
        nonlocal saved, took
        if accelerator.is_main_process:
            begun = time.monotonic()
            save_checkpoint(run.folder / checkpoint, done, kept, optimizers, scaler)
            saved = time.monotonic()
            took = saved - begun

    try:
        for step in range(start, steps + 1):
            due = [check for check in checks if step in check.steps]
            enough = False
            for check in due:
                enough |= yield from check.look(step)
            if due and _any(accelerator, enough):
                break
            if step == steps:
                break
            with held_interrupts():
                learn(step)
                done = step + 1
            if time.monotonic() - saved > max(checkpoint_seconds, OVERHEAD * took):
                keep()
            yield Progress(done, steps, method.message, {"loss": float(losses[step]), **method.values})
            if accelerator.num_processes > 1 and _any(accelerator, run.is_asked_to_stop):
                raise StopRequested
    except (GeneratorExit, KeyboardInterrupt, StopRequested):
        keep()
        raise
    finally:
        if side_by_side is not None:
            side_by_side.close()
    for check in checks:
        check.finish()
    if accelerator.is_main_process:
        method.save(run.folder)
    return float(losses[:done][-max(1, steps // 10) :].mean())


class _Objective(nn.Module):
    """A method's loss as a module of what is trained, so that gradients of several processes are joined in buckets."""

    def __init__(self, method: Method, parameters: dict[str, nn.Parameter]):
        super().__init__()
        self.trained = nn.ParameterList(parameters.values())
        self.method = method

    def forward(self, batch: Any) -> Tensor:
        return self.method.step_loss(batch)


def _any(accelerator: Accelerator, here: bool) -> bool:
    """Whether it holds in any process; all of them must ask."""
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device)) > 0)
