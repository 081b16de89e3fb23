"""The event stream of a real server over both protocols: what is told, resuming, a killed server, organisations."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from formicary.client import Client, Event, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import Up, kill_process, until
from tests.integration.server.test_rest_api import ask, submitted
from tests.integration.server.test_tokens import as_bearer, token

SOMETIMES = ("task.started", "task.waiting", "task.ready")
"""Not every task is long enough for them to be committed on their own."""
LIFE = ["job.submitted", "job.started", "task.dispatched", "task.completed", "job.completed"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("events") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


async def until_ended(events: AsyncIterator[Event], job_id: str) -> list[Event]:
    """Events up to the end of a job."""
    found = []
    async for event in events:
        found.append(event)
        if event.job_id == job_id and event.kind in ("job.completed", "job.failed"):
            return found
    raise AssertionError("the stream ended")


def lines(up: Up, query: str, **headers: str) -> list[dict[str, Any]]:
    """Messages of a stream that ends by itself."""
    status, _, text = ask(up, "GET", f"/v1/events?until_now=true&{query}", **headers)
    assert status == 200, text
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_job_is_told_from_submission_to_end_and_the_stream_goes_on_where_it_was(up: Up, protocol: str) -> None:
    """Both clients see the same life of a job, and a later stream sees what came after a sequence and nothing else."""

    async def run() -> None:
        async with Client(up.address) if protocol == "grpc" else RestClient(f"http://127.0.0.1:{up.http}") as client:
            job_id = await asyncio.to_thread(submitted, up, f"life-{protocol}", params={"name": "Ada"})
            found = await asyncio.wait_for(until_ended(client.events(after=0, job_id=job_id), job_id), 90)
            assert [event.kind for event in found if event.kind not in SOMETIMES] == LIFE
            assert [event.sequence for event in found] == sorted({event.sequence for event in found})
            (at,) = (at for at, event in enumerate(found) if event.kind == "task.dispatched")
            dispatched = found[at]
            assert (dispatched.task_type, dispatched.attempt, dispatched.state) == ("greet", 1, "DISPATCHED")
            again = [event async for event in client.events(after=dispatched.sequence, job_id=job_id, follow=False)]
            assert again == found[at + 1 :]

    with_watcher(up, run)


def with_watcher(up: Up, run: Any) -> None:
    """Runs a test while somebody watches, so that events are recorded from before its first job."""
    connection, answer = opened(up, "")
    try:
        assert json.loads(answer.readline())["events"] == []
        asyncio.run(run())
    finally:
        connection.close()


def opened(up: Up, query: str, **headers: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """An open stream."""
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=90)
    connection.request(
        "GET", f"/v1/events?{query}", headers={name.replace("_", "-"): headers[name] for name in headers}
    )
    return connection, connection.getresponse()


def test_server_sent_events_have_ids_that_a_browser_sends_back(up: Up) -> None:
    """The id of each message is its position, and Last-Event-ID goes on from there."""
    connection, answer = opened(up, "", accept="text/event-stream")
    name, value = answer.readline().decode().split(": ")
    assert name == "id"
    assert json.loads(answer.readline().decode().removeprefix("data: "))["position"] == value.strip()
    submitted(up, "browser", params={"name": "Ada"})
    connection.close()
    message = lines(up, "kinds=job.submitted", last_event_id=value.strip())
    assert [event["kind"] for event in message[1]["events"]] == ["job.submitted"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "kinds=nonsense", "states=HAPPY"])
def test_what_does_not_exist_is_refused(up: Up, query: str) -> None:
    """A filter that can never match is a mistake, and told as one."""
    status, _, document = ask(up, "GET", f"/v1/events?{query}")
    assert (status, document["code"]) == (400, "VALIDATION_FAILED")


def test_a_sequence_of_an_earlier_life_begins_with_a_gap(up: Up) -> None:
    """A server never takes the number of another life for one of its own."""
    (first, *_) = lines(up, "after=17")
    assert [event["kind"] for event in first["events"]] == ["gap"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_killed_server_is_followed_into_its_next_life(
    tmp_path_factory: pytest.TempPathFactory, protocol: str
) -> None:
    """After kill -9 the client connects again by itself, is told of the gap, and sees what happens next."""
    up = Up(tmp_path_factory.mktemp("killed") / "data", "--ants", "1")
    up.start()

    async def run() -> None:
        async with Client(up.address) if protocol == "grpc" else RestClient(f"http://127.0.0.1:{up.http}") as client:
            events = client.events(after=0)
            job = await asyncio.to_thread(submitted, up, "before", params={"name": "Ada"})
            before = await asyncio.wait_for(until_ended(events, job), 90)
            await asyncio.to_thread(up.kill)
            await asyncio.to_thread(up.start)
            gap = await asyncio.wait_for(anext(events), 90)
            while gap.kind != "gap":  # what was still on its way when the server died
                gap = await asyncio.wait_for(anext(events), 90)
            job = await asyncio.to_thread(submitted, up, "after", params={"name": "Ada"})
            after = await asyncio.wait_for(until_ended(events, job), 90)
            sequences = [event.sequence for event in [*before, gap, *after]]
            assert sequences == sorted(sequences)
            assert sequences[-1] >> 40 == (before[0].sequence >> 40) + 1

    try:
        with_watcher(up, run)
    finally:
        up.clear()


def test_an_organisation_sees_its_own_events_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither jobs nor ants of others are told; whoever is not known gets nothing."""
    up = Up(tmp_path_factory.mktemp("orgs") / "data", "--auth", "token")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORMICARY_TOKEN", token(up, "--role", "admin", "--data", str(up.data)))
        up.start()
        try:
            assert ask(up, "GET", "/v1/events")[0] == 401
            theirs, ours = (token(up, "--role", "submitter", "--org", org) for org in ("acme", "other"))
            connection, answer = opened(up, "", **as_bearer(ours))
            answer.readline()

            async def run() -> None:
                async with Client(up.address, token=theirs) as client, Client(up.address, token=ours) as other:
                    ref = await client.register("job_type: x\ntasks:\n- task_type: t\n  script: ['true']\n")
                    handle = await client.submit(ref)
                    found = [event async for event in client.events(after=0, follow=False)]
                    assert {event.job_id for event in found} == {handle.id}
                    assert [event async for event in other.events(after=0, follow=False)] == []

            asyncio.run(run())
            connection.close()
        finally:
            up.clear()


