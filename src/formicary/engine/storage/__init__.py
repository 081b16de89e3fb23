"""Ports and adapters of what a colony keeps: rows in a store, lines in a log, the lock of a data directory.

The queen knows the ports (:mod:`formicary.engine.storage.port`); :func:`open_store` and :func:`open_logs` choose the
adapter and load its driver only then.
"""

from formicary.engine.storage.backends import open_logs, open_store
from formicary.engine.storage.data_lock import DataLock, Holder, read_holder

__all__ = ["DataLock", "Holder", "open_logs", "open_store", "read_holder"]
