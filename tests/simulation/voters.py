"""People: they learn of questions from what is committed, and send their votes until they are answered.

A vote or its answer may be lost, or come twice; it carries a key. A stranger and a late voter are among them. What they
say is drawn from job, task, attempt and name, and is the same each time they are asked for it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from formicary.engine.queen.core.approving import Vote
from formicary.engine.storage.port import Changes, Row

if TYPE_CHECKING:
    from tests.simulation.world import World

USERS = ("ann", "bob", "cid", "dan", "zoe")
COUNTED, UNWANTED, NO_ANSWER = range(3)
MOST_ROUNDS = 4
"""From this attempt on everybody approves, so that asking again has an end."""


class Voters:
    """All people of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = world.loop
        self._asked: set[tuple[int, int, int]] = set()
        self.told: dict[tuple[int, int, int, str], bool] = {}
        """Votes of which the voter was told that they count."""

    def committed(self, changes: Changes) -> None:
        """New questions are in the store."""
        for key, row in changes.approvals.items():
            if row[8] == "OPEN" and key not in self._asked:
                self._asked.add(key)
                for user in USERS:
                    if self.loop.chance(0.9) or user != "zoe":
                        self.loop.after(3.0 * self.loop.random.random() ** 3, self._vote, key, row, user)

    def says(self, row: Row, user: str) -> bool:
        """Whether the user is for it."""
        job_type, attempt = str(row[5]), int(row[2] or 0)
        if job_type.startswith("rejected"):
            return False
        if not job_type.startswith("wild") or attempt >= MOST_ROUNDS:
            return True
        return Random(f"{row[4]!s}/{row[1]!s}/{attempt}/{user}").random() < 0.6

    def _vote(self, key: tuple[int, int, int], row: Row, user: str) -> None:
        approves = self.says(row, user)
        vote = Vote(str(row[6]), user, frozenset(), approves, key=f"{user}-{key}")
        answered = False

        def answer(how: int) -> None:
            nonlocal answered
            if how == COUNTED:
                self.told[(*key, user)] = approves
            answered = answered or (how != NO_ANSWER and not self.loop.chance(self.world.weather.loss))

        def again() -> None:
            if not answered:
                self._vote(key, row, user)

        for _ in range(2 if self.loop.chance(self.world.weather.duplicate) else 1):
            if not self.loop.chance(self.world.weather.loss):
                self.loop.after(self.world.delay_s(), self.world.queen.vote, str(row[4]), key, vote, answer)
        self.loop.after(1.0 + self.loop.random.random(), again)
