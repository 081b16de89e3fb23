"""One simulated world: a queen's host, a store, ants, clients and a network, all driven by one seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from formicary.engine.jobs.fan_out import definition_position, definition_task
from formicary.engine.jobs.quality import holds
from formicary.engine.queen.core.batch import Assignment
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.outcome import COMPLETED, LOST, Outcome
from formicary.engine.storage.port import Changes, Row
from tests.simulation.ant import SimulatedAnt
from tests.simulation.client import Client, Order
from tests.simulation.faults import Faults, Plan
from tests.simulation.invariants import Monitor
from tests.simulation.jobs import GANGS, KINDS, MADE, Kind
from tests.simulation.loop import Loop
from tests.simulation.network import Stream, Weather
from tests.simulation.placed import PLACED, PLACED_WILD, offers
from tests.simulation.queen import WALL_AT_START, QueenHost
from tests.simulation.store import SimulatedStore
from tests.simulation.voters import Voters
from tests.simulation.wild import wild_kinds

SCAN_EVERY = 50
SHARES = (
    "policy: capacity\nset: {reclaim: graceful}\n"
    "queues:\n- {name: some, guaranteed: 50}\n- {name: rest, guaranteed: 50}\ndefault: rest\n"
)
WILD: dict[str, Kind] = {kind.definition.job_type: kind for kind in wild_kinds(300)}
ALL_KINDS = {**KINDS, **GANGS, **MADE, **WILD, **PLACED, **PLACED_WILD}
MODELS = {name: kind.definition for name, kind in ALL_KINDS.items()}
ROWS = {name: kind.row for name, kind in ALL_KINDS.items()}
_EVIDENCE = 1_000_000_000.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Size of one world."""

    ants: int = 3
    slots: int = 4
    window: int = 4
    jobs: int = 50
    spread_s: float = 20.0
    plan: Plan = field(default_factory=Plan)
    config: CoreConfig = field(default_factory=CoreConfig)
    strict_store: bool = False
    wild: float = 0.0
    """Share of jobs with random graphs."""
    queues: str = ""
    """Configuration of queues; empty = by priority and submission. With one a part of the jobs are gangs."""
    placed: bool = False
    """Most jobs have classes, neighbours or devices, and ants have what these ask for."""
    observed: bool = False
    """The configuration gives out what is asked for and not used."""
    overcommit: float = 1.0
    """How often it gives out what there is."""
    makes_room: bool = False
    """An order or a queue of it lets tasks that are promised something give way, too."""


