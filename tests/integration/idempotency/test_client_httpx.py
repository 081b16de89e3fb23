"""The httpx clients against a server that fails in every way: one effect, one answer, bounded patience."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from uuid import UUID

import httpx
import pytest

from formicary.idempotency.client_httpx import (
    AsyncIdempotentClient,
    Calling,
    IdempotentClient,
    raise_for_problem,
    sent,
)
from formicary.idempotency.retrying import Retry, RetryBudget
from formicary.problems import Problem
from tests.integration.idempotency.scripted import (
    Fault,
    Scripted,
    lost_after,
    lost_before,
    lost_within,
    saying,
    scripted,
    slow,
)

QUICK = Retry(first_s=0.01)
IN_PROGRESS = b'{"code": "IDEMPOTENT_REQUEST_IN_PROGRESS", "status": 409}'
Ask = Callable[..., httpx.Response]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Makes one call with a client of its own; both kinds behave the same."""

    def one(service: Scripted, method: str = "POST", *, calling: Calling | None = None, **more: Any) -> httpx.Response:
        calling = calling or Calling(QUICK)
        own = {name: more.pop(name) for name in ("timeout", "raise_for_problem") if name in more}
        own["verify"] = False  # no TLS here, and reading the authorities takes longer than the test
        if request.param == "sync":
            with IdempotentClient(calling, base_url=service.url, **own) as client:
                return client.request(method, "/orders", **more)

        async def call() -> httpx.Response:
            async with AsyncIdempotentClient(calling, base_url=service.url, **own) as client:
                return await client.request(method, "/orders", **more)

        return asyncio.run(call())

    return one


@pytest.fixture(scope="module")
def served() -> Iterator[Scripted]:
    with scripted() as found:
        yield found


@pytest.fixture
def service(served: Scripted) -> Scripted:
    """The service as if it had just begun."""
    served.reset()
    return served


@pytest.mark.parametrize(
    ("fault", "replayed"),
    [
        (lost_before, False),
        (lost_after, True),
        (lost_within, True),
        (saying(408), False),
        (saying(425), False),
        (saying(429), False),
        (saying(500), False),
        (saying(502), False),
        (saying(503, (b"retry-after", b"0")), False),
        (saying(409, (b"retry-after", b"0"), body=IN_PROGRESS), False),
        (saying(409, (b"retry-after", b"0"), body=b"later"), False),
    ],
)
def test_a_failure_of_the_moment_is_tried_again(ask: Ask, service: Scripted, fault: Fault, replayed: bool) -> None:
    """With the same key, so there is one effect, and the caller gets its answer."""
    service.script = [fault, fault]
    answer = ask(service, json={"coffee": 1})
    assert (answer.status_code, answer.json()) == (201, {"order": 1})
    assert len(service.effects) == 1
    assert len(service.keys) == 3 and len(set(service.keys)) == 1
    assert UUID(service.keys[0]).version == 4
    assert sent(answer).key == service.keys[0]
    assert (sent(answer).tries, sent(answer).replayed) == (3, replayed)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_call_that_changes_something_has_a_key_of_its_own(ask: Ask, service: Scripted, method: str) -> None:
    first, second = ask(service, method), ask(service, method)
    assert first.json() != second.json()
    assert len({*service.keys}) == 2 and None not in service.keys


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_tried_again_without_a_key(ask: Ask, service: Scripted, method: str) -> None:
    service.script = [lost_before, saying(503)]
    assert ask(service, method).status_code == 201
    assert service.keys == [None, None, None]


def test_a_verb_that_nobody_knows_is_sent_once_unless_it_has_a_key(ask: Ask, service: Scripted) -> None:
    service.script = [saying(503), saying(503)]
    assert ask(service, "MERGE").status_code == 503
    assert ask(service, "MERGE", headers={"Idempotency-Key": "mine"}).status_code == 201
    assert service.keys == [None, "mine", "mine"]


@pytest.mark.parametrize(
    "fault",
    [saying(409, body=b'{"code": "ALREADY_EXISTS"}'), saying(409), saying(400), saying(422), saying(501)],
    ids=["ALREADY_EXISTS", "409", "400", "422", "501"],
)
def test_a_refusal_is_an_answer(ask: Ask, service: Scripted, fault: Fault) -> None:
    """A business 409 and other refusals come at once: nobody asks again."""
    service.script = [fault]
    assert ask(service).status_code >= 400
    assert len(service.keys) == 1


def test_a_replayed_failure_is_final(ask: Ask, service: Scripted) -> None:
    """A server that replays its 500 would say it for ever."""
    service.script = [saying(500, (b"idempotency-replayed", b"true"))]
    answer = ask(service)
    assert (answer.status_code, sent(answer).replayed, len(service.keys)) == (500, True, 1)


@pytest.mark.parametrize("in_seconds", [True, False], ids=["seconds", "date"])
def test_retry_after_is_waited_for(ask: Ask, service: Scripted, in_seconds: bool) -> None:
    """The next attempt comes when the server said, not before."""
    until = time.time() + 2  # a date of HTTP has whole seconds: at least one of the two is left
    value = b"1" if in_seconds else formatdate(until, usegmt=True).encode()
    service.script = [saying(503, (b"retry-after", value))]
    began = time.monotonic()
    assert ask(service).status_code == 201
    assert time.monotonic() - began >= (1.0 if in_seconds else 0.9)


