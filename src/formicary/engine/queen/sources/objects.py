"""New objects of a store: a directory, or whatever speaks the protocol of S3; listed at intervals.

An object's identity is its key and its version (ETag, else size and time). What the list before had is known in
memory; what is new is looked up by its idempotency key like every event, so that a restart costs a look-up for each
object and starts nothing twice. The stored mark says what was there before the trigger.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import msgspec

from formicary.engine.jobs.triggers import Trigger
from formicary.engine.queen.sources.source import MOST_AT_ONCE, Arrival, SourceError, Taker
from formicary.engine.queen.trigger_rows import Event
from formicary.problems import Problem

SETTLE_S = 2.0
"""A file that has changed so lately may still be written: it is left for the next list."""
MOST_SKIPPED = 10_000
"""Objects that are there before the trigger are remembered one by one where they are so few, else by their time."""
FOLDERS_VARIABLE = "FORMICARY_TRIGGER_DIRS"
"""The folders, separated by colons, in which files may start jobs; empty = any."""
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""Variables of the environment that say where keys for S3 are; on machines of its own cloud none is needed."""
_encode = msgspec.json.Encoder().encode


class Objects:
    """The source.

    Args:
        taker: What makes jobs of objects.
        spec: Where they are, and which count.
    """

    def __init__(self, taker: Taker, spec: Trigger) -> None:
        self._taker = taker
        self._spec = spec
        self._is_local = spec.url.startswith("file://")
        self._seen: frozenset[int] = frozenset()
        self._skipped: frozenset[int] = frozenset()
        self._since = 0.0

    async def run(self) -> None:
        """Lists for ever. Raises SourceError, errors of the store."""
        store = self._open()
        try:
            await self._watch(store)
        except (Problem, SourceError):
            raise
        except Exception as error:  # whatever the library raises: without keys it tells of places nobody has named
            if self._is_local or any(os.environ.get(name) for name in _KEYS):
                raise
            told = next(iter(f"{error}".splitlines()), type(error).__name__)
            raise SourceError(f"no access key is set ({', '.join(_KEYS)}), and without one: {told}") from error

    async def _watch(self, store: Any) -> None:
        await self._begin(store)
        while True:
            pause_s = await self._look(store)
            self._taker.tally.error = ""
            self._taker.tally.next_at = time.time() + pause_s
            await asyncio.sleep(pause_s)

    async def _begin(self, store: Any) -> None:
        """Which objects were there before the trigger, and do not count unless it says so."""
        mark = self._taker.mark
        if "skip" not in mark and "since" not in mark:
            if self._spec.from_beginning or mark.get("reset"):
                mark = {"skip": []}
            else:
                there = [_digest(found["path"], _version(found)) async for found in self._list(store)]
                mark = {"skip": there} if len(there) <= MOST_SKIPPED else {"since": float(int(time.time()))}
            await self._taker.note(mark)
        self._skipped, self._since = frozenset(mark.get("skip", ())), float(mark.get("since", 0.0))

    async def _look(self, store: Any) -> float:
        """One list; returns when the next one is due, in seconds. Raises Problem UNAVAILABLE, errors of the store."""
        pause_s, now = self._spec.poll_interval_s, time.time()
        seen: set[int] = set()
        new: list[Mapping[str, Any]] = []
        async for found in self._list(store):
            place = _digest(found["path"], _version(found))
            at = found["last_modified"].timestamp()
            if place in self._skipped or at < self._since:
                continue
            if place in self._seen:
                seen.add(place)
            elif self._is_local and now - SETTLE_S < at <= now:
                pause_s = min(pause_s, SETTLE_S)
            else:
                new.append(found)
        for start in range(0, len(new), MOST_AT_ONCE):
            part = new[start : start + MOST_AT_ONCE]
            if wait_s := await self._taker.take([self._arrival(found, seen) for found in part]):
                pause_s = min(pause_s, wait_s)
                break  # what was limited is new to the next list, too
        self._seen = frozenset(seen)
        return pause_s

    async def _list(self, store: Any) -> AsyncIterator[Mapping[str, Any]]:
        folder, _, _ = self._spec.prefix.rpartition("/")
        async for part in store.list(prefix=folder or None, chunk_size=1000):
            for found in part:
                if found["path"].startswith(self._spec.prefix) and found["path"].endswith(self._spec.suffix):
                    yield found

    def _arrival(self, found: Mapping[str, Any], seen: set[int]) -> Arrival:
        version, spec = _version(found), self._spec
        bucket = spec.bucket or urlsplit(spec.url).netloc or urlsplit(spec.url).path
        shown = {"Key": found["path"], "Bucket": bucket, "Size": found["size"], "ETag": version}
        shown["LastModified"] = found["last_modified"].isoformat()
        event = Event({"Object": shown}, f"{spec.source}\n{found['path']}\n{version}", found["path"])

        async def done() -> None:
            seen.add(_digest(found["path"], version))

        return Arrival(event, _encode(shown), "", done)

    def _open(self) -> Any:
        """The store. Raises SourceError."""
        try:
            from obstore.store import LocalStore, S3Store
        except ImportError as error:
            raise SourceError("this server cannot read object stores: install formicary[artifacts]") from error
        spec = self._spec
        parts = urlsplit(spec.url)
        if parts.scheme == "file":
            folder = os.path.realpath(parts.path)
            _check_folder(folder, os.environ.get(FOLDERS_VARIABLE, "").split(":"))
            if not os.path.isdir(folder):
                raise SourceError(f"there is no folder {folder}")
            return LocalStore(folder)
        if parts.scheme in ("http", "https"):
            options: Any = {"allow_http": parts.scheme == "http"}
            return S3Store(parts.path.strip("/"), endpoint=f"{parts.scheme}://{parts.netloc}", client_options=options)
        allow: Any = {"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")}
        return S3Store(spec.bucket or parts.netloc, client_options=allow)


def _version(found: Mapping[str, Any]) -> str:
    return str(found.get("e_tag") or f"{found['size']}-{found['last_modified'].timestamp()}").strip('"')


def _digest(path: str, version: str) -> int:
    """A number that stands for an object's version: 52 bits, which JSON keeps."""
    return int.from_bytes(sha256(f"{path}\n{version}".encode()).digest()[:8]) >> 12


def _check_folder(folder: str, allowed: Sequence[str]) -> None:
    """Raises SourceError where the server's operator allows other folders only."""
    roots = [os.path.realpath(root) for root in allowed if root]
    if roots and not any(folder == root or folder.startswith(root.rstrip("/") + "/") for root in roots):
        raise SourceError(f"{folder} is none of the folders that {FOLDERS_VARIABLE} of the server allows")
