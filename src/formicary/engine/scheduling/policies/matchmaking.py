"""Matchmaking: which ants may run a job, which of them suit it best, and who gets whom.

Requirements are tags (the ant has them all), labels (equal values), match expressions as in Kubernetes' node affinity
(`In NotIn Exists DoesNotExist Gt Lt`) and version ranges. Preferences are requirements with a weight: an ant's score is
the sum of the weights that it meets. Beside them a cost may say how far the data is (`locality_cost`). `match` gives
jobs to ants at the least total cost by optimal assignment; ties go to the row and column that come first.

Source: Kubernetes, "Assigning Pods to Nodes" (operators, weights 1-100, NotIn and DoesNotExist hold where the label is
missing); Raman, Livny, Solomon, "Matchmaking", HPDC 1998; Semantic Versioning 2.0.0, section 11, for the order of
versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from formicary.engine.scheduling.policies.assignment import assign

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
HOST_KEYS = ("ant", "kubernetes.io/hostname")
"""Labels that every ant has: its own name, unless it says something else."""


class Host(Protocol):
    """What matchmaking knows of an ant."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """Names that it carries."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Values by name."""
        ...


@dataclass(frozen=True, slots=True)
class Expression:
    """One match expression over a label.

    Args:
        key: The label's name.
        operator: One of `OPERATORS`.
        values: One or more for In and NotIn, exactly one whole number for Gt and Lt, none for the others.

    Raises:
        ValueError: Naming the key and what is wrong.
    """

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"{self.key}: operator must be one of {', '.join(OPERATORS)}, not {self.operator!r}")
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"{self.key}: {self.operator} needs at least one value")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"{self.key}: {self.operator} takes no values")
        if self.operator in ("Gt", "Lt") and not (len(self.values) == 1 and _whole(self.values[0]) is not None):
            raise ValueError(f"{self.key}: {self.operator} needs exactly one whole number")

    def holds(self, labels: Mapping[str, str]) -> bool:
        """True where the labels meet the expression."""
        value = labels.get(self.key)
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        if self.operator == "NotIn":
            return value not in self.values
        if value is None:
            return False
        if self.operator == "In":
            return value in self.values
        mine, bound = _whole(value), _whole(self.values[0])
        if mine is None or bound is None:
            return False
        return mine > bound if self.operator == "Gt" else mine < bound

    def suits(self, host: Host) -> bool:
        """True where an ant's labels meet it; its name is one of them."""
        if self.key in HOST_KEYS and self.key not in host.labels:
            return self.holds({self.key: host.id})
        return self.holds(host.labels)

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.key} {self.operator} {', '.join(self.values)}".rstrip()


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None


# --- versions ---------------------------------------------------------------------------------------------------------

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_COMPARATOR = re.compile(r"\s*(==|!=|>=|<=|>|<|=|\^|~)?\s*(\S+)\s*")

Version = tuple[int, int, int, tuple[tuple[int, int, str], ...]]


def version(text: str) -> Version:
    """A version as a value that sorts; missing parts are zero. Raises ValueError."""
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a version: write MAJOR.MINOR.PATCH")
    pre = found.group(4)
    parts = (
        ((2, 0, ""),)
        if pre is None
        else tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split("."))
    )
    return int(found.group(1)), int(found.group(2) or 0), int(found.group(3) or 0), parts


def _above(text: str, kind: str) -> Version:
    """The first version that `^` or `~` leaves out."""
    major, minor, patch, _ = version(text)
    given = text.count(".") + 1
    lowest = ((0, -1, ""),)
    if kind == "~":
        return (major, minor + 1, 0, lowest) if given > 1 else (major + 1, 0, 0, lowest)
    if major:
        return major + 1, 0, 0, lowest
    if minor:
        return 0, minor + 1, 0, lowest
    return (0, 0, patch + 1, lowest) if given > 2 else (0, 1, 0, lowest) if given > 1 else (1, 0, 0, lowest)


