"""Where our transcoder and Envoy's may differ, each with its reason: what no rule explains is a defect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.gateway_envoy.generator import Request
from tests.integration.gateway_envoy.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of difference.

    Attributes:
        name: as the summary counts it.
        reason: why ours is right all the same, with the specification's words.
        applies: whether the difference is of this kind: (request, Envoy's outcome, ours).
    """

    name: str
    reason: str
    applies: Callable[[Request, Outcome, Outcome], bool]


RULES: tuple[Rule, ...] = ()


def _same(theirs: Outcome, ours: Outcome) -> bool:
    if theirs.called and ours.called:
        return theirs.same_call(ours) and theirs.reply.status == ours.reply.status and theirs.answer == ours.answer
    return not theirs.called and not ours.called and theirs.reply.status == ours.reply.status


def explain(request: Request, theirs: Outcome, ours: Outcome) -> str | None:
    """The name of the rule that explains a difference; empty: there is none; None: nothing explains it."""
    if _same(theirs, ours):
        return ""
    return next((rule.name for rule in RULES if rule.applies(request, theirs, ours)), None)
