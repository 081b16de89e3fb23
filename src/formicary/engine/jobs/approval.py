"""Who has to approve, and what their votes amount to: pure rules over a policy and the votes so far.

A decision needs `min_approvals` votes for it. Where users are named, votes against reject when those who are left
cannot reach the number any more; where none are, nobody knows how many could still vote, and one vote against rejects.
With `require_unanimous` one vote against rejects, too, and every named user has to vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.model import Json

APPROVED: Final = "APPROVED"
REJECTED: Final = "REJECTED"
DECISIONS: Final = frozenset({APPROVED, REJECTED})
"""Keys of `on_exit_code` that a decision follows before COMPLETED and FAILED."""
OPEN: Final = "OPEN"
WITHDRAWN: Final = "WITHDRAWN"
APPROVAL_STATES: Final = (OPEN, APPROVED, REJECTED, WITHDRAWN)

AUTO_APPROVE: Final = "AUTO_APPROVE"
AUTO_REJECT: Final = "AUTO_REJECT"
ESCALATE: Final = "ESCALATE"
TIMEOUT_ACTIONS: Final = (AUTO_APPROVE, AUTO_REJECT, ESCALATE)

POLICY_FIELDS: Final = (
    "min_approvals",
    "allowed_roles",
    "allowed_users",
    "require_unanimous",
    "sla_deadline",
    "timeout_action",
    "escalation_recipients",
    "escalation_message",
)
MOST_APPROVALS: Final = 1000


class WrongPolicy(ValueError):
    """A policy that says something impossible; `field` names where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Who decides and until when.

    Attributes:
        min_approvals: Votes that a decision needs, from 1 on.
        allowed_roles: Roles whose holders may vote.
        allowed_users: Users who may vote; without roles and users everybody may.
        require_unanimous: One vote against rejects, and every one of `allowed_users` has to vote.
        sla_deadline_s: Seconds after which `timeout_action` happens; None = never.
        timeout_action: AUTO_APPROVE, AUTO_REJECT or ESCALATE, which tells once and waits on.
        escalation_recipients: Who is told when nobody has decided in time.
        escalation_message: What they are told.
    """

    min_approvals: int = 1
    allowed_roles: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()
    require_unanimous: bool = False
    sla_deadline_s: float | None = None
    timeout_action: str = ESCALATE
    escalation_recipients: tuple[str, ...] = ()
    escalation_message: str = ""

    def may_vote(self, user: str, roles: Iterable[str]) -> bool:
        """Whether this user, who holds these roles, may vote."""
        if not (self.allowed_users or self.allowed_roles):
            return True
        return user in self.allowed_users or not set(roles).isdisjoint(self.allowed_roles)

    @property
    def needed(self) -> int:
        """Votes that approve."""
        every = len(self.allowed_users) if self.require_unanimous else 0
        return max(self.min_approvals, every)

    def decision(self, votes: Mapping[str, bool]) -> str | None:
        """APPROVED, REJECTED, or None while votes are missing.

        Args:
            votes: User -> whether the vote was for it.
        """
        rejections = sum(not approves for approves in votes.values())
        approvals = len(votes) - rejections
        if self.require_unanimous:
            if rejections:
                return REJECTED
            users = all(votes.get(user) for user in self.allowed_users)
            return APPROVED if users and approvals >= self.min_approvals else None
        if approvals >= self.min_approvals:
            return APPROVED
        left = max(0, len(self.allowed_users) - len(votes))
        return REJECTED if rejections and approvals + left < self.min_approvals else None

    def missing(self, votes: Mapping[str, bool]) -> str:
        """What is missing, in words."""
        approvals = sum(votes.values())
        if self.require_unanimous and self.allowed_users:
            users = [user for user in self.allowed_users if user not in votes]
            if users:
                return f"the votes of {', '.join(users)}"
        left = max(1, self.needed - approvals)
        who = self.electorate
        return f"{left} approval{'s' if left > 1 else ''} of {who}"

    @property
    def electorate(self) -> str:
        """Who may vote, in words."""
        users = ", ".join(self.allowed_users)
        roles = f"the role{'s' if len(self.allowed_roles) > 1 else ''} {', '.join(self.allowed_roles)}"
        if users and self.allowed_roles:
            return f"{users} or {roles}"
        return users or (roles if self.allowed_roles else "anybody")


def read_policy(given: Mapping[str, Json] | None) -> ApprovalPolicy:
    """The policy of a task; None = one approval of anybody.

    Raises:
        WrongPolicy: A value is of the wrong kind, or nobody could ever approve.
    """
    found = given or {}
    for name in found:
        if name not in POLICY_FIELDS:
            raise WrongPolicy(name, f"there is no field {name[:60]!r} here; possible are {', '.join(POLICY_FIELDS)}")
    users, roles = _names(found, "allowed_users"), _names(found, "allowed_roles")
    least = _count(found)
    if users and not roles and least > len(users):
        raise WrongPolicy("min_approvals", f"{least} approvals, and only {len(users)} may vote: add users or a role")
    deadline_s = _deadline(found)
    action = _action(found)
    recipients, message = _names(found, "escalation_recipients"), found.get("escalation_message") or ""
    if not isinstance(message, str):
        raise WrongPolicy("escalation_message", "write a text")
    unanimous = found.get("require_unanimous") or False
    if not isinstance(unanimous, bool):
        raise WrongPolicy("require_unanimous", "write true or false")
    return ApprovalPolicy(least, roles, users, unanimous, deadline_s, action, recipients, message)


def _count(found: Mapping[str, Json]) -> int:
    least = found.get("min_approvals")
    if least is None:
        return 1
    if isinstance(least, str) and least.strip().isascii() and least.strip().isdigit():
        least = int(least)  # what a template made
    if not isinstance(least, int) or isinstance(least, bool) or not 1 <= least <= MOST_APPROVALS:
        raise WrongPolicy("min_approvals", f"write a whole number from 1 to {MOST_APPROVALS}")
    return least


def _names(found: Mapping[str, Json], field: str) -> tuple[str, ...]:
    given = found.get(field)
    if given is None:
        return ()
    names = [name for name in given.split(",") if name.strip()] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        raise WrongPolicy(field, "write a list of names")
    return tuple(dict.fromkeys(str(name).strip() for name in names))


def _deadline(found: Mapping[str, Json]) -> float | None:
    given = found.get("sla_deadline")
    if given is None:
        return None
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise WrongPolicy("sla_deadline", str(error)) from error
    if seconds <= 0:
        raise WrongPolicy("sla_deadline", "write a duration above 0, like 24h")
    return seconds


def _action(found: Mapping[str, Json]) -> str:
    given = found.get("timeout_action")
    if given is None or given == "":
        return ESCALATE
    action = given.strip().upper() if isinstance(given, str) else ""
    if action not in TIMEOUT_ACTIONS:
        raise WrongPolicy("timeout_action", f"one of {', '.join(TIMEOUT_ACTIONS)}")
    return action
