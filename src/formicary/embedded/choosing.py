"""Which data directory `formicary run` works in, and whether a server holds it.

A run holds its directory alone. In the user's state directory a second run at the same time takes a folder of its own
beside the first one's data (``runs/2``, ``runs/3``, …), so that two terminals do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from formicary.embedded.opening import as_problems, default_data_dir
from formicary.engine.storage.backends import DATABASE_FILE, open_store
from formicary.engine.storage.data_lock import read_holder
from formicary.problems import problem

MAX_RUNS = 64
"""Runs of one user at the same time."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where a run works.

    Attributes:
        directory: The data directory.
        server: gRPC address of the server that holds it, empty where nobody does.
    """

    directory: Path
    server: str = ""


def choose_data_dir(data: Path | None, job_id: str = "") -> Chosen:
    """Chooses the directory.

    Args:
        data: The directory that the user named, None for the user's state directory.
        job_id: A job that has to be in it.

    Raises:
        Problem: DATA_IN_USE; NOT_FOUND where no directory holds the job.
    """
    if data is not None:
        return _inspect(data.absolute(), refuse=True) or Chosen(data.absolute())
    home = default_data_dir().absolute()
    for directory in _candidates(home):
        found = _inspect(directory, refuse=False)
        if found is None or (not found.server and job_id and not _holds(directory, job_id)):
            continue
        return found
    if job_id:
        raise problem("NOT_FOUND", f"There is no job {job_id} in {home}; name its data directory with --data.")
    raise problem("DATA_IN_USE", f"{MAX_RUNS} runs work in {home} already; wait, or name a directory with --data.")


def _candidates(home: Path) -> Iterator[Path]:
    yield home
    for number in range(2, MAX_RUNS + 1):
        yield home / "runs" / str(number)


def _inspect(directory: Path, *, refuse: bool) -> Chosen | None:
    """The directory where it is free or served, None where another run holds it."""
    holder = read_holder(directory)
    if holder is None:
        return Chosen(directory)
    if holder.grpc_port:
        return Chosen(directory, f"127.0.0.1:{holder.grpc_port}")
    if refuse:
        from formicary.engine.storage.data_lock import DataLock

        with as_problems(), DataLock(directory):
            return Chosen(directory)  # it was given back this very moment
    return None


def _holds(directory: Path, job_id: str) -> bool:
    """Whether the job is in the directory's store."""
    if not (directory / DATABASE_FILE).exists():
        return False
    with as_problems():
        store = open_store(directory)
        try:
            return bool(store.find_ids([job_id]))
        finally:
            store.close()
