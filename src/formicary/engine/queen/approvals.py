"""Questions to people as the API shows them: who waits for whose vote, votes, and escalations.

Votes go through the core (:mod:`formicary.engine.queen.core.approving`) and are answered after their commit; what is
read comes from the store. Whoever wants to tell people about an escalation adds a function to `escalated`: it is
called on the loop, once per escalation, after the commit that stored it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from formicary.engine.jobs.approval import OPEN
from formicary.engine.queen.core.approving import CannotVote, Vote, policy_from
from formicary.engine.queen.core.batch import Escalation
from formicary.engine.queen.documents import timestamp
from formicary.engine.storage.port import APPROVAL_COLUMNS, Row
from formicary.problems import FieldError, Problem, problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.queen")
ESCALATED_METHOD = "formicary.v1.ApprovalService/Escalated"
"""How the audit log names an escalation, which nobody has called."""
MOST_OF_JOB = 10_000
_SLICE = 500
Key = tuple[int, int, int]


class Approvals:
    """The questions of one queen.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self.escalated: list[Callable[[Escalation], None]] = []
        """Who is told of escalations."""
        queen.pump.on_escalated = self._escalated

    # --- voting -----------------------------------------------------------------------------------------------------

    async def vote(self, job_id: str, vote: Vote, *, org: str = "", repeated: set[str] | None = None) -> dict[str, Any]:
        """Counts a vote and returns the document of its question, after the commit.

        Args:
            job_id: The job.
            vote: What is said.
            org: Organisation.
            repeated: Gets the job's id where the vote was counted before.

        Raises:
            Problem: NOT_FOUND, APPROVAL_NOT_OPEN, VOTE_NOT_ALLOWED, ALREADY_VOTED, IDEMPOTENCY_KEY_REUSED,
                VALIDATION_FAILED where several tasks wait and none is named.
        """
        queen = self._queen
        core = queen.pump.now()
        job = core.jobs.get(job_id)
        if job is None or job.org != (org or queen.config.org):
            await queen.pump.settle()  # its end may not be committed yet
            row = await queen.row(job_id, org=org)
            late = CannotVote("APPROVAL_NOT_OPEN", f"the job {job_id} is {row[5]!s}")
            return await self._late(row, vote, late, repeated)
        is_repeated = core.approving.has_counted(job, vote)
        try:
            question = core.vote(job_id, vote)
        except CannotVote as error:
            await queen.pump.settle()
            return await self._late(await queen.row(job_id, org=org), vote, error, repeated)
        key = (job.number, question.run.position, question.attempt)
        await queen.pump.commit()
        (document,) = [one for asked, one in await self._of_job(job.number, job.org) if asked == key]
        if is_repeated:
            said = next(one for one in document["votes"] if one["voter"] == vote.voter)
            if (said["comment"] or "") != vote.comment:
                raise _reused(document["task_type"])
            if repeated is not None:
                repeated.add(job_id)
        return document

    async def _late(self, row: Row, vote: Vote, error: CannotVote, repeated: set[str] | None) -> dict[str, Any]:
        """A vote that does not count now: the answer of a repeated one, or why not."""
        if error.code == "APPROVAL_NOT_OPEN":
            found = [one for _, one in await self._of_job(int(row[0] or 0), str(row[2])) if one["state"] != OPEN]
            of_task = [one for one in found if one["task_type"] == vote.task_type or not vote.task_type]
            last = max(of_task, key=lambda one: str(one["asked_at"]), default=None)
            if last is not None:
                if vote.key and await self._is_repeated(row, last, vote):
                    if repeated is not None:
                        repeated.add(str(row[1]))
                    return last
                text = f"the task {last['task_type']} was {last['state']} at {last['decided_at']}: votes are over"
                raise problem("APPROVAL_NOT_OPEN", text)
        if error.code == "APPROVAL_AMBIGUOUS":
            raise problem(
                "VALIDATION_FAILED", str(error), errors=[FieldError("task_type", "REQUIRED_FIELD", str(error))]
            )
        raise problem(error.code, str(error))

    async def _is_repeated(self, row: Row, document: dict[str, Any], vote: Vote) -> bool:
        number, task = int(row[0] or 0), document["task_type"]
        definition = await self._queen.submitting.definition(str(row[3]))
        position = definition.model.index.get(task)
        votes = await self._queen.pump.read(lambda: self._queen.store.votes([number]))
        here = (position, vote.voter, vote.key)
        said = [(bool(one[4]), str(one[5] or "")) for one in votes if (one[1], one[3], one[6]) == here]
        if said and (vote.approves, vote.comment) not in said:
            raise _reused(task)
        return bool(said)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def pending(
        self, *, org: str = "", voter: str = "", roles: Sequence[str] = (), after: Key = (0, -1, 0), size: int = 100
    ) -> tuple[list[dict[str, Any]], Key | None]:
        """Documents of open questions, oldest jobs first, and where the next page begins.

        Args:
            org: Organisation.
            voter: Only those on which this user may vote and has not; empty = all.
            roles: What the voter is.
            after: Behind this key.
            size: At most so many.
        """
        found: list[dict[str, Any]] = []
        queen, wanted = self._queen, org or self._queen.config.org
        while True:
            rows = await queen.pump.read(partial(queen.store.approvals, wanted, after=after, limit=_SLICE))
            for key, document in await self._documents(rows):
                after = key
                voted = any(one["voter"] == voter for one in document["votes"])
                if not voter or (not voted and may_vote(document, voter, roles)):
                    found.append(document)
                    if len(found) == size:
                        return found, after
            if len(rows) < _SLICE:
                return found, None

    async def of_job(self, job_id: str, *, org: str = "") -> list[dict[str, Any]]:
        """Documents of all questions of a job, by task and attempt. Raises Problem NOT_FOUND."""
        row = await self._queen.row(job_id, org=org)
        return [document for _, document in await self._of_job(int(row[0] or 0), str(row[2]))]

    async def of_task(self, job_id: str, task_type: str, *, org: str = "") -> dict[str, Any]:
        """The document of a task's last question. Raises Problem NOT_FOUND."""
        found = [one for one in await self.of_job(job_id, org=org) if one["task_type"] == task_type]
        if not found:
            raise problem("NOT_FOUND", f"nobody was asked about a task {task_type[:60]!r} of the job {job_id}")
        return found[-1]

    async def add_to(self, document: dict[str, Any], number: int, org: str) -> None:
        """Puts the last question about each task into the job's document."""
        tasks = document["tasks"]
        for (_, position, _), question in await self._of_job(number, org):  # another version may have other tasks there
            if position < len(tasks) and tasks[position]["task_type"] == question["task_type"]:
                tasks[position]["approval"] = question

    async def _of_job(self, number: int, org: str) -> list[tuple[Key, dict[str, Any]]]:
        store = self._queen.store
        rows = await self._queen.pump.read(lambda: store.approvals(org, job=number, limit=MOST_OF_JOB))
        return await self._documents(rows)

    async def _documents(self, rows: Sequence[Row]) -> list[tuple[Key, dict[str, Any]]]:
        if not rows:
            return []
        numbers = sorted({int(row[0] or 0) for row in rows})
        votes: dict[Key, list[Row]] = {}
        for vote in await self._queen.pump.read(lambda: self._queen.store.votes(numbers)):
            votes.setdefault(cast(Key, vote[:3]), []).append(vote)
        keys = [cast(Key, row[:3]) for row in rows]
        return [(key, document_of(row, votes.get(key, []))) for key, row in zip(keys, rows, strict=True)]

    # --- escalations ------------------------------------------------------------------------------------------------

    def _escalated(self, found: list[Escalation]) -> None:
        for one in found:
            told = ", ".join(one.recipients) or "nobody in particular"
            log.warning("job %s task %s: %s is still missing; told: %s", one.job_id, one.task_type, one.missing, told)
            for tell in self.escalated:
                try:
                    tell(one)
                except Problem as error:
                    log.error("an escalation could not be passed on: %s", error)


