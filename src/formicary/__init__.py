"""Formicary runs jobs that are never lost, whose results count exactly once, in the right order.

What a user imports stands here by name and is loaded on first use (PEP 562), so that ``import formicary`` costs next
to nothing and pulls in neither gRPC nor a database driver::

    from formicary import job, task

    @task
    def greet(name: str) -> dict[str, str]:
        return {"greeting": f"Hello, {name}"}
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formicary.client import Client
    from formicary.dsl import job, task
    from formicary.problems import Problem

__version__ = "0.1.0"

__all__ = ["Client", "Problem", "__version__", "job", "task"]

_EXPORTS = {
    "Client": "formicary.client",
    "Problem": "formicary.problems",
    "job": "formicary.dsl",
    "task": "formicary.dsl",
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
