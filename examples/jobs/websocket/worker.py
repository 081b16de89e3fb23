"""A studio that renders pictures, for the jobs in ``websocket.yaml`` and ``registered.yaml``.

    python -m examples.jobs.websocket.worker --port 8093
    python -m examples.jobs.websocket.worker --join ws://127.0.0.1:8093 --tags studio

The first is a server for tasks with a ``url``, the second a worker that registers at an ant's port. Either prints a
line ``ready …`` when tasks may come.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

from formicary import TaskFailedError, WorkerTask, join_websocket, serve_websocket


async def render(task: WorkerTask) -> Mapping[str, object]:
    """Renders one picture for each scene."""
    scenes = task.variables["scenes"]
    if not isinstance(scenes, list) or not scenes:
        raise TaskFailedError("There is nothing to render.", 3)
    for number, scene in enumerate(scenes, 1):
        await task.log(f"rendered {scene}")
        await task.progress(number / len(scenes), str(scene))
    return {"pictures": len(scenes)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8093, help="where to listen; 0 = any free port")
    parser.add_argument("--join", default="", metavar="URL", help="register there instead")
    parser.add_argument("--tags", default="", metavar="A,B", help="what it offers there")
    given = parser.parse_args()
    try:
        if given.join:
            tags = [tag for tag in given.tags.split(",") if tag]
            joined = join_websocket(
                render, given.join, name="studio", tags=tags, ready=lambda: print(f"ready {given.join}", flush=True)
            )
            asyncio.run(joined)
        else:
            asyncio.run(
                serve_websocket(
                    render, port=given.port, ready=lambda port: print(f"ready ws://127.0.0.1:{port}", flush=True)
                )
            )
    except KeyboardInterrupt:
        pass
