"""Tasks of a job in Python that wait for people."""

from __future__ import annotations

from collections.abc import Iterable

from formicary.dsl.builder import CURRENT, DefinitionError
from formicary.dsl.handles import Handle
from formicary.dsl.tasks import Duration, duration_text
from formicary.engine.jobs.model import Json


def approval(
    name: str,
    *,
    min_approvals: int = 1,
    allowed_users: Iterable[str] = (),
    allowed_roles: Iterable[str] = (),
    require_unanimous: bool = False,
    sla_deadline: Duration | None = None,
    timeout_action: str = "",
    escalation_recipients: Iterable[str] = (),
    escalation_message: str = "",
) -> Handle:
    """Adds a task that waits until people have decided; for a job's function.

    ``.after(...)`` says what comes before it. Tasks that come ``.after(it)`` start once it is approved;
    ``.on_exit_code({"APPROVED": ship(), "REJECTED": undo()})`` leads on by decision.

    Args:
        name: Its ``task_type``.
        min_approvals: Votes that a decision needs.
        allowed_users: Who may vote.
        allowed_roles: Holders of these roles may vote, too; without users and roles everybody may.
        require_unanimous: One vote against rejects, and every one of the users has to approve.
        sla_deadline: How long people have; None = for ever.
        timeout_action: ESCALATE (as if left out), AUTO_REJECT or AUTO_APPROVE.
        escalation_recipients: Who is told when nobody has decided in time.
        escalation_message: What they are told.

    Raises:
        DefinitionError: No job is being defined.
    """
    builder = CURRENT.get()
    if builder is None:
        raise DefinitionError("approval() works inside of a job's function only.")
    policy: dict[str, Json] = {
        "min_approvals": min_approvals,
        "allowed_users": list(allowed_users),
        "allowed_roles": list(allowed_roles),
        "require_unanimous": require_unanimous,
        "sla_deadline": duration_text(sla_deadline) if sla_deadline is not None else None,
        "timeout_action": timeout_action,
        "escalation_recipients": list(escalation_recipients),
        "escalation_message": escalation_message,
    }
    given = {key: value for key, value in policy.items() if value}
    return builder.add_without_function(name, {"method": "MANUAL", "approval_policy": given})