_COMPARE: Mapping[str, Callable[[Version, Version], bool]] = {
    "==": lambda a, b: a == b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def in_range(text: str, wanted: str) -> bool:
    """True where a version lies in a range.

    Args:
        text: The version that is there.
        wanted: Comparators that must all hold, separated by commas: `>=1.2,<2`, `^1.4`, `~1.4.2`, `!=1.5.0`, `1.4`.

    Raises:
        ValueError: A part of the range, or the version, cannot be read.
    """
    have = version(text)
    for part in wanted.split(","):
        found = _COMPARATOR.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is not a comparator: write for example >=1.2,<2")
        sign, bound = found.group(1) or "==", found.group(2)
        if sign in ("^", "~"):
            if not version(bound) <= have < _above(bound, sign):
                return False
        elif not _COMPARE[sign](have, version(bound)):
            return False
    return True


# --- requirements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preference:
    """Something an ant had better have. `weight` 1-100 as in Kubernetes."""

    expressions: tuple[Expression, ...] = ()
    tags: frozenset[str] = frozenset()
    weight: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 100:
            raise ValueError(f"weight of a preference must be 1-100, is {self.weight}")

    def holds(self, host: Host) -> bool:
        """True where the ant has all of it."""
        return self.tags <= host.tags and all(one.suits(host) for one in self.expressions)


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a job asks of an ant."""

    tags: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    expressions: tuple[Expression, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Ranges by the label that holds the version."""
    preferred: tuple[Preference, ...] = ()
    any_of: tuple[tuple[Expression, ...], ...] = ()
    """All expressions of one of them hold; empty = nothing is asked."""

    def unmet(self, host: Host) -> list[str]:
        """What the ant lacks, in words; empty where it may run the job."""
        lacks = [f"tag {tag}" for tag in sorted(self.tags - host.tags)]
        lacks += [f"label {key}={value}" for key, value in self.labels.items() if host.labels.get(key) != value]
        lacks += [str(one) for one in self.expressions if not one.suits(host)]
        if self.any_of and not any(all(one.suits(host) for one in term) for term in self.any_of):
            lacks.append(" or ".join(" and ".join(map(str, term)) for term in self.any_of))
        for key, wanted in self.versions.items():
            have = host.labels.get(key)
            try:
                met = have is not None and in_range(have, wanted)
            except ValueError:
                met = False
            if not met:
                lacks.append(f"{key} {wanted} (has {have or 'none'})")
        return lacks

    def score(self, host: Host) -> int:
        """Sum of the weights of the preferences that the ant meets."""
        return sum(one.weight for one in self.preferred if one.holds(host))


def locality_cost(data: Mapping[str, float], at: Sequence[str], levels: Sequence[float] = (0.0, 1.0, 2.0)) -> float:
    """Bytes times distance for a job on an ant.

    Args:
        data: Bytes by the place that holds them, a path such as `eu/rack1/ant7`.
        at: The ant's path, from the widest place to the ant itself.
        levels: Cost per byte by how many last parts of the path differ; the last one holds for all beyond.
    """
    cost = 0.0
    for place, size in data.items():
        path = place.split("/")
        common = 0
        for one, other in zip(path, at, strict=False):
            if one != other:
                break
            common += 1
        cost += size * levels[min(len(levels) - 1, max(len(path), len(at)) - common)]
    return cost


def match(
    jobs: Sequence[Requirements], hosts: Sequence[Host], cost: Callable[[int, int], float] | None = None
) -> list[int | None]:
    """Gives each job an ant of its own: as many jobs as possible, then the least cost, then the highest scores.

    Args:
        jobs: What each asks for.
        hosts: Ants with room for one job each; name one twice for two slots.
        cost: Of a pair by position (locality, topology); scores count a millionth of it.

    Returns:
        For each job the position of its ant, or None.
    """
    rows = [
        [
            inf if job.unmet(host) else (cost(i, k) if cost else 0.0) - job.score(host) * (1e-6 if cost else 1.0)
            for k, host in enumerate(hosts)
        ]
        for i, job in enumerate(jobs)
    ]
    return assign(rows)
