"""Clients retry while the server is killed with SIGKILL every second; afterwards each key has had one effect.

    python -m tests.acceptance.idempotency_storm --keys 1000 --retries 10 [--kill-every-s 1] [--seed S]
        [--store postgresql://…|mysql://…|redis://…]

A real server process on a temporary SQLite file, or on the database server named, is killed that long after the one
before, give or take a fifth. The next one has been loaded meanwhile and begins at once. Two clients for each key repeat
its request until it has been answered `retries` times. Exit status 0 only if every key has exactly one row of effect,
and all answers to a key are the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.acceptance.idempotency_places import Place, place_of
from tests.integration.idempotency.wire import ask, kept_part

CLIENTS = 32
SPARES = 3
"""Servers that are loaded ahead."""
PAUSE_S = 0.02
LIMIT_S = 600.0
_REPOSITORY = Path(__file__).parents[2]
Reply = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]


@dataclass(slots=True)
class Seen:
    """What the storm has seen.

    Attributes:
        keys: How many keys there were.
        retries: How many answers each was to have.
        replies: The answers to each key.
        effects: How many rows each key has.
        kills: How often the server was killed.
        broken: Requests that got no whole answer.
        refused: Answers that told a client to ask again (409, 503).
        wrong: Statuses that no client should see.
        killed_at: When each kill was, in seconds of a clock that never goes back.
    """

    keys: int
    retries: int
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    broken: int = 0
    refused: int = 0
    wrong: list[int] = field(default_factory=list)
    killed_at: list[float] = field(default_factory=list)

    @property
    def different(self) -> int:
        """Answers that are not the bytes of the first one to their key."""
        return sum(reply != replies[0] for replies in self.replies.values() for reply in replies)

    @property
    def between_kills_s(self) -> float:
        """The median time between two kills, 0 where there were fewer."""
        gaps = [later - earlier for earlier, later in pairwise(self.killed_at)]
        return median(gaps) if gaps else 0.0

    @property
    def holds(self) -> bool:
        """Whether each key had one effect and the same answer every time."""
        counts = [len(replies) for replies in self.replies.values()]
        return (
            sorted(self.effects.items()) == [(key, 1) for key in sorted(self.replies)]
            and counts == [self.retries] * self.keys
            and not self.different
            and not self.wrong
        )

    def summary(self) -> str:
        """One line."""
        replies = sum(map(len, self.replies.values()))
        return (
            f"keys {len(self.replies)}, effects {sum(self.effects.values())}, kills {self.kills},"
            f" replies {replies:,}, different {self.different}"
        )


class Storm:
    """One run.

    Args:
        place: Where the orders are kept.
        keys: How many operations.
        retries: How many answers each is to have.
        kill_every_s: Seconds between two kills.
        rng: Draws when it is killed.
    """

    def __init__(self, place: Place, keys: int, retries: int, kill_every_s: float, rng: random.Random) -> None:
        self.seen = Seen(keys, retries)
        self._place = place
        self._kill_every_s = kill_every_s
        self._rng = rng

    async def run(self) -> Seen:
        """Begins, waits for the clients, counts."""
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            killing = asyncio.create_task(self._kill_again_and_again(listening))
            clients = asyncio.create_task(self._clients(listening.getsockname()[1]))
            try:
                done, _ = await asyncio.wait({killing, clients}, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT_S)
                if clients not in done:
                    raise RuntimeError("the clients did not come to an end") from (
                        killing.exception() if killing in done else None
                    )
                await clients
            finally:
                for task in (clients, killing):
                    task.cancel()
                await asyncio.gather(clients, killing, return_exceptions=True)
        self.seen.effects = self._place.effects()
        return self.seen

    async def _kill_again_and_again(self, listening: socket.socket) -> None:
        coming = [asyncio.create_task(self._loaded(listening)) for _ in range(SPARES + 1)]
        try:
            while True:
                server = await asyncio.shield(coming[0])
                assert server.stdout is not None and server.stdin is not None
                server.stdin.write(b"serve\n")
                if await server.stdout.readline() != b"ready\n":
                    raise RuntimeError("the server did not begin to serve")
                await asyncio.sleep(self._rest_s())
                os.kill(server.pid, signal.SIGKILL)
                self.seen.kills += 1
                self.seen.killed_at.append(time.monotonic())
                del coming[0]
                coming.append(asyncio.create_task(self._loaded(listening)))
                await server.wait()
        finally:
            for one in coming:
                await _ended(one)

    def _rest_s(self) -> float:
        """How long the server that has just begun lives: so that kills are as far apart as they should be."""
        every_s = self._kill_every_s * self._rng.uniform(0.8, 1.2)
        last = self.seen.killed_at[-1] if self.seen.killed_at else time.monotonic()
        return max(every_s / 2, last + every_s - time.monotonic())

    async def _loaded(self, listening: socket.socket) -> asyncio.subprocess.Process:
        """A server that begins when it is told to."""
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.acceptance.idempotency_orders", self._place.url, str(listening.fileno()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            pass_fds=[listening.fileno()], cwd=_REPOSITORY,
        )  # fmt: skip
        assert server.stdout is not None
        if await server.stdout.readline() != b"loaded\n":
            raise RuntimeError("the server did not load")
        return server

    async def _clients(self, port: int) -> None:
        keys = iter([f"order-{number}" for number in range(self.seen.keys)])

        async def client() -> None:
            for key in keys:
                self.seen.replies[key] = []
                wanted = iter(range(self.seen.retries))
                await asyncio.gather(*(self._ask(port, key, wanted) for _ in range(2)))

        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def _ask(self, port: int, key: str, wanted: Iterator[int]) -> None:
        for _ in wanted:  # both clients of the key share it
            while not await self._answered(port, key):
                await asyncio.sleep(PAUSE_S * self._rng.uniform(0.5, 1.5))

    async def _answered(self, port: int, key: str) -> bool:
        try:
            answer = await ask(port, key, timeout_s=10.0)
        except (OSError, TimeoutError):
            self.seen.broken += 1
            return False
        if answer.status == 201:
            self.seen.replies[key].append(kept_part(answer))
            return True
        self.seen.refused += 1
        if answer.status not in (409, 503):
            self.seen.wrong.append(answer.status)
        return False


async def _ended(coming: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """Ends a server that was never killed, when it has been loaded."""
    server = await coming
    if server.returncode is None:
        server.kill()
        await server.wait()


def storm(keys: int, retries: int, kill_every_s: float, seed: int, server: str = "") -> Seen:
    """Runs one storm, in a temporary folder where no server is named, and says what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(server, Path(folder))
        try:
            return asyncio.run(Storm(place, keys, retries, kill_every_s, random.Random(seed)).run())
        finally:
            place.remove()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--retries", type=int, default=10, help="answers that each key is to have")
    parser.add_argument("--kill-every-s", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--store", default="", metavar="URL", help="a server; none = an SQLite file")
    chosen = parser.parse_args()
    began = time.monotonic()
    seen = storm(chosen.keys, chosen.retries, chosen.kill_every_s, chosen.seed, chosen.store)
    print(seen.summary())
    print(
        f"seed {chosen.seed}, {time.monotonic() - began:.0f} s, {seen.broken} requests without an answer,"
        f" {seen.refused} told to ask again, wrong statuses {seen.wrong}, {seen.between_kills_s:.2f} s between kills"
    )
    return 0 if seen.holds else 1


if __name__ == "__main__":
    sys.exit(main())
