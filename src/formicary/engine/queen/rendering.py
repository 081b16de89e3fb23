"""Renders what the core asks for, off the loop: a task's text before an attempt, a job's variables before its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from formicary.engine.jobs.rendering import RenderedTask

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job's rendered variables and whether `skip_if` leaves it out, or the problem."""

    variables: bytes
    skip: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A task as rendered, or the problem."""

    task: RenderedTask | None
    problem: str | None