def test_a_viewer_of_nothing_is_told_so(up: Up) -> None:
    """The client raises what the server refuses."""

    async def run() -> None:
        async with Client(up.address) as client:
            await anext(client.events(kinds=["nonsense"]))

    with pytest.raises(Problem) as error:
        asyncio.run(run())
    assert error.value.code == "VALIDATION_FAILED"


def test_the_command_line_shows_a_job(up: Up) -> None:
    """One line of JSON for each event, filtered, in order; --after goes on; the table says the same."""
    connection, answer = opened(up, "")
    answer.readline()
    job_id = submitted(up, "shown", params={"name": "Ada"})
    until(lambda: up.job(job_id)["state"] == "COMPLETED", 20, "the job is done")
    found = [json.loads(line) for line in up.cli("events", "--job", job_id, "--output", "json").splitlines()]
    connection.close()
    assert [event["kind"] for event in found if event["kind"] not in SOMETIMES] == LIFE
    assert {event["job_id"] for event in found} == {job_id}
    after = str(found[-2]["sequence"])
    rest = up.cli("events", "--job", job_id, "--after", after, "--output", "json").splitlines()
    assert [json.loads(line) for line in rest] == found[-1:]
    table = up.cli("events", "--job", job_id, "--kind", "job").splitlines()
    assert [line.split()[2] for line in table] == ["job.submitted", "job.started", "job.completed"]


def test_a_client_without_asyncio_watches_too(up: Up) -> None:
    """It is an ordinary iterator, and what it told is told again from any sequence on."""
    connection, answer = opened(up, "")
    answer.readline()
    job_id = submitted(up, "plain", params={"name": "Ada"})
    with SyncClient(up.address) as client:
        seen = []
        for event in client.events(after=0, job_id=job_id):
            seen.append(event)
            if event.kind == "job.completed":
                break
        assert [event.kind for event in seen if event.kind not in SOMETIMES] == LIFE
        assert list(client.events(after=seen[0].sequence, job_id=job_id, follow=False)) == seen[1:]
    connection.close()


def test_an_ant_that_dies_and_comes_back_is_told(up: Up) -> None:
    """The death of a local ant is told with its name, and so is the one that takes its place."""
    connection, answer = opened(up, "kinds=ant")
    answer.readline()
    kill_process(up.ants()[0], signal.SIGKILL)
    kinds, names = [], set()
    while "ant.connected" not in kinds:
        for event in json.loads(answer.readline())["events"]:
            kinds.append(event["kind"])
            names.add(event["ant"])
    connection.close()
    assert kinds[0] in ("ant.disconnected", "ant.lost") and "ant.lost" in kinds
    assert "" not in names
