"""The filter language of the to-do example: what it understands, what it refuses, and that SQL does what it says."""

from __future__ import annotations

import fnmatch
import json
import operator
import re
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.todo.filtering import (
    FOLD,
    MAX_DEPTH,
    MAX_TERMS,
    And,
    InvalidFilter,
    InvalidOrder,
    Node,
    Not,
    Or,
    Restriction,
    Word,
    glob,
    parse,
    parse_order,
    to_sql,
)

A, B, C = (Restriction("title", "=", text) for text in "abc")
DAY = "2030-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", None),
        ("  ", None),
        ("title = a", A),
        ("title=a", A),
        ('title = "a"', A),
        ("title = 'a'", A),
        (r'title = "say \"hi\" \\"', Restriction("title", "=", 'say "hi" \\')),
        ("title = a AND title = b", And((A, B))),
        ("title = a title = b", And((A, B))),
        ("title = a OR title = b", Or((A, B))),
        # AIP-160: OR binds tighter than AND.
        ("title = a AND title = b OR title = c", And((A, Or((B, C))))),
        ("(title = a AND title = b) OR title = c", Or((And((A, B)), C))),
        ("NOT title = a", Not(A)),
        ("-title = a", Not(A)),
        ("NOT (title = a OR title = b)", Not(Or((A, B)))),
        ("((title = a))", A),
        ("milk", Word("milk")),
        ('"buy milk"', Word("buy milk")),
        ("status = PENDING", Restriction("status", "=", 1)),
        ("status = STATUS_PENDING", Restriction("status", "=", 1)),
        ("status != COMPLETED", Restriction("status", "!=", 3)),
        ("priority >= HIGH", Restriction("priority", ">=", 3)),
        ("tags:urgent", Restriction("tags", "=", "urgent")),
        ("tags:*", Restriction("tags", "has", "")),
        ('tags:"*"', Restriction("tags", "=", "*")),
        ("title:milk", Restriction("title", ":", "milk")),
        ("due_date:*", Restriction("due_date", "has", "")),
        ('due_date < "2030-01-01T00:00:00Z"', Restriction("due_date", "<", DAY)),
        ("due_date < 2030-01-01T00:00:00Z", Restriction("due_date", "<", DAY)),
        ("due_date < 2030-01-01T02:30:00.5+02:30", Restriction("due_date", "<", DAY.replace(".0", ".5"))),
        ("title = tom-dick", Restriction("title", "=", "tom-dick")),
    ],
)
def test_a_filter_means_its_tree(text: str, tree: Node | None) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stat = PENDING", "no field 'stat'"),
        ("status = DONE", "PENDING, IN_PROGRESS, COMPLETED, CANCELLED"),
        ("status = UNSPECIFIED", "no status"),
        ("status > PENDING", "no order"),
        ("tags < a", "write tags:a"),
        ("due_date < tomorrow", "2030-01-31T12:00:00Z"),
        ('due_date < "2030-02-30T00:00:00Z"', "2030-01-31T12:00:00Z"),
        ('due_date < "0001-01-01T00:00:00+10:00"', "2030-01-31T12:00:00Z"),
        ("title =", "a value is expected"),
        ("title = AND", "a value is expected"),
        ("title = a AND", "ends where"),
        ("AND title = a", "a field is expected"),
        ("OR", "a field is expected"),
        ("NOT", "ends where"),
        ("NOT NOT title = a", "leave both out"),
        ("(title = a", "parenthesis at position 1 is not closed"),
        ("title = a)", "one too many"),
        ("()", "a field is expected"),
        ('title = "a', "quote at position 9"),
        ("title = a & title ! b", "position"),
        ('"title" = a', "no field"),
        ("title = 'a\nb'", "control characters"),
        ("title = " + "(" * 5000, "expected"),
        ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "deep"),
        (" ".join("a" for _ in range(MAX_TERMS + 1)), "more than"),
    ],
)
def test_a_mistake_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(told)):
        parse(text)


