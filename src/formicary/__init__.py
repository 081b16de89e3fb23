"""Formicary runs jobs that are never lost, whose results count exactly once, in the right order.

What a user imports stands here by name and is loaded on first use (PEP 562), so that ``import formicary`` costs next
to nothing and pulls in neither gRPC nor a database driver::

    from formicary import job, task

    @task
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @job
    def greeting(name: str = "world") -> str:
        return greet(name)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formicary.client import Client, SyncClient
    from formicary.dsl import after, job, on_completed, on_exit_code, on_failed, task
    from formicary.engine.ants.workers import TaskFailedError, WorkerTask, join_websocket, serve_nats, serve_websocket
    from formicary.problems import Problem

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Problem",
    "SyncClient",
    "TaskFailedError",
    "WorkerTask",
    "__version__",
    "after",
    "job",
    "join_websocket",
    "on_completed",
    "on_exit_code",
    "on_failed",
    "serve_nats",
    "serve_websocket",
    "task",
]

_EXPORTS = {
    "Client": "formicary.client",
    "SyncClient": "formicary.client",
    "Problem": "formicary.problems",
    "after": "formicary.dsl",
    "job": "formicary.dsl",
    "on_completed": "formicary.dsl",
    "on_exit_code": "formicary.dsl",
    "on_failed": "formicary.dsl",
    "task": "formicary.dsl",
    "TaskFailedError": "formicary.engine.ants.workers",
    "WorkerTask": "formicary.engine.ants.workers",
    "join_websocket": "formicary.engine.ants.workers",
    "serve_nats": "formicary.engine.ants.workers",
    "serve_websocket": "formicary.engine.ants.workers",
}


def __getattr__(name: str) -> object:
    """Loads an exported name on first use."""
    room = _EXPORTS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
