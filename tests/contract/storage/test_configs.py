"""What every store keeps of configurations: one row per scope, organisation, owner and name."""

from __future__ import annotations

import pytest

from formicary.engine.storage.port import CONFIG_COLUMNS, Row, RowRefused, Store
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import row


def config(name: str, **values: object) -> Row:
    given: dict[str, object] = {
        "scope": "org", "org": "default", "owner": "", "name": name, "id": f"id-{name}", "type": "string", "secret": 0,
        "value": b'"a"', "key_id": "", "created_at": 1.0, "updated_at": 2.0, "updated_by": "me",
    }  # fmt: skip
    return row(CONFIG_COLUMNS, **{**given, **values})


def test_a_configuration_comes_back_and_a_later_one_replaces_it(store: Store) -> None:
    first, second = config("a"), config("a", value=bytes(range(256)), secret=1, key_id="k", id="other")
    store.put_config(first)
    assert store.configs() == [first]
    store.put_config(second)
    store.put_config(config("a", scope="job", owner="nightly", id="third"))
    assert sorted(store.configs())[1] == second and len(store.configs()) == 2


def test_only_the_one_that_is_named_is_removed(store: Store) -> None:
    rows = [config("a"), config("a", org="other", id="2"), config("a", scope="user", owner="me", id="3")]
    for one in rows:
        store.put_config(one)
    assert store.remove_config("org", "default", "", "a")
    assert not store.remove_config("org", "default", "", "a") and not store.remove_config("org", "\0", "", "a")
    assert sorted(store.configs()) == sorted(rows[1:])


def test_configurations_outlive_the_process(durable: Place) -> None:
    durable.open().put_config(config("a", value=b"\x00\xff"))
    assert durable.open().configs() == [config("a", value=b"\x00\xff")]


def test_an_unknown_scope_is_refused(durable: Place) -> None:
    with pytest.raises(RowRefused):
        durable.open().put_config(config("a", scope="planet"))
