"""What every store keeps of rules of error codes: one row per organisation and name."""

from __future__ import annotations

import pytest

from formicary.engine.storage.port import ERROR_CODE_COLUMNS, Row, RowRefused, Store
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import row


def rule(name: str, **values: object) -> Row:
    given: dict[str, object] = {
        "org": "default", "name": name, "job_type": "", "task_type": "", "platform": "", "exit_code": None,
        "pattern": "x", "code": "ERR_X", "message": "", "action": "", "retry": 0, "created_at": 1.0,
        "updated_at": 2.0, "updated_by": "me",
    }  # fmt: skip
    return row(ERROR_CODE_COLUMNS, **{**given, **values})


def test_a_rule_comes_back_and_a_later_one_replaces_it(store: Store) -> None:
    second = rule("a", exit_code=28, action="RETRY_TASK", retry=3)
    store.put_error_code(rule("a"))
    store.put_error_code(rule("a", org=""))
    assert sorted(store.error_codes(), key=str) == sorted([rule("a"), rule("a", org="")], key=str)
    store.put_error_code(second)
    assert second in store.error_codes() and len(store.error_codes()) == 2


def test_only_the_one_that_is_named_is_removed(store: Store) -> None:
    store.put_error_code(rule("a"))
    store.put_error_code(rule("a", org="other"))
    assert store.remove_error_code("default", "a")
    assert not store.remove_error_code("default", "a") and not store.remove_error_code("default", "\0")
    assert store.error_codes() == [rule("a", org="other")]


def test_rules_outlive_the_process(durable: Place) -> None:
    durable.open().put_error_code(rule("a", exit_code=-1))
    assert durable.open().error_codes() == [rule("a", exit_code=-1)]


def test_an_unknown_action_is_refused(durable: Place) -> None:
    with pytest.raises(RowRefused):
        durable.open().put_error_code(rule("a", action="DANCE"))
