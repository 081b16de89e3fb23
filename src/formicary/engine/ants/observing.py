"""What running attempts use of this machine: processors and memory of all their processes, as the kernel counts them.

A look reads the state of every process once. To an attempt belong the members of its process groups and all that
descend from them. Processor time of what has ended meanwhile counts too: whoever has waited for a child has its time.
Memory is the resident size; shared pages count for each process, so it is too much rather than too little.

Source: proc(5), /proc/PID/stat.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LEAST_S = 0.2
"""Shortest time that a rate is taken over."""


@dataclass(frozen=True, slots=True)
class Use:
    """What an attempt uses: processors, and bytes of memory."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    group: int
    cpu_s: float
    memory: float


class Observer:
    """Looks again and again; processor time is compared with the look before."""

    def __init__(self, folder: str = "/proc") -> None:
        self._folder = folder
        self._before: dict[int, tuple[float, float]] = {}
        """Of each attempt: when it was looked at, and its processor time by then."""

    def look(self, groups: Mapping[int, tuple[Collection[int], float]], now: float) -> dict[int, Use]:
        """What attempts have used since the last look.

        Args:
            groups: By token of each running attempt its process groups, and when they began: all their processor time
                is its own from then on; 0 = they are older than the attempt.
            now: Monotonic seconds.

        Returns:
            By token; without attempts that are looked at for the first time, or of which nothing is seen.
        """
        self._before = {token: before for token, before in self._before.items() if token in groups}
        processes = self._processes() if groups else {}
        children: dict[int, list[int]] = {}
        members: dict[int, list[int]] = {}
        for pid, one in processes.items():
            children.setdefault(one.parent, []).append(pid)
            members.setdefault(one.group, []).append(pid)
        found: dict[int, Use] = {}
        for token, (own, began) in groups.items():
            mine = _family((pid for group in own for pid in members.get(group, ())), children)
            if not mine:
                continue
            cpu_s = sum(processes[pid].cpu_s for pid in mine)
            at, before_s = self._before.get(token, (began, 0.0))
            if at and now - at < LEAST_S:
                continue
            if at:
                used = max(0.0, cpu_s - before_s) / (now - at)
                found[token] = Use(used, sum(processes[pid].memory for pid in mine))
            self._before[token] = (now, cpu_s)
        return found

    def _processes(self) -> dict[int, _Process]:
        found = {}
        try:
            names = os.listdir(self._folder)
        except OSError:  # no such system: nothing is said, and all counts as it was asked for
            return {}
        for name in names:
            if name.isdigit() and (one := self._read(name)) is not None:
                found[int(name)] = one
        return found

    def _read(self, name: str) -> _Process | None:
        try:
            with open(f"{self._folder}/{name}/stat", "rb", buffering=0) as file:
                text = file.read(4096)
        except OSError:  # it has ended meanwhile
            return None
        fields = text[text.rfind(b")") + 2 :].split()
        if len(fields) < 22:
            return None
        return _Process(
            int(fields[1]), int(fields[2]), sum(map(int, fields[11:15])) / _TICKS, int(fields[21]) * float(_PAGE_BYTES)
        )


def _family(roots: Iterable[int], children: Mapping[int, list[int]]) -> set[int]:
    """Processes and all that descend from them."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found
