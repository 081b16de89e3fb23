"""Asks the alert rules at their interval, remembers episodes, does what is due.

Theory of operation. Each episode is a row of the store's `states`. That an action is done, and how many local ants
there are from then on, is one commit, made before an ant is started or stopped: a server that is killed in between
starts with the new number. Messages are notices, written in the commit in which an episode begins or ends, and
delivered by the queen's outbox: one that is killed in between sends them again, under the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, fields
from typing import Protocol

import msgspec

from formicary.engine.queen.notify.alerting import channels_of, write
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.port import StoreError
from formicary.problems import Problem
from formicary.server.alerts.condition import Sample
from formicary.server.alerts.episodes import FIRING, Episode, done, step
from formicary.server.alerts.rules import CONSOLIDATE, SCALE, AlertRule, AlertRules
from formicary.server.auth.principal import HOME
from formicary.server.metrics.collector import ServerCollector, Sources

log = logging.getLogger("formicary.alerts")
KIND, SCALING = "alert", "scaling"
EPISODE = tuple(one.name for one in fields(Episode))


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
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads what is remembered and begins to look."""
        for _, _, name, value, _ in await self._queen.pump.read(lambda: self._queen.store.states(KIND)):
            if isinstance(value, bytes):
                kept = msgspec.json.decode(value)
                self.episodes[str(name)] = Episode(**{key: kept[key] for key in EPISODE if key in kept})
        await self._show()
        self._task = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
            if after != before or (after.owes and rule.action not in (SCALE, CONSOLIDATE)):
                changed = True
                self._tell(rule, before, after)
                if after.owes and rule.action not in (SCALE, CONSOLIDATE):
                    after = done(after)
                self._remember(rule, after)
        if changed:
            await self._queen.pump.commit()
        for rule in self._rules.rules:
            if self._of(rule).owes:
                await self._scale(rule)

    async def _loop(self) -> None:
        while True:
            try:
                await self.look(time.time())
            except (Problem, StoreError) as error:
                log.warning("alerts are looked at again later: %s", error)
            await asyncio.sleep(self._rules.interval_s)

    async def _show(self) -> None:
        """The store has each rule, and none that is there no more."""
        core = self._queen.pump.now()
        for rule in self._rules.rules:
            self._remember(rule, self._of(rule))
        for name in self.episodes.keys() - {rule.name for rule in self._rules.rules}:
            del self.episodes[name]
            core.batch.changes.states[KIND, "", name] = (KIND, "", name, None, core.wall)
        await self._queen.pump.commit()

    def _of(self, rule: AlertRule) -> Episode:
        return self.episodes.get(rule.name, Episode())

    def _remember(self, rule: AlertRule, episode: Episode) -> None:
        core = self._queen.pump.now()
        self.episodes[rule.name] = episode
        shown = {"condition": rule.text, "action": rule.action, "message": rule.message}
        value = msgspec.json.encode({**shown, **asdict(episode)})
        core.batch.changes.states[KIND, "", rule.name] = (KIND, "", rule.name, value, core.wall)

    def _tell(self, rule: AlertRule, before: Episode, after: Episode) -> None:
        if after.state == FIRING and before.state != FIRING:
            self.fired += 1
            log.warning("alert %s fires: %s (%s)", rule.name, rule.text, rule.action)
        elif before.state == FIRING and after.state != FIRING:
            log.warning("alert %s is over", rule.name)
            self._write(rule, before, "resolved")
        if after.owes and (after.due > before.due or rule.action not in (SCALE, CONSOLIDATE)):
            self._write(rule, after, "firing")

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

    def _write(self, rule: AlertRule, episode: Episode, state: str) -> None:
        """Tells of the alert: the notices are in the same commit as the episode."""
        channels = channels_of(rule.url, rule.recipients, can_mail=self._queen.outbox.can_mail)
        which = episode.due if state == "firing" else 0
        body = {
            "alert": rule.name,
            "state": state,
            "condition": rule.text,
            "action": rule.action,
            "message": rule.message,
            "recipients": list(rule.recipients),
            "episode": episode.number,
            "firing_since": episode.since,
        }
        write(self._queen.pump.now(), HOME, episode.number, which, body, channels)


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
