"""What the core is told at start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """Times of leases and bounds of memory.

    Attributes:
        lease_s: An ant's lease in seconds; every beat renews it. Too short loses work of ants that pause, too long
            delays the second attempt of a silent ant's tasks.
        reconnect_grace_s: What remains of a lease at most once the stream is closed, in seconds.
        beat_interval_s: Seconds between an ant's beats; at most a third of the lease.
        hot_params_bytes: Parameters of pending jobs kept in memory, in bytes; the rest is read shortly before its turn.
        prefetch: Pending jobs whose parameters are asked for at a time.
        slice_decisions: Decisions of one slice of a scheduling round (a slice stays below 2 ms of loop time).
    """

    lease_s: float = 10.0
    reconnect_grace_s: float = 3.0
    beat_interval_s: float = 1.0
    hot_params_bytes: int = 4 * 1024 * 1024
    prefetch: int = 256
    slice_decisions: int = 256