def test_the_last_answer_is_returned_when_the_tries_are_over(ask: Ask, service: Scripted) -> None:
    service.script = [saying(503)] * 9
    answer = ask(service, calling=Calling(Retry(tries=3, first_s=0.01)))
    assert (answer.status_code, len(service.keys), sent(answer).tries) == (503, 3, 3)


def test_the_time_of_a_call_is_bounded(ask: Ask, service: Scripted) -> None:
    """A server that asks for an hour is not waited for, and one that is silent is given up with the call's time."""
    service.script = [saying(429, (b"retry-after", b"3600"))]
    assert ask(service).status_code == 429
    service.script = [slow, slow]
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        ask(service, calling=Calling(Retry(total_s=0.4, first_s=0.01)), timeout=30)
    assert time.monotonic() - began < 25


def test_a_slow_answer_is_fetched_by_a_retry(ask: Ask, service: Scripted) -> None:
    """A time-out of the client is no second execution."""
    service.script = [slow]
    answer = ask(service, timeout=0.3)
    assert (answer.json(), sent(answer).tries, len(service.effects)) == ({"order": 1}, 2, 1)


def test_calls_share_one_budget_for_retries(ask: Ask, service: Scripted) -> None:
    """When the service is down, most calls are sent once."""
    service.script = [saying(503)] * 1000
    calling = Calling(QUICK, RetryBudget(ratio=0.1, reserve=3))
    for _ in range(10):
        ask(service, calling=calling)
    assert 13 <= len(service.keys) <= 14


def test_a_problem_is_raised_where_it_is_wanted(ask: Ask, service: Scripted) -> None:
    """By the client for every call, or by the function for one; with its code."""
    service.script = [saying(404, body=b'{"code": "NOT_FOUND", "detail": "There is no account 7."}')] * 2
    with pytest.raises(Problem, match="There is no account 7"):
        ask(service, raise_for_problem=True)
    with pytest.raises(Problem) as caught:
        raise_for_problem(ask(service))
    assert (caught.value.code, caught.value.status) == ("NOT_FOUND", 404)


def test_a_key_of_the_callers_own_is_kept(ask: Ask, service: Scripted) -> None:
    service.script = [lost_after]
    ask(service, headers={"idempotency-key": "order-7"})
    assert service.keys == ["order-7", "order-7"]


def test_keys_are_made_and_written_as_is_asked(ask: Ask, service: Scripted) -> None:
    """Quoted as the draft writes it, or by the caller's own function."""
    answer = ask(service, calling=Calling(QUICK, quoted=True, make_key=lambda: "mine"))
    assert (service.keys, sent(answer).key) == (['"mine"'], "mine")
    with pytest.raises(Problem, match="visible ASCII"):
        ask(service, calling=Calling(make_key=lambda: "two words"))


def test_forms_and_files_are_sent_again_whole(ask: Ask, service: Scripted) -> None:
    service.script = [lost_before, saying(503)]
    ask(service, files={"picture": ("a.png", io.BytesIO(b"pixels"), "image/png")})
    assert len(service.keys) == 3
    assert b"pixels" in service.effects[0]


def test_a_body_that_cannot_be_repeated_is_sent_once(service: Scripted) -> None:
    """A generator gives its parts once: the failure is the caller's to see."""
    service.script = [saying(503)]
    with IdempotentClient(Calling(QUICK), base_url=service.url) as client:
        answer = client.post("/orders", content=iter([b"a", b"b"]))
    assert (answer.status_code, len(service.keys)) == (503, 1)


def test_a_streamed_answer_is_not_read_for_the_caller(service: Scripted) -> None:
    with IdempotentClient(Calling(QUICK), base_url=service.url) as client:
        service.script = [saying(503)]
        with client.stream("POST", "/orders") as answer:
            assert not answer.is_stream_consumed
            assert b"".join(answer.iter_bytes()) == b'{"order": 1}'


def test_a_server_that_is_not_there_is_the_clients_own_error(ask: Ask) -> None:
    """After the tries, as from httpx itself."""
    service = Scripted()
    service.url = "http://127.0.0.1:9"
    with pytest.raises(httpx.ConnectError):
        ask(service, calling=Calling(Retry(tries=2, first_s=0.01)))


def test_redirects_and_logins_keep_the_key(service: Scripted) -> None:
    """One logical call with several requests of httpx has one key."""
    service.script = [saying(307, (b"location", b"/moved")), saying(401, (b"www-authenticate", b"x"))]

    class Login(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Any:
            answer = yield request
            if answer.status_code == 401:
                request.headers["authorization"] = "Bearer new"
                yield request

    with IdempotentClient(Calling(QUICK), base_url=service.url, auth=Login(), follow_redirects=True) as client:
        assert client.post("/orders").status_code == 201
    assert service.requests == ["POST /orders", "POST /moved", "POST /orders"]
    assert len(set(service.keys)) == 1
