"""Scheduling algorithms as pure functions of what they are given; each module names its source."""

from formicary.engine.scheduling.policies import (
    assignment,
    capacity_tree,
    degrade,
    delay,
    drf,
    edf_admission,
    fair,
    gang,
    matchmaking,
    speculative,
)

__all__ = [
    "assignment",
    "capacity_tree",
    "degrade",
    "delay",
    "drf",
    "edf_admission",
    "fair",
    "gang",
    "matchmaking",
    "speculative",
]
