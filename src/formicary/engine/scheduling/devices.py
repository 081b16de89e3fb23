"""Place: devices that one task at a time may use, handed out in two phases.

In the first a decision reserves concrete devices of the ant that it chooses, by what the task asks for; in the second
the ant claims them, as it takes the attempt that names them. A reservation lives as long as the lease: one that never
reaches its ant ends with it. An attempt that asks for several kinds gets them by optimal assignment, so that none takes
what only another could use.

A device belongs to an ant's name, not to its process: while a lost process may still use it, the next one does not get
it. Which devices there are each process says for itself: the hello of one that is gone may come after that of the next.
After a restart of the queen nobody knows which devices an attempt has until its ant says so: until then all of that
ant's are taken.

Source: Kubernetes, "Dynamic Resource Allocation" (requests with selectors over attributes, and a count); Raman, Livny,
Solomon, "Matchmaking", HPDC 1998 (claiming).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from formicary.engine.scheduling.policies.matchmaking import Requirements, match
from formicary.engine.scheduling.requirements import requirements

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode


def as_text(devices: Sequence[Mapping[str, Any]]) -> str:
    """What a task asks for as a text that is equal for equal ones; empty = nothing."""
    asked = [{name: value for name, value in one.items() if name != "name"} for one in devices]
    return _encode(asked).decode() if asked else ""


@lru_cache(maxsize=4096)
def wants(text: str) -> tuple[Requirements, ...]:
    """One entry for each device that is asked for."""
    return tuple(
        requirements(_encode({"labels": one.get("match", {}), "expressions": one.get("expressions", [])}).decode())
        for one in _decode(text)
        for _ in range(int(one.get("count", 1)))
    )


def in_words(text: str) -> str:
    """What is asked for, as people write it."""
    found = []
    for one in _decode(text):
        parts = [f"{key}={value}" for key, value in one.get("match", {}).items()]
        parts += [
            f"{each['key']} {each['operator']} {' '.join(map(str, each.get('values') or ()))}".rstrip()
            for each in one.get("expressions", ())
        ]
        found.append(f"{one.get('count', 1)} x {' '.join(parts) or 'any'}")
    return ", ".join(found)


@dataclass(frozen=True, slots=True)
class Device:
    """Something that one task at a time may use."""

    id: str
    labels: Mapping[str, str]
    """What tasks may ask for."""
    tags: frozenset[str] = frozenset()


class Devices:
    """All devices of one colony, and who has which."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Device]] = {}
        """By process."""
        self._processes: dict[str, set[str]] = {}
        """By ant."""
        self._free: dict[str, list[Device]] = {}
        """By process; made anew when it is asked for."""
        self._held: dict[int, tuple[str, tuple[str, ...]]] = {}
        """Ant and devices by token."""
        self._unknown: dict[str, set[int]] = {}
        """Attempts by ant that have devices of it, and nobody knows which."""
        self._answers: dict[tuple[str, tuple[str, ...]], bool] = {}

    def announce(self, process: str, devices: Mapping[str, Mapping[str, str]]) -> None:
        """A process of an ant says what it has; what is held stays held, though it may be gone."""
        self._of[process] = {name: Device(name, labels) for name, labels in devices.items()}
        self._processes.setdefault(_ant_of(process), set()).add(process)
        self._changed(_ant_of(process))

    def forget(self, process: str) -> None:
        """The process is gone."""
        ant = _ant_of(process)
        self._changed(ant)
        self._of.pop(process, None)
        if found := self._processes.get(ant):
            found.discard(process)
            if not found:
                del self._processes[ant]

    def of(self, process: str) -> Mapping[str, Device]:
        """Those of a process."""
        return self._of.get(process, {})

    def holders(self, ant: str) -> dict[str, int]:
        """Tokens by device of an ant."""
        return {name: token for token, (where, names) in self._held.items() if where == ant for name in names}

    # --- what could be ----------------------------------------------------------------------------------------------

    def has(self, process: str, *texts: str) -> bool:
        """Whether a process has the devices for all of these, in use or not."""
        return _chosen(texts, self._sorted(process)) is not None

    def could(self, process: str, texts: Sequence[str], without: Collection[int] = ()) -> bool:
        """Whether the devices for all of these are free together.

        Args:
            process: Whose.
            texts: What each task asks for.
            without: Tokens whose devices count as free.
        """
        ant = _ant_of(process)
        if self._unknown.get(ant, frozenset[int]()) - set(without):
            return False
        if without:
            taken = {name for name, token in self.holders(ant).items() if token not in without}
            return _chosen(texts, [one for one in self._sorted(process) if one.id not in taken]) is not None
        key = (process, tuple(texts))
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = _chosen(texts, self._free_of(process)) is not None
        return found

    def plan(self, process: str, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Free devices for all of these, in their order. Raises ValueError where there are none, see `could`."""
        found = None if self._unknown.get(_ant_of(process)) else _chosen(texts, self._free_of(process))
        if found is None:
            raise ValueError(f"{process} has no devices free for {'; '.join(map(in_words, texts))}")
        return found

    # --- the two phases ---------------------------------------------------------------------------------------------

    def reserve(self, token: int, ant: str, devices: tuple[str, ...]) -> None:
        """Phase one: a decision has given an attempt devices of an ant."""
        self._held[token] = (ant, devices)
        self._changed(ant)

    def adopt(self, token: int, ant: str) -> None:
        """An attempt is out whose devices only its ant knows."""
        self._unknown.setdefault(ant, set()).add(token)
        self._changed(ant)

    def claim(self, token: int, devices: tuple[str, ...]) -> None:
        """Phase two: the ant says that an attempt has these; what the decision said stays true."""
        for ant, tokens in self._unknown.items():
            if token in tokens:
                self._known(ant, token)
                self.reserve(token, ant, devices)
                return

    def of_token(self, token: int) -> tuple[str, ...]:
        """Devices of an attempt."""
        return self._held[token][1] if token in self._held else ()

    def release(self, token: int) -> None:
        """The attempt is over."""
        found = self._held.pop(token, None)
        if found is not None:
            self._changed(found[0])
        for ant in [ant for ant, tokens in self._unknown.items() if token in tokens]:
            self._known(ant, token)

    def _known(self, ant: str, token: int) -> None:
        self._unknown[ant].discard(token)
        if not self._unknown[ant]:
            del self._unknown[ant]
        self._changed(ant)

    def _sorted(self, process: str) -> list[Device]:
        return sorted(self.of(process).values(), key=_name)

    def _free_of(self, process: str) -> list[Device]:
        found = self._free.get(process)
        if found is None:
            held = self.holders(_ant_of(process))
            found = self._free[process] = [one for one in self._sorted(process) if one.id not in held]
        return found

    def _changed(self, ant: str) -> None:
        processes = self._processes.get(ant, frozenset[str]())
        for process in processes:
            self._free.pop(process, None)
        for key in [key for key in self._answers if key[0] in processes]:
            del self._answers[key]


def _ant_of(process: str) -> str:
    """The name of a process is that of its ant, and its own after a stroke."""
    return process.partition("/")[0]


def _name(device: Device) -> str:
    return device.id


def _chosen(texts: Iterable[str], devices: Sequence[Device]) -> list[tuple[str, ...]] | None:
    """Devices by text, or None where they are not enough; ties go to the first."""
    each = [wants(text) for text in texts]
    asked = [one for part in each for one in part]
    if len(asked) > len(devices):
        return None
    places = match(asked, devices)
    names = iter([devices[at].id for at in places if at is not None])
    if any(at is None for at in places):
        return None
    return [tuple(sorted(next(names) for _ in part)) for part in each]