class World:
    """Everything of one run."""

    def __init__(self, seed: int, setting: Setting, *, trace: bool = False) -> None:
        self.setting = setting
        self.config = setting.config
        self.loop = Loop(seed, trace=trace)
        self.kinds, self.models, self.rows = ALL_KINDS, MODELS, ROWS
        self.weather = Weather()
        self.queen_batch: dict[int, Row] = {}
        self.monitor = Monitor(self)
        self.store = SimulatedStore(self.loop, self._committed, strict=setting.strict_store)
        self.faults = Faults(self, setting.plan)
        self.queen = QueenHost(self)
        self._sessions = 0
        self._ids = 0
        self._ends = 0
        rng = self.loop.random
        self.ants = [
            SimulatedAnt(
                self,
                f"ant{i}",
                setting.slots,
                setting.window,
                frozenset({"big"}) if i == 0 or rng.random() < 0.3 else frozenset(),
                **(offers(i, rng) if setting.placed else {}),
            )
            for i in range(setting.ants)
        ]
        kinds, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
        chosen = rng.choices(kinds, weights, k=setting.jobs)
        if setting.wild:
            wild = list(WILD)
            chosen = [rng.choice(wild) if rng.random() < setting.wild else kind for kind in chosen]
        if setting.queues:
            chosen = [rng.choice(list(GANGS)) if rng.random() < 0.35 else kind for kind in chosen]
        if setting.placed:
            own = list(PLACED_WILD if setting.wild else PLACED)
            chosen = [rng.choice(own) if rng.random() < 0.85 else kind for kind in chosen]
        self.orders = {
            str(i): Order(self.new_id(), kind, f"key{i}" if rng.random() < 0.2 else "") for i, kind in enumerate(chosen)
        }
        self.voters = Voters(self)
        self.client = Client(self, list(self.orders.values()))

    def run(self) -> None:
        """The whole story: faults for a while, then peace until everything has ended. Raises Violation."""
        loop, plan = self.loop, self.setting.plan
        self.queen.start()
        for ant in self.ants:
            ant.start()
        self.client.start(self.setting.spread_s)
        self.faults.start()
        scan = self.monitor.scan
        loop.run(plan.horizon_s, scan, lambda: False, SCAN_EVERY)
        if not loop.run(plan.horizon_s + 900.0, scan, self._is_over, SCAN_EVERY):
            self.monitor.fail("after", f"{loop.now:.0f} s", "not everything has ended:", self._rest())
        self.monitor.final(self.orders)
        self.monitor.people.final(self.voters.told)

    def _is_over(self) -> bool:
        queen = self.queen
        if not queen.is_idle or self.client.open or queen.core.jobs:
            return False
        return not any(ant.held or ant.outbox or not ant.is_welcomed for ant in self.ants)

    def _rest(self) -> list[object]:
        jobs = [(job.id, job.definition.job_type, job.state) for job in self.queen.core.jobs.values()]
        ants = [(ant.name, ant.held, list(ant.outbox)) for ant in self.ants]
        return [f"{self.client.open} not accepted", *jobs, *ants]

    def _committed(self, changes: Changes) -> None:
        self.queen_batch = changes.jobs
        self.monitor.committed(changes)
        self.voters.committed(changes)

    # --- small services ---------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """An id that nobody has."""
        self._ids += 1
        return f"job{self._ids}"

    def open_stream(self, ant: SimulatedAnt) -> Stream:
        """A new connection of an ant."""
        self._sessions += 1
        return Stream(self.loop, self.weather, ant, self.queen, self._sessions)

    def wall_of(self, when: float) -> float:
        """The wall clock of an ant, which does not jump."""
        return WALL_AT_START + when

    def delay_s(self) -> float:
        """How long a call of a client takes to arrive."""
        draw = self.loop.random.random()
        return 0.002 + (draw if draw > 1.0 - self.weather.slow else 0.0)

    def duration_s(self, _assignment: Assignment) -> float:
        """How long an attempt runs; most are short, some outlive a lease."""
        draw = self.loop.random.random()
        return 0.05 + draw if draw < 0.85 else 1.0 + 20.0 * self.loop.random.random()

    def equip(self, ant: SimulatedAnt) -> None:
        """A process begins: now and then it has other labels, amounts and devices than the one before it."""
        if self.setting.placed and ant is not self.ants[0] and ant.incarnation > 1 and self.loop.chance(0.4):
            found = offers(1, self.loop.random)
            ant.resources, ant.labels, ant.devices = found["resources"], found["labels"], found["devices"]

    def use_of(self, assignment: Assignment) -> float:
        """Processors that an attempt uses now: of most less than they have asked for, of some more."""
        task = definition_task(ALL_KINDS[assignment.definition_id].definition, assignment.position)
        return dict(holds(task)).get("cpu", 0.0) * self.loop.random.choice((0.0, 0.1, 0.5, 1.0, 1.3))

    def kills_its_ant(self, assignment: Assignment) -> bool:
        """The attempt takes its ant's process with it."""
        return definition_position(assignment.position) in ALL_KINDS[assignment.definition_id].kills

    def outcome(self, assignment: Assignment, began_at: float | None, kind: int | None) -> Outcome:
        """How an attempt ends: as its job says, or as `kind` says."""
        exit_code: int | None = None
        if kind is None:
            does = ALL_KINDS[assignment.definition_id].deed_of(assignment.position)
            kind, exit_code = does(assignment.attempt, assignment.execution)
            if not self.faults.is_over and self.loop.chance(0.01):
                kind, exit_code = LOST, None
        self._ends += 1
        ended_at = self.monitor.evidence[assignment.token] = _EVIDENCE + self._ends
        started_at = None if began_at is None else self.wall_of(began_at)
        error = "" if kind == COMPLETED or exit_code is not None else "ERR_TEST" if kind == LOST else ""
        return Outcome(assignment.token, kind, exit_code, None, b"", error, "", "", started_at, ended_at)


def run_seed(seed: int, setting: Setting, *, trace: bool = False) -> World:
    """Runs one world to its end and returns it. Raises Violation, with the seed and the last events in its notes."""
    world = World(seed, setting, trace=trace)
    try:
        world.run()
    except Exception as error:
        error.add_note(f"seed {seed}, after {world.loop.events} events; the last of them:")
        for line in world.loop.story(60):
            error.add_note(line)
        raise
    return world


