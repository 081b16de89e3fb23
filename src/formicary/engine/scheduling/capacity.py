"""Place: the least loaded ant that fits and has room.

An ant runs at most `slots` tasks at a time, which the ant itself enforces; it may hold up to `window` granted tasks,
so that short tasks follow each other without a round trip. Free slots anywhere go before any queueing on an ant.
Ties go to the ant that came first.
"""

from __future__ import annotations

from formicary.engine.scheduling.pipeline import AntView


def least_loaded(ants: list[AntView]) -> AntView | None:
    """The ant with the smallest share of its slots taken, or None where every window is full."""
    best, best_load = None, 0.0
    for ant in ants:
        held = len(ant.held)
        if held >= ant.window or ant.draining or not ant.connected:
            continue
        load = held / ant.slots
        if best is None or load < best_load:
            best, best_load = ant, load
    return best
