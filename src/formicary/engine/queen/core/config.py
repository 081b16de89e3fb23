"""What the core is told at start."""

from __future__ import annotations

from dataclasses import dataclass

_ANT_MARGIN_S = 1.0
"""What an ant takes off the grace before it holds the queen's last word for old, see ``ants/lease.py``."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """Times of leases and bounds of memory.

    Attributes:
        lease_s: An ant's lease in seconds; every beat renews it. Too short loses work of ants that pause, too long
            delays the second attempt of a silent ant's tasks.
        reconnect_grace_s: What remains of a lease at most once the stream is closed, in seconds.
        beat_interval_s: Seconds between an ant's beats; at most a third of the lease, and at most three quarters of the
            time for which an ant may begin tasks on one answer (the grace less 1 s, at least half the grace). A longer
            one leaves ants idle before each beat.
        hot_params_bytes: Parameters of pending jobs kept in memory, in bytes, 0 = none; the rest is read shortly before
            its turn.
        prefetch: Pending jobs whose parameters are asked for at a time.
        slice_decisions: Decisions of one slice of a scheduling round (a slice stays below 2 ms of loop time).
        fork_depth: How deep jobs may fork jobs that fork jobs; ends cycles.
        children: Jobs that one execution of a job may fork.
        checkpoint_bytes: Largest checkpoint of a task, in bytes.
        all_checkpoints_bytes: Those of all tasks of live jobs together, in bytes of memory; what is more is not kept.
    """

    lease_s: float = 10.0
    reconnect_grace_s: float = 3.0
    beat_interval_s: float = 1.0
    hot_params_bytes: int = 4 * 1024 * 1024
    prefetch: int = 256
    slice_decisions: int = 256
    fork_depth: int = 10
    children: int = 10_000
    checkpoint_bytes: int = 64 * 1024
    all_checkpoints_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        """Checks the values and how they relate.

        Raises:
            ValueError: Some are wrong; the message names every one of them.
        """
        wrong = [
            f"{name} is {value}: it must be above 0"
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
            if not value > 0 and name != "hot_params_bytes"
        ]
        if self.hot_params_bytes < 0:
            wrong.append(f"hot_params_bytes is {self.hot_params_bytes}: it must be at least 0")
        third_s = self.lease_s / 3
        fresh_s = max(self.reconnect_grace_s - _ANT_MARGIN_S, self.reconnect_grace_s / 2)
        if self.reconnect_grace_s > self.lease_s:
            wrong.append(
                f"reconnect_grace_s is {self.reconnect_grace_s:g}: it must be at most lease_s, {self.lease_s:g}"
            )
        if self.beat_interval_s > third_s:
            wrong.append(
                f"beat_interval_s is {self.beat_interval_s:g}: it must be at most {third_s:g}, a third of lease_s"
            )
        if self.beat_interval_s > 0.75 * fresh_s:
            wrong.append(
                f"beat_interval_s is {self.beat_interval_s:g}: it must be at most {0.75 * fresh_s:g}, three quarters of"
                f" the time for which ants may begin tasks on one answer at a reconnect_grace_s of"
                f" {self.reconnect_grace_s:g}"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
