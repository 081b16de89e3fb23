"""Asks the alert rules at their interval, remembers episodes, does what is due.

Theory of operation. Each episode is a row of the store's `states`. That an action is done, and how many local ants
there are from then on, is one commit, made before an ant is started or stopped: a server that is killed in between
starts with the new number. A message to a URL is sent first and noted as done then: one that is killed in between sends
it again, under the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Protocol

import httpx
import msgspec

from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.port import StoreError
from formicary.problems import Problem
from formicary.server.alerts.condition import Sample
from formicary.server.alerts.episodes import FIRING, Episode, done, step
from formicary.server.alerts.rules import CONSOLIDATE, SCALE, AlertRule, AlertRules
from formicary.server.metrics.collector import ServerCollector, Sources

log = logging.getLogger("formicary.alerts")
KIND, SCALING = "alert", "scaling"
SEND_TIMEOUT_S = 10.0
PAUSE_S = (1.0, 60.0)
"""First and longest pause before a message is sent again."""


class Ants(Protocol):
    """The local ants."""

    @property
    def count(self) -> int:
        """How many there are to be."""
        ...

    def grow(self, count: int) -> None:
        """Starts ants until there are so many."""
        ...

    def retire(self, ant_id: str) -> bool:
        """Has one finish what runs and end; False where it is not there."""
        ...

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        ...


class AlertWatch:
    """The alerts of one server.

    Args:
        rules: What to look at.
        queen: Whose store remembers.
        sources: Where the figures come from.
        refresh: Brings counts that are made on request up to date.
        ants: The local ants.
        base: How many of them the configuration wants.
    """

    def __init__(
        self,
        rules: AlertRules,
        queen: Queen,
        sources: Sources,
        refresh: Callable[[], Awaitable[None]],
        ants: Ants,
        base: int,
    ) -> None:
        self._rules = rules
        self._queen = queen
        self._collector = ServerCollector(sources)
        self._refresh = refresh
        self._ants = ants
        self._base = base
        self.episodes: dict[str, Episode] = {}
        self.fired = 0
        """Episodes that have begun since the server started."""
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._client = httpx.AsyncClient(timeout=SEND_TIMEOUT_S)

    async def start(self) -> None:
        """Reads what is remembered and begins to look."""
        for _, _, name, value, _ in await self._queen.pump.read(lambda: self._queen.store.states(KIND)):
            if isinstance(value, bytes):
                self.episodes[str(name)] = Episode(**msgspec.json.decode(value))
        self._task = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        """Looks no more; messages under way are sent again by the next server."""
        tasks = [task for task in (self._task, *self._sending.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def firing(self) -> Mapping[str, float]:
        """1 for each rule that fires, 0 for the others."""
        return {rule.name: float(self._of(rule).state == FIRING) for rule in self._rules.rules}

    async def look(self, at: float) -> None:
        """Asks every rule once. Raises Problem UNAVAILABLE, StoreError."""
        await self._refresh()
        figures: dict[str, list[Sample]] = {}
        for metric in self._collector.collect():
            for sample in metric.samples:
                figures.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
        changed = False
        for rule in self._rules.rules:
            before = self._of(rule)
            after = step(rule, before, at, holds=rule.condition.holds(figures))
            if after != before:
                changed = True
                self._remember(rule, after)
                self._tell(rule, before, after)
        if changed:
            await self._queen.pump.commit()
        for rule in self._rules.rules:
            if self._of(rule).owes:
                await self._act(rule)

    async def _loop(self) -> None:
        while True:
            try:
                await self.look(time.time())
            except (Problem, StoreError) as error:
                log.warning("alerts are looked at again later: %s", error)
            await asyncio.sleep(self._rules.interval_s)

    def _of(self, rule: AlertRule) -> Episode:
        return self.episodes.get(rule.name, Episode())

    def _remember(self, rule: AlertRule, episode: Episode) -> None:
        core = self._queen.pump.now()
        self.episodes[rule.name] = episode
        value = msgspec.json.encode(asdict(episode))
        core.batch.changes.states[KIND, "", rule.name] = (KIND, "", rule.name, value, core.wall)

    def _tell(self, rule: AlertRule, before: Episode, after: Episode) -> None:
        if after.state == FIRING and before.state != FIRING:
            self.fired += 1
            log.warning("alert %s fires: %s (%s)", rule.name, rule.text, rule.action)
        elif before.state == FIRING and after.state != FIRING:
            log.warning("alert %s is over", rule.name)
            if before.owes:
                log.warning("alert %s is over before %s could be told", rule.name, rule.url)

    async def _act(self, rule: AlertRule) -> None:
        if rule.action in (SCALE, CONSOLIDATE):
            await self._scale(rule)
        if rule.url and rule.name not in self._sending:
            self._sending[rule.name] = asyncio.create_task(self._send(rule, self._of(rule)))
            self._sending[rule.name].add_done_callback(lambda _: self._sending.pop(rule.name, None))

    async def _scale(self, rule: AlertRule) -> None:
        now = self._ants.count
        wanted = min(now + rule.by, rule.most) if rule.action == SCALE else max(now - rule.by, rule.least)
        wanted = max(now, wanted) if rule.action == SCALE else min(now, wanted)
        core = self._queen.pump.now()
        value = msgspec.json.encode({"base": self._base, "count": wanted})
        core.batch.changes.states[SCALING, "", "ants"] = (SCALING, "", "ants", value, core.wall)
        self._remember(rule, done(self._of(rule)))
        await self._queen.pump.commit()
        if wanted > now:
            self._ants.grow(wanted)
        for ant_id in self._least_used(now - wanted):
            self._ants.retire(ant_id)
        if wanted != now:
            log.warning("alert %s: %d local ants instead of %d", rule.name, wanted, now)

    def _least_used(self, number: int) -> list[str]:
        held = {ant.id: len(ant.held) for ant in self._queen.pump.core.leases.ants.values()}
        return sorted(self._ants.ids, key=lambda ant_id: (held.get(ant_id, 0), ant_id))[: max(0, number)]

    async def _send(self, rule: AlertRule, episode: Episode) -> None:
        """Tells a URL until it has taken it, or the episode is over."""
        key = f"alert-{sha256(rule.name.encode()).hexdigest()[:16]}-{episode.number}-{episode.due}"
        pause_s, longest = PAUSE_S
        while (now := self._of(rule)).number == episode.number and now.state == FIRING:
            try:
                answer = await self._client.post(rule.url, json=_body(rule, episode), headers={"Idempotency-Key": key})
                if answer.is_success:
                    if rule.action not in (SCALE, CONSOLIDATE):
                        self._remember(rule, done(self._of(rule)))
                        await self._queen.pump.commit()
                    return
                why = f"it answered {answer.status_code}"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = str(error) or type(error).__name__
            except Problem as error:
                why = error.detail
            log.warning("alert %s cannot be told to %s yet: %s", rule.name, rule.url, why)
            await asyncio.sleep(pause_s)
            pause_s = min(longest, pause_s * 2)


def _body(rule: AlertRule, episode: Episode) -> dict[str, Any]:
    return {
        "alert": rule.name,
        "condition": rule.text,
        "action": rule.action,
        "message": rule.message,
        "recipients": list(rule.recipients),
        "episode": episode.number,
        "firing_since": episode.since,
    }


async def ants_to_start(queen: Queen, base: int) -> int:
    """How many local ants a server starts with: as many as alerts have made it, unless it is configured anew.

    Args:
        queen: A started queen.
        base: What the configuration says.
    """
    for row in await queen.pump.read(lambda: queen.store.states(SCALING)):
        if isinstance(row[3], bytes):
            kept = msgspec.json.decode(row[3], type=dict[str, int])
            if kept.get("base") == base:
                return kept.get("count", base)
    return base
