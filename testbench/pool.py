"""Work on all cores: results come back in any order; an interruption leaves no process behind."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from testbench.errors import TestbenchError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Growing(Iterator[Item]):
    """Items to which more may be added while they are worked on; the added ones come first."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._left = deque(items)

    def add(self, items: Iterable[Item]) -> None:
        """Put ``items`` before all others, in their order."""
        self._left.extendleft(reversed(list(items)))

    def __next__(self) -> Item:
        """The next one; an end is none for ever."""
        if not self._left:
            raise StopIteration
        return self._left.popleft()


def run_all(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    finished: Callable[[Item, Result], None],
    *,
    preload: Sequence[str] = (),
    ahead: int = 4,
    died: Callable[[Item], Result] | None = None,
) -> None:
    """Call ``function`` on every item and hand each result to ``finished``, in this process. One worker means in process.

    ``preload``: modules that are imported once, by the process that workers are forked from, instead of once per worker.
    ``items`` are taken when they are needed, so that an iterator may decide late; each worker is handed ``ahead`` of them. An
    iterator is asked again after every call of ``finished``, also where it had nothing to give before: see :class:`Growing`.
    Where a worker process dies, what was on its way is tried again, one item at a time, and ``died`` makes the result of an
    item that kills its worker once more; without ``died``, a death raises :class:`testbench.errors.TestbenchError`.
    """
    if workers <= 1:
        with _environment():
            _one_thread()
            for item in items:
                finished(item, function(item))
        return
    left = iter(items)
    while True:
        lost = _run(function, left, workers, preload, ahead, finished)
        if not lost:
            return
        if died is None:
            raise TestbenchError(
                "a worker process died (out of memory, or killed); what is finished is kept, continue with --resume"
            )
        for item in lost:
            if _run(function, iter([item]), 1, preload, 1, finished):
                finished(item, died(item))


def _run(
    function: Callable[[Item], Result],
    left: Iterator[Item],
    workers: int,
    preload: Sequence[str],
    ahead: int,
    finished: Callable[[Item, Result], None],
) -> list[Item]:
    """Go through ``left``; returns the items that were on their way when a worker died, none where all went well."""
    # Forked from a process that has one thread and the imports; everything else comes to a worker as data.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    before = set(multiprocessing.active_children())
    waiting: dict[Future[Result], Item] = {}
    with _environment():
        executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)

        def fill() -> None:
            while len(waiting) < ahead * workers:
                for item in left:
                    try:
                        waiting[executor.submit(function, item)] = item
                    except BrokenProcessPool:  # it broke since the last look: the item is lost like those on their way
                        waiting[_broken()] = item
                    break
                else:
                    return

        try:
            fill()
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        return list(waiting.values())
                    finished(waiting.pop(future), future.result())
                fill()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
    return []


def _broken() -> "Future[Result]":
    future: Future[Result] = Future()
    future.set_exception(BrokenProcessPool("a worker died"))
    return future


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)  # a killed parent must not leave its workers waiting for ever

        threading.Thread(target=follow, daemon=True).start()
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    _one_thread()


def _one_thread() -> None:
    # A torch that is imported later reads the environment; importing it here would cost every worker seconds.
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@contextmanager
def _environment() -> Iterator[None]:
    """One BLAS and OpenMP thread in what is loaded or started meanwhile: workers share the cores among themselves."""
    kept = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
