"""The processes that work on one run: those of `accelerate launch` or `torchrun`, and workers started by hand."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from busaug_core.errors import UserError
from busaug_core.jobs.events import Progress, Steps
from busaug_core.words import counted

if TYPE_CHECKING:
    from accelerate import PartialState

WAIT = 120
"""Seconds that helper processes wait for the main one."""
PATIENCE = timedelta(days=7)
"""How long a process that is done waits for the others."""
PAUSE = 0.5
"""Seconds between looks at what others do."""
LOCK = "lock"
OF_GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What launchers tell each process of its group."""

T = TypeVar("T")


class StopRequested(Exception):
    """Ends a job that was asked to stop, where its processes must stop at the same step."""


def is_main_process() -> bool:
    """False in the helper processes of `accelerate launch`, which write nothing."""
    return os.environ.get("RANK", "0") == "0"


def is_distributed() -> bool:
    """Whether this is one of several processes of `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_cpus() -> bool:
    """Whether several processes are to be joined on CPUs; left to itself, accelerate joins them on GPUs only."""
    import torch

    return is_distributed() and not torch.cuda.is_available()


def join_processes() -> "PartialState":
    """The processes that share a job's work; most often this one alone."""
    from accelerate import PartialState

    return PartialState(cpu=True) if on_cpus() else PartialState()


class Team:
    """The processes of a launcher, of which each does a share of a job and the main one goes on with all of it."""

    def __init__(self) -> None:
        self._processes = join_processes()
        self._everyone = None
        if self.has_several:
            from torch.distributed import new_group

            # Shares may take longer than the default group waits.
            self._everyone = new_group(backend="gloo", timeout=PATIENCE)

    @property
    def has_several(self) -> bool:
        return self._processes.num_processes > 1

    def share(self, items: list[T]) -> list[T]:
        """The items that fall to this process."""
        return items[self._processes.process_index :: self._processes.num_processes]

    def meet(self) -> None:
        """Wait until all have come here."""
        from torch.distributed import barrier

        barrier(self._everyone)


def go_alone() -> None:
    """Leave the launcher's group: this process goes on as a worker of its own, on a GPU of its own if there are any.

    To be called before anything has joined the group or computes on a GPU. Raises UserError where there are fewer GPUs
    than processes.
    """
    place, processes = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        visible = os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gpus = visible.split(",") if visible else []
    if visible is None:
        import torch

        gpus = [str(i) for i in range(torch.cuda.device_count())]
    if 0 < len(gpus) < processes:
        raise UserError(
            f"There are {processes} processes and {counted(len(gpus), 'GPU')}; start as many processes as GPUs, or set "
            "CUDA_VISIBLE_DEVICES to nothing to work on the CPU."
        )
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place]
    for name in OF_GROUP:
        os.environ.pop(name, None)


def wait_for(path: Path) -> None:
    """Let the main process of `accelerate launch` make a file first."""
    deadline = time.monotonic() + WAIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise UserError(f"The main process has not made {path} within {WAIT} s; see its output.")
        time.sleep(0.1)


class Workers:
    """Who works on a run: each worker holds a lock in its folder, which the system frees when the worker dies."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._own: FileLock | None = None

    def join(self, alone: bool) -> bool:
        """Take a place; returns whether there was one. With `alone` there is but one."""
        for number in range(1 if alone else 1024):
            lock = _lock(self.folder / f"{LOCK}{number or ''}")
            with suppress(Timeout):
                lock.acquire(blocking=False)
                self._own = lock
                return True
        return False

    def leave(self) -> None:
        """Give the place back."""
        if self._own is not None:
            self._own.release()
            self._own = None

    def others(self) -> bool:
        """Whether anyone else works on the run."""
        return self.count() > (self._own is not None)

    def count(self) -> int:
        """How many work on the run, whoever asks among them; to be asked `alone`, since asking holds their places."""
        places = (p for p in self.folder.glob(f"{LOCK}*") if p.name.removeprefix(LOCK).isdecimal() or p.name == LOCK)
        return sum(map(_held, places))

    def wait(self) -> None:
        """Wait until nobody else works on the run."""
        while True:
            with self.alone():
                if not self.others():
                    return
            time.sleep(PAUSE)

    def alone(self) -> AbstractContextManager[None]:
        """A block that only one worker is in at a time, such as beginning and ending the run."""
        return locked(self.folder / "turn")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A block that only one process is in at a time, by a lock file that the system frees when it dies."""
    with _lock(path):
        yield


def share_out(folder: Path, names: Sequence[str], is_done: Callable[[int], bool]) -> Iterator[int]:
    """The places of the items that nobody has done, each held by a lock in `folder` while it is worked on.

    Any number of workers may call it at once, and be killed: an item that another holds is passed over at first
    and looked at again at the end. Where locks do not work, as on some network file systems, items may be done
    twice, so that what is written must be whole and the first must win.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held: list[int] = []
    for blocking in (False, True):
        for i in held if blocking else range(len(names)):
            if is_done(i):
                continue
            try:
                lock = _lock(folder / f"{names[i]}.lock").acquire(blocking=blocking)
            except Timeout:
                held.append(i)
                continue
            with lock:
                if not is_done(i):
                    yield i


def free_first(folder: Path, names: Iterable[T]) -> Iterator[T]:
    """All the names: first those that no other worker is at, each held by a lock in `folder` meanwhile, then the rest.

    The rest are not held; whoever works on them too must see to it that each step is done once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for name in names:
        try:
            lock = _lock(folder / f"{name}.lock").acquire(blocking=False)
        except Timeout:
            taken.append(name)
            continue
        with lock:
            yield name
    yield from taken


def take_or_refuse(path: Path, refusal: str) -> AbstractContextManager[Any]:
    """Take a lock file; returns the block that holds it. Raises UserError with `refusal` where another holds it."""
    try:
        return _lock(path).acquire(blocking=False)
    except Timeout:
        raise UserError(refusal) from None


def wait_and_take(path: Path, message: str) -> Steps[AbstractContextManager[Any]]:
    """Take a lock file, telling `message` for as long as another holds it; returns the block that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    while True:
        try:
            return lock.acquire(timeout=PAUSE)
        except Timeout:
            yield Progress(0, 1, message)


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Let a Ctrl-C wait for the block's end, so that what it changes is never left half changed.

    Only Python's main thread gets a Ctrl-C, so in any other nothing needs to be held.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _lock(path: Path) -> FileLock:
    return FileLock(path, thread_local=False)  # the App takes each event in a thread of its own


def _held(path: Path) -> bool:
    try:
        with _lock(path).acquire(blocking=False):
            return False
    except Timeout:
        return True
