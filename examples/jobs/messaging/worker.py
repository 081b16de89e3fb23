"""A warehouse that packs and weighs parcels, for the job in ``messaging.yaml``.

    python -m examples.jobs.messaging.worker --nats nats://127.0.0.1:4222

It prints ``ready nats://…`` when it listens. ``--prefix`` is the first word of its subjects.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

from formicary import TaskFailedError, WorkerTask, serve_nats


class Warehouse:
    """Parcels by the key of the task that had them packed."""

    def __init__(self) -> None:
        self.parcels: dict[str, int] = {}
        self.packed = 0

    async def pack(self, task: WorkerTask) -> Mapping[str, object]:
        """Packs a parcel, once for each key. The first answer is lost, as in bad weather."""
        is_new = task.key not in self.parcels
        if is_new:
            self.packed += 1
            self.parcels[task.key] = len(self.parcels) + 1
            await task.log(f"packed {task.variables['items']} of {task.variables['order']}")
            await task.progress(0.9, "packed")
            raise TaskFailedError("The answer got lost.", 1)
        await task.log("it is packed already")
        return {"parcel": self.parcels[task.key], "times": self.packed}

    async def weigh(self, task: WorkerTask) -> Mapping[str, object]:
        """Weighs a parcel."""
        parcel = int(str(task.variables["parcel"]))
        if parcel < 1:
            raise TaskFailedError(f"There is no parcel {parcel}.", 4)
        return {"grams": 100 * parcel}


async def main(url: str, prefix: str) -> None:
    """Serves both subjects until it is ended."""
    warehouse = Warehouse()
    waiting = [f"{prefix}.pack", f"{prefix}.weigh"]

    def ready() -> None:
        waiting.pop()
        if not waiting:
            print(f"ready {url}", flush=True)

    async with asyncio.TaskGroup() as serving:
        serving.create_task(serve_nats(warehouse.pack, url, f"{prefix}.pack", ready=ready))
        serving.create_task(serve_nats(warehouse.weigh, url, f"{prefix}.weigh", ready=ready))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", metavar="URL", help="the NATS server")
    parser.add_argument("--prefix", default="warehouse", help="first word of the subjects")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.nats, given.prefix))
    except KeyboardInterrupt:
        pass
