"""Bounds of rendering, the same for both dialects, and the error that every template problem becomes."""

from __future__ import annotations

from collections.abc import Callable

MAX_INPUT_BYTES = 256 * 1024
"""Longest template."""

MAX_OUTPUT_CHARS = 1024 * 1024
"""Longest result, and longest value that a function may make on the way."""

MAX_ITERATIONS = 100_000
"""Rounds of all loops together."""

MAX_STEPS = 2_000_000
"""Evaluated nodes of one rendering."""

MAX_DEPTH = 100
"""Nesting of parentheses, blocks and template calls."""

DEADLINE_S = 0.1
"""Time of one rendering in seconds, measured only when a clock is given."""

EXPANSION_DEADLINE_S = 1.0
"""The same for a template that makes the tasks of a job, up to 10,000 of them."""

_CHECK_EVERY = 512

Clock = Callable[[], float]
"""Monotonic seconds."""


class TemplateError(Exception):
    """A template that cannot be parsed or rendered.

    Attributes:
        message: One sentence.
        pos: Offset in the text that was rendered, in characters; None when only the line is known.
        line: Line from 1, when ``pos`` is None.
        code: ``BAD_TEMPLATE``, ``TEMPLATE_LIMIT`` (a bound was exceeded) or ``NOT_AVAILABLE``.
    """

    def __init__(self, message: str, pos: int | None = None, *, line: int = 1, code: str = "BAD_TEMPLATE") -> None:
        super().__init__(message)
        self.message = message
        self.pos = pos
        self.line = line
        self.code = code


def limit_error(what: str, pos: int | None = None) -> TemplateError:
    """Returns the error of an exceeded bound."""
    return TemplateError(f"The template {what}; make it smaller.", pos, code="TEMPLATE_LIMIT")


class Budget:
    """Counts what one rendering uses and stops it in time.

    Args:
        clock: Monotonic seconds; None means that only the counts bound the rendering.
        deadline_s: Seconds from now, used with a clock.
    """

    __slots__ = ("_clock", "_ends_at", "_next_check", "iterations", "output", "steps")

    def __init__(self, clock: Clock | None = None, deadline_s: float = DEADLINE_S) -> None:
        self.steps = 0
        self.iterations = 0
        self.output = 0
        self._clock = clock
        self._ends_at = clock() + deadline_s if clock is not None else 0.0
        self._next_check = _CHECK_EVERY

    def step(self, pos: int | None = None, count: int = 1) -> None:
        """Counts evaluated nodes; looks at the clock now and then."""
        self.steps += count
        if self.steps >= self._next_check:
            self._next_check = self.steps + _CHECK_EVERY
            if self.steps > MAX_STEPS:
                raise limit_error(f"takes more than {MAX_STEPS:,} steps", pos)
            self.check_deadline(pos)

    def check_deadline(self, pos: int | None = None) -> None:
        """Raises when the time is over."""
        if self._clock is not None and self._clock() > self._ends_at:
            raise limit_error("takes too long to render", pos)

    def iterate(self, pos: int | None = None) -> None:
        """Counts one round of a loop."""
        self.iterations += 1
        if self.iterations > MAX_ITERATIONS:
            raise limit_error(f"loops more than {MAX_ITERATIONS:,} times", pos)

    def emit(self, chars: int, pos: int | None = None) -> None:
        """Counts characters of the output."""
        self.output += chars
        if self.output > MAX_OUTPUT_CHARS:
            raise limit_error("renders more than 1 MB", pos)


def check_size(template: str) -> None:
    """Raises when a template is too long to be parsed at all."""
    if len(template) > MAX_INPUT_BYTES or len(template.encode("utf-8", "replace")) > MAX_INPUT_BYTES:
        raise limit_error("is longer than 256 KB", 0)
