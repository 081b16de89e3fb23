"""Circuit breakers of job types and tasks: which one a job passes, what its end says, what is written of it.

A breaker belongs to an organisation and a downstream, which several job types may share; without a name it is the job
type's own. Its state is a row that is written in the commit of the jobs' ends that change it, so a queen that is killed
finds it as it was. Which version of a job type counts for the policy is the newest that is known, as for concurrency.

Attempts of tasks pass breakers too: the task waits before an attempt, and the attempt's end counts. Whose attempt began
last says the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.outcome import CANCELLED, COMPLETED, LOST, Outcome
from formicary.engine.queen.core.records import Definition, Job, TaskRun
from formicary.engine.queen.core.task_breakers import breaker_name
from formicary.engine.queen.core.timers import Alarm, Timer
from formicary.engine.scheduling.breakers import TASK_MARK
from formicary.engine.scheduling.demand import Gate
from formicary.engine.storage.port import Row
from formicary.lifecycle.breaker import Breaker, BreakerPolicy, as_mapping, from_mapping

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

KIND = "breaker"
_FINE = frozenset({"COMPLETED", "EXECUTING", "WAIT_FOR_APPROVAL", "PAUSE_JOB"})
"""What an exit code may be mapped to that is no failure of what was called."""
Key = tuple[str, str]
"""Organisation and name of a breaker."""
_NEUTRAL = frozenset({"ERR_FILTERED_JOB", "ERR_CANCELLED"})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def policy_of(spec: Mapping[str, Any]) -> BreakerPolicy:
    """The policy that `circuit_breaker` of a job file describes. Raises ValueError naming what is wrong."""
    default = BreakerPolicy()
    rate = float(spec.get("failure_rate") or 0.0)
    return BreakerPolicy(
        consecutive_failures=int(spec.get("consecutive_failures") or (0 if rate else default.consecutive_failures)),
        failure_rate=rate,
        window_s=float(spec.get("window") or default.window_s),
        minimum_calls=int(spec.get("minimum_jobs") or default.minimum_calls),
        open_s=float(spec.get("open_for") or default.open_s),
        trials=int(spec.get("trials") or default.trials),
    )


class Breaking:
    """The breakers of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.known: dict[Key, Breaker] = {}
        self.gates: dict[Gate, Key] = {}
        """Which breaker a job type passes."""
        self._versions: dict[Gate, int] = {}
        self._timers: dict[Key, Timer] = {}
        self._callers: dict[Key, set[str]] = {}
        """Job types whose tasks pass it, by breaker."""

    def admit(self, definition: Definition) -> None:
        """A definition is there: the newest version of its type says which breaker, and its policy."""
        gate = (str(definition.row[1]), definition.job_type)
        for task in definition.model.tasks:
            if task.circuit_breaker is not None and task.is_static:
                name = breaker_name(definition.model, task)
                self._callers.setdefault((gate[0], name), set()).add(definition.job_type)
        spec, version = definition.model.circuit_breaker, abs(int(definition.row[3] or 0))
        if (spec is None and gate not in self.gates) or version < self._versions.get(gate, 0):
            return
        self._versions[gate] = version
        if spec is None:
            del self.gates[gate]
            return
        key = (gate[0], str(spec.get("downstream") or definition.job_type))
        self.gates[gate] = key
        policy = policy_of(spec)
        if (found := self.known.get(key)) is not None:
            found.policy = policy
        else:
            self.known[key] = Breaker(policy, since=self._core.wall)
        self._set_timer(key)

    def recover(self, rows: Iterable[Row]) -> None:
        """What the store holds; before definitions are admitted."""
        for kind, org, name, value, _ in rows:
            if kind == KIND and isinstance(value, bytes):
                kept, key = _decode(value), (str(org), str(name))
                self.known[key] = Breaker.restore(BreakerPolicy(**kept["policy"]), from_mapping(kept))
                self._set_timer(key)

    def permits(self, gate: Gate) -> bool:
        """View: whether a job of this type, or an attempt of a task, may begin."""
        key = self.key_of(gate)
        breaker = self.known.get(key) if key is not None else None
        return breaker is None or breaker.permits(self._core.wall)

    def key_of(self, gate: Gate) -> Key | None:
        """The breaker at a gate, None where there is none."""
        org, name = gate
        return (org, name.removeprefix(TASK_MARK)) if name.startswith(TASK_MARK) else self.gates.get(gate)

    def of_job(self, job: Job) -> tuple[Key, Breaker] | None:
        """The breaker that a job passes."""
        key = self.gates.get((job.org, job.definition.job_type))
        return (key, self.known[key]) if key is not None else None

    def of(self, org: str) -> Iterator[tuple[str, Breaker, list[str]]]:
        """Name, breaker and job types of an organisation, by name."""
        for key in sorted(key for key in self.known if key[0] == org):
            types = {gate[1] for gate, passed in self.gates.items() if passed == key}
            yield key[1], self.known[key], sorted(types | self._callers.get(key, set()))

    def begun(self, job: Job) -> None:
        """An execution of the job has begun."""
        found = self.of_job(job)
        if found is not None and found[1].begin(job.id, self._core.wall):
            self._keep(found[0])

    def ended(self, job: Job) -> None:
        """An execution of the job has ended, or begins anew because a task asked for that."""
        found = self.of_job(job)
        if found is None:
            return
        key, breaker = found
        if job.verdict in (life.CANCELLED, "RESTART") or job.error_code in _NEUTRAL:
            if breaker.forget(job.id):
                self._keep(key)
            return
        if breaker.end(job.id, self._core.wall, succeeded=job.verdict is None):
            self._keep(key)

    # --- attempts of tasks ------------------------------------------------------------------------------------------

    def attempt_begun(self, run: TaskRun) -> None:
        """An attempt is granted."""
        key = self._of_task(run)
        if key is None:
            return
        spec = run.task.circuit_breaker or {}
        breaker = self.known.get(key)
        if breaker is None:
            breaker = self.known[key] = Breaker(policy_of(spec), since=self._core.wall)
            self._keep(key)
        else:
            breaker.policy = policy_of(spec)
        self._callers.setdefault(key, set()).add(run.job.definition.job_type)
        if breaker.begin(_attempt(run), self._core.wall):
            self._keep(key)

    def attempt_ended(self, run: TaskRun, outcome: Outcome) -> None:
        """An attempt has reported its end, which nothing has been made of yet."""
        if outcome.outcome in (LOST, CANCELLED):
            self.attempt_gone(run)
            return
        key = self._of_task(run)
        if key is None or (breaker := self.known.get(key)) is None:
            return
        action = run.routes.action(outcome.exit_code, outcome.error_code or None)
        succeeded = outcome.outcome == COMPLETED or action in _FINE
        if breaker.end(_attempt(run), self._core.wall, succeeded=succeeded):
            self._keep(key)

    def attempt_gone(self, run: TaskRun) -> None:
        """An attempt is lost, cancelled or given back: it says nothing about what it called."""
        key = self._of_task(run)
        if key is not None and key in self.known and self.known[key].forget(_attempt(run)):
            self._keep(key)

    def _of_task(self, run: TaskRun) -> Key | None:
        name = breaker_name(run.job.definition.model, run.task)
        return (run.job.org, name) if name else None

    def reset(self, key: Key) -> Breaker:
        """Closes a breaker. Raises KeyError."""
        breaker = self.known[key]
        breaker.reset(self._core.wall)
        self._keep(key)
        return breaker

    def _keep(self, key: Key) -> None:
        core, breaker = self._core, self.known[key]
        value = {**as_mapping(breaker.snapshot()), "policy": asdict(breaker.policy)}
        core.batch.changes.states[KIND, *key] = (KIND, *key, _encode(value), core.wall)
        self._set_timer(key)

    def _set_timer(self, key: Key) -> None:
        """An open breaker is looked at when it may be half open: jobs that wait for it are scheduled then."""
        core, due = self._core, self.known[key].half_open_at
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if due is not None:
            after_s = max(0.0, due - core.wall)
            self._timers[key] = core.timers.set(core.mono + after_s, Alarm(lambda: self._due(key)))

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        if self.known[key].look(self._core.wall):
            self._keep(key)
        else:
            self._set_timer(key)  # the clock was set back meanwhile


def _attempt(run: TaskRun) -> str:
    """What a trial is called: a task has one attempt at a time that counts."""
    return f"{run.job.id}/{run.position}"