def any_setting(seed: int) -> Setting:
    """A setting drawn from the seed itself: sizes and faults differ from run to run."""
    rng = Loop(seed ^ 0x5EED).random
    slots = rng.choice((1, 2, 4))
    plan = Plan(
        horizon_s=rng.choice((12.0, 25.0)),
        queen_crashes=rng.choice((0, 1, 2, 3)),
        ant_kills=rng.choice((0, 1, 3)),
        pauses=rng.choice((0, 1, 2)),
        queen_pauses=rng.choice((0, 0, 1)),
        partitions=rng.choice((0, 1, 3)),
        drains=rng.choice((0, 1)),
        outages=rng.choice((0, 0, 1)),
        clock_jumps=rng.choice((0, 1)),
        loss=rng.choice((0.0, 0.01, 0.05)),
        duplicate=0.05,
        slow=rng.choice((0.0, 0.05)),
        bad_commits=rng.choice((0.0, 0.01, 0.05)),
    )
    config = CoreConfig(hot_params_bytes=rng.choice((8, 4096)), prefetch=rng.choice((2, 256)), slice_decisions=8)
    return Setting(
        ants=rng.choice((1, 2, 3)),
        slots=slots,
        window=slots * rng.choice((1, 1, 3)),
        jobs=rng.randint(4, 24),
        spread_s=8.0,
        plan=plan,
        config=config,
        strict_store=seed % 7 == 0,
        wild=rng.choice((0.0, 0.3, 1.0)),
        queues=_any_queues(rng, slots),
    )


def _any_queues(rng: Random, slots: int) -> str:
    """Queues of a world: none, an order, or shares with reclaim. A gang of two needs two slots to fit at all."""
    shares = (
        "queues:\n- {name: big, guaranteed: 50, match: {tags: [big]}}\n- {name: rest, guaranteed: 50}\ndefault: rest\n"
    )
    found = rng.choice(
        (
            "",
            "policy: priority\nset: {aging: 1}\n",
            "policy: priority\nset: {degrade: log}\n",
            "policy: capacity\nset: {reclaim: graceful}\n" + shares,
            "policy: capacity\nset: {reclaim: graceful}\nplacement: best_fit\n" + shares.replace("[big]", "[]"),
            "policy: multilevel\nset: {mode: weighted}\n" + shares,
            "policy: fair\nset: {by: queue}\n" + shares,
        )
    )
    return found if slots > 1 else ""


def placed_setting(seed: int) -> Setting:
    """The same with jobs that say where they run: two ants or more, with two slots or more, so that gangs fit."""
    rng = Loop(seed ^ 0x91ACE).random
    found = any_setting(seed)
    slots = rng.choice((2, 3, 5))
    lines = [
        rng.choice(("policy: priority\n", "policy: fcfs\n", "policy: priority\nset: {preemptive: true}\n", SHARES))
    ]
    observed, overcommit = rng.random() < 0.3, 1.0
    if rng.random() < 0.7:
        lines.append("quality_of_service: true\n")
    if observed:
        lines.append("overcommit: {cpu: {observed: 0.8, most: 1.5, after: 2s}}\n")
    elif rng.random() < 0.2:
        lines.append("overcommit: {cpu: 2}\n")
        overcommit = 2.0
    lines.append(rng.choice(("", "", "placement: best_fit\n", "placement: optimal\n")))
    return replace(
        found,
        ants=rng.choice((2, 3, 4)),
        slots=slots,
        window=slots,
        wild=rng.choice((0.0, 0.0, 1.0)),
        queues="".join(lines) if rng.random() < 0.8 else "",
        placed=True,
        observed=observed,
        overcommit=overcommit,
        makes_room="preemptive" in lines[0] or "reclaim" in lines[0],
    )


BAR = Setting(plan=Plan(queen_crashes=3, ant_kills=4))
"""The workload of the speed bar: 3 ants with 4 slots, 50 jobs, 7 crashes, 5 % loss, duplicates and reordering."""


def figures(world: World) -> dict[str, Any]:
    """What a run did, in numbers."""
    return {"events": world.loop.events, "commits": world.store.inner.commits, "crashes": world.faults.crashes}
