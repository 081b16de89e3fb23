"""Streams between ants and the queen: order holds within a stream, everything else may happen.

A message that is lost breaks its stream, as it does in TCP. What was on its way when a stream broke may still arrive or
not; each side hears of the break by itself. A partition delays everything (TCP sends again), so that messages of an old
stream may arrive after those of a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.loop import Loop

if TYPE_CHECKING:
    from tests.simulation.ant import SimulatedAnt
    from tests.simulation.queen import QueenHost


SKEW_S = 0.5
"""One side hears of a break at most this much later than the other."""


@dataclass(slots=True)
class Weather:
    """How bad the network is. Shares are of messages, times in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0
    latency_s: float = 0.002
    slow_s: float = 1.5


class Stream:
    """One connection of one ant process, with the session number that the queen knows it by."""

    __slots__ = (
        "_arrives_down",
        "_arrives_up",
        "_drops",
        "_loop",
        "_weather",
        "ant",
        "ant_hears_at",
        "is_broken",
        "is_open_at_ant",
        "is_open_at_queen",
        "queen",
        "queen_life",
        "session",
    )

    def __init__(self, loop: Loop, weather: Weather, ant: SimulatedAnt, queen: QueenHost, session: int) -> None:
        self._loop = loop
        self._weather = weather
        self.ant = ant
        self.queen = queen
        self.queen_life = queen.life
        self.session = session
        self.is_broken = False
        self.ant_hears_at = float("inf")
        """When the ant is told, or would be if it were not paused, that the stream is broken."""
        self.is_open_at_ant = True
        self.is_open_at_queen = True
        self._drops = False
        self._arrives_up = self._arrives_down = loop.now

    def up(self, kind: str, content: Any) -> None:
        """The ant says something."""
        if self.is_broken:
            return
        loop, weather = self._loop, self._weather
        draw = loop.random.random()
        if draw < weather.loss:
            loop.note("network: lost", self.ant.name, kind)
            self.cut()
            return
        if self._arrives_up < (when := self._arrival(draw)):
            self._arrives_up = when
        loop.at(self._arrives_up, self._deliver_up, kind, content)
        if draw < weather.loss + weather.duplicate and kind != "hello":
            loop.at(self._arrives_up, self._deliver_up, kind, content)

    def down(self, message: Any) -> None:
        """The queen says something."""
        if self.is_broken:
            return
        draw = self._loop.random.random()
        if draw < self._weather.loss:
            self._loop.note("network: lost to", self.ant.name)
            self.cut()
            return
        if self._arrives_down < (when := self._arrival(draw)):
            self._arrives_down = when
        self._loop.at(self._arrives_down, self._deliver_down, message)

    def _arrival(self, draw: float) -> float:
        weather = self._weather
        delay = weather.latency_s * (0.5 + draw)
        if draw > 1.0 - weather.slow:
            delay += weather.slow_s * self._loop.random.random()
        return max(self._loop.now, self.ant.partitioned_until) + delay

    def _deliver_up(self, kind: str, content: Any) -> None:
        if not self.is_open_at_queen or (self.is_broken and self._drops) or self.queen.life != self.queen_life:
            return
        if self.queen.paused_until > self._loop.now:
            self._loop.at(self.queen.paused_until, self._deliver_up, kind, content)
        else:
            self.queen.receive(self, kind, content)

    def _deliver_down(self, message: Any) -> None:
        if not self.is_open_at_ant or (self.is_broken and self._drops):
            return
        if self.ant.paused_until > self._loop.now:
            self._loop.at(self.ant.paused_until, self._deliver_down, message)
        else:
            self.ant.receive(self, message)

    def cut(self) -> None:
        """The connection breaks; each side hears of it a little later, after what was still on its way to it."""
        if self.is_broken:
            return
        self.is_broken = True
        self._drops = self._loop.chance(0.5)
        breaks = max(self._loop.now, self.ant.partitioned_until)
        when = breaks + SKEW_S * self._loop.random.random()
        self._loop.at(when if self._drops else max(when, self._arrives_up), self._end_at_queen)
        self.ant_hears_at = breaks + SKEW_S * self._loop.random.random()
        self._loop.at(self.ant_hears_at, self._end_at_ant)

    def close_by_ant(self) -> None:
        """The ant closes its side, or its process has died."""
        self.is_open_at_ant = False
        self.cut()

    def close_by_queen(self) -> None:
        """The queen closes her side, or her process has died."""
        self.is_open_at_queen = False
        self.cut()

    def _end_at_queen(self) -> None:
        if self.queen.life == self.queen_life and self.queen.paused_until > self._loop.now:
            self._loop.at(self.queen.paused_until, self._end_at_queen)
        elif self.is_open_at_queen:
            self.is_open_at_queen = False
            if self.queen.life == self.queen_life:
                self.queen.stream_ended(self)

    def _end_at_ant(self) -> None:
        if self.ant.paused_until > self._loop.now:
            self._loop.at(self.ant.paused_until, self._end_at_ant)
        elif self.is_open_at_ant:
            self.is_open_at_ant = False
            self.ant.stream_ended(self)
