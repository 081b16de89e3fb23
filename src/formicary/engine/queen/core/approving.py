"""How jobs wait for people.

Theory of operation. A MANUAL task never becomes READY: it goes to MANUAL_APPROVAL_REQUIRED with an attempt counted, and
holds no slot. So does the attempt of any other task whose exit code is mapped to WAIT_FOR_APPROVAL, once its lease is
given back. The question is a row, named by job, task and attempt, and holds the policy as it is then; a vote is a row
too. A vote and what follows from it (the decision, the task's end, what starts next) are one event and one commit. Who
may vote was found out by the caller; whether this user may is decided here, against the stored policy.

A job that waits for nothing but people is in MANUAL_APPROVAL_REQUIRED itself and its clock stands still; as long as any
other of its tasks is active it stays EXECUTING.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.approval import (
    APPROVED,
    AUTO_APPROVE,
    ESCALATE,
    OPEN,
    REJECTED,
    WITHDRAWN,
    ApprovalPolicy,
    WrongPolicy,
    read_policy,
)
from formicary.engine.queen.core.batch import Escalation
from formicary.engine.queen.core.occurrences import of_escalated
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.queen.core.timers import Timer
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

VOTES, DEADLINE = "votes", "deadline"
"""What has decided."""

_encode = msgspec.json.Encoder().encode
_decode_policy = msgspec.json.Decoder(ApprovalPolicy).decode


class CannotVote(Exception):
    """A vote that does not count; `code` is the problem's. Nothing was changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Vote(msgspec.Struct, frozen=True, gc=False):
    """What one user says. `task_type` empty = the one task of the job that waits."""

    task_type: str
    voter: str
    roles: frozenset[str]
    approves: bool
    comment: str = ""
    key: str = ""


class Question:
    """One open question to people."""

    __slots__ = ("asked_at", "attempt", "deadline_at", "escalated_at", "keys", "policy", "run", "timer", "votes")

    def __init__(self, run: TaskRun, policy: ApprovalPolicy, asked_at: float) -> None:
        self.run = run
        self.policy = policy
        self.attempt = run.attempts
        self.asked_at = asked_at
        self.deadline_at: float | None = None
        self.escalated_at: float | None = None
        self.votes: dict[str, bool] = {}
        self.keys: dict[str, str] = {}
        self.timer: Timer | None = None

    def row(self, state: str = OPEN, decided_at: float | None = None, decided_by: str | None = None) -> Row:
        """The image in the order of APPROVAL_COLUMNS."""
        run, job = self.run, self.run.job
        return (
            *(job.number, run.position, self.attempt, job.org, job.id, job.definition.job_type, run.task.task_type),
            *(_encode(self.policy), state, self.asked_at, self.deadline_at, self.escalated_at, decided_at, decided_by),
        )


def policy_from(stored: Any) -> ApprovalPolicy:
    """The policy of a row."""
    return _decode_policy(stored)


