"""Approval policies: what is wrong with one, who may vote, what votes amount to."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from formicary.engine.jobs.approval import APPROVED, REJECTED, ApprovalPolicy, WrongPolicy, read_policy
from formicary.engine.jobs.parse import parse_source

TASK = "job_type: j\ntasks:\n- task_type: gate\n  method: MANUAL\n  approval_policy:\n"


@pytest.mark.parametrize(
    ("policy", "line", "path", "words"),
    [
        ("    min_approvals: 0\n", 6, "min_approvals", "from 1"),
        ("    min_approvals: two\n", 6, "min_approvals", "whole number"),
        ("    min_approvals: 3\n    allowed_users: [ann, bob, ann]\n", 6, "min_approvals", "only 2 may vote"),
        ("    allowed_users: [1, {a: 1}]\n", 6, "allowed_users", "list of names"),
        ("    min_approvals: 1\n    sla_deadline: soon\n", 7, "sla_deadline", "duration"),
        ("    sla_deadline: 0s\n", 6, "sla_deadline", "above 0"),
        (
            "    sla_deadline: 1h\n    timeout_action: SHRUG\n",
            7,
            "timeout_action",
            "AUTO_APPROVE, AUTO_REJECT, ESCALATE",
        ),
        ("    require_unanimous: maybe\n", 6, "require_unanimous", "true or false"),
        ("    min_aprovals: 1\n", 6, "min_aprovals", "min_approvals"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(policy: str, line: int, path: str, words: str) -> None:
    """Line, path and what to write."""
    parsed = parse_source(TASK + policy)[0]
    (violation,) = [one for one in parsed.violations if one.is_error]
    assert (violation.line, violation.path) == (line, f"tasks[0].approval_policy.{path}")
    assert words in violation.message


def test_a_policy_that_asks_nobody_is_a_warning() -> None:
    """The job runs: the older engine ignored such a policy, too."""
    parsed = parse_source(TASK.replace("MANUAL", "SHELL\n  script: x") + "    min_approvals: 2\n")[0]
    assert [(one.code, one.severity) for one in parsed.violations] == [("METHOD_MISMATCH", "warning")]
    assert parsed.definition is not None


def test_names_may_be_one_text_and_templates_may_make_numbers() -> None:
    """As older files write them."""
    found = read_policy(
        {"allowed_users": "ann", "min_approvals": "1", "timeout_action": "escalate", "sla_deadline": "1m"}
    )
    assert found == ApprovalPolicy(1, (), ("ann",), False, 60.0, "ESCALATE")
    found = read_policy(
        {"allowed_users": "ann, bob,", "allowed_roles": "ops,sre", "escalation_recipients": "", "min_approvals": 2}
    )
    assert found == ApprovalPolicy(2, ("ops", "sre"), ("ann", "bob"), timeout_action="ESCALATE")
    with pytest.raises(WrongPolicy, match="possible are"):
        read_policy({"allowed": ["x"]})


def test_who_may_vote() -> None:
    """Named users, holders of named roles; everybody where nobody is named."""
    policy = ApprovalPolicy(allowed_users=("ann",), allowed_roles=("boss",))
    assert policy.may_vote("ann", ()) and policy.may_vote("zoe", {"boss"}) and not policy.may_vote("zoe", {"admin"})
    assert ApprovalPolicy().may_vote("anybody", ())


def slow_decision(policy: ApprovalPolicy, votes: dict[str, bool]) -> str | None:
    """The rules of the how-to, word by word."""
    yes = [name for name, approves in votes.items() if approves]
    no = [name for name, approves in votes.items() if not approves]
    if policy.require_unanimous:
        if no:
            return REJECTED
        return APPROVED if len(yes) >= policy.min_approvals and set(policy.allowed_users) <= set(yes) else None
    if len(yes) >= policy.min_approvals:
        return APPROVED
    if not policy.allowed_users:
        return REJECTED if no else None
    left = [name for name in policy.allowed_users if name not in no]
    return REJECTED if no and len(left) < policy.min_approvals else None


def test_where_nobody_is_named_one_vote_against_rejects() -> None:
    """Nobody can say how many might still vote for it."""
    policy = ApprovalPolicy(2, ("ops",))
    assert policy.decision({"ann": True}) is None and policy.decision({"ann": True, "bob": False}) == REJECTED


@pytest.mark.parametrize("unanimous", [False, True])
@pytest.mark.parametrize("roles", [(), ("boss",)])
def test_every_order_of_votes_decides_as_the_rules_say_and_once_decided_it_stays(
    unanimous: bool, roles: tuple[str, ...]
) -> None:
    """All votes of three users in every order; in a closed electorate everybody's vote always leads to a decision."""
    users = ("ann", "bob", "cid")
    for least, order in product((1, 2, 3), permutations(users)):
        policy = ApprovalPolicy(least, roles, users, unanimous)
        for said in product((True, False), repeat=3):
            votes: dict[str, bool] = {}
            for name, approves in zip(order, said, strict=True):
                votes[name] = approves
                decision = policy.decision(votes)
                assert decision == slow_decision(policy, votes), (policy, votes)
                if decision is not None:
                    break
                assert policy.missing(votes)
            assert roles or policy.decision(votes) is not None, (policy, votes)
