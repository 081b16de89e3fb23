"""Notices: what somebody is to be told of a job or a task, written in the commit of what has happened.

A notice is a row; it is delivered after the commit, by the queen's :mod:`formicary.engine.queen.notify`. Its id is made
of the job, the execution and the channel, so that whoever is told twice can see it. Jobs without `notify` and `webhook`
cost one look at their definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.approval import ApprovalPolicy
from formicary.engine.jobs.notices import (
    CANCELLED,
    DEAD_LETTER,
    EMAIL,
    ESCALATED,
    FAILURE,
    FIXED,
    PAUSED,
    STARTED,
    SUCCESS,
    WANTED,
    WEBHOOK,
    Channel,
    is_address,
)
from formicary.engine.queen.core.batch import Escalation
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

KIND = "last end"
"""Of what is remembered: how the last job of a type ended."""
MOST_TASKS = 100
"""Of a job, in one notice."""
LONGEST_MESSAGE = 2000
_encode = msgspec.json.Encoder().encode
_OUTCOMES = {life.COMPLETED: SUCCESS, life.FAILED: FAILURE, life.CANCELLED: CANCELLED}


class Notifying:
    """The notices of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._last: dict[tuple[str, str], str] = {}
        """How the last job of a type with notices ended."""
        self._letters: dict[Job, dict[str, Any]] = {}
        """Letters of jobs that are just ending."""

    def recover(self, states: Iterable[Row]) -> None:
        """Takes over what the store holds."""
        found = {(str(row[1]), str(row[2])): row[3] for row in states if row[0] == KIND}
        self._last = {key: value.decode() for key, value in found.items() if isinstance(value, bytes)}

    # --- ends -------------------------------------------------------------------------------------------------------

    def job_ended(self, job: Job) -> None:
        """A job has ended: its state and error are final, its tasks are still there."""
        letter, notices = self._letters.pop(job, None), job.definition.notices
        if notices is None or not notices.job:
            return
        if letter is not None:
            self._dead(job, letter, notices.job)
        outcome = self._outcome(job)
        channels = [one for one in notices.job if outcome in one.when and (one.kind == WEBHOOK or not _is_forked(job))]
        if channels:
            payload = self._about(job, f"job.{job.state.lower()}", outcome)
            runs = [run for _, run in sorted(job.run.runs.items())] if job.run is not None else []
            payload["tasks"] = [_about_task(run) for run in runs if _is_news(run)][:MOST_TASKS]
            if letter is not None:
                payload["dead_letter"] = letter
            self._write(job, "job", payload, channels)

    def task_ended(self, run: TaskRun) -> None:
        """A task has ended; those that have not run are nobody's news."""
        notices, job = run.job.definition.notices, run.job
        if notices is None or not run.attempts or run.state not in _OUTCOMES:
            return
        own = notices.tasks[run.position]
        inherited = [one for one in notices.job if one.of_tasks] if not any(one.kind == WEBHOOK for one in own) else []
        outcome = _OUTCOMES[run.state]
        channels = [one for one in (*own, *inherited) if outcome in one.when]
        if channels:
            payload = self._about(job, f"task.{run.state.lower()}", outcome)
            payload["task"] = _about_task(run)
            self._write(job, f"{run.position}.{run.attempts}", payload, channels)

    # --- on the way -------------------------------------------------------------------------------------------------

    def job_started(self, job: Job) -> None:
        """The first execution of a job has begun."""
        if job.execution == 1 and job.definition.notices is not None:
            self._tell(job, STARTED, "job.started", "started")

    def job_paused(self, job: Job) -> None:
        """A task or somebody has paused the job."""
        if job.definition.notices is not None:
            self._tell(job, PAUSED, "job.paused", f"paused.{round(self.core.wall * 1000)}")

    def approval_wanted(self, run: TaskRun, policy: ApprovalPolicy) -> None:
        """A task waits for people."""
        job = run.job
        if (notices := job.definition.notices) is None:
            return
        channels = [one for one in (*notices.tasks[run.position], *self._of(job)) if WANTED in one.when]
        if channels:
            payload = self._about(job, "approval.wanted", WANTED)
            payload["task"] = _about_task(run)
            payload["approval"] = {"message": "", "missing": policy.missing({})}
            self._write(job, f"{run.position}.{run.attempts}.wanted", payload, channels)

    def died(self, job: Job, queue: str, reason: str, *, alert: bool) -> None:
        """The job that is about to end becomes a dead letter."""
        if job.definition.notices is not None:
            self._letters[job] = {"queue": queue, "reason": reason, "alert": alert}

    def _dead(self, job: Job, letter: Mapping[str, Any], channels: Iterable[Channel]) -> None:
        """Those who ask for it are told; with `alert_on_dlq` all that are told of anything and not of the failure."""

        def asks(one: Channel) -> bool:
            return DEAD_LETTER in one.when or (letter["alert"] and bool(one.when) and FAILURE not in one.when)

        found = [one for one in channels if asks(one)]
        if found:
            payload = self._about(job, "job.dead_letter", DEAD_LETTER)
            payload["dead_letter"] = letter
            self._write(job, "dead_letter", payload, found)

    def _tell(self, job: Job, outcome: str, event: str, what: str) -> None:
        channels = [one for one in self._of(job) if outcome in one.when]
        if channels:
            self._write(job, what, self._about(job, event, outcome), channels)

    def _of(self, job: Job) -> list[Channel]:
        """Channels of the job; of a forked one those of programs only."""
        notices = job.definition.notices
        return [one for one in notices.job if one.kind == WEBHOOK or not _is_forked(job)] if notices else []

    def escalated(self, run: TaskRun, escalation: Escalation) -> None:
        """Nobody has decided in time: the recipients that can be reached are told."""
        recipients = tuple(one for one in escalation.recipients if is_address(one))
        urls = [one for one in escalation.recipients if one.startswith(("http://", "https://"))]
        when = frozenset({ESCALATED})
        channels = [Channel(WEBHOOK, when, url=url) for url in urls]
        if recipients:
            channels.insert(0, Channel(EMAIL, when, recipients))
        if channels:
            payload = self._about(run.job, "approval.escalated", ESCALATED)
            payload["task"] = _about_task(run)
            payload["approval"] = {"message": escalation.message, "missing": escalation.missing}
            self._write(run.job, f"{run.position}.{run.attempts}.approval", payload, channels)

    def _outcome(self, job: Job) -> str:
        """What the end means; remembers it for the next job of the type."""
        outcome, key = _OUTCOMES[job.state], (job.org, job.definition.job_type)
        if outcome != CANCELLED and not _is_forked(job):
            if outcome == SUCCESS and self._last.get(key) == life.FAILED:
                outcome = FIXED
            self._last[key] = job.state
            self.core.batch.changes.states[KIND, *key] = (KIND, *key, job.state.encode(), self.core.wall)
        return outcome

    # --- rows -------------------------------------------------------------------------------------------------------

    def _about(self, job: Job, event: str, outcome: str) -> dict[str, Any]:
        return {
            "event": event,
            "outcome": outcome,
            "time": self.core.wall,
            "job": {
                "id": job.id,
                "job_type": job.definition.job_type,
                "state": job.state,
                "execution": job.execution,
                "retries": job.retries,
                "submitted_at": job.submitted_at,
                "started_at": job.started_at,
                "ended_at": job.ended_at,
                "submitted_by": job.submitted_by,
                "organization": job.org,
                "error": _error(job.error_code, job.error_message),
            },
        }

    def _write(self, job: Job, what: str, payload: dict[str, Any], channels: Iterable[Channel]) -> None:
        batch, wall = self.core.batch, round(self.core.wall, 3)
        for number, channel in enumerate(channels):
            notice_id = f"{job.id}.{job.execution}.{job.retries}.{what}.{number}"
            batch.changes.notices[notice_id] = (
                *(notice_id, job.number, job.org, job.id, job.definition.job_type, channel.kind, payload["event"]),
                *(_encode(channel), _encode({"id": notice_id, **payload}), "PENDING", 0, wall, wall, None, ""),
            )
        batch.notices = True


def _is_forked(job: Job) -> bool:
    return "." in job.id


def _about_task(run: TaskRun) -> dict[str, Any]:
    return {
        "task_type": run.task.task_type,
        "state": run.state,
        "exit_code": run.exit_code,
        "attempts": run.attempts,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error": _error(run.error_code, run.error_message),
    }


def _error(code: str | None, message: str | None) -> dict[str, str] | None:
    return {"code": code, "message": (message or code)[:LONGEST_MESSAGE]} if code else None


def _is_news(run: TaskRun) -> bool:
    return bool(run.attempts or run.error_code) and not run.is_element
