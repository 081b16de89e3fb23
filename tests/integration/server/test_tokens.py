"""A real server that asks for tokens: who may come in, who may do what, and that secrets stay secret."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import FORMICARY, REPOSITORY, Up, until
from tests.integration.server.test_rest_api import JOB, ask


def token(up: Up, *options: str) -> str:
    return up.cli("token", "create", *options).strip()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server with one ant; the environment has an administrator's token, made before it started."""
    options = ("--auth", "token", "--verbose", "--rate", "30")
    server = Up(tmp_path_factory.mktemp("tokens") / "data", *options, is_forked=False)  # its command line is looked at
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORMICARY_TOKEN", token(server, "--role", "admin", "--data", str(server.data)))
        server.start()
        yield server
        server.clear()


def as_bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.mark.parametrize("text", ["", "x", "fmc_000000000000_00", "fmc__", "fmc_a_b_c"])
def test_unknown_callers_get_the_same_401(up: Up, text: str) -> None:
    """Whatever is wrong with a token, the answer is one and the same, with its challenge; gRPC says it too."""
    status, headers, body = ask(up, "GET", "/v1/jobs", **(as_bearer(text) if text else {}))
    assert (status, body["code"]) == (401, "UNAUTHENTICATED")
    assert headers["www-authenticate"].startswith("Bearer")

    async def refused() -> None:
        async with Client(up.address, token=text) as client:
            await client.get("1")

    with pytest.raises(Problem) as error:
        asyncio.run(refused())
    assert error.value.code == "UNAUTHENTICATED"


def test_a_wrong_secret_is_refused(up: Up) -> None:
    """The public part alone opens nothing."""
    good = token(up, "--role", "viewer")
    assert ask(up, "GET", "/v1/jobs", **as_bearer(good))[0] == 200
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    assert ask(up, "GET", "/v1/jobs", **as_bearer(wrong))[0] == 401


def test_jobs_run_and_other_organisations_see_nothing(up: Up) -> None:
    """A submitter's job runs on the local ant over gRPC and REST; a token of another organisation finds neither."""
    mine, other = token(up, "--role", "submitter", "--org", "a"), token(up, "--role", "admin", "--org", "b")

    async def test() -> None:
        url = f"http://127.0.0.1:{up.http}"
        async with Client(up.address, token=mine) as client, RestClient(url, token=mine) as rest:
            for one in (client, rest):
                handle = await one.submit(await one.register(JOB), {"name": "Ada"}, watch=True)
                assert (await one.wait(handle.id, 90)).outputs["text"] == "hello Ada"
        async with Client(up.address, token=other) as client, RestClient(url, token=other) as rest:
            for reader in (client, rest):
                assert [found async for found in reader.list()] == []
                with pytest.raises(Problem) as error:
                    await reader.get(handle.id)
                assert error.value.code == "NOT_FOUND"

    asyncio.run(test())


def test_roles(up: Up) -> None:
    """A viewer reads and may not submit or administer; another organisation's administrator stays in its own."""
    viewer = as_bearer(token(up, "--role", "viewer"))
    assert ask(up, "GET", "/v1/jobs", **viewer)[0] == 200
    assert ask(up, "POST", "/v1/jobs", {"job_type": "hello"}, idempotency_key="k", **viewer)[0] == 403
    assert ask(up, "GET", "/v1/tokens", **viewer)[0] == 403
    other = as_bearer(token(up, "--role", "admin", "--org", "c"))
    assert ask(up, "POST", "/v1/tokens", {"role": "viewer", "org": "local"}, **other)[0] == 403
    assert ask(up, "POST", "/v1/tokens", {"role": "ant"}, **other)[0] == 400
    assert {one["org"] for one in ask(up, "GET", "/v1/tokens", **other)[2]["tokens"]} == {"c"}


def test_jobs_belong_to_the_name_of_the_token(up: Up) -> None:
    """Two tokens of one name are one user, whose configurations their jobs see; one without a name is itself one."""
    up.cli("config", "set", "MINE", "hers", "--user", "alice")
    script = 'echo "::set-output name=found::{{.UserID}} ${MINE:-nothing}"'
    source = json.dumps({"job_type": "whose", "tasks": [{"task_type": "t", "script": [script]}]})
    nameless = token(up, "--role", "submitter")
    expected = {
        token(up, "--role", "submitter", "--name", "alice"): "alice hers",
        token(up, "--role", "submitter", "--name", "alice", "--expires", "1d"): "alice hers",
        nameless: f"{nameless.split('_')[1]} nothing",
    }
    for number, (text, found) in enumerate(expected.items()):
        sent = as_bearer(text)
        status, _, registered = ask(up, "POST", "/v1/definitions", {"source": source}, **sent)
        assert status == 200, registered
        request = {"definition_id": registered["definition_id"]}
        status, _, job = ask(up, "POST", "/v1/jobs", request, idempotency_key=f"whose-{number}", **sent)
        assert status == 200, job
        until(lambda job=job: up.job(job["id"])["state"] == "COMPLETED", 30, "the job ends")
        assert up.job(job["id"])["outputs"]["found"] == found


