"""The outbox: an intent outlives its client, keeps its key, and holds no secret."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.idempotency.client_httpx import AsyncIdempotentClient, Calling, IdempotentClient
from formicary.idempotency.outbox import AsyncOutbox, Outbox
from formicary.idempotency.outbox_file import Intent, IntentState
from formicary.idempotency.retrying import Retry
from formicary.problems import Problem
from tests.integration.idempotency.driving import App, Receive, Scope, Send
from tests.integration.idempotency.scripted import Scripted, lost_after, saying, scripted

ROOT = Path(__file__).resolve().parents[3]
ONCE = Calling(Retry(tries=1))


@pytest.fixture(scope="module")
def served() -> Iterator[Scripted]:
    with scripted() as found:
        yield found


@pytest.fixture
def service(served: Scripted) -> Scripted:
    """The service as if it had just begun."""
    served.reset()
    return served


@pytest.fixture(params=["sync", "async"])
def use(request: pytest.FixtureRequest, tmp_path: Path, service: Scripted) -> Callable[..., list[Any]]:
    """Opens the outbox as a new process would, does some things, and closes it."""

    def with_outbox(*steps: tuple[str, tuple[Any, ...], dict[str, Any]], **more: Any) -> list[Any]:
        options = {"base_url": service.url, "verify": False, "headers": {"Authorization": "Bearer of-the-client"}}
        options |= {"raise_for_problem": more.pop("raising", False)}
        path = tmp_path / "outbox.db"
        if request.param == "sync":
            with IdempotentClient(ONCE, **options) as client, Outbox(path, client, **more) as outbox:
                return [getattr(outbox, name)(*args, **named) for name, args, named in steps]

        async def main() -> list[Any]:
            async with AsyncIdempotentClient(ONCE, **options) as client, AsyncOutbox(path, client, **more) as outbox:
                found = []
                for name, args, named in steps:
                    value = getattr(outbox, name)(*args, **named)
                    found.append(await value if asyncio.iscoroutine(value) else value)
                return found

        return asyncio.run(main())

    return with_outbox


def send(url: str = "/orders", **named: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return "send", ("POST", url), named


RESUME: Any = ("resume", (), {})
INTENTS: Any = ("intents", (), {})


def test_an_answer_is_kept_until_it_is_acknowledged(use: Any, service: Scripted) -> None:
    (intent,) = use(send(json={"coffee": 1}, params={"q": "1"}, headers={"X-Note": "n"}))
    assert (intent.state, intent.attempts, intent.answer.body) == (IntentState.ANSWERED, 1, b'{"order": 1}')
    assert intent.raise_for_problem().status == 201
    assert service.headers[0]["content-type"] == "application/json"
    assert (service.headers[0]["x-note"], service.effects) == ("n", [b'{"coffee":1}'])
    (kept,), resumed = use(INTENTS, RESUME)
    assert (kept, resumed) == (intent, [])
    assert use(("acknowledge", (intent.key,), {}), ("acknowledge", (intent.key,), {}), INTENTS) == [True, False, []]


def test_what_is_left_is_sent_in_order_with_its_keys(use: Any, service: Scripted) -> None:
    """Up to the first that gets no answer now: the order is kept."""
    service.script = [lost_after, saying(503), saying(401), saying(503)]
    first, second, third = use(send(json=1), send(json=2), send(json=3))
    assert {each.state for each in (first, second, third)} == {IntentState.WAITING}
    assert [each.problem.code for each in (first, second, third)] == ["UNAVAILABLE", "UNAVAILABLE", "UNAUTHENTICATED"]
    ((stopped,),) = use(RESUME)
    assert (stopped.number, stopped.state, stopped.attempts) == (first.number, IntentState.WAITING, 2)
    (done,) = use(RESUME)
    assert [each.state for each in done] == [IntentState.ANSWERED] * 3
    assert [each.answer.replayed for each in done] == [True, False, False]
    assert service.effects == [b"1", b"2", b"3"]
    assert service.keys == [each.key for each in (first, second, third, first, first, second, third)]


@pytest.mark.parametrize("raising", [True, False])
def test_a_final_refusal_is_an_answer_whatever_the_client_does(use: Any, service: Scripted, raising: bool) -> None:
    service.script = [saying(409, body=b'{"code": "ALREADY_EXISTS", "detail": "It is there."}')]
    (intent,) = use(send(json=1), raising=raising)
    assert (intent.state, intent.answer.status) == (IntentState.ANSWERED, 409)
    with pytest.raises(Problem, match="It is there"):
        intent.raise_for_problem()


def test_a_key_of_the_callers_own_is_sent_once(use: Any, service: Scripted) -> None:
    """Sending it again gives the kept answer; with something else it is refused."""
    first, again = use(send(json=1, key="order-7"), send(json=1, key="order-7"))
    assert (first, len(service.keys)) == (again, 1)
    with pytest.raises(Problem) as caught:
        use(send(json=2, key="order-7"))
    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"


def test_after_the_servers_window_nothing_is_sent_again(use: Any, service: Scripted) -> None:
    """It could be done twice then; what was never sent may be sent at any time."""
    now = [1_800_000_000_000]
    service.script = [lost_after]
    (intent,) = use(send(json=1), now_ms=lambda: now[0])
    now[0] += 23 * 3_600_000
    ((looked,),) = use(RESUME, now_ms=lambda: now[0])
    assert (looked.key, looked.state, len(service.keys)) == (intent.key, IntentState.EXPIRED, 1)
    with pytest.raises(Problem, match="look whether it was done"):
        looked.raise_for_problem()


def test_secrets_are_never_written(use: Any, service: Scripted, tmp_path: Path) -> None:
    """The client's are sent and not kept; a call that brings one is refused; the file is its owner's alone."""
    service.script = [saying(200, (b"set-cookie", b"session=hidden-cookie"))]
    (intent,) = use(send(json=1))
    assert service.headers[0]["authorization"] == "Bearer of-the-client"
    assert intent.answer.status == 200
    for wrong in ({"headers": {"Authorization": "x"}}, {"headers": {"X-Api-Key": "x"}}):
        with pytest.raises(Problem, match="give it to the client"):
            use(send(json=1, **wrong))
    with pytest.raises(Problem, match="credentials"):
        use(send("http://user:hidden@127.0.0.1/", json=1))
    files = list(tmp_path.glob("outbox.db*"))
    assert not [secret for secret in (b"of-the-client", b"hidden") for each in files if secret in each.read_bytes()]
    assert stat.S_IMODE(os.stat(tmp_path / "outbox.db").st_mode) == 0o600


def test_a_body_has_a_limit(use: Any) -> None:
    with pytest.raises(Problem, match="bytes, at most"):
        use(send(content=b"x" * 1_100_000))


CLIENT = """
import sys
from formicary.idempotency.client_httpx import IdempotentClient
from formicary.idempotency.outbox import Outbox

