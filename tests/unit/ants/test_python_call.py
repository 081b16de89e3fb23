"""Arguments by name and type, and what may be returned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.ants.python_call import Function, InvalidCallError, TooLargeError, load, to_outputs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


DECORATED = """
import functools
from formicary import task

def doubled(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return 2 * function(*args, **kwargs)
    return call

@doubled
def twice(n: int) -> int:
    return n

@task
def a_task(n: int) -> int:
    return n + 1
"""


def call(function: Callable[..., object], **variables: object) -> object:
    return Function(function, "m:f").call(json.dumps(variables).encode())


def positional(a: int, /, b: int = 2, *rest: int, c: int = 3) -> list[int]:
    return [a, b, *rest, c]


def a_path(where: Path) -> str:
    return where.suffix


def optional_list(rows: list[int] | None = None) -> object:
    return rows


def unknown_hint(thing: NoSuchType) -> object:  # type: ignore[name-defined] # noqa: F821 (that is the point)
    return thing


def object_hint(thing: Callable[[], int]) -> object:
    return thing


@given(JSON)
def test_json_goes_in_and_out_unchanged(value: object) -> None:
    def echo(value: object) -> object:
        return {"value": value}

    outputs = to_outputs(Function(echo, "m:f").call(msgspec.json.encode({"value": value})), 10**9)
    assert msgspec.json.decode(outputs) == {"value": value}


def test_parameters_of_every_kind() -> None:
    assert call(positional, a=1) == [1, 2, 3]
    assert call(positional, a=1, b="7", c=9, d=4) == [1, 7, 9]
    assert call(a_path, where="/x/y.csv") == ".csv"
    assert call(optional_list) is None
    assert call(optional_list, rows=[1]) == [1]
    assert call(unknown_hint, thing=3) == 3


def test_everything_that_is_wrong_is_said_at_once() -> None:
    def f(a: int, b: list[str], c: float) -> None: ...

    with pytest.raises(InvalidCallError) as caught:
        call(f, a="x", b=[1])
    assert [name for name in ("'a'", "'b'", "'c'") if name not in str(caught.value)] == []


def test_a_hint_that_json_cannot_fill_is_a_clear_error() -> None:
    with pytest.raises(InvalidCallError, match="'thing'"):
        call(object_hint, thing=3)


def test_results_have_a_bound() -> None:
    assert to_outputs({"a": "x" * 90}, 100)
    with pytest.raises(TooLargeError):
        to_outputs({"a": "x" * 100}, 100)


@pytest.mark.parametrize("value", [{1}, b"x", 1j, [object()], {1: 2}, float("inf"), {"a": [b"x"]}, "\ud800", 1.5 + 0j])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidCallError):
        to_outputs(value, 10**6)


def test_decorators_stay_and_tasks_of_the_python_front_end_are_their_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "decorated_here.py").write_text(DECORATED)
    monkeypatch.syspath_prepend(tmp_path)
    assert load("decorated_here:twice").call(b'{"n": "3"}') == 6
    assert load("decorated_here:a_task").call(b'{"n": 3}') == 4


@pytest.mark.parametrize("name", ["nothing", "json:", ":f", "json:no.such", "no_such_module_here:f"])
def test_a_name_that_leads_nowhere_is_a_clear_error(name: str) -> None:
    with pytest.raises(InvalidCallError):
        load(name)
