"""Four server processes over one store: whichever of them a request meets, the operation is done once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.contract.idempotency.places import Place, on
from tests.integration.idempotency.driving import Answer
from tests.integration.idempotency.wire import ask, kept_part

PROCESSES, REQUESTS = 4, 200
_REPOSITORY = Path(__file__).parents[3]


def test_one_of_200_requests_to_four_processes_executes(shared: Place, tmp_path: Path) -> None:
    """All others are told to wait or get its answer; asked again, every process gives the same bytes."""
    on(shared, lambda store: store.now_ms())  # the table is there
    effects = tmp_path / "effects"

    async def at_once(ports: list[int]) -> list[Answer]:
        return await asyncio.gather(*(ask(ports[each % PROCESSES], "one-key") for each in range(REQUESTS)))

    with _servers(shared, effects) as ports:
        answers, later = asyncio.run(at_once(ports)), asyncio.run(at_once(ports))
    done = {kept_part(answer) for answer in (*answers, *later) if answer.status == 201}
    first = [answer for answer in answers if answer.status == 201 and not answer.replayed]
    assert (len(effects.read_text().splitlines()), len(done), len(first)) == (1, 1, 1)
    assert {answer.status for answer in answers} == {201, 409}, "they have met"
    waiting = [answer for answer in answers if answer.status == 409]
    assert all(int(answer.header("retry-after") or 0) >= 1 for answer in waiting)
    assert all(b"IDEMPOTENT_REQUEST_IN_PROGRESS" in answer.body for answer in waiting)
    assert [(answer.status, answer.replayed) for answer in later] == [(201, True)] * REQUESTS


@contextmanager
def _servers(place: Place, effects: Path) -> Iterator[list[int]]:
    target = str(getattr(place, "path", None) or getattr(place, "url", ""))
    program = [sys.executable, "-m", "tests.integration.idempotency.serving", place.kind, target]
    arguments = [*program, getattr(place, "prefix", ""), str(effects)]
    children = [_started(arguments) for _ in range(PROCESSES)]
    try:
        lines = [child.stdout.readline() for child in children]
        assert all(lines), [child.communicate()[1] for child, line in zip(children, lines, strict=True) if not line]
        yield [int(line) for line in lines]
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _started(arguments: list[str]) -> subprocess.Popen[Any]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(arguments, cwd=_REPOSITORY, text=True, **pipes)