class Approving:
    """The questions of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[TaskRun, Question] = {}
        self._stored: dict[tuple[int, int], tuple[Row, list[Row]]] = {}
        """Questions that a recovery has read and not yet taken up."""

    # --- asking -----------------------------------------------------------------------------------------------------

    def begin(self, run: TaskRun) -> None:
        """A MANUAL task's turn has come."""
        run.attempts += 1
        run.error_code = run.error_message = run.traceback = run.outputs = run.exit_code = run.signal = None
        run.started_at = self.core.wall if run.started_at is None else run.started_at
        self.ask(run)

    def ask(self, run: TaskRun) -> None:
        """People are asked; the task waits for them."""
        core, job = self.core, run.job
        try:
            policy = read_policy(run.task.approval_policy)
        except WrongPolicy as error:
            run.error_message = f"approval_policy.{error.field}: {error}"
            run.state = life.task_state(run.state, "await_approval")
            self._count(job, +1)
            self.close(run, WITHDRAWN)
            core.progress.failed(run, "ERR_VALIDATION")
            return
        run.state = life.task_state(run.state, "await_approval")
        run.ended_at = run.timer_at = None
        question = self.open[run] = Question(run, policy, core.wall)
        self._count(job, +1)
        if policy.sla_deadline_s is not None:
            self._set_deadline(question, core.wall + policy.sla_deadline_s)
        self._write(question)
        core.notifying.approval_wanted(run, policy)
        core.dirty_tasks[run] = None
        core.progress.check_end(job)

    def _set_deadline(self, question: Question, deadline_at: float) -> None:
        core, run = self.core, question.run
        question.deadline_at = deadline_at
        run.timer = question.timer = core.timers.set(core.mono + max(0.0, deadline_at - core.wall), run)

    def _write(
        self, question: Question, state: str = OPEN, decided_at: float | None = None, decided_by: str | None = None
    ) -> None:
        key = (question.run.job.number, question.run.position, question.attempt)
        self.core.batch.changes.approvals[key] = question.row(state, decided_at, decided_by)

    def _count(self, job: Job, change: int) -> None:
        assert job.run is not None, "a job whose task waits has an execution"
        job.run.asking += change

    def stand_still(self, job: Job) -> None:
        """The job waits for nothing but people: its clock stops."""
        job.state = life.job_state(job.state, "await_approval")
        self.core.pausing.stop_clock(job)

    # --- voting -----------------------------------------------------------------------------------------------------

    def questions(self, job: Job) -> list[Question]:
        """Open questions of a job, in file order."""
        runs = job.run.runs.values() if job.run is not None else ()
        return sorted((self.open[run] for run in runs if run in self.open), key=lambda one: one.run.position)

    def has_counted(self, job: Job, vote: Vote) -> bool:
        """Whether this very vote, by its key, was counted before on a question that is still open."""
        found = self.questions(job) if vote.key else ()
        asked = [one for one in found if vote.task_type in ("", one.run.task.task_type)]
        return any(one.keys.get(vote.voter) == vote.key for one in asked)

    def vote(self, job: Job, vote: Vote) -> Question:
        """Counts a vote; what it decides follows in the same event. The same key again changes nothing.

        Raises:
            CannotVote: NOT_FOUND, APPROVAL_NOT_OPEN, VOTE_NOT_ALLOWED, ALREADY_VOTED, IDEMPOTENCY_KEY_REUSED.
        """
        core = self.core
        question = self._question(job, vote.task_type)
        policy, voter = question.policy, vote.voter
        name = question.run.task.task_type
        if not policy.may_vote(voter, vote.roles):
            message = f"{voter} may not vote on the task {name}: that is for {policy.electorate}"
            raise CannotVote("VOTE_NOT_ALLOWED", message)
        earlier = question.votes.get(voter)
        if earlier is not None:
            if vote.key and vote.key == question.keys.get(voter):
                if earlier == vote.approves:
                    return question
                raise CannotVote("IDEMPOTENCY_KEY_REUSED", f"the key came with the other vote on the task {name}")
            word = "for" if earlier else "against"
            raise CannotVote("ALREADY_VOTED", f"{voter} has voted {word} it: a vote on the task {name} stands")
        question.votes[voter], question.keys[voter] = vote.approves, vote.key
        number, position = job.number, question.run.position
        core.batch.changes.votes[number, position, question.attempt, voter] = (
            *(number, position, question.attempt, voter),
            *(int(vote.approves), vote.comment, vote.key, core.wall),
        )
        core.dirty_tasks[question.run] = None  # those who follow the job see who has voted
        decision = policy.decision(question.votes)
        if decision is not None:
            self._decide(question, decision, VOTES)
        return question

    def _question(self, job: Job, task_type: str) -> Question:
        found = self.questions(job)
        if task_type:
            for question in found:
                if question.run.task.task_type == task_type:
                    return question
            if task_type not in job.definition.model.index:
                raise CannotVote("NOT_FOUND", f"the job {job.id} has no task {task_type[:60]!r}")
            raise CannotVote("APPROVAL_NOT_OPEN", f"the task {task_type} of the job {job.id} does not wait for votes")
        if not found:
            raise CannotVote("APPROVAL_NOT_OPEN", f"no task of the job {job.id} waits for votes")
        if len(found) > 1:
            names = ", ".join(one.run.task.task_type for one in found)
            raise CannotVote("APPROVAL_AMBIGUOUS", f"several tasks wait for votes: name one of {names}")
        return found[0]

    # --- deciding ---------------------------------------------------------------------------------------------------

    def due(self, run: TaskRun) -> None:
        """Nobody has decided in time."""
        question = self.open[run]
        policy = question.policy
        if policy.timeout_action == ESCALATE:
            core, job = self.core, run.job
            question.deadline_at, question.escalated_at = None, core.wall
            self._write(question)
            core.dirty_tasks[run] = None
            if core.observed:
                core.batch.occurrences.append(of_escalated(run, core.wall))
            escalation = Escalation(
                core.wall,
                job.org,
                job.id,
                job.definition.job_type,
                run.task.task_type,
                policy.escalation_recipients,
                policy.escalation_message,
                policy.missing(question.votes),
            )
            core.batch.escalations.append(escalation)
            core.notifying.escalated(run, escalation)
            return
        self._decide(question, APPROVED if policy.timeout_action == AUTO_APPROVE else REJECTED, DEADLINE)

    def _decide(self, question: Question, decision: str, by: str) -> None:
        core, run = self.core, question.run
        self.close(run, decision, by)
        if run.job.state == life.APPROVAL:
            core.pausing.end(run.job, "resume")
        run.state = life.EXECUTING  # for the length of this event: it ends as any other, or goes on
        why = None
        if decision == REJECTED:
            voters = ", ".join(name for name, approves in question.votes.items() if not approves)
            why = f"rejected by {voters}" if by == VOTES else "rejected: nobody has decided in time (sla_deadline)"
        core.progress.decided(run, decision, why)

    def close(self, run: TaskRun, state: str = WITHDRAWN, by: str | None = None) -> None:
        """The task waits for people no longer."""
        question = self.open.pop(run, None)
        if run.timer is not None:
            run.timer.cancel()
        run.timer = None
        self._count(run.job, -1)
        if question is not None:
            question.deadline_at = None
            self._write(question, state, self.core.wall, by)

    # --- recovery ---------------------------------------------------------------------------------------------------

    def recover(self, questions: Iterable[Row], votes: Iterable[Row]) -> None:
        """Takes over what a store holds, before the tasks it belongs to."""
        for row in questions:
            self._stored[int(row[0] or 0), int(row[1] or 0)] = (row, [])
        for vote in votes:
            self._stored[int(vote[0] or 0), int(vote[1] or 0)][1].append(vote)

    def resume(self, run: TaskRun) -> None:
        """After a restart of the queen: the task goes on to wait, its votes and its deadline as they were."""
        row, votes = self._stored.pop((run.job.number, run.position))
        values: Any = row
        question = self.open[run] = Question(run, policy_from(values[7]), values[9])
        question.attempt, question.escalated_at = values[2], values[11]
        self._take(question, votes)
        if values[10] is not None:
            self._set_deadline(question, values[10])

    def _take(self, question: Question, votes: Sequence[Row]) -> None:
        for vote in votes:
            voter = str(vote[3])
            question.votes[voter], question.keys[voter] = bool(vote[4]), str(vote[6])
