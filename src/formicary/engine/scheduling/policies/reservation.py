"""How much of what a task has asked for is set aside for it, when it uses less: overcommit by observed use.

A task begins with all that it has asked for. While it uses less, what is set aside falls steadily to its use plus a
margin; as soon as it uses more, it rises at once, up to what was asked for. So a peak is remembered for a while, and a
task is trusted only after it has shown for some time that it needs less.

Source: Verma, Pedrosa, Korupolu, Oppenheimer, Tune, Wilkes, "Large-scale cluster management at Google with Borg",
EuroSys 2015, section 5.5 (resource reclamation).
"""

from __future__ import annotations

from dataclasses import dataclass

CPU, MEMORY = MEASURED = ("cpu", "memory")
"""Of which ants say what is used: processors, bytes."""
NOTHING = 0.01
"""Less than this part of what was asked for counts as no use at all."""


@dataclass(frozen=True, slots=True)
class Observed:
    """How a resource is overcommitted.

    Attributes:
        target: Part of what is set aside that a task may use, above 0 up to 1; the rest is the margin.
        most: Requests that are given out at most, as a multiple of what an ant has.
        after_s: Seconds in which what is set aside falls from all to nothing.
    """

    target: float = 0.8
    most: float = 2.0
    after_s: float = 30.0


def set_aside(asked: float, before: float, used: float, passed_s: float, rule: Observed) -> float:
    """What is set aside for a task now; never more than it has asked for.

    Args:
        asked: Its request.
        before: What was set aside when its use was last known; at first all.
        used: Its use since then.
        passed_s: Seconds since then.
        rule: Of the resource.
    """
    wanted = min(asked, used / rule.target) if used > NOTHING * asked else 0.0
    return max(wanted, min(asked, before) - asked * passed_s / rule.after_s)


def counted(requests: float, aside: float, capacity: float, rule: Observed) -> float:
    """What counts as taken of an ant: what is set aside, but so much that requests stay below their bound.

    Args:
        requests: Of all that it holds.
        aside: What is set aside for them together.
        capacity: What the ant has.
        rule: Of the resource.
    """
    return max(aside, requests - (rule.most - 1.0) * capacity)
