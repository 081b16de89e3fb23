"""Requirements that no ant can ever meet, whatever there is: found before a job waits for one.

For each label every value that could make a difference is tried: those that are named, some on either side of each
bound, one that nobody names, and none. If none of them meets all that is asked of the label, nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from formicary.engine.scheduling.policies.matchmaking import Expression, Requirements, in_range

_BOUND = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_UNNAMED = "\0"


def contradiction(wants: Requirements) -> str | None:
    """What cannot be at the same time, in words; None where some ant could meet it all."""
    asked: dict[str, list[Expression]] = {}
    for one in wants.expressions:
        asked.setdefault(one.key, []).append(one)
    for key, value in wants.labels.items():
        asked.setdefault(key, []).append(Expression(key, "In", (value,)))
    found = []
    for key in sorted({*asked, *wants.versions}):
        expressions, wanted = asked.get(key, []), wants.versions.get(key)
        if not any(_meets(value, key, expressions, wanted) for value in _values(expressions, wanted)):
            told = [*map(str, expressions), *([f"{key} {wanted}"] if wanted is not None else [])]
            found.append(f"no ant can ever meet {' and '.join(told)}")
    return "; ".join(found) or None


def _meets(value: str | None, key: str, expressions: Sequence[Expression], wanted: str | None) -> bool:
    if not all(one.holds({} if value is None else {key: value}) for one in expressions):
        return False
    if wanted is None:
        return True
    try:
        return value is not None and in_range(value, wanted)
    except ValueError:  # it is no version
        return False


def _values(expressions: Sequence[Expression], wanted: str | None) -> Iterator[str | None]:
    yield from (None, _UNNAMED, "0", "0.0.0")
    named = sum(len(one.values) for one in expressions) + len((wanted or "").split(","))  # so many may be left out
    for one in expressions:
        for text in one.values:
            yield text
            if one.operator in ("Gt", "Lt"):
                yield from (str(int(text) + step) for step in range(-named - 1, named + 2))
    for found in _BOUND.finditer(wanted or ""):
        major, minor, patch = (int(part or 0) for part in found.groups())
        yield from (f"{major}.{minor}.{patch + step}" for step in range(named + 1))
        yield from (f"{major}.{minor}.{patch}-0", f"{major}.{minor + 1}.0", f"{major + 1}.0.0")
