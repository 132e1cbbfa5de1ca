"""Points on a Dask cluster: workers come and go, a scheduler that is lost is told, and no finished point is.

Dask itself sends functions and data between its processes with pickle and cloudpickle, so that whoever reaches a scheduler can
run anything on its workers: it belongs into a trusted network, or behind Dask's own TLS. What we send is plain data, to a
function that is named.
"""

import logging
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from testbench.errors import TestbenchError

__all__ = ["Cluster", "connected"]

Item = TypeVar("Item")

_ANSWER_S = 10.0
_POLL_S = 0.5
_AHEAD = 2  # points handed to each thread of the cluster in advance


class Cluster:
    """A connected client of a scheduler.

    :param patience_s: how long a cluster may be without any worker before the sweep gives up
    """

    def __init__(self, client: Any, address: str, patience_s: float) -> None:
        self._client, self._address, self._patience_s = client, address, patience_s

    def threads(self) -> int:
        """Threads of all workers together."""
        return sum(worker["nthreads"] for worker in self._workers().values())

    def in_words(self) -> str:
        """How large the cluster is."""
        workers = self._workers()
        return f"{len(workers)} Dask worker{'' if len(workers) == 1 else 's'} at {self._address}"

    def threaded(self) -> bool:
        """Whether a worker has several threads, which would only take turns."""
        return any(worker["nthreads"] > 1 for worker in self._workers().values())

    def _workers(self) -> dict[str, Any]:
        try:
            return dict(self._client.scheduler_info(n_workers=-1)["workers"])
        except TypeError:  # older versions list all
            return dict(self._client.scheduler_info()["workers"])

    def run(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Item],
        data: Callable[[Item], Any],
        finished: Callable[[Item, Any], None],
        failed: Callable[[Item, str], None],
        say: Callable[[str], None],
    ) -> None:
        """Call ``function`` on ``data(item)`` of every item; results go to ``finished``, what Dask gives up to ``failed``.

        Items of a worker that dies go to another one. Raises :class:`testbench.errors.TestbenchError` where the scheduler is
        lost or stays without workers.
        """
        done: queue.Queue[Any] = queue.Queue()
        waiting: dict[Any, Item] = {}
        left = iter(items)
        alone_since: float | None = None
        try:
            while True:
                for item in _take(left, _AHEAD * max(1, self.threads()) - len(waiting)):
                    future = self._client.submit(function, data(item), pure=False)
                    waiting[future] = item
                    future.add_done_callback(done.put)
                if not waiting:
                    return
                try:
                    future = done.get(timeout=_POLL_S)
                except queue.Empty:
                    self._check_alive()
                    alone_since = self._check_workers(alone_since, say)
                    continue
                alone_since = None
                self._settle(future, waiting.pop(future), finished, failed)
        finally:
            for future in waiting:
                future.cancel()

    def _settle(
        self, future: Any, item: Item, finished: Callable[[Item, Any], None], failed: Callable[[Item, str], None]
    ) -> None:
        if future.status == "finished":
            try:
                result = future.result(timeout=_ANSWER_S)
            except Exception as error:
                self._check_alive()
                failed(item, f"its result was lost on the way ({type(error).__name__})")
                return
            future.release()
            finished(item, result)
        elif future.status == "error":
            reason = future.exception()
            if type(reason).__name__ == "KilledWorker":
                failed(item, "its worker died, and so did those that tried again (out of memory?)")
            else:
                failed(item, f"the worker answered {type(reason).__name__}: {' '.join(str(reason).split())}")
        else:  # cancelled or lost: the scheduler has forgotten it
            raise self._gone()

    def _check_alive(self) -> None:
        if self._client.status != "running":
            raise self._gone()

    def _gone(self) -> TestbenchError:
        return TestbenchError(
            f"the Dask scheduler at {self._address} went away; what is finished is kept, continue with --resume"
        )

    def _check_workers(self, alone_since: float | None, say: Callable[[str], None]) -> float | None:
        if self._workers():
            return None
        now = time.monotonic()
        if alone_since is None:
            say(f"the Dask scheduler at {self._address} has no workers; waiting {self._patience_s:g} s for some")
            return now
        if now - alone_since > self._patience_s:
            raise TestbenchError(
                f"the Dask scheduler at {self._address} has had no workers for {self._patience_s:g} s; what is finished is "
                "kept: "
                f"start some (dask worker {self._address} --nthreads 1) and continue with --resume"
            )
        return alone_since


def _take(left: Iterator[Item], count: int) -> Iterator[Item]:
    for _ in range(count):
        try:
            yield next(left)
        except StopIteration:
            return


@contextmanager
def connected(address: str, patience_s: float = 60.0) -> Iterator[Cluster]:
    """The cluster of a scheduler at ``address`` (``tcp://host:port``), or of a scheduler file.

    Raises :class:`testbench.errors.TestbenchError` where Dask is not installed or nobody answers.
    """
    try:
        import distributed
    except ImportError:
        raise TestbenchError("--scheduler needs Dask: pip install distributed, or leave it out to use all cores") from None
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # its tracebacks; what matters is told in a sentence
    connect: Any = distributed.Client
    where: dict[str, Any] = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client: Any = connect(**where, timeout=_ANSWER_S, set_as_default=False, name="pairzero-sweep")
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()).split(" after ")[0] or type(error).__name__
        raise TestbenchError(
            f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, or leave out --scheduler"
        ) from error
    try:
        yield Cluster(client, address, patience_s)
    finally:
        client.close(timeout=2)
