"""A real server that takes the tokens of a real issuer beside its own."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from formicary.client import Client, RestClient
from formicary.problems import Problem
from tests.acceptance.server import Up
from tests.integration.server.test_rest_api import JOB, ask
from tests.integration.server.test_tokens import as_bearer
from tests.integration.server.tls_server import started
from tests.unit.auth.issuer import AUDIENCE, FakeIssuer


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    """An issuer with one key."""
    found = FakeIssuer()
    found.new_key("k1", "ES256")
    yield found
    found.close()


@pytest.fixture(scope="module")
def up(issuer: FakeIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that knows the issuer."""
    options = ("--auth", "token", "--oidc-issuer", issuer.url, "--oidc-audience", AUDIENCE)
    with started(Up(tmp_path_factory.mktemp("oidc") / "data", *options)) as server:
        yield server


def test_both_kinds_of_token(up: Up, issuer: FakeIssuer) -> None:
    """A token of the issuer runs jobs over both protocols in its organisation; the server's own go on beside it."""
    text = issuer.token("k1", "ES256", roles=["submitter"])

    async def test() -> None:
        async with (
            Client(up.address, token=text) as client,
            RestClient(f"http://127.0.0.1:{up.http}", token=text) as rest,
        ):
            for one in (client, rest):
                handle = await one.submit(await one.register(JOB), {"name": "Ada"}, watch=True)
                assert (await one.wait(handle.id, 90)).outputs["text"] == "hello Ada"
            with pytest.raises(Problem) as error:
                await client.list_tokens()
            assert error.value.code == "PERMISSION_DENIED"
        async with Client(up.address) as admin:
            assert await admin.list_tokens()

    asyncio.run(test())


def test_every_refusal_is_the_same(up: Up, issuer: FakeIssuer) -> None:
    """401 with the challenge and one text, whether the token is ours, the issuer's or nobody's."""
    wrong = [
        issuer.token("k1", "ES256", exp=1),
        issuer.token("k1", "ES256", aud="x"),
        issuer.token("k1", "ES256", {"kid": "x"}),
        "a.b.c",
        "fmc_1_2",
        os.environ["FORMICARY_TOKEN"] + "0",
    ]
    details = set()
    for text in wrong:
        status, headers, body = ask(up, "GET", "/v1/jobs", authorization=f"Bearer {text}")
        assert status == 401 and headers["www-authenticate"].startswith("Bearer")
        details.add((body["code"], body["detail"], body["title"]))
    assert len(details) == 1


def test_a_stream_ends_when_its_token_expires(up: Up, issuer: FakeIssuer) -> None:
    """Though nothing is written to it."""
    text = issuer.token("k1", "ES256", roles=["submitter"], exp=time.time() - 30 + 8)  # with the leeway: eight seconds

    async def test() -> None:
        async with Client(up.address, token=text) as client:
            handle = await client.submit(await client.register(JOB.replace("echo", "sleep 60; echo")), {"name": "Ada"})
            async with asyncio.timeout(60):
                with pytest.raises(Problem) as error:
                    async for _ in client.follow(handle.id):
                        pass
            assert error.value.code == "UNAUTHENTICATED"

    asyncio.run(test())


def test_a_scraper_may_have_a_token_of_the_issuer(up: Up, issuer: FakeIssuer) -> None:
    """The metrics know the same callers as the API: those of the server's own organisation, and no others."""
    mine, theirs = (issuer.token("k1", "ES256", org=org) for org in ("local", "acme"))
    for text, status in ((mine, 200), (theirs, 403), (mine[:-4], 401)):
        request = urllib.request.Request(f"http://127.0.0.1:{up.http}/metrics", headers=as_bearer(text))
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            with error:
                found = error.code
        assert found == status
