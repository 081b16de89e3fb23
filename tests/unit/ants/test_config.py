"""The configuration is checked as a whole."""

from __future__ import annotations

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.problems import Problem


def test_the_defaults_are_valid() -> None:
    assert AntConfig("ant-1").slots >= 1


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Problem) as caught:
        AntConfig(
            "an ant", slots=0, max_window=-1, tags=frozenset({"GPU"}), methods=frozenset({"FAX"}), stop_grace_s=0,
            paths=("/no/such/folder",), reconnect_min_s=5.0,
        )  # fmt: skip
    fields = {error.field for error in caught.value.errors}
    assert caught.value.code == "VALIDATION_FAILED"
    expected = {"ant_id", "slots", "max_window", "tags", "methods", "stop_grace_s", "paths", "reconnect_max_s"}
    assert fields == expected
