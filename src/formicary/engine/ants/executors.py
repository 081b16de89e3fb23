"""Which executor runs which method, and what an executor is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from formicary.engine.ants.attempt import Attempt, Result
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.docker import DockerExecutor
from formicary.engine.ants.http import HTTP_METHODS, HttpExecutor
from formicary.engine.ants.messaging import MessagingExecutor
from formicary.engine.ants.plugins import PluginExecutor, installed
from formicary.engine.ants.shell import ShellExecutor
from formicary.engine.ants.warden import Warden
from formicary.engine.ants.websocket import WebSocketExecutor

PYTHON = "PYTHON"
"""Runs in the worker processes of the pool, not through an :class:`Executor`."""


class Executor(Protocol):
    """Runs attempts of one or several methods.

    ``run`` is an asyncio task of its own; the foreman bounds how many there are. To be stopped it is cancelled, unless
    it set ``attempt.ender``. Output goes to
    ``attempt.feed``. An exception counts as a failure with ERR_START.
    """

    async def run(self, attempt: Attempt) -> Result:
        """Runs the attempt to its end."""

    async def close(self) -> None:
        """Gives everything back; no attempt runs any more."""


def executors_of(
    config: AntConfig, warden: Warden, progressed: Callable[[Attempt, float, str], None]
) -> Mapping[str, Executor]:
    """Makes the executors of the methods that the ant offers, except PYTHON.

    Args:
        config: The ant's configuration.
        warden: Told about every process group.
        progressed: Takes progress.
    """
    http = HttpExecutor(config)
    every: dict[str, Executor] = dict.fromkeys(HTTP_METHODS, http)
    every["SHELL"] = ShellExecutor(config, warden)
    every["MESSAGING"] = MessagingExecutor(config, progressed)
    every["WEBSOCKET"] = WebSocketExecutor(config, progressed)
    if "DOCKER" in config.methods and "DOCKER" not in config.executors:
        every["DOCKER"] = DockerExecutor(config)
    for method, entry in installed().items():
        every[method] = PluginExecutor(method, entry.load, config.kill_grace_s, config.max_outputs_bytes, progressed)
    every.update(config.executors)
    return {method: executor for method, executor in every.items() if method in config.methods}
