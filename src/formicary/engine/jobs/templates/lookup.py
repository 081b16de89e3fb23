"""The port through which a template asks for what is outside of it, and the environment that rendering runs in."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from random import Random
from typing import Protocol

from formicary.engine.jobs.templates.budget import Budget


class LookupRefused(Exception):
    """What a template asks for cannot be; the text is a sentence for the user, without its first capital."""


class Lookup(Protocol):
    """What a template may ask for. Raises LookupRefused.

    A submitting call is an effect: its implementation derives the job's id from who submits what, and submits it only
    where the rendering counts.
    """

    def submit_job(self, job_type: str, params: Mapping[str, object]) -> str:
        """Submits a job and returns its id."""
        ...

    def count_by_job_type_and_state(self, job_type: str, states: tuple[str, ...]) -> int:
        """Counts the jobs of a type that are in one of the states."""
        ...


@dataclass(slots=True)
class Environment:
    """What a function of a template may use.

    Attributes:
        now: Seconds since the epoch, UTC.
        rng: Source of randomness.
        budget: Bounds.
        lookup: The port, if there is one.
        later: Where the result is rendered once more, the names that have a value only then; else None.
    """

    now: float
    rng: Random
    budget: Budget
    lookup: Lookup | None = None
    later: Set[str] | None = None
