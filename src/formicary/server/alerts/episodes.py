"""When an alert fires, when its action is due, and when it is over. Pure.

An episode begins when the condition has held for `for_s` and ends when it does not hold any more. Its action is due
once when it begins, and with `repeat_s` again after each such time. What is remembered is written down before the
action, so a server that is killed knows the episode it is in: it does not begin anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from formicary.server.alerts.rules import AlertRule

QUIET, PENDING, FIRING = "QUIET", "PENDING", "FIRING"


@dataclass(frozen=True, slots=True)
class Episode:
    """What is remembered of one alert. Times are seconds since the epoch.

    Attributes:
        state: QUIET, PENDING (the condition holds, not for long enough) or FIRING.
        since: When it got there.
        number: Episodes so far, the present one included.
        due: Actions that this episode has asked for so far.
        done: Those of them that are done.
        acted_at: When the last one became due.
    """

    state: str = QUIET
    since: float = 0.0
    number: int = 0
    due: int = 0
    done: int = 0
    acted_at: float = 0.0

    @property
    def owes(self) -> bool:
        """An action is due and not done."""
        return self.state == FIRING and self.done < self.due


def step(rule: AlertRule, now: Episode, at: float, *, holds: bool) -> Episode:
    """The alert after another look at its condition."""
    if not holds:
        return now if now.state == QUIET else replace(now, state=QUIET, since=at, due=0, done=0)
    if now.state == QUIET:
        now = replace(now, state=PENDING, since=at)
    if now.state == PENDING and at - now.since >= rule.for_s:
        return replace(now, state=FIRING, since=at, number=now.number + 1, due=1, done=0, acted_at=at)
    if now.state == FIRING and rule.repeat_s and not now.owes and at - now.acted_at >= rule.repeat_s:
        return replace(now, due=now.due + 1, acted_at=at)
    return now


def done(now: Episode) -> Episode:
    """The action that was due is done."""
    return replace(now, done=now.due)
