"""A pipeline's denoising steps as they pass: diffusers tells of them by a callback, and a job yields."""

from collections.abc import Callable, Generator
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

Denoised = Generator[None, None, T]
"""Work that yields after each denoising step and returns a T."""


def denoise(call: Callable[..., T], guided: int = 0, **options: Any) -> Denoised[T]:
    """Call a pipeline, yielding after each of its steps; returns what it returns.

    Where its `guidance_scale` is above 1, the first `guided` of its steps are guided; the others cost half as much.
    The call runs in a thread of its own. Where the generator is closed the pipeline skips its other steps, and its
    thread has ended when `close` returns. What the call raises is raised here.
    """
    told: SimpleQueue[bool] = SimpleQueue()
    outcome: dict[str, Any] = {}
    is_closed = False

    def step(pipe: Any, number: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = is_closed
        if pipe.do_classifier_free_guidance and number + 1 >= guided:
            pipe._guidance_scale = 1.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[1]
        told.put(True)
        return tensors

    def work() -> None:
        try:
            outcome["value"] = call(
                callback_on_step_end=step, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"], **options
            )
        except BaseException as error:
            outcome["error"] = error
        finally:
            told.put(False)

    thread = Thread(target=work, name="denoising", daemon=True)
    thread.start()
    try:
        while told.get():
            yield
    finally:
        is_closed = True
        thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