def _reused(task: str) -> Problem:
    text = f"the idempotency key came with another vote or comment on the task {task}; take a new key"
    return problem("IDEMPOTENCY_KEY_REUSED", text)


def document_of(row: Row, votes: Sequence[Row]) -> dict[str, Any]:
    """A question as the command line and the API show it."""
    found: dict[str, Any] = dict(zip(APPROVAL_COLUMNS, row, strict=True))
    policy = policy_from(found["policy"])
    said = {str(vote[3]): bool(vote[4]) for vote in votes}
    return {
        "id": found["job_id"],
        "job_type": found["job_type"],
        "task_type": found["task_type"],
        "attempt": found["attempt"],
        "state": found["state"],
        "asked_at": timestamp(found["asked_at"]),
        "deadline_at": timestamp(found["deadline_at"]),
        "escalated_at": timestamp(found["escalated_at"]),
        "decided_at": timestamp(found["decided_at"]),
        "decided_by": found["decided_by"],
        "missing": policy.missing(said) if found["state"] == OPEN else "",
        "policy": {
            "min_approvals": policy.min_approvals,
            "allowed_roles": list(policy.allowed_roles),
            "allowed_users": list(policy.allowed_users),
            "require_unanimous": policy.require_unanimous,
            "sla_deadline_s": policy.sla_deadline_s,
            "timeout_action": policy.timeout_action if policy.sla_deadline_s is not None else None,
            "escalation_recipients": list(policy.escalation_recipients),
            "escalation_message": policy.escalation_message,
        },
        "votes": [
            {
                "voter": vote[3],
                "decision": "APPROVED" if vote[4] else "REJECTED",
                "comment": vote[5],
                "voted_at": timestamp(vote[7]),
            }
            for vote in votes
        ],
    }


def may_vote(document: dict[str, Any], voter: str, roles: Sequence[str]) -> bool:
    """Whether this user may vote on a question."""
    policy = document["policy"]
    users, wanted = policy["allowed_users"], policy["allowed_roles"]
    return not (users or wanted) or voter in users or not set(roles).isdisjoint(wanted)
