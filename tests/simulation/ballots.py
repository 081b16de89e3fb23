"""What must hold of questions to people and of their votes, row by row of what is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from formicary.engine.jobs.approval import APPROVED, OPEN, WITHDRAWN
from formicary.engine.queen.core.approving import policy_from
from formicary.engine.storage.port import Changes, Row

Key = tuple[int, int, int]


class Ballots:
    """Watches the questions of one world: decided once, by votes that are stored, each counted once.

    Args:
        fail: Ends the run with what is wrong.
    """

    def __init__(self, fail: Callable[..., None]) -> None:
        self._fail = fail
        self.questions: dict[Key, Row] = {}
        self.votes: dict[Key, dict[str, bool]] = {}

    def committed(self, changes: Changes) -> None:
        """Votes come to open questions only and never change; what is decided stays as it is."""
        for (*place, voter), row in changes.votes.items():
            key: Key = (place[0], place[1], place[2])
            said = self.votes.setdefault(key, {})
            question = self.questions.get(key)
            if question is None or question[8] != OPEN:
                self._fail("a vote on a question that is not open:", row, question)
            if voter in said:
                self._fail("a second vote of", voter, "on", key)
            if voter == "zoe" and policy_from(row_policy(question)).allowed_users:
                self._fail("a stranger's vote on", key)
            said[str(voter)] = bool(row[4])
        for key, row in changes.approvals.items():
            before = self.questions.get(key)
            if before is not None and before[8] != OPEN:
                self._fail("question", key, "was decided and changed:", before, row)
            if before is not None and before[7] != row[7]:
                self._fail("the policy of question", key, "changed:", before, row)
            self.questions[key] = row
            self._check_decision(key, row)

    def _check_decision(self, key: Key, row: Row) -> None:
        decision = policy_from(row[7]).decision(self.votes.get(key, {}))
        if row[8] == OPEN and decision is not None:
            self._fail("question", key, "is open and its votes decide it:", self.votes[key])
        if row[8] not in (OPEN, WITHDRAWN) and row[13] == "votes" and decision != row[8]:
            self._fail("question", key, "is", row[8], "and its votes say", decision, self.votes.get(key))
        if row[8] not in (OPEN, WITHDRAWN) and row[13] == "deadline" and decision is not None:
            self._fail("question", key, "was decided by its deadline, and its votes say", decision)

    def approved(self, task: tuple[int, int], attempt: int) -> bool:
        """Whether people have approved this attempt of a task."""
        row = self.questions.get((*task, attempt))
        return row is not None and row[8] == APPROVED

    def final(self, told: Mapping[tuple[int, int, int, str], bool]) -> None:
        """Nothing is left open; every vote of which a voter was told is there as it was given."""
        for key, row in self.questions.items():
            if row[8] == OPEN:
                self._fail("question", key, "is still open:", row)
        for (*place, voter), approves in told.items():
            key = (place[0], place[1], place[2])
            if self.votes.get(key, {}).get(voter) is not approves:
                self._fail("the vote of", voter, "on", key, "counted and is lost:", self.votes.get(key))


def row_policy(row: Row | None) -> object:
    """The stored policy of a question."""
    assert row is not None, "checked by the caller"
    return row[7]
