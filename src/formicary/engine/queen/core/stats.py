"""What a core counts."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_TAG_SETS = 1000
OTHER_TAGS = frozenset({"other"})
"""Where waits are counted once there are too many sets of tags to tell apart."""


@dataclass(slots=True)
class Stats:
    """Counts since this core was made."""

    submitted: int = 0
    granted: int = 0
    tasks_ended: int = 0
    jobs_ended: int = 0
    stale: int = 0
    lost: int = 0
    retries: int = 0
    """Attempts after the first that a definition has asked for: retries, polls."""
    preempted: int = 0
    """Attempts that were asked to make room and begin again later."""
    gangs_restarted: int = 0
    """Gangs that had started and had to begin again, all members together."""
    gangs_waited: int = 0
    """Gangs that did not fit at once when their turn came."""
    dead_letters: int = 0
    """Jobs that no retry will help."""
    backups: int = 0
    """Second copies of tasks that lagged behind."""
    backups_won: int = 0
    """Those of them that ended first, or took the place of an attempt whose ant was lost."""
    checkpoints: int = 0
    """Checkpoints that were kept, each instead of the one before."""
    checkpoints_refused: int = 0
    """Checkpoints that were too large, or for which there was no room."""
    idle_rounds: int = 0
    """Scheduling rounds after which no job and no task was waiting for an ant."""
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """(organisation, state) -> jobs."""
    waits: dict[frozenset[str], list[float]] = field(default_factory=dict)
    """Tags of a job's first task -> number of jobs that began, seconds that they waited together."""

    def waited(self, tags: frozenset[str], seconds: float) -> None:
        """A job has begun after a wait."""
        found = self.waits.get(tags)
        if found is None:
            found = self.waits.setdefault(tags if len(self.waits) < MOST_TAG_SETS else OTHER_TAGS, [0, 0.0])
        found[0] += 1
        found[1] += seconds
