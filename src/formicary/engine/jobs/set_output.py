"""Outputs that a task prints: lines ``::set-output name=KEY::VALUE`` on its standard output."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_VALUE_CHARS = 1024 * 1024
"""Longest value, and all values of one task together."""

_LINE = re.compile(r"\s*::set-output\s+name=([^:\s][^:]*?)\s*::(.*)\Z", re.DOTALL)


def parse_set_output(line: str) -> tuple[str, str] | None:
    """Returns name and value of a line that sets an output, or None; the line's end is no part of the value."""
    if "::set-output" not in line:
        return None
    match = _LINE.match(line.rstrip("\r\n"))
    return (match.group(1), match.group(2)) if match is not None else None


@dataclass(slots=True)
class OutputCollector:
    """Collects the outputs of one task line by line; the last value of a name counts.

    Attributes:
        outputs: Values by name.
        refused: Names whose value did not fit into 1 MB together with the others.
    """

    outputs: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    _size: int = 0

    def feed(self, line: str) -> tuple[str, str] | None:
        """Takes one line; returns the output it set."""
        found = parse_set_output(line)
        if found is None:
            return None
        name, value = found
        before = self.outputs.get(name)
        size = self._size + len(name) + len(value) - (len(name) + len(before) if before is not None else 0)
        if size > MAX_VALUE_CHARS:
            self.refused.add(name)
            return None
        self._size = size
        self.refused.discard(name)
        self.outputs[name] = value
        return found
