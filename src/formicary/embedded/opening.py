"""Data directories: where they are, who holds them, and how their store is opened; every failure is a problem."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from formicary.engine.queen.core.family import root_of
from formicary.engine.storage.backends import open_logs, open_store
from formicary.engine.storage.log_port import LogStore
from formicary.engine.storage.port import (
    DataInUse,
    Snapshot,
    Store,
    StoreError,
    StoreUnavailable,
    UnsupportedDataVersion,
)
from formicary.problems import problem


def default_data_dir() -> Path:
    """``FORMICARY_DATA``, else ``formicary`` in the user's state directory."""
    named = os.environ.get("FORMICARY_DATA")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "formicary"


@contextmanager
def as_problems() -> Iterator[None]:
    """Turns what a store raises into problems."""
    try:
        yield
    except DataInUse as error:
        raise problem("DATA_IN_USE", str(error)) from error
    except UnsupportedDataVersion as error:
        raise problem("UNSUPPORTED_DATA_VERSION", str(error)) from error
    except StoreUnavailable as error:
        raise problem("UNAVAILABLE", str(error)) from error
    except StoreError as error:
        raise problem("INTERNAL", f"The store failed: {error}") from error


def open_data(target: str | os.PathLike[str]) -> tuple[Store, LogStore]:
    """Store and logs of a target (see :func:`formicary.engine.storage.backends.open_store`).

    Raises:
        Problem: UNAVAILABLE, UNSUPPORTED_DATA_VERSION; the text says the way out.
    """
    with as_problems():
        store = open_store(target)
        try:
            return store, open_logs(target)
        except BaseException:
            store.close()
            raise


class OnlyTheseJobs:
    """A store of which a queen recovers nothing but some jobs.

    `formicary run` works on one job of a data directory that may hold others, interrupted earlier: they stay as they
    are until somebody resumes them or starts a server on the directory.

    Args:
        store: The whole store.
        ids: Jobs to recover, those they have forked with them; the caller adds to it.
    """

    def __init__(self, store: Store, ids: set[str]) -> None:
        self._store = store
        self._ids = ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(self) -> Snapshot:
        """The snapshot without the other jobs."""
        found = self._store.load()
        jobs = [row for row in found.jobs if root_of(str(row[1])) in self._ids]
        numbers = {row[0] for row in jobs}
        tasks = [row for row in found.tasks if row[0] in numbers]
        used = {row[3] for row in jobs}
        return replace(
            found,
            definitions=[row for row in found.definitions if row[0] in used],
            jobs=jobs,
            tasks=tasks,
            params={number: value for number, value in found.params.items() if number in numbers},
            approvals=[row for row in found.approvals if row[0] in numbers],
            votes=[row for row in found.votes if row[0] in numbers],
        )

    def as_store(self) -> Store:
        """Itself, typed as what it stands for."""
        return cast(Store, self)