def test_a_revoked_token_is_refused_at_once(up: Up) -> None:
    """The very next call is refused; the list has it only where it is asked for."""
    text = token(up, "--role", "viewer", "--expires", "30d")
    assert ask(up, "GET", "/v1/jobs", **as_bearer(text))[0] == 200
    assert text.split("_")[1] in up.cli("token", "list")
    up.cli("token", "revoke", text.split("_")[1])
    assert ask(up, "GET", "/v1/jobs", **as_bearer(text))[0] == 401
    assert text.split("_")[1] not in up.cli("token", "list")
    kept = json.loads(up.cli("token", "list", "--revoked", "--output", "json"))
    assert [one["revoked_at"] is None for one in kept if one["id"] == text.split("_")[1]] == [False]
    up.cli("token", "revoke", text.split("_")[1], status=2)


def test_tokens_over_every_client(up: Up) -> None:
    """The clients and the command line make, list and revoke tokens alike."""

    async def test() -> None:
        async with Client(up.address) as client, RestClient(f"http://127.0.0.1:{up.http}") as rest:
            for one in (client, rest):
                made = await one.make_token("viewer", org="acme", name="by client", lifetime_s=90)
                assert made["token"].split("_")[1] == made["id"] and made["expires_at"] and not made["revoked_at"]
                assert made["id"] in [found["id"] for found in await one.list_tokens()]
                assert (await one.create_token("viewer")).startswith("fmc_")
                gone = await one.revoke_token(made["id"])
                assert gone["revoked_at"] and made["id"] not in [found["id"] for found in await one.list_tokens()]
                assert gone in await one.list_tokens(revoked=True)
                with pytest.raises(Problem) as error:
                    await one.revoke_token("a/../b")
                assert error.value.code == "NOT_FOUND"

    asyncio.run(test())
    made = json.loads(up.cli("token", "create", "--role", "viewer", "--output", "json"))
    with SyncClient(up.address) as client:
        assert client.revoke_token(made["id"])["last4"] == made["token"][-4:]
        assert client.make_token("viewer")["role"] == "viewer" and client.create_token("viewer")
        assert len(client.list_tokens(revoked=True)) > len(client.list_tokens())


def test_revoking_holds_within_a_second_for_callers_that_never_pause(up: Up) -> None:
    """Once the revocation has been acknowledged no call that begins is served, over REST or gRPC."""
    text = token(up, "--role", "viewer")

    async def served(one: Client | RestClient, until_refused: list[tuple[float, bool]]) -> None:
        while not until_refused or until_refused[-1][1]:
            began = time.monotonic()
            try:
                _ = [job async for job in one.list(limit=1)]
            except Problem as error:
                assert error.code == "UNAUTHENTICATED"
                until_refused.append((began, False))
            else:
                until_refused.append((began, True))
                await asyncio.sleep(0.1)  # the server gives 30 calls a second

    async def test() -> None:
        url = f"http://127.0.0.1:{up.http}"
        async with (
            Client(up.address, token=text) as client,
            RestClient(url, token=text) as rest,
            Client(up.address) as me,
        ):
            calls: list[list[tuple[float, bool]]] = [[], []]
            callers = [
                asyncio.create_task(served(client, calls[0])),
                asyncio.create_task(served(rest, calls[1])),
            ]
            while min(map(len, calls)) < 3:
                await asyncio.sleep(0.01)
            await me.revoke_token(text.split("_")[1])
            revoked = time.monotonic()
            async with asyncio.timeout(60):
                await asyncio.gather(*callers)
            for found in calls:
                assert found[2][1] and found[-1][0] < revoked + 1
                assert not [began for began, good in found if good and began > revoked]

    asyncio.run(test())


