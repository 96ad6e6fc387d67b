"""Parts of a batch worked on at the same time.

Of a small network operations are short, and the threads of each wait for one another. On an idle machine that costs
little; beside a program that wants a core it costs most of the time, and here nothing (`benchmarks/train.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import Any

import torch
from torch import Tensor, nn

from busaug_core.jobs.processes import join_processes

SMALL = 50_000_000
"""Parameters of networks whose operations are short on one core; Stable Diffusion's fill several."""
LEAST = 2
"""Images a worker has at least: with fewer the interpreter, which runs one thread at a time, takes over."""


def workers_for(images: int, networks: Iterable[nn.Module]) -> int:
    """How many parts of so many images are worked on at once: as many as share out this machine's cores evenly.

    One on a GPU, and in each of several processes, which share the cores already.
    """
    processes = join_processes()
    if processes.device.type != "cpu" or processes.num_processes > 1:
        return 1
    if sum(p.numel() for network in networks for p in network.parameters()) > SMALL:
        return 1
    threads = torch.get_num_threads()
    return max((n for n in range(1, images // LEAST + 1) if threads % n == 0), default=1)


class SideBySide:
    """Threads that share out the cores, and the gradients of what they work on, added up in one order."""

    _beginning = Lock()

    def __init__(self, workers: int, parameters: Iterable[nn.Parameter]):
        self.parameters = list(parameters)
        barrier = Barrier(workers)
        # torch keeps a number for the thread that sets it, and another that threads begin with at their first look.
        with self._beginning:
            threads = torch.get_num_threads()
            own = max(1, threads // workers)
            self._pool = ThreadPoolExecutor(
                workers, "part", lambda: (torch.set_num_threads(own), torch.get_num_threads())
            )
            list(self._pool.map(lambda _: barrier.wait(), range(workers)))
            torch.set_num_threads(threads)

    def backward(self, objective: Callable[[Any], Tensor], parts: Sequence[tuple[Any, float]]) -> Tensor:
        """Add the gradients of each part's objective, times its share, to the parameters'; returns the whole loss."""

        def work(part: tuple[Any, float]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            loss = objective(part[0]) * part[1]
            return loss.detach(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

        losses = []
        for loss, gradients in self._pool.map(work, parts):
            losses.append(loss)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is None:
                    continue
                if parameter.grad is None:
                    # Laid out as the parameter is, which a fused optimizer takes for granted.
                    parameter.grad = torch.empty_like(parameter).copy_(gradient)
                else:
                    parameter.grad += gradient
        return torch.stack(losses).sum()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
