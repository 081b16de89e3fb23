"""One job from start to end in this process: for tests, for scripts and for the Python front end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from formicary.embedded.colony import Colony, ColonyConfig


async def run_job_async(
    source: str,
    params: Mapping[str, object] | None = None,
    *,
    data: Path | None = None,
    slots: int = 0,
    methods: Mapping[str, str] | None = None,
    path: str = "",
    filename: str = "",
) -> dict[str, Any]:
    """Runs one job and returns its document when it has ended, as ``formicary run --output json`` prints it.

    Args:
        source: Text of one YAML document.
        params: Parameters, values of JSON.
        data: Data directory; None keeps everything in memory.
        slots: Tasks at the same time; 0 = the number of processors, at least 4.
        methods: Methods to replace, like ``{"KUBERNETES": "SHELL"}``.
        path: Folder for PYTHON modules and relative working directories.
        filename: Shown in violations.

    Raises:
        Problem: The definition or the parameters are not valid, or the data directory cannot be used.
    """
    paths = (path,) if path else ()
    async with Colony(ColonyConfig(data, slots, paths)) as colony:
        definition = await colony.register(source, methods=methods, path=path, filename=filename)
        job_id = await colony.submit(definition, params)
        await colony.ended([job_id])
        return await colony.get(job_id)


def run_job(
    source: str,
    params: Mapping[str, object] | None = None,
    *,
    data: Path | None = None,
    slots: int = 0,
    methods: Mapping[str, str] | None = None,
    path: str = "",
    filename: str = "",
) -> dict[str, Any]:
    """Does the same as :func:`run_job_async` and blocks; works inside a running event loop too."""

    def work() -> dict[str, Any]:
        return asyncio.run(
            run_job_async(source, params, data=data, slots=slots, methods=methods, path=path, filename=filename)
        )

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    return _in_thread(work)


def _in_thread(work: Any) -> dict[str, Any]:
    """Runs it on a thread of its own, because this one has a loop already."""
    found: list[dict[str, Any]] = []
    failed: list[BaseException] = []

    def target() -> None:
        try:
            found.append(work())
        except BaseException as error:  # handed to the caller below
            failed.append(error)

    thread = threading.Thread(target=target, name="formicary-run")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
