"""Keeps a number of local ants running: starts them, adopts those of an earlier server, restarts the dead.

Theory of operation. There are as many places as `--ants`; each place has one ant id (``ant-1``, ``ant-2``, …) and at
most one process. The end of a process is noticed through its pidfd; the queen is told at once, so that nobody waits for
a lease, and the place gets a new process: at once where the last one lived for a while, else after a growing pause.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from secrets import token_hex

import formicary
from formicary.engine.ants.config import machine_resources
from formicary.server.config import UpConfig
from formicary.server.processes import (
    AntRecord,
    AntsFile,
    Watched,
    boot_id,
    find_process,
    read_ants,
    started_at,
    write_ants,
)

log = logging.getLogger("formicary.server")
PAUSE_S = (0.1, 5.0)
"""First and longest pause before a dead ant is started again."""
HEALTHY_S = 10.0
"""After an ant that lived this long, pauses begin with the first one again."""
KILL_AFTER_S = 5.0
"""Beyond the grace: an ant that does not end by itself is killed."""
SECOND_SIGNAL_S = 0.2
LOG_BYTES = 1024 * 1024
REMEMBERED_DEAD = 64


class _Place:
    """Room for one process."""

    __slots__ = ("born", "number", "pause_s", "process", "record", "retired", "timer", "watched")

    def __init__(self, number: int) -> None:
        self.number = number
        self.watched: Watched | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.record: AntRecord | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.born = 0.0
        self.pause_s = 0.0
        self.retired = False
        """Its ant ends for good."""


class Supervisor:
    """The local ants of one server.

    Args:
        config: The server's configuration.
        queen_address: Where ants find the queen.
        died: Called with the id of an ant whose process has ended.
        token: What the ants say who they are with; given by environment, since anybody can read a command line.
        count: How many ants there are to be; None = as the configuration says.
        public_url: Where tasks find this server's HTTP port; empty = they are not told.
    """

    def __init__(
        self,
        config: UpConfig,
        queen_address: str,
        died: Callable[[str], None],
        token: str = "",
        count: int | None = None,
        public_url: str = "",
    ) -> None:
        self._config = config
        self._address = queen_address
        self._tell_died = died
        # How this machine reaches other servers is no business of the way to this one.
        self._environment = {**os.environ, "FORMICARY_TOKEN": token, "FORMICARY_TLS": "", "FORMICARY_CA": ""}
        self._environment["FORMICARY_PUBLIC_URL"] = public_url
        self._loop = asyncio.get_running_loop()
        self._boot = boot_id()
        self._places = [_Place(number) for number in range(1, (config.ants if count is None else count) + 1)]
        self._dismissed: dict[str, AntRecord] = {}
        self._gone: deque[str] = deque(maxlen=REMEMBERED_DEAD)
        self._stopping = False
        self._empty = asyncio.Event()
        self.restarts = 0

    @property
    def ids(self) -> list[str]:
        """Ids of the ants that should be there now."""
        return [place.record.id for place in self._places if place.record is not None]

    @property
    def count(self) -> int:
        """How many ants there are to be."""
        return sum(not place.retired for place in self._places)

    def grow(self, count: int) -> None:
        """Starts ants until there are so many."""
        while self.count < count and not self._stopping:
            place = _Place(max((one.number for one in self._places), default=0) + 1)
            self._places.append(place)
            self._spawn(place)

    def retire(self, ant_id: str) -> bool:
        """Has an ant finish what it runs and end for good; False where it is not there."""
        place = next((one for one in self._places if one.record is not None and one.record.id == ant_id), None)
        if place is None or place.retired or place.watched is None:
            return False
        place.retired = True
        place.watched.signal(signal.SIGTERM)
        return True

    def start(self) -> None:
        """Adopts the ants of an earlier server that still live and fit, and starts the others."""
        earlier = read_ants(self._config.data)
        for ant_id in earlier.gone:
            self._died(ant_id)
        for record in earlier.ants:
            self._take_over(record)
        for place in self._places:
            if place.record is None:
                self._spawn(place)
        self._write()

    async def drain(self, grace_s: float) -> None:
        """Has every ant finish what runs, within the grace; returns when all have ended."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        self._check_empty()
        try:
            await asyncio.wait_for(self._empty.wait(), grace_s + KILL_AFTER_S)
        except TimeoutError:
            log.warning("ants did not end within %g s and are killed", grace_s + KILL_AFTER_S)
            await self._kill_rest()

    async def kill(self) -> None:
        """Ends every ant and what it runs, at once."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        await asyncio.sleep(SECOND_SIGNAL_S)  # two at once would arrive as one
        self._signal(signal.SIGTERM)  # the second one: an ant then ends its tasks' process groups
        self._check_empty()
        try:
            await asyncio.wait_for(self._empty.wait(), KILL_AFTER_S)
        except TimeoutError:
            await self._kill_rest()

    def command(self, ant_id: str) -> tuple[str, ...]:
        """The command line of one ant."""
        config = self._config
        slots = config.slots or os.cpu_count() or 1
        command = ["ant", "--queen", self._address, "--id", ant_id, "--slots", str(slots)]
        command += ["--exit-when-orphaned", "--grace", f"{config.grace_s:g}"]
        if config.insecure:
            command += ["--insecure"]
        if config.tags:
            command += ["--tags", ",".join(sorted(config.tags))]
        resources = machine_resources(max(1, config.ants)) | dict(config.resources)
        command += ["--resources", ",".join(f"{name}={amount:.15g}" for name, amount in resources.items())]
        if config.labels:
            command += ["--labels", ",".join(f"{name}={value}" for name, value in config.labels.items())]
        for path in config.paths:
            command += ["--path", str(path)]
        return (sys.executable, "-m", "formicary", *command)

    # --- ants of an earlier server ----------------------------------------------------------------------------------

    def _take_over(self, record: AntRecord) -> None:
        """Finds out whether a process of an earlier server lives, and adopts it, dismisses it or buries it."""
        alive = self._alive(record)
        if alive is None:
            self._died(record.id)
            return
        place = next((place for place in self._places if place.record is None), None)
        fits = alive.version == formicary.__version__ and alive.command == self.command(alive.id)
        if place is None or not fits:
            self._dismiss(alive)
            return
        try:
            place.watched = Watched(alive.pid, alive.started, lambda: self._ended(place))
        except OSError:
            self._died(alive.id)
            return
        place.record, place.born = alive, time.monotonic()
        log.info("%s: process %d of an earlier server goes on", alive.id, alive.pid)

    def _alive(self, record: AntRecord) -> AntRecord | None:
        """The record with number and start time of the live process, or None."""
        if record.boot != self._boot:
            return None
        if record.pid:
            return record if started_at(record.pid) == record.started else None
        pid = find_process(record.command)
        started = started_at(pid) if pid else None
        if started is None:
            return None
        return AntRecord(record.id, pid, started, record.boot, record.version, record.command)

    def _dismiss(self, record: AntRecord) -> None:
        """Has an ant that is not wanted any more finish what it runs and end."""

        def ended() -> None:
            self._dismissed.pop(record.id, None)
            self._died(record.id)
            self._write()

        try:
            watched = Watched(record.pid, record.started, ended)
        except OSError:
            self._died(record.id)
            return
        self._dismissed[record.id] = record
        log.info("%s: process %d of an earlier server does not fit and is told to stop", record.id, record.pid)
        watched.signal(signal.SIGTERM)

    # --- starting ---------------------------------------------------------------------------------------------------

    def _spawn(self, place: _Place) -> None:
        place.timer = None
        if self._stopping:
            return
        ant_id = f"ant{place.number}-{token_hex(4)}"
        command = self.command(ant_id)
        place.record = AntRecord(ant_id, 0, 0, self._boot, formicary.__version__, command)
        self._write()
        place.born = time.monotonic()
        try:
            with (self._config.data / f"ant-{place.number}.log").open("ab") as output:
                if output.tell() > LOG_BYTES:
                    output.truncate(0)
                place.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env=self._environment,
                )
            started = started_at(place.process.pid)
            if started is None:
                raise ProcessLookupError(place.process.pid)
            place.watched = Watched(place.process.pid, started, lambda: self._ended(place))
        except OSError as error:
            log.error("%s cannot be started: %s", ant_id, error)
            self._loop.call_soon(self._ended, place)
            return
        place.record = AntRecord(ant_id, place.process.pid, started, self._boot, formicary.__version__, command)
        self._write()

    def _ended(self, place: _Place) -> None:
        """A process has ended: the queen is told, the place is filled again."""
        status = place.process.wait() if place.process is not None else None
        record, lived = place.record, time.monotonic() - place.born
        place.watched = place.process = place.record = None
        if record is not None:
            self._died(record.id)
            self._write()
        if place.retired:
            self._places.remove(place)
        if self._stopping:
            self._check_empty()
        if self._stopping or place.retired:
            return
        how = "" if status is None else f" with status {status}" if status >= 0 else f" by signal {-status}"
        log.warning("%s has ended%s after %.1f s; another one is started", record and record.id, how, lived)
        self.restarts += 1
        first, longest = PAUSE_S
        again = place.pause_s > 0 and lived < HEALTHY_S
        place.pause_s = min(longest, place.pause_s * 2) if again else first
        place.timer = self._loop.call_later(place.pause_s, self._spawn, place)

    def _died(self, ant_id: str) -> None:
        self._gone.append(ant_id)
        self._tell_died(ant_id)

    # --- stopping ---------------------------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        for place in self._places:
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None
            if place.watched is not None:
                place.watched.signal(number)

    async def _kill_rest(self) -> None:
        self._signal(signal.SIGKILL)
        try:
            await asyncio.wait_for(self._empty.wait(), KILL_AFTER_S)
        except TimeoutError:
            log.error("an ant does not even end by SIGKILL; it is left to the system")

    def _check_empty(self) -> None:
        if all(place.watched is None for place in self._places):
            self._empty.set()

    def _write(self) -> None:
        living = [place.record for place in self._places if place.record is not None]
        write_ants(self._config.data, AntsFile((*living, *self._dismissed.values()), tuple(self._gone)))
