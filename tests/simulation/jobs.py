"""The jobs of the simulation: definitions, what each attempt does, and how each job has to end.

What an attempt does depends only on its number and that of its execution, so that lost attempts and crashes may come in
between and the end is the same all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from formicary.engine.jobs.fan_out import definition_position, element_position
from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.outcome import COMPLETED, FAILED, TIMED_OUT
from formicary.engine.storage.port import Row

Deed = tuple[int, int | None]
"""Outcome and exit code of an attempt."""
Does = Callable[[int, int], Deed]
"""(attempt, execution) -> deed."""

OK: Deed = (COMPLETED, 0)
BAD: Deed = (FAILED, 1)


def good(_attempt: int, _execution: int) -> Deed:
    """Completes."""
    return OK


def bad(_attempt: int, _execution: int) -> Deed:
    """Fails each time."""
    return BAD


def until(attempts: int, deed: Deed = BAD) -> Does:
    """Completes from this attempt on."""
    return lambda attempt, _execution: OK if attempt >= attempts else deed


def second(deed: Deed = BAD) -> Does:
    """Completes from the second execution on."""
    return lambda _attempt, execution: OK if execution >= 2 else deed


@dataclass(frozen=True, slots=True)
class Kind:
    """A job type and what must become of its jobs.

    Attributes:
        state: How its jobs end; empty = any end will do.
        tasks: State of each task at the end, None = it never began.
        kills: Positions of tasks that kill their ant each time.
        children: Jobs that a job forks if nobody cancels it.
        joins: It may complete only after its children have ended.
        elements: What single elements of tasks that fan out do, by position; else they do as their task.
        ends: State of each element of the first task at the end, where its task fans out; empty = any.
    """

    definition: JobDefinition
    does: tuple[Does, ...]
    state: str
    tasks: tuple[str | None, ...]
    weight: float = 1.0
    kills: frozenset[int] = frozenset()
    dead_letter: int = 0
    executions: int = 1
    delay_s: float = 0.0
    children: int = 0
    joins: bool = False
    elements: Mapping[int, Does] = field(default_factory=dict)
    ends: tuple[str | None, ...] = ()
    row: Row = field(init=False)

    def __post_init__(self) -> None:
        name = self.definition.job_type
        object.__setattr__(self, "row", (name, "org", name, 1, "", b"{}", "", "", 0.0))

    def deed_of(self, position: int) -> Does:
        """What the task or the element at a position does."""
        return self.elements.get(position) or self.does[definition_position(position)]


def _task(name: str, **fields: object) -> TaskDefinition:
    known: dict[str, object] = {
        "max_lost_attempts": 1000,
        "delay_between_retries_s": (0.1, 0.4),
        "tags": frozenset(),
    }
    return TaskDefinition(task_type=name, **{**known, **fields})  # type: ignore[arg-type]  # fields by name


def _job(name: str, *tasks: TaskDefinition, **fields: object) -> JobDefinition:
    known: dict[str, object] = {"delay_between_retries_s": (0.1, 0.5), "pause_time_s": (0.3, 1.0)}
    return JobDefinition(job_type=name, tasks=tasks, **{**known, **fields})  # type: ignore[arg-type]  # fields by name


C, F, X = "COMPLETED", "FAILED", "CANCELLED"
API = {"downstream": "api", "consecutive_failures": 2, "open_for": 0.5}


def _plain() -> list[Kind]:
    chain = (_task("a", on_completed="b"), _task("b", on_completed="c"), _task("c"))
    fan = (_task("a"), _task("b", dependencies=("a",)), _task("c", dependencies=("a",)))
    high = _job("high", _task("a", tags=frozenset({"big"})), priority=9)
    return [
        Kind(_job("one", _task("a")), (good,), C, (C,), weight=4.0),
        Kind(_job("two", _task("a", on_completed="b"), _task("b")), (good, good), C, (C, C), weight=2.0),
        Kind(_job("three", *chain), (good, good, good), C, (C, C, C), weight=2.0),
        Kind(_job("fan", *fan), (good, good, good), C, (C, C, C), weight=2.0),
        Kind(high, (good,), C, (C,)),
        Kind(_job("limited", _task("a", on_completed="b"), _task("b"), max_concurrency=2), (good, good), C, (C, C)),
        Kind(_job("later", _task("a")), (good,), C, (C,), delay_s=4.0),
        Kind(_job("delayed", _task("a", delay_s=0.5)), (good,), C, (C,)),
        Kind(_job("templated", _task("a", is_static=False, on_completed="b"), _task("b")), (good, good), C, (C, C)),
        Kind(_job("left_out", _task("a", except_="true", on_completed="b"), _task("b")), (good, good), C, (C, C)),
        Kind(_job("prepared", _task("a"), variables_templated=True), (good,), C, (C,)),
        Kind(_job("filtered", _task("a"), skip_if="true"), (good,), F, (None,)),
    ]


def _failing() -> list[Kind]:
    branch = (_task("a", on_completed="b", on_failed="c"), _task("b"), _task("c"))
    final = (_task("a", on_completed="b"), _task("b"), _task("c", always_run=True))
    blocked = (_task("a"), _task("b", dependencies=("a",)), _task("c", on_completed="a"))
    allowed = (_task("a", allow_failure=True, on_completed="b"), _task("b"))
    return [
        Kind(_job("retried", _task("a", retry=2)), (until(3),), C, (C,)),
        Kind(_job("timed_out", _task("a", retry=1)), (until(2, (TIMED_OUT, None)),), C, (C,)),
        Kind(_job("failed", _task("a", retry=1, on_completed="b"), _task("b")), (bad, good), F, (F, None)),
        Kind(_job("branch", *branch), (bad, good, good), F, (F, None, C)),
        Kind(_job("allowed", *allowed), (bad, good), C, (F, C)),
        Kind(_job("final", *final), (good, bad, good), F, (C, F, C)),
        Kind(_job("blocked", *blocked), (bad, good, good), F, (F, None, C)),
        Kind(_job("mapped", _task("a", on_exit_code={"3": "COMPLETED"})), (until(999, (FAILED, 3)),), C, (C,)),
        Kind(_job("fatal", _task("a", on_exit_code={"4": "FATAL"}), retry=3), (until(999, (FAILED, 4)),), F, (F,)),
    ]


def _returning() -> list[Kind]:
    again = (_task("a", on_completed="b"), _task("b"), _task("c", always_run=True))
    restart = (_task("a", on_completed="b"), _task("b", on_exit_code={"9": "RESTART_JOB"}))
    siblings = (_task("a", on_exit_code={"9": "RESTART_JOB"}), _task("b", dependencies=("c",)), _task("c"))
    pause = (_task("a", on_exit_code={"8": "PAUSE_JOB"}), _task("b", dependencies=("a",)))
    return [
        Kind(_job("polled", _task("a", on_exit_code={"7": "EXECUTING"})), (until(4, (FAILED, 7)),), C, (C,)),
        Kind(_job("again", *again, retry=2), (good, second(), good), C, (C, C, C), executions=2),
        Kind(_job("restarted", *restart), (good, second((FAILED, 9))), C, (C, C), executions=2),
        Kind(_job("siblings", *siblings), (second((FAILED, 9)), good, good), C, (C, C, C), executions=2),
        Kind(_job("paused", *pause), (until(2, (FAILED, 8)), good), C, (C, C)),
        Kind(
            _job("poison", _task("a", max_lost_attempts=2)),
            (good,),
            F,
            (F,),
            weight=0.1,
            kills=frozenset({0}),
            dead_letter=1,
        ),
    ]


def _people() -> list[Kind]:
    def gate(**policy: object) -> TaskDefinition:
        routes = {"APPROVED": "b", "REJECTED": "c"}
        users = ["ann", "bob", "cid"]
        return _task("a", method="MANUAL", on_exit_code=routes, approval_policy={"allowed_users": users, **policy})

    rest = (_task("b"), _task("c"))
    quorum, every = gate(min_approvals=2), gate(require_unanimous=True)
    late = gate(min_approvals=3, sla_deadline="500ms", timeout_action="ESCALATE")
    look = _task("a", on_exit_code={"5": "WAIT_FOR_APPROVAL"}, on_completed="b")
    side = (_task("a", method="MANUAL"), _task("b"), _task("c", dependencies=("a", "b")))
    return [
        Kind(_job("approved", quorum, *rest), (good,) * 3, C, (C, C, None)),
        Kind(_job("approved_by_all", every, *rest), (good,) * 3, C, (C, C, None)),
        Kind(_job("approved_late", late, *rest), (good,) * 3, C, (C, C, None)),
        Kind(_job("approved_beside", *side), (good,) * 3, C, (C, C, C)),
        Kind(_job("approved_after", look, _task("b")), (until(999, (FAILED, 5)), good), C, (C, C)),
        Kind(_job("rejected", quorum, *rest), (good,) * 3, F, (F, None, C)),
        Kind(_job("rejected_after", look, _task("b")), (until(999, (FAILED, 5)), good), F, (F, None)),
    ]


def _composing() -> list[Kind]:
    def fork(name: str, job_type: str, **more: object) -> TaskDefinition:
        return _task(name, method="FORK_JOB", fork_job_type=job_type, **more)

    def join(name: str, *forks: str, **more: object) -> TaskDefinition:
        return _task(name, method="AWAIT_FORKED_JOB", await_forked_tasks=forks, **more)

    def fan(job_type: str, **more: object) -> TaskDefinition:
        spec = {"source": [1, 2, 3, 4, 5], "max_parallel": 2, "fork_job_type": job_type, **more}
        return _task("a", method="FAN_OUT_JOB", fan_out=spec)

    waits = {"wait_for_completion": True}
    both = (
        fork("a", "two", on_completed="b"),
        fork("b", "retried", on_completed="c"),
        join("c", "a", "b", on_completed="d"),
        _task("d"),
    )
    loose = (fork("a", "one", on_completed="b"), _task("b"))
    refused = (fork("a", "failed", on_completed="b"), join("b", "a"))
    sub = (fork("a", "three", sub_workflow=waits, on_completed="b"), _task("b"))
    nested = (fork("a", "sub", sub_workflow=waits, is_static=False),)
    again = (fork("a", "failed", sub_workflow=waits, retry=1),)
    return [
        Kind(_job("forked", *both), (good,) * 4, C, (C,) * 4, children=2, joins=True, weight=2.0),
        Kind(_job("loose", *loose), (good,) * 2, C, (C,) * 2, children=1),
        Kind(_job("refused", *refused), (good,) * 2, F, (C, F), children=1, joins=True),
        Kind(_job("sub", *sub), (good,) * 2, C, (C, C), children=1, joins=True),
        Kind(_job("nested", *nested), (good,), C, (C,), children=1, joins=True),
        Kind(_job("forked_again", *again), (good,), F, (F,), children=2, joins=True),
        Kind(_job("fanned", fan("two")), (good,), C, (C,), children=5, joins=True),
        Kind(_job("fan_failed", fan("failed")), (good,), F, (F,), children=5, joins=True),
        Kind(_job("fan_cut", fan("failed", fail_fast=True)), (good,), F, (F,), children=-1, joins=True),
    ]


def _fanning() -> list[Kind]:
    def fan(name: str = "a", *, at_once: int = 2, fail_fast: bool = False, **fields: object) -> TaskDefinition:
        spec = {"source": [1, 2, 3, 4, 5], "max_parallel": at_once, "fail_fast": fail_fast}
        return _task(name, fan_out=spec, **fields)

    def only(index: int, does: Does) -> Mapping[int, Does]:
        return {element_position(0, index): does}

    chain = (_task("a", on_completed="b"), fan("b", on_completed="c", at_once=3), _task("c"))
    around = (fan(on_failed="b"), _task("b"), fan("c", always_run=True))
    twice = (fan(at_once=0), fan("b", dependencies=("a",), is_static=False))
    asks = {"8": "PAUSE_JOB", "9": "RESTART_JOB", "4": "FATAL", "7": "EXECUTING"}
    fatal, restart = only(2, until(999, (FAILED, 4))), only(4, second((FAILED, 9)))
    paused, polled = only(1, until(2, (FAILED, 8))), only(3, until(4, (FAILED, 7)))
    return [
        Kind(_job("elements", fan()), (good,), C, (C,), ends=(C,) * 5, weight=2.0),
        Kind(_job("elements_between", *chain), (good,) * 3, C, (C,) * 3, weight=2.0),
        Kind(_job("elements_twice", *twice), (good,) * 2, C, (C, C), ends=(C,) * 5),
        Kind(_job("elements_retried", fan(retry=2)), (until(3),), C, (C,), ends=(C,) * 5),
        Kind(_job("elements_late", fan(retry=1)), (until(2, (TIMED_OUT, None)),), C, (C,), ends=(C,) * 5),
        Kind(_job("elements_failed", *around), (good,) * 3, F, (F, C, C), elements=only(1, bad), ends=(C, F, C, C, C)),
        Kind(_job("elements_cut", fan(fail_fast=True)), (good,), F, (F,), elements=only(0, bad)),
        Kind(_job("elements_again", fan(), retry=1), (good,), C, (C,), elements=only(2, second()), executions=2),
        Kind(_job("elements_fatal", fan(on_exit_code=asks), retry=2), (good,), F, (F,), elements=fatal),
        Kind(_job("elements_restart", fan(on_exit_code=asks)), (good,), C, (C,), elements=restart, executions=2),
        Kind(_job("elements_paused", fan(on_exit_code=asks)), (good,), C, (C,), elements=paused, ends=(C,) * 5),
        Kind(_job("elements_polled", fan(on_exit_code=asks)), (good,), C, (C,), elements=polled, ends=(C,) * 5),
    ]


def _gangs() -> list[Kind]:
    def gang(name: str, *tasks: TaskDefinition, **fields: object) -> JobDefinition:
        return _job(name, *tasks, gang={"tasks": [task.task_type for task in tasks[:2]], **fields})

    pair = (_task("a"), _task("b"))
    then = (*pair, _task("c", dependencies=("a", "b")))
    again = (_task("a", retry=3), _task("b"))
    makes = {"source": [1, 2, 3], "max_parallel": 2, "fork_job_type": "made"}
    mutex, pool = {"resource_type": "mutex"}, {"resource_type": "pool", "value": 0.5}
    locked = (_task("a", resources=mutex, on_completed="b"), _task("b", resources=pool))
    early = {"least_history": 1, "extra_work": 1.0, "percentile": 50, "delay_threshold": 1.0, "cap": 1.0}
    return [
        Kind(gang("gang", *pair), (good, good), C, (C, C)),
        Kind(gang("gang_then", *then), (good,) * 3, C, (C,) * 3),
        Kind(gang("gang_again", *again), (until(2), good), C, (C, C)),
        Kind(_job("copied", _task("a", speculative_backup=early)), (good,), C, (C,)),
        Kind(
            _job("locked", _task("a", resources={"resource_type": "pool", "value": 0.5}, retry=1)), (until(2),), C, (C,)
        ),
        Kind(_job("locked_alone", _task("a", resources={"resource_type": "pool", "value": 2})), (good,), C, (C,)),
        Kind(_job("locked_whole", *locked, resources=mutex), (good, good), C, (C, C)),
        Kind(
            _job("forked_made", _task("a", method="FAN_OUT_JOB", fan_out=makes)),
            (good,),
            C,
            (C,),
            children=3,
            joins=True,
        ),
        Kind(_job("guarded", _task("a", circuit_breaker=API, retry=9)), (until(3),), C, (C,)),
        Kind(
            _job("guarded_too", _task("a", circuit_breaker=API, on_completed="b"), _task("b")), (good, good), C, (C, C)
        ),
        Kind(_job("copied_again", _task("a", speculative_backup=early, retry=9)), (until(3),), C, (C,)),
    ]


GANGS: Mapping[str, Kind] = {kind.definition.job_type: kind for kind in _gangs()}
"""Jobs of worlds with queues: gangs, whose members are the first two tasks, tasks that may have a copy, locks."""
MADE: Mapping[str, Kind] = {"made": Kind(_job("made", dynamic_template_tasks=True), (), "", ())}
"""A job whose template makes its tasks: those of `two`, once it is forked; nobody submits it."""
KINDS: Mapping[str, Kind] = {
    kind.definition.job_type: kind
    for kind in (*_plain(), *_failing(), *_returning(), *_people(), *_composing(), *_fanning())
}
MODELS: Mapping[str, JobDefinition] = {name: kind.definition for name, kind in KINDS.items()}
ROWS: Mapping[str, Row] = {name: kind.row for name, kind in KINDS.items()}