def test_revoking_ends_what_is_open(up: Up, tmp_path: Path) -> None:
    """A stream that nothing is written to, over gRPC and over REST, ends with its token."""
    text = token(up, "--role", "submitter", "--expires", "30d")

    async def test() -> None:
        url = f"http://127.0.0.1:{up.http}"
        async with (
            Client(up.address, token=text) as client,
            RestClient(url, token=text) as rest,
            Client(up.address) as me,
        ):
            waits = JOB.replace("echo", "sleep 60; echo")
            handle = await client.submit(await client.register(waits), {"name": "Ada"})
            streams = [one.follow(handle.id) for one in (client, rest)]
            for stream in streams:
                job = await anext(stream)
                assert job["id"] == handle.id
                while job["state"] != "EXECUTING":
                    job = await anext(stream)
            left = [asyncio.create_task(_end(stream)) for stream in streams]
            assert (await me.revoke_token(text.split("_")[1]))["revoked_at"]
            async with asyncio.timeout(60):  # it takes milliseconds; a busy machine has more patience
                assert await asyncio.gather(*left) == ["UNAUTHENTICATED"] * 2
            await me.cancel(handle.id)

    asyncio.run(test())


async def _end(stream: Any) -> str:
    try:
        async for _ in stream:
            pass
    except Problem as error:
        return error.code
    return ""


def test_revoking_ends_an_ants_session(up: Up, tmp_path: Path) -> None:
    """Its stream ends at once, and the queen has the ant no more as connected."""
    text = token(up, "--role", "ant")
    command = (*FORMICARY, "ant", "--queen", up.address, "--id", "guest")
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "FORMICARY_TOKEN": text}, cwd=REPOSITORY
        )
    admin = as_bearer(os.environ["FORMICARY_TOKEN"])

    def connected() -> bool:
        ants = ask(up, "GET", "/v1/ants", **admin)[2].get("ants", [])
        return any(ant["id"] == "guest" and ant.get("connected") for ant in ants)

    try:
        until(connected, 20, "the ant is welcome")
        up.cli("token", "revoke", text.split("_")[1])
        until(lambda: not connected(), 5, "the ant's session is over")
    finally:
        process.kill()
        process.wait()


def test_too_many_calls(up: Up) -> None:
    """The limit is told with every answer; beyond it callers are asked to come back."""
    viewer = as_bearer(token(up, "--role", "viewer"))
    _, headers, _ = ask(up, "GET", "/v1/jobs", **viewer)
    assert headers["ratelimit-policy"] == '"default";q=60;w=2' and headers["ratelimit"].startswith('"default";r=')
    left = headers["ratelimit"].removeprefix('"default";r=').partition(";")[0]
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("60", left)
    assert int(headers["x-ratelimit-reset"]) >= 1
    with ThreadPoolExecutor(16) as pool:  # one after the other they might be no faster than the limit
        every = pool.map(lambda _: ask(up, "GET", "/v1/jobs", **viewer), range(500))
        found = next(answer for answer in every if answer[0] != 200)
    assert found[0] == 429 and int(found[1]["retry-after"]) >= 0 and "r=0" in found[1]["ratelimit"]


def test_an_ant_needs_a_token_of_its_role(up: Up, tmp_path: Path) -> None:
    """An ant without one, or with another role's, is never welcomed."""
    for text, code in (("", "UNAUTHENTICATED"), (token(up, "--role", "viewer"), "PERMISSION_DENIED")):
        command = (*FORMICARY, "ant", "--queen", up.address, "--id", "stranger")
        environment = {**os.environ, "FORMICARY_TOKEN": text}
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=REPOSITORY)
        try:
            line = f"/formicary.v1.AntService/Session {code}"
            until(partial(lambda line: line in up.log.read_text(), line), 20, line)
            assert "ready ant" not in (tmp_path / "out").read_text()
        finally:
            process.kill()
            process.wait()


def test_secrets_are_nowhere(up: Up) -> None:
    """No log, no data file and no command line of the server or its ants holds the secret of a token."""
    text = token(up, "--role", "viewer")
    ask(up, "GET", "/v1/jobs", **as_bearer(text))
    secrets = [text.split("_")[2].encode(), os.environ["FORMICARY_TOKEN"].split("_")[2].encode()]
    ant = Path(f"/proc/{up.ants()[0]}")
    given = [line for line in (ant / "environ").read_bytes().split(b"\0") if line.startswith(b"FORMICARY_TOKEN=")]
    secrets.append(given[0].split(b"_")[-1])
    assert up.process is not None
    files = [up.log, ant / "cmdline", Path(f"/proc/{up.process.pid}/cmdline")]
    files += [path for path in up.data.rglob("*") if path.is_file()]
    for secret in secrets:
        assert len(secret) == 48
        assert [path for path in files if secret in path.read_bytes()] == []


def test_beyond_loopback_has_to_be_said_twice(tmp_path: Path) -> None:
    """Without tokens, or with tokens as plain text, other machines are not served."""
    for options in ((), ("--auth", "token")):
        command = (*FORMICARY, "up", "--data", str(tmp_path / "d"), "--host", "0.0.0.0", *options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
        assert done.returncode != 0 and "not a loopback address" in done.stderr
