"""What an object store says of its new objects, in messages of a queue: nothing is listed.

A store that speaks the protocol of S3 can tell each new object (AWS S3, MinIO and others; "event notifications"): one
message is one JSON document with any number of `Records`. Each record of a creation is an event of its own, with the
identity that a list of the store would give it; the message is acknowledged after the commit of all its jobs.

Source: Amazon S3 User Guide, "Event message structure".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote_plus, urlsplit

from formicary.engine.jobs.triggers import Trigger
from formicary.engine.queen.sources.source import Arrival, Taker
from formicary.engine.queen.trigger_rows import Event, Key
from formicary.engine.queen.triggers import Triggers

CREATED = "ObjectCreated"
"""In the name of an event: s3:ObjectCreated:Put and so on."""
MOST_RECORDS = 1000
"""Of one message."""


class NoticeTaker(Taker):
    """Makes jobs of the objects that a queue's messages tell of.

    Args:
        triggers: The triggers.
        key: Which of them.
        spec: Which objects count.
    """

    def __init__(self, triggers: Triggers, key: Key, spec: Trigger) -> None:
        super().__init__(triggers, key)
        self._spec = spec

    async def take(self, arrivals: Sequence[Arrival]) -> float:
        """The same as of any source, of each object."""
        found: list[Arrival] = []
        for one in arrivals:
            found += self._of_message(one)
        return await super().take(found)

    def _of_message(self, message: Arrival) -> list[Arrival]:
        """An arrival for each object; the message is done with the last of them."""
        if message.problem:
            return [message]
        told = message.event.variables.get("Message")
        records = told.get("Records") if isinstance(told, Mapping) else None
        if not isinstance(records, list) or len(records) > MOST_RECORDS:
            if isinstance(told, Mapping) and "s3:TestEvent" in (told.get("Event"), told.get("EventName")):
                records = []
            else:
                problem = f"the message has no list `Records` of at most {MOST_RECORDS} events of an object store"
                return [replace(message, problem=problem)]
        events = [event for record in records if (event := object_event(record, self._spec)) is not None]
        if not events:  # of other objects: it is over at once, and starts nothing
            return [replace(message, event=Event({}, "", message.event.origin), passed=True)]
        done = _after(len(events), message.done)
        return [Arrival(event, message.content, "", done, message.later) for event in events]


def _after(count: int, done: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Calls `done` with the last of so many calls."""
    left = count

    async def one() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            await done()

    return one


def object_event(record: object, spec: Trigger) -> Event | None:
    """The event of a record; None where it tells of nothing that counts."""
    if not isinstance(record, Mapping) or CREATED not in str(record.get("eventName", "")):
        return None
    inner = record.get("s3")
    bucket, found = (inner.get("bucket"), inner.get("object")) if isinstance(inner, Mapping) else (None, None)
    if not isinstance(found, Mapping) or not isinstance(found.get("key"), str):
        return None
    name = str(bucket.get("name", "")) if isinstance(bucket, Mapping) else ""
    wanted = spec.bucket or urlsplit(spec.url).netloc or urlsplit(spec.url).path.strip("/")
    if urlsplit(spec.url).scheme in ("http", "https"):
        wanted = urlsplit(spec.url).path.strip("/")
    key = unquote_plus(found["key"])
    if name != wanted or not key.startswith(spec.prefix) or not key.endswith(spec.suffix):
        return None
    version = str(found.get("eTag") or found.get("sequencer") or found.get("versionId") or "").strip('"')
    shown = {"Key": key, "Bucket": name, "Size": found.get("size", 0), "ETag": version}
    shown["LastModified"] = str(record.get("eventTime", ""))
    return Event({"Object": shown}, f"{spec.source}\n{key}\n{version}", key)