@given(st.text(alphabet="ab =!<>:()\"'\\-*ANDORT\n.é0Z[?", max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        to_sql(parse(text))
    except InvalidFilter as error:
        assert str(error)


# ------------------------------------------------------------------------------------------- the slow twin of the SQL

TEXTS = st.sampled_from(["", "a", "A", "ab", "b*", "[a]", "a?b", "é", "É", "'", "%"])
ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["1", "2"]),
        "title": TEXTS,
        "description": TEXTS,
        "status": st.integers(1, 4),
        "priority": st.integers(1, 4),
        "due_date": st.sampled_from([None, DAY, DAY.replace("2030", "2031")]),
        "tags": st.lists(st.sampled_from(["a", "ab", "b"]), max_size=2),
    }
)
OPS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LEAVES = st.one_of(
    st.builds(Restriction, st.sampled_from(["title", "description"]), st.sampled_from([*OPS, ":", "has"]), TEXTS),
    st.builds(Restriction, st.just("name"), st.sampled_from(["=", "!="]), st.sampled_from(["tasks/1", "tasks/*"])),
    st.builds(Restriction, st.sampled_from(["status", "priority"]), st.sampled_from([*OPS, "has"]), st.integers(1, 4)),
    st.builds(Restriction, st.just("due_date"), st.sampled_from([*OPS, "has"]), st.just(DAY)),
    st.builds(Restriction, st.just("tags"), st.sampled_from(["=", "!=", "has"]), st.sampled_from(["a", "a*", "*"])),
    st.builds(Word, TEXTS),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def holds(node: Node, row: dict[str, Any]) -> bool:
    """What the language says, term by term."""
    match node:
        case Word(text):
            return any(text.casefold() in row[field].casefold() for field in ("title", "description"))
        case Not(term):
            return not holds(term, row)
        case And(terms):
            return all(holds(term, row) for term in terms)
        case Or(terms):
            return any(holds(term, row) for term in terms)
        case Restriction(field, op, value):
            return _restriction_holds(field, op, value, row)


def _restriction_holds(field: str, op: str, value: Any, row: dict[str, Any]) -> bool:
    if field == "tags":
        if op == "has":
            return bool(row["tags"])
        return any(fnmatch.fnmatchcase(tag, glob(value)) for tag in row["tags"]) != (op == "!=")
    found = f"tasks/{row['id']}" if field == "name" else row[field]
    if op == "has":
        return bool(found)
    if found is None:
        return False
    if op == ":":
        return value.casefold() in found.casefold()
    if op in ("=", "!=") and "*" in str(value):
        return fnmatch.fnmatchcase(found, glob(value)) == (op == "=")
    return bool(OPS[op](found, value))


@pytest.fixture(scope="module")
def connection() -> Any:
    found = sqlite3.connect(":memory:")
    found.create_function(FOLD, 1, str.casefold, deterministic=True)
    found.execute("CREATE TABLE tasks (id, title, description, status, priority, due_date, tags)")
    yield found
    found.close()


@settings(max_examples=400, deadline=None)
@given(TREES, ROWS)
def test_sql_finds_what_the_language_says(connection: sqlite3.Connection, tree: Node, row: dict[str, Any]) -> None:
    connection.execute("DELETE FROM tasks")
    values = [json.dumps(value) if isinstance(value, list) else value for value in row.values()]
    connection.execute(f"INSERT INTO tasks ({', '.join(row)}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    condition, parameters = to_sql(tree)
    found = connection.execute(f"SELECT count(*) FROM tasks WHERE {condition}", parameters).fetchone()[0]
    assert bool(found) == holds(tree, row)


# ---------------------------------------------------------------------------------------------------------------- order


def test_an_order_is_fields_with_directions() -> None:
    assert parse_order("") == (("create_time", True),)
    assert parse_order(" priority  desc,due_date ,title ASC") == (
        ("priority", True),
        ("due_date", False),
        ("title", False),
    )


@pytest.mark.parametrize("text", ["tags", "title up", "title, title", "title,", ",", "title desc desc", "id"])
def test_another_order_is_refused(text: str) -> None:
    with pytest.raises(InvalidOrder):
        parse_order(text)
