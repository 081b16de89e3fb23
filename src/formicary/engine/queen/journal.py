"""The journal: one writer thread, one commit at a time; what arrives meanwhile goes into the next.

Group commit is not a timer here. The loop hands over a batch as soon as the writer is idle, so an idle system commits
at once and a busy one commits what has gathered during the commit before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from queue import SimpleQueue

from formicary.engine.queen.core.batch import Batch
from formicary.engine.storage.log_port import LogStore
from formicary.engine.storage.port import Store, StoreError, StoreUnavailable

log = logging.getLogger("formicary.queen")
Done = Callable[[Batch, StoreError | None], None]
COMMIT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZE_BOUNDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class Journal:
    """Writes batches on a thread of its own and says on the loop how each went."""

    def __init__(self, store: Store, logs: LogStore, done: Done) -> None:
        self._store = store
        self._logs = logs
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[int, Batch] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="formicary-journal", daemon=True)
        self.busy = False
        """A batch is being written."""
        self.commits = 0
        self.rows = 0
        self.seconds = 0.0
        self.durations = [0] * (len(COMMIT_BOUNDS_S) + 1)
        """Commits by duration: up to each of the bounds, and longer ones."""
        self.sizes = [0] * (len(SIZE_BOUNDS) + 1)
        """Commits by rows, likewise."""
        self.committed_at = time.monotonic()
        """When the last commit succeeded (monotonic clock); before the first, when the journal was made."""

    def start(self) -> None:
        """Starts the writer."""
        self._thread.start()

    def write(self, epoch: int, batch: Batch) -> None:
        """Hands a batch over; only when not `busy`."""
        self.busy = True
        self._queue.put((epoch, batch))

    def stop(self) -> None:
        """Lets the batch in hand finish and ends the thread; blocks."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            epoch, batch = item
            error: StoreError | None = None
            try:
                self._flush_logs()
                begun = time.monotonic()
                self._store.commit(epoch, batch.changes)
                self._count(begun, batch.changes.rows())
            except StoreError as problem:
                error = problem
            except Exception as problem:  # whatever a driver throws: the outcome is unknown, so it is handled as such
                error = StoreUnavailable(f"the commit failed: {type(problem).__name__}: {problem}")
                error.__cause__ = problem
            self._loop.call_soon_threadsafe(self._finished, batch, error)

    def _count(self, begun: float, rows: int) -> None:
        self.committed_at = now = time.monotonic()
        self.commits += 1
        self.rows += rows
        self.seconds += now - begun
        self.durations[bisect_left(COMMIT_BOUNDS_S, now - begun)] += 1
        self.sizes[bisect_left(SIZE_BOUNDS, rows)] += 1

    def _flush_logs(self) -> None:
        """Lines are on their way to the disk before their task's end is acknowledged; a full disk stops no commit."""
        if self._logs.pending():
            try:
                self._logs.flush()
            except StoreError as error:
                log.warning("log lines are kept in memory for now: %s", error)

    def _finished(self, batch: Batch, error: StoreError | None) -> None:
        self.busy = False
        self._done(batch, error)
