"""Exit statuses, and how an error is told: sentences on standard error, with what to do next."""

from __future__ import annotations

import sys

from formicary.problems import Problem

OK = 0
FAILED = 1
INVALID = 2
CANNOT_START = 3
INTERRUPTED = 130

EXIT_HELP = """\b
Exit status:
  0    it worked; for `run`: the job ended COMPLETED
  1    the job ended FAILED or CANCELLED, or the request was refused
  2    invalid input: a file, a parameter, an option, an unknown id
  3    cannot start, or no server answers
  130  interrupted
"""

_CANNOT_START = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "NOT_LEADER",
        "DATA_IN_USE",
        "DATA_CORRUPT",
        "UNSUPPORTED_DATA_VERSION",
    }
)
_INVALID = frozenset(
    {"VALIDATION_FAILED", "NOT_FOUND", "NOT_AVAILABLE", "PAYLOAD_TOO_LARGE", "IDEMPOTENCY_KEY_REUSED", "ALREADY_EXISTS"}
)


def exit_status(error: Problem) -> int:
    """The status that a problem ends the command with."""
    if error.code in _CANNOT_START:
        return CANNOT_START
    return INVALID if error.code in _INVALID else FAILED


def tell(error: Problem) -> int:
    """Prints a problem on standard error and returns the exit status."""
    lines = error.extensions.get("lines")
    if isinstance(lines, list):
        for line in lines:
            say(f"error: {line}")
    else:
        say(f"error: {error.detail}")
    # A remedy that points into the document is for those who read one: here the sentences stand just above.
    points = "`errors`" in error.remedy or "`detail`" in error.remedy
    if error.remedy and not points and error.remedy not in error.detail:
        say(error.remedy)
    return exit_status(error)


def say(text: str) -> None:
    """Prints a line on standard error; a closed one is no reason to fail."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass
