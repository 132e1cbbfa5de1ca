"""Units of work on all cores: results come back in any order; an interruption leaves no process behind."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from testbench.errors import TestbenchError
from testbench.stress.evaluate import Failed, Measured, evaluate
from testbench.stress.points import Unit

_AHEAD = 4  # units handed to each worker in advance
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_units(units: list[Unit], workers: int, finished: Callable[[Unit, Measured | Failed], None]) -> None:
    """Evaluate ``units`` and hand each result to ``finished``, in this process.

    One worker means in process. Raises :class:`testbench.errors.TestbenchError` where a worker process dies.
    """
    if workers <= 1:
        _one_thread()
        for unit in units:
            finished(unit, evaluate(unit))
        return
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with _environment():
        executor = ProcessPoolExecutor(min(workers, len(units) or 1), mp_context=context, initializer=_start_worker)
        waiting: dict[Future[Measured | Failed], Unit] = {}
        left = iter(units)
        try:
            _fill(executor, waiting, left, workers)
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    finished(waiting.pop(future), future.result())
                _fill(executor, waiting, left, workers)
        except BrokenProcessPool as error:
            raise TestbenchError(
                "a worker process died (out of memory, or killed); what is finished is kept, continue with --resume"
            ) from error
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _fill(
    executor: ProcessPoolExecutor, waiting: dict["Future[Measured | Failed]", Unit], left: Iterator[Unit], workers: int
) -> None:
    while len(waiting) < _AHEAD * workers:
        unit = next(left, None)
        if unit is None:
            return
        waiting[executor.submit(evaluate, unit)] = unit


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)  # a killed parent must not leave its workers waiting for ever

        threading.Thread(target=follow, daemon=True).start()
    _one_thread()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@contextmanager
def _environment() -> Iterator[None]:
    """One BLAS and OpenMP thread in processes started meanwhile: workers share the cores among themselves."""
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