path, url, what = sys.argv[1:]
with IdempotentClient(base_url=url, verify=False, timeout=30) as client, Outbox(path, client) as outbox:
    done = outbox.resume() if what == "resume" else [outbox.send("POST", "/orders", json={"coffee": 1})]
    print(*(f"{each.state} {each.answer.replayed} {each.answer.body.decode()}" for each in done))
"""


def test_killed_between_sending_and_the_answer_there_is_one_effect(tmp_path: Path, service: Scripted) -> None:
    """kill -9 while the client waits for its answer: the next process sends the same key and gets that answer."""
    command = [sys.executable, "-c", CLIENT, str(tmp_path / "outbox.db"), service.url]

    async def kill(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        async def held(message: Any) -> None:
            process.send_signal(signal.SIGKILL)

        await app(scope, receive, held)

    service.script = [kill]
    with subprocess.Popen([*command, "send"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert len(service.effects) == 1
    again = subprocess.run([*command, "resume"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout == 'ANSWERED True {"order": 1}\n'
    assert len(service.effects) == 1 and len(set(service.keys)) == 1


def test_an_intent_without_an_answer_says_so() -> None:
    intent = Intent(1, "k", "POST", "/orders", (), b"", IntentState.WAITING, 0, 0, 0)
    with pytest.raises(Problem, match="no answer yet"):
        intent.raise_for_problem()
