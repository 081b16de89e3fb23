"""What goes wrong, drawn from the seed: crashes, pauses, partitions, a store that fails, a clock that jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.store import GOOD, REFUSED, UNKNOWN

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each fault one run has. Counts are of the whole run, shares of messages or commits."""

    horizon_s: float = 30.0
    queen_crashes: int = 2
    ant_kills: int = 3
    pauses: int = 1
    queen_pauses: int = 1
    partitions: int = 2
    drains: int = 1
    outages: int = 1
    clock_jumps: int = 1
    loss: float = 0.05
    duplicate: float = 0.05
    slow: float = 0.05
    bad_commits: float = 0.01


class Faults:
    """Lets the plan's faults happen at times of the seed's choice, and none after `stop`."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.loop = world.loop
        self.plan = plan
        self.is_over = False
        self.crashes = 0

    def start(self) -> None:
        """Draws when each fault happens."""
        plan, rng = self.plan, self.loop.random
        weather = self.world.weather
        weather.loss, weather.duplicate, weather.slow = plan.loss, plan.duplicate, plan.slow
        faults = (
            (plan.queen_crashes, self._crash_queen),
            (plan.ant_kills, self._kill_ant),
            (plan.pauses, self._pause_ant),
            (plan.queen_pauses, self._pause_queen),
            (plan.partitions, self._partition),
            (plan.drains, self._drain),
            (plan.outages, self._outage),
            (plan.clock_jumps, self._jump),
        )
        for count, fault in faults:
            for _ in range(count):
                self.loop.at(rng.random() * plan.horizon_s, fault)
        self.loop.at(plan.horizon_s, self.stop)

    def stop(self) -> None:
        """From now on everything works."""
        self.is_over = True
        weather = self.world.weather
        weather.loss = weather.duplicate = weather.slow = 0.0
        self.loop.note("faults: over")

    def fate(self) -> tuple[int, float]:
        """Fate and duration in seconds of the next commit."""
        rng = self.loop.random
        draw = rng.random()
        if self.is_over:
            return GOOD, 0.001
        if draw < self.plan.bad_commits:
            return (REFUSED if draw < self.plan.bad_commits / 2 else UNKNOWN), 0.02
        return GOOD, 0.001 + (0.5 * rng.random() if draw > 0.98 else 0.004 * draw)

    def _crash_queen(self) -> None:
        rng = self.loop.random
        self.crashes += 1
        self.world.queen.crash(back_after_s=rng.choice((0.2, 1.0, 4.0, 12.0)) * rng.random())

    def _kill_ant(self) -> None:
        rng = self.loop.random
        self.crashes += 1
        rng.choice(self.world.ants).kill(back_after_s=5.0 * rng.random())

    def _pause_ant(self) -> None:
        rng = self.loop.random
        seconds = rng.choice((2.0, 9.5, 14.0)) * (0.5 + rng.random())
        rng.choice(self.world.ants).pause(seconds, with_tasks=rng.random() < 0.5)

    def _pause_queen(self) -> None:
        self.world.queen.paused_until = self.loop.now + 12.0 * self.loop.random.random() ** 2

    def _partition(self) -> None:
        rng = self.loop.random
        ant = rng.choice(self.world.ants)
        ant.partitioned_until = self.loop.now + rng.choice((1.0, 4.0, 15.0)) * (0.3 + 0.7 * rng.random())
        self.loop.note("network: partition of", ant.name, "until", f"{ant.partitioned_until:.1f}")

    def _drain(self) -> None:
        self.loop.random.choice(self.world.ants).drain()

    def _outage(self) -> None:
        self.world.store.broken_until = self.loop.now + 3.0 * self.loop.random.random()
        self.loop.note("store: gone until", f"{self.world.store.broken_until:.1f}")

    def _jump(self) -> None:
        self.world.queen.wall_jump += self.loop.random.choice((-30.0, -2.0, 5.0, 60.0))
        self.loop.note("clock: jumps to", f"{self.world.queen.wall_jump:+.0f} s")
