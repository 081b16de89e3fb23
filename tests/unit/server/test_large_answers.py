"""What a fan-out over thousands leaves is made into a message beside the loop, and is the same message."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from formicary.gateway.call import LARGE
from formicary.server.api import messages


class Called:
    """What is needed of a call."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}


def document(outputs: dict[str, Any]) -> dict[str, Any]:
    times = dict.fromkeys(("submitted_at", "scheduled_at", "started_at", "ended_at"))
    words = {"id": "j", "job_type": "t", "state": "COMPLETED", "definition_id": "d", "error": None}
    numbers = {"priority": 0, "execution": 1, "retries": 0, "dead_letter": False, "definition_version": 1}
    task = {"task_type": "t", "state": "COMPLETED", "started_at": None, "ended_at": None, "outputs": outputs}
    return {**times, **words, **numbers, "outputs": {}, "tasks": [task]}


@pytest.mark.parametrize(
    ("outputs", "is_large"),
    [
        ({"a": 1, "b": ["c"]}, False),
        ({"results": [{"index": index} for index in range(10_000)]}, True),
        ({"inside": {"of": list(range(20_000))}}, True),
        ({"text": "x" * 100_000}, True),
    ],
)
def test_large_outputs_are_made_beside_the_loop(
    outputs: dict[str, Any], is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    full = messages.full

    def noted(found: dict[str, Any], *, exact: bool) -> Any:
        threads.append(threading.get_ident())
        return full(found, exact=exact)

    monkeypatch.setattr(messages, "full", noted)
    call: Any = Called()
    found = asyncio.run(messages.shown(document(outputs), call, exact=False))
    assert found == full(document(outputs), exact=False)
    assert (threads != [threading.get_ident()], bool(call.state.get(LARGE))) == (is_large, is_large)


@pytest.mark.parametrize(("rows", "is_large"), [(100, False), (101, True)])
def test_a_long_page_is_made_beside_the_loop(rows: int, is_large: bool) -> None:
    call: Any = Called()
    thread = asyncio.run(messages.page(rows, threading.get_ident, call))
    assert (thread != threading.get_ident(), bool(call.state.get(LARGE))) == (is_large, is_large)


@pytest.mark.parametrize(
    "text",
    ["2026-11-27T17:11:18.024Z", "1969-12-31T23:59:59.500Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"],
)
def test_a_time_is_read_as_the_library_reads_it(text: str) -> None:
    found, wanted = Timestamp(), Timestamp()
    messages.put_time(found, text)
    wanted.FromJsonString(text)
    assert found == wanted
