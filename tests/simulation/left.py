"""What committed rows say of checkpoints: whose they are, that they go to the next attempt, and when they are gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.batch import Assignment
from formicary.engine.storage.port import CHECKPOINT_COLUMNS, TASK_COLUMNS, Changes, Row

_VALUE = CHECKPOINT_COLUMNS.index("value")
_STATE, _TOKEN = TASK_COLUMNS.index("state"), TASK_COLUMNS.index("token")
Key = tuple[int, int]


def leaves(token: int) -> bytes | None:
    """What the attempt with this token leaves on its way, its own token; two of three leave something."""
    return str(token).encode() if token % 3 else None


class Left:
    """The last committed checkpoint of each task."""

    def __init__(self, fail: Callable[..., None]) -> None:
        self._fail = fail
        self.kept: dict[Key, bytes] = {}
        self._newest: dict[Key, int] = {}

    def committed(self, changes: Changes, before: Mapping[Key, Row]) -> None:
        """Nothing comes from an attempt that was over for the task; what COMPLETED has none.

        Args:
            changes: One commit.
            before: The tasks as they were committed before it.
        """
        for key, row in changes.checkpoints.items():
            value = row[_VALUE]
            if not isinstance(value, bytes):
                self.kept.pop(key, None)
                continue
            token, old = int(value), before.get(key)
            if old is not None and token < int(old[_TOKEN] or 0):
                self._fail(
                    "the stale attempt", token, "leaves a checkpoint of task", key, "whose token is", old[_TOKEN]
                )
            if token < self._newest.get(key, 0):
                self._fail("the checkpoint of task", key, "is older than the one before", token)
            self._newest[key] = token
            self.kept[key] = value
        for key, task in changes.tasks.items():
            if task[_STATE] == life.COMPLETED and key in self.kept:
                self._fail("task", key, "has completed and has a checkpoint still:", self.kept[key])

    def handed_on(self, key: Key, assignment: Assignment) -> None:
        """An attempt is let out: it begins from what was left last."""
        if assignment.checkpoint != self.kept.get(key, b""):
            told = self.kept.get(key)
            self._fail("attempt", assignment.token, "of", key, "is given", assignment.checkpoint, "and not", told)
