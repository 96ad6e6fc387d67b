"""Work on many items at once, results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 8
"""Items a thread that may wait for the consumer, so that memory stays bounded."""


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What the function returns for each item, in order, worked out by a thread a core.

    For work that lets go of the interpreter, such as decoding images. An error of the function is raised
    when its item's turn comes, and the rest is not begun.
    """
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
