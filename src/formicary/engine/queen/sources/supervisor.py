"""Keeps the sources of all triggers running: one task each, begun again with growing pauses where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from formicary.engine.jobs.triggers import OBJECTS, QUEUE, WEBHOOK, Trigger
from formicary.engine.queen.sources.jetstream import JetStream
from formicary.engine.queen.sources.object_notices import NoticeTaker
from formicary.engine.queen.sources.objects import Objects
from formicary.engine.queen.sources.redis_stream import RedisStream
from formicary.engine.queen.sources.source import Source, SourceError, Taker, end
from formicary.engine.queen.trigger_rows import Key
from formicary.engine.storage.port import StoreError

if TYPE_CHECKING:
    from formicary.engine.queen.triggers import Triggers

log = logging.getLogger("formicary.triggers")
PAUSE_S: Final = (0.5, 30.0)
"""First and longest pause before a source that has failed is begun again; less up to half of it, by chance."""
KEEP_LETTERS_S: Final = 30 * 86_400.0
PURGE_EVERY_S: Final = 3600.0
PURGE_BATCH: Final = 1000
_PROVIDERS: Final = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis"}


class Sources:
    """The sources of one queen's triggers.

    Args:
        triggers: The triggers.
        queue_url: Address of the server's queue; empty = there is none.
    """

    def __init__(self, triggers: Triggers, queue_url: str) -> None:
        self._triggers = triggers
        self._queue_url = queue_url
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._purger: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins with every trigger there is, and follows what comes and goes."""
        self._triggers.on_changed = self.changed
        for row in self._triggers.all():
            self.changed(row.key)
        self._purger = asyncio.create_task(self._purge())

    async def stop(self) -> None:
        """Ends them all; what was not acknowledged comes again."""
        tasks, self._tasks = list(self._tasks.values()), {}
        if self._purger is not None:
            tasks.append(self._purger)
        await end(tasks)

    def changed(self, key: Key) -> None:
        """A trigger has come, gone, or been changed: its source begins anew, or ends."""
        before = self._tasks.pop(key, None)
        if before is not None:
            before.cancel()
        row = self._triggers.find(key)
        if row is not None and row.spec is not None and row.spec.type != WEBHOOK and not row.rests:
            self._tasks[key] = asyncio.create_task(self._keep(key, row.spec, before))
        else:
            self._triggers.tally(key).error = ""

    async def _keep(self, key: Key, spec: Trigger, before: asyncio.Task[None] | None) -> None:
        """Runs one source for as long as its trigger stays as it is."""
        if before is not None:
            await end([before])
        tally, failures = self._triggers.tally(key), 0
        while True:
            tally.error = tally.error or ("starting" if not failures else "")
            try:
                await self._open(key, spec).run()
            except Exception as error:  # whatever a library raises: the source is tried again
                failures = 1 if not tally.error or tally.error == "starting" else failures + 1
                text = next(iter(f"{error}".strip().splitlines()), type(error).__name__)  # then come dumps of libraries
                tally.error = text[:500]
                log.warning("the trigger %s of %s cannot reach its source: %s", key[2], key[1], text)
            first, longest = PAUSE_S
            await asyncio.sleep(min(longest, first * 2 ** min(failures - 1, 10)) * (1 - random.random() / 2))

    async def _purge(self) -> None:
        """Removes letters that are too old, a few at a time."""
        while True:
            with contextlib.suppress(StoreError):  # the next hour will do
                while await self._triggers.purge_letters(KEEP_LETTERS_S, PURGE_BATCH):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(PURGE_EVERY_S)

    def _open(self, key: Key, spec: Trigger) -> Source:
        """The source of a trigger. Raises SourceError."""
        taker = Taker(self._triggers, key)
        is_told = spec.type == OBJECTS and bool(spec.notification_queue)
        url = (spec.notification_url if is_told else spec.url) or self._queue_url
        if spec.type != QUEUE and not (is_told and url):  # who tells nothing is asked
            return Objects(taker, spec)
        if is_told:
            taker = NoticeTaker(self._triggers, key, spec)
        topic = spec.notification_queue if is_told else spec.topic
        provider = _PROVIDERS.get(urlsplit(url).scheme, "")
        if not provider:
            raise SourceError("no queue is known: give the trigger a url, or the server its --queue-url")
        if spec.provider not in ("", provider):  # an address in the file was looked at when it was read
            text = f"the server's --queue-url is one of {provider}, not of {spec.provider}: give the trigger a url"
            raise SourceError(text)
        return (JetStream if provider == "nats" else RedisStream)(taker, url, topic, spec.group)
