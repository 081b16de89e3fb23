"""What every source of events is, and how what it brings becomes jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from formicary.engine.queen.trigger_rows import Event, Key
from formicary.engine.queen.triggers import Tally, Triggers

MOST_AT_ONCE = 100
"""Messages of one commit."""
CANCEL_AGAIN_S = 0.2
LONGEST_WAIT_S = 5.0
"""For the rate limit, until it is looked at again."""
_json = msgspec.json.Decoder().decode


class SourceError(Exception):
    """A source that cannot be used; the message says why and what to do. It is tried again."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that a source has brought.

    Attributes:
        event: The event.
        content: Its bytes, for the case that it can start no job.
        problem: Why it can start none; empty = it may.
        done: Tells the source that it need not bring it again; called after the commit.
        later: Tells the source to bring it again after so many seconds; None = it does so anyhow.
        passed: It starts nothing by itself, and nothing is wrong with it.
    """

    event: Event
    content: bytes
    problem: str
    done: Callable[[], Awaitable[object]]
    later: Callable[[float], Awaitable[object]] | None = None
    passed: bool = False


class Source(Protocol):
    """Brings the events of one trigger until it is cancelled."""

    async def run(self) -> None:
        """Raises SourceError, or whatever its library raises, where it cannot go on."""
        ...


class Taker:
    """Makes jobs of what one trigger's source brings.

    Args:
        triggers: The triggers.
        key: Which of them.
    """

    def __init__(self, triggers: Triggers, key: Key) -> None:
        self._triggers = triggers
        self.key = key

    @property
    def tally(self) -> Tally:
        """Where the source says how it is."""
        return self._triggers.tally(self.key)

    @property
    def mark(self) -> dict[str, Any]:
        """How far the source has come, as it is stored."""
        row = self._triggers.find(self.key)
        return dict(row.mark) if row is not None else {}

    async def note(self, mark: dict[str, Any]) -> None:
        """Stores how far it has come. Raises Problem UNAVAILABLE."""
        await self._triggers.note(self.key, mark)

    async def take(self, arrivals: Sequence[Arrival]) -> float:
        """Starts the jobs of what has arrived and puts aside what can start none, then tells the source.

        Returns:
            Seconds to wait before more is brought; 0 = none.

        Raises:
            Problem: UNAVAILABLE; nothing was told, and the source brings all of it again.
        """
        good = [one for one in arrivals if not one.problem and not one.passed]
        letters = [(one.event, one.problem, one.content) for one in arrivals if one.problem]
        over = [one for one in arrivals if one.problem or one.passed]
        limited: list[Arrival] = []
        wait_s = 0.0
        if good:
            taken = await self._triggers.take(self.key, [one.event for one in good])
            for one, outcome in zip(good, taken, strict=True):
                if outcome.outcome == "limited":
                    limited.append(one)
                    wait_s = max(wait_s, outcome.wait_s)
                    continue
                if outcome.outcome == "refused":
                    letters.append((one.event, outcome.reason, one.content))
                over.append(one)
        if letters:
            await self._triggers.put_aside(self.key, letters)
        for one in over:
            await one.done()
        for one in limited:
            if one.later is not None:
                await one.later(wait_s)
        return min(wait_s, LONGEST_WAIT_S)


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels tasks until they have ended: a library may take a cancellation for the end of a wait of its own."""
    rest = set(tasks)
    while rest:
        for task in rest:
            task.cancel()
        _, rest = await asyncio.wait(rest, timeout=CANCEL_AGAIN_S)


def message(topic: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, object], str]:
    """What templates see of a message, and why it can start no job (empty = it may)."""
    seen: dict[str, object] = {"Message": None, "Headers": headers, "Topic": topic}
    try:
        seen["Message"] = _json(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return seen, f"the message is no JSON: {error}"
    return seen, ""


def consumer_name(key: Key, group: str) -> str:
    """The name under which a queue remembers this trigger: letters, digits, hyphens and underscores alone."""
    whole = group or f"formicary-{key[0]}-{key[1]}-{key[2]}"
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in whole)
