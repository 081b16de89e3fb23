"""Jobs that say where they run: classes of service, amounts, neighbours and devices; and what must hold of them.

The watch looks at what runs on the ants and at the core's books. It works out itself what each task asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import definition_task
from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.jobs.quality import BEST_EFFORT, GUARANTEED, holds, quality_of
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.queueing import Queueing
from formicary.engine.queen.core.records import Ant, Place, TaskRun
from tests.simulation.jobs import BAD, OK, Deed, Does, Kind
from tests.simulation.wild import wild_definition, wild_does

if TYPE_CHECKING:
    from tests.simulation.ant import Attempt, SimulatedAnt
    from tests.simulation.world import World

Where = dict[str, Any]
EPSILON = 1e-6
DEVICES: Mapping[str, Mapping[str, str]] = {"g0": {"kind": "gpu"}, "g1": {"kind": "gpu"}, "c0": {"kind": "cam"}}
GPU, ANY, CAM = ({"match": {"kind": "gpu"}},), ({"count": 2},), ({"match": {"kind": "cam"}},)
MIXED = ({"count": 1}, {"match": {"kind": "cam"}})
"""Whatever the first takes, the camera has to be left for the second."""
ZONES = ("eu", "us")


def offers(number: int, rng: Random) -> Where:
    """What an ant has: the first one all that anybody asks for."""
    if number == 0:
        return {"resources": {"cpu": 4.0}, "labels": {"zone": "eu"}, "devices": DEVICES}
    labels = {"zone": rng.choice(ZONES)} if rng.random() < 0.8 else {}
    chosen = {name: DEVICES[name] for name in sorted(DEVICES) if rng.random() < 0.5}
    return {"resources": {"cpu": rng.choice((1.0, 2.0))}, "labels": labels, "devices": chosen}


def _terms(apart: bool, key: str, required: bool = True, **select: str) -> Where:
    term: Where = {"topologyKey": key, "labelSelector": {"matchLabels": select}}
    when = "requiredDuringSchedulingIgnoredDuringExecution"
    listed: list[Where] = [term]
    if not required:
        when, listed = "preferredDuringSchedulingIgnoredDuringExecution", [{"weight": 10, "podAffinityTerm": term}]
    return {"podAntiAffinity" if apart else "podAffinity": {when: listed}}


def _task(name: str, **fields: Any) -> TaskDefinition:
    known: Where = {"max_lost_attempts": 1000, "delay_between_retries_s": (0.1, 0.4), "tags": frozenset()}
    return TaskDefinition(task_type=name, **{**known, **fields})


def _kind(name: str, *tasks: TaskDefinition, does: Does | None = None, **fields: Any) -> Kind:
    model = JobDefinition(job_type=name, tasks=tasks, delay_between_retries_s=(0.1, 0.5), **fields)
    return Kind(model, (does or _good,) * len(tasks), life.COMPLETED, (life.COMPLETED,) * len(tasks))


def _good(_attempt: int, _execution: int) -> Deed:
    return OK


def _second(attempt: int, _execution: int) -> Deed:
    return OK if attempt > 1 else BAD


def _sure(cpu: float) -> Where:
    return {"limits": {"cpu": cpu}}


def _kinds() -> Iterator[Kind]:
    own = _terms(True, "ant", job_type="spread")
    store, shop = {"app": "store"}, {"app": "shop"}
    apart, alone = _terms(True, "zone", app="store"), _terms(True, "ant", app="shop")
    early = {"least_history": 1, "extra_work": 1.0, "percentile": 50, "delay_threshold": 1.0, "cap": 1.0}
    five = {"source": [1, 2, 3, 4, 5], "max_parallel": 3}
    yield _kind("best", _task("a"))
    yield _kind("best_long", _task("a", on_completed="b"), _task("b"), priority=9, queue="some")
    yield _kind("burst", _task("a", resources={"cpu": 1}))
    yield _kind(
        "burst_again", _task("a", resources={"requests": {"cpu": 0.5}, "limits": {"cpu": 2}}, retry=1), does=_second
    )
    yield _kind("sure", _task("a", resources=_sure(1)))
    yield _kind("sure_high", _task("a", resources=_sure(1.5)), priority=8, queue="some")
    yield _kind("large", _task("a", resources={"cpu": 4}))
    yield _kind("both", _task("a", resources=_sure(0.5), on_completed="b"), _task("b"))
    yield _kind("sure_made", _task("a", resources=_sure(1), is_static=False))
    yield _kind("best_made", _task("a", is_static=False))
    yield _kind("apart", _task("a", labels=store, affinity=apart))
    yield _kind("apart_made", _task("a", labels=store, affinity=apart, is_static=False))
    yield _kind("alone", _task("a", labels=shop, affinity=alone, retry=1), does=_second)
    yield _kind("plain_store", _task("a", labels=store), priority=3)
    yield _kind("plain_shop_made", _task("a", labels=shop, is_static=False))
    yield _kind("hermit", _task("a", affinity=_terms(True, "ant", app="store"), resources={"cpu": 0.5}))
    yield _kind("club", _task("a", labels={"app": "club"}, affinity=_terms(False, "ant", app="club")))
    yield _kind("likes", _task("a", affinity=_terms(False, "zone", required=False, app="store")))
    yield _kind("dislikes", _task("a", affinity=_terms(True, "ant", required=False, app="shop")))
    yield _kind("spread", _task("a", affinity=own, fan_out=five))
    yield _kind("gpu", _task("a", devices=GPU))
    yield _kind("gpu_made", _task("a", devices=GPU, is_static=False))
    yield _kind("two_devices", _task("a", devices=ANY, retry=1), does=_second)
    yield _kind("mixed", _task("a", devices=MIXED, resources=_sure(0.5)), priority=5, queue="some")
    yield _kind("cams", _task("a", devices=CAM, fan_out=five))
    yield _kind("gpu_copied", _task("a", devices=GPU, speculative_backup=early))
    yield _kind("gpu_apart", _task("a", devices=GPU, labels=shop, affinity=alone, on_completed="b"), _task("b"))
    yield _kind("gang_gpu", _task("a", devices=GPU), _task("b", devices=CAM), gang={"tasks": ["a", "b"]})
    yield _kind("gang_sure", _task("a", resources=_sure(1)), _task("b", resources=_sure(1)), gang={"tasks": ["a", "b"]})
    yield _kind("gang_best", _task("a"), _task("b"), gang={"tasks": ["a", "b"]})
    yield _kind("gang_apart", *(_task(x, labels=shop, affinity=alone) for x in "ab"), gang={"tasks": ["a", "b"]})


def _wild(salt: int) -> Kind:
    """Random graphs whose tasks ask for random places."""
    rng = Random(f"placed/{salt}")
    model = wild_definition(rng, f"placed{salt}", people=False)
    tasks = tuple(task if task.method not in ("SHELL", "") else _placed(task, rng) for task in model.tasks)
    does = tuple(wild_does(salt, position) for position in range(len(tasks)))
    return Kind(replace(model, tasks=tasks), does, "", tuple(None for _ in does), children=-1)


def _placed(task: TaskDefinition, rng: Random) -> TaskDefinition:
    app = rng.choice(("store", "shop", "club"))
    near_it = {"podAffinity": _terms(False, "zone", app=app)["podAffinity"]}  # itself: the first begins anywhere
    terms = rng.choice(({}, {}, {}, _terms(True, "ant", app=app), _terms(True, "zone", app=rng.choice(("a", "shop")))))
    if not terms and rng.random() < 0.15:
        terms = near_it
    return replace(
        task,
        resources=rng.choice((None, None, {"cpu": 0.5}, {"cpu": 1}, _sure(1), _sure(2))),
        devices=rng.choice(((), (), (), GPU, CAM, ANY, MIXED)),
        labels={"app": app} if rng.random() < 0.7 or terms is near_it else {},
        affinity=terms or None,
    )


PLACED: Mapping[str, Kind] = {kind.definition.job_type: kind for kind in _kinds()}
"""Jobs that end as they must, wherever they run."""
PLACED_WILD: Mapping[str, Kind] = {kind.definition.job_type: kind for kind in map(_wild, range(150))}


class Watch:
    """What must hold of where tasks run, in one world."""

    def __init__(self, world: World, fail: Callable[..., None]) -> None:
        self._world = world
        self._fail = fail
        self._asked: set[int] = set()
        """Tokens that give way already."""

    # --- what really runs -------------------------------------------------------------------------------------------

    def began(self, ant: SimulatedAnt, attempt: Attempt) -> None:
        """A process begins on an ant: its devices are its own, there is room, and nobody is near who must not be."""
        task = self._task(attempt)
        given = attempt.assignment.devices
        if len(given) != len(_asked(task)) or len(set(given)) != len(given):
            self._fail(ant.name, "is given", given, "for", task.devices)
        if not ant.devices.keys() >= set(given) or not _serve(task, [ant.devices[name] for name in given]):
            self._fail(ant.name, "is given", given, "for", task.devices, "and has", ant.devices)
        if not ant.believes():
            return
        others = [one for one in ant.running.values() if one is not attempt and not one.is_over]
        for other in others:
            if both := set(given) & set(other.assignment.devices):
                self._fail(ant.name, "runs", attempt.token, "and", other.token, "with the same", both)
        if not self._world.setting.observed:
            for name, most in ant.resources.items():
                held = sum(dict(holds(self._task(one))).get(name, 0.0) for one in (attempt, *others))
                if held > most * self._world.setting.overcommit + EPSILON:
                    self._fail(ant.name, "holds", held, "of", most, name)
        for where in self._world.ants:
            for other in where.running.values() if where.believes() else ():
                if other is not attempt and not other.is_over:
                    self._check_apart(ant, attempt, where, other)
                    self._check_apart(where, other, ant, attempt)

    def _check_apart(self, one: SimulatedAnt, who: Attempt, two: SimulatedAnt, other: Attempt) -> None:
        """No term of the first keeps the second off, in the domain of the first."""
        for term in _terms_of(self._task(who)):
            key = term["topologyKey"]
            domains = [ant.name if key == "ant" else ant.labels.get(key) for ant in (one, two)]
            wanted = term["labelSelector"]["matchLabels"].items()
            if domains[0] is not None and domains[0] == domains[1] and wanted <= self._labels(other).items():
                self._fail(who.token, "on", one.name, "and", other.token, "on", two.name, "are together in", key)

    def _task(self, attempt: Attempt) -> TaskDefinition:
        given = attempt.assignment
        return definition_task(self._world.kinds[given.definition_id].definition, given.position)

    def _labels(self, attempt: Attempt) -> dict[str, str]:
        job_type = attempt.assignment.definition_id
        return {"job_type": job_type, **self._task(attempt).labels}

    # --- the core's books -------------------------------------------------------------------------------------------

    def decided(self, core: Core) -> None:
        """After a turn: who is asked to give way is best-effort, or gives way to one that is promised something."""
        if core.queueing is None or not core.queueing.config.quality_of_service:
            return
        setting = self._world.setting
        for token, run in core.leases.tokens.items():
            if not run.preempting or token in self._asked:
                continue
            self._asked.add(token)
            if quality_of(run.task) == BEST_EFFORT or _in_gang(run):
                continue
            if not setting.makes_room and (not setting.observed or quality_of(run.task) == GUARANTEED):
                self._fail("task", run.position, "of", run.job.id, "gives way and is not best-effort")
            elif not setting.observed and not any(_waits(core.queueing, run)):
                self._fail("task", run.position, "of", run.job.id, "gives way to best-effort ones")

    def scan(self, core: Core) -> None:
        """No ant holds more than it has; each device has one holder, and no one that is gone; who is where is known."""
        leases = core.leases
        tokens = {*leases.tokens, *(place.token for place in leases.places.values())}
        book = leases.devices
        seen: set[tuple[str, str]] = set()
        for token, (ant, names) in book._held.items():
            if token not in tokens or seen & {(ant, name) for name in names}:
                self._fail("devices are held by", token, "of", sorted(tokens), "twice:", names, seen)
            seen.update((ant, name) for name in names)
        for token, run in leases.tokens.items():
            known = book._held.get(token, ("", ()))
            unknown = any(token in waiting for waiting in book._unknown.values())
            if bool(run.task.devices) != (bool(known[1]) or unknown):
                self._fail("task", run.position, "of", run.job.id, "asks for", run.task.devices, "and has", known)
        for one in leases.ants.values():
            self._check_room(core, one)
        check_neighbours(core, self._fail)

    def _check_room(self, core: Core, ant: Ant) -> None:
        held: dict[str, float] = {}
        for run in ant.held.values():
            needs = run.job.definition.first.needs if isinstance(run, Place) else holds(run.task)
            for name, amount in needs:
                held[name] = held.get(name, 0.0) + amount
            if isinstance(run, Place) and ant.connected and not run.job.definition.first.fits(ant):
                self._fail(ant.key, "keeps room for", run.job.id, "which it does not suit")
        rules = core.observing.rules
        for name in {*held, *ant.used}:
            if name not in rules and abs(held.get(name, 0.0) - ant.used.get(name, 0.0)) > EPSILON:
                self._fail(ant.key, "holds", held, "and counts", ant.used)
            most = ant.resources.get(name, 0.0) * (rules[name].most if name in rules else 1.0)
            if ant.is_known and held.get(name, 0.0) > most + EPSILON:
                self._fail(ant.key, "holds", held, "of at most", most, name)


def check_neighbours(core: Core, fail: Callable[..., None]) -> None:
    """What the book counts by selector and domain is what is granted there, counted anew."""
    book = core.leases.neighbours
    granted = [(run, run.holder) for run in core.leases.tokens.values() if run.holder is not None]
    known = [[*counts.values()] for counts in book._counts.values()]
    known += [[*terms.values()] for terms in book._repelling.values()]
    for count in (count for counts in known for count in counts):
        for where in count.expected.values():
            if min(where.values(), default=1) <= 0 or sum(where.values()) > len(core.leases.places):
                fail("room is counted", where, "and kept for", len(core.leases.places))
    for (_, job_id), counts in book._counts.items():
        for selector, count in counts.items():
            mine = [
                ant
                for run, ant in granted
                if all(one.holds(_labels_of(run)) for one in selector) and job_id in ("", run.job.id)
            ]
            if count.total != len(mine):
                fail("a selector counts", count.total, "and should", len(mine), selector)
            _check_domains(count.by_key, mine, fail)
    for (_, job_id), terms in book._repelling.items():
        for (selector, key), count in terms.items():
            mine = [
                ant
                for run, ant in granted
                if job_id in ("", run.job.id)
                for term in _apart_of(run)
                if term[0] == key and term[1] == {one.key: one.values[0] for one in selector}
            ]
            if count.total != len(mine):
                fail("a term is held by", count.total, "and should be by", len(mine), selector, key)
            _check_domains(count.by_key, mine, fail)


def _check_domains(by_key: Mapping[str, Mapping[str, int]], ants: Iterable[Ant], fail: Callable[..., None]) -> None:
    for key, found in by_key.items():
        known = {where: number for where, number in found.items() if not where.startswith("\0")}
        wanted: dict[str, int] = {}
        for ant in ants:
            where = ant.labels.get(key, ant.id if key == "ant" else None)
            if where is not None:
                wanted[where] = wanted.get(where, 0) + 1
        if known != wanted:
            fail("in", key, "are", known, "and should be", wanted)


def _labels_of(run: TaskRun) -> dict[str, str]:
    own = {"job_type": run.job.definition.job_type, "job_id": run.job.id, "task_type": run.task.task_type}
    return {**own, **run.task.labels}


def _apart_of(run: TaskRun) -> Iterator[tuple[str, dict[str, str]]]:
    for term in _terms_of(run.task):
        yield term["topologyKey"], dict(term["labelSelector"]["matchLabels"])


def _serve(task: TaskDefinition, given: list[Mapping[str, str]]) -> bool:
    """Whether devices are what a task asks for: of each kind at least as many as it names."""
    asked = _asked(task)
    return all(sum(one["kind"] == kind for one in given) >= asked.count(kind) for kind in ("gpu", "cam"))


def _asked(task: TaskDefinition) -> list[str]:
    """The kind of each device that it asks for; empty = any."""
    wanted: list[Any] = list(task.devices)
    return [one.get("match", {}).get("kind", "") for one in wanted for _ in range(one.get("count", 1))]


def _terms_of(task: TaskDefinition) -> list[Where]:
    """What it keeps apart from."""
    away: Any = (task.affinity or {}).get("podAntiAffinity", {})
    found: list[Where] = away.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return found


def _in_gang(run: TaskRun) -> bool:
    gang = run.job.definition.gang
    return gang is not None and run.position in gang.members


def _waits(queueing: Queueing, run: TaskRun) -> Iterator[bool]:
    """Something that is promised what it asks for waits."""
    for demand, queue in queueing.core.queues.items():
        yield bool(queue) and not demand.best_effort
    yield bool(queueing.coming)
