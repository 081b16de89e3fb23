"""First come, first served within priority.

Higher priority first, then the order of submission (the job's number), then the position of the task in its file. A
running job keeps its number, so its next task goes before jobs that came later. Source: the default of the original
engine; ties are impossible, the key is unique.
"""

from __future__ import annotations

from formicary.engine.scheduling.candidates import OrderKey


def fcfs_within_priority(priority: int, number: int, position: int) -> OrderKey:
    """Order key: priority 0-10 (higher first), job number, task position."""
    return (-priority, number, position)
