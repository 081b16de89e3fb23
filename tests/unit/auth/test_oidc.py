"""Tokens of an issuer: what is taken, what is refused, and how little the issuer is troubled."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from formicary.problems import Problem
from formicary.server.auth.jwks import MOST_BYTES, KeySet, new_http, read_keys
from formicary.server.auth.oidc import Issuer, principal_of
from formicary.server.auth.oidc_config import ALGORITHMS, OidcConfig
from formicary.server.auth.principal import Principal
from tests.unit.auth.issuer import AUDIENCE, FakeIssuer


@pytest.fixture(scope="module")
def one_issuer() -> Iterator[FakeIssuer]:
    """An issuer with one key of each kind."""
    issuer = FakeIssuer()
    for kid, kind in (("k1", "RS256"), ("k2", "ES256"), ("k3", "ES384"), ("k4", "EdDSA")):
        issuer.new_key(kid, kind)
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(one_issuer: FakeIssuer) -> Iterator[FakeIssuer]:
    """The same, as it was."""
    keys = dict(one_issuer.keys)
    one_issuer.questions, one_issuer.body = 0, None
    yield one_issuer
    one_issuer.keys, one_issuer.body = keys, None


class Place:
    """A server's side of an issuer, with a clock that is set by hand."""

    def __init__(self, config: OidcConfig) -> None:
        self.now, self.wall = 1000.0, time.time()
        self.http = new_http(config)
        self.keys = KeySet(config, self.http, lambda: self.now)
        self.issuer = Issuer(config, self.keys, lambda: self.wall)

    async def who(self, text: str) -> Principal | None:
        known = await self.issuer.verify(text)
        return None if known is None else known.principal


def run(issuer: FakeIssuer, test: Callable[[Place], Awaitable[None]], **settings: Any) -> None:
    """Runs a test on a place of its own."""

    async def running() -> None:
        place = Place(OidcConfig(issuer.url, AUDIENCE, **settings))
        try:
            await test(place)
        finally:
            await place.keys.close()
            await place.http.aclose()

    asyncio.run(running())


def test_good_tokens(issuer: FakeIssuer) -> None:
    """Each kind of key and signature is taken; the caller is who the claims say, of this issuer."""

    async def test(place: Place) -> None:
        for kid, algorithm in (
            ("k1", "RS256"), ("k1", "PS384"), ("k2", "ES256"), ("k3", "ES384"), ("k4", "EdDSA"),
        ):  # fmt: skip
            text = issuer.token(kid, algorithm, roles=["operator", "chef"])
            assert await place.who(text) == Principal(
                f"{issuer.url}#ada", "acme", frozenset({"operator"}), "ada", frozenset({"operator", "chef"})
            )
        assert issuer.questions == 1

    run(issuer, test)


def wrong_tokens(issuer: FakeIssuer) -> dict[str, str]:
    """Tokens with one thing wrong, by its name."""
    now, good = time.time(), issuer.token("k1")
    head, body, signature = good.split(".")
    public = (
        issuer.keys["k1"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    def by_hand(header: object, sign: Callable[[bytes], bytes]) -> str:
        text = f"{part(header)}.{body}"
        return f"{text}.{base64.urlsafe_b64encode(sign(text.encode())).rstrip(b'=').decode()}"

    stranger = rsa.generate_private_key(65537, 2048)
    claims = jwt.decode(good, options={"verify_signature": False})
    return {
        "expired": issuer.token("k1", exp=now - 60),
        "not yet": issuer.token("k1", nbf=now + 60),
        "another audience": issuer.token("k1", aud="someone"),
        "another issuer": issuer.token("k1", iss="http://127.0.0.1:1"),
        "no audience": issuer.token("k1", aud=None),
        "no expiry": issuer.token("k1", exp=None),
        "no subject": issuer.token("k1", sub=None),
        "no organisation": issuer.token("k1", org=None),
        "an organisation that is no text": issuer.token("k1", org=["acme"]),
        "no signature": f"{part({'alg': 'none', 'kid': 'k1'})}.{body}.",
        "none in capitals": f"{part({'alg': 'NONE', 'kid': 'k1'})}.{body}.",
        "no algorithm": f"{part({'kid': 'k1'})}.{body}.{signature}",
        "algorithm is a list": f"{part({'kid': 'k1', 'alg': ['RS256']})}.{body}.{signature}",
        "HS256 with the public key": by_hand(
            {"alg": "HS256", "kid": "k1"}, lambda text: hmac.new(public, text, hashlib.sha256).digest()
        ),
        "HS256 with an empty key": by_hand(
            {"alg": "HS256", "kid": "k1"}, lambda text: hmac.new(b"", text, hashlib.sha256).digest()
        ),
        "a stranger's signature": jwt.encode(claims, stranger, "RS256", {"kid": "k1"}),
        "a key in the header": jwt.encode(
            claims, stranger, "RS256", {"kid": "x", "jwk": {"kty": "RSA"}, "jku": "http://127.0.0.1:1/"}
        ),
        "another kind of key": f"{part({'alg': 'ES256', 'kid': 'k1'})}.{body}.{signature}",
        "another key": f"{part({'alg': 'RS256', 'kid': 'k2'})}.{body}.{signature}",
        "a changed body": f"{head}.{part({**claims, 'roles': ['admin']})}.{signature}",
        "no name of several keys": jwt.encode(claims, stranger, "RS256"),
        "another type": issuer.token("k1", headers={"typ": "logout+jwt"}),
        "a critical extension": issuer.token("k1", headers={"crit": ["x"], "x": 1}),
        "no token": "x.y.z",
        "two parts": "x.y",
        "long": good + "0" * 20_000,
    }


def test_wrong_tokens(issuer: FakeIssuer) -> None:
    """Whatever is wrong, nobody is known; the good one beside them is."""

    async def test(place: Place) -> None:
        for name, text in wrong_tokens(issuer).items():
            assert await place.who(text) is None, name
        assert await place.who(issuer.token("k1")) is not None

    run(issuer, test)


def test_clocks_may_differ_a_little(issuer: FakeIssuer) -> None:
    """By the leeway; a token that was good is not remembered beyond that."""

    async def test(place: Place) -> None:
        text = issuer.token("k1", exp=time.time() - 10, nbf=time.time() - 20)
        known = await place.issuer.verify(text)
        assert known is not None and known.lasts_s is not None and 0 < known.lasts_s < 25
        place.wall += 30
        assert await place.who(text) is None

    run(issuer, test)


def test_a_new_key_is_found(issuer: FakeIssuer) -> None:
    """A token of a key that came later is taken once the interval is over; one of a key that is gone no more."""

    async def test(place: Place) -> None:
        old = issuer.token("k1")
        assert await place.who(old) is not None
        issuer.new_key("new", "ES256")
        text = issuer.token("new", "ES256")
        del issuer.keys["k1"]
        assert await place.who(text) is None and issuer.questions == 1
        place.now += 11
        assert await place.who(text) is not None and issuer.questions == 2
        assert await place.who(old) is None

    run(issuer, test)


def test_a_flood_of_unknown_keys_costs_one_question(issuer: FakeIssuer) -> None:
    """However many callers send them at once, and again."""

    async def test(place: Place) -> None:
        flood = [issuer.token("k2", "ES256", {"kid": f"x{number}"}) for number in range(200)]
        for expected in (1, 1, 2):
            assert set(await asyncio.gather(*map(place.who, flood))) == {None}
            assert issuer.questions == expected
            place.now += 9.9 if expected == 1 and place.now < 1005 else 0.2
        assert await place.who(issuer.token("k1")) is not None

    run(issuer, test)


def test_known_keys_go_on_while_the_issuer_is_away() -> None:
    """They are asked for again when they get old; a failure keeps them. Without any, callers are to come back."""
    issuer = FakeIssuer()
    issuer.new_key("k1")
    text, later = issuer.token("k1"), issuer.token("k1", sub="bo")

    async def test(place: Place) -> None:
        assert await place.who(text) is not None
        issuer.close()
        place.now += 3600
        assert await place.who(later) is not None
        fresh = Place(OidcConfig(issuer.url, AUDIENCE))
        for _ in range(2):
            with pytest.raises(Problem) as error:
                await fresh.who(text)
            assert error.value.code == "UNAVAILABLE" and (error.value.retry.after_s or 0) > 0
        await fresh.http.aclose()

    run(issuer, test)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": [1, {"kty": "RSA"}]}', b" " * (MOST_BYTES + 1) + b"{}"]
)
def test_answers_that_are_no_keys(issuer: FakeIssuer, body: bytes) -> None:
    """They are read within bounds and change nothing."""

    async def test(place: Place) -> None:
        assert await place.who(issuer.token("k1")) is not None
        issuer.body = body
        place.now += 3600
        assert await place.who(issuer.token("k1", headers={"kid": "x"})) is None
        assert await place.who(issuer.token("k1", sub="bo")) is not None

    run(issuer, test)


def test_only_keys_for_signatures_that_are_strong() -> None:
    """Shared secrets, encryption keys and short RSA keys are left out; an RSA key is good for RSA alone."""
    issuer = FakeIssuer()
    issuer.new_key("k1")
    issuer.close()
    good = issuer.jwks()["keys"][0]
    secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U", "kid": "s", "alg": "HS256"}
    issuer.keys = {"weak": rsa.generate_private_key(65537, 1024)}  # too weak is what it has to be
    found = read_keys({"keys": [secret, {**good, "use": "enc", "kid": "e"}, good, *issuer.jwks()["keys"]]}, ALGORITHMS)
    assert {kid for kid, _ in found} == {"k1"}
    assert {algorithm for _, algorithm in found} == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert set(read_keys({"keys": [{**good, "alg": "RS384"}]}, ALGORITHMS)) == {("k1", "RS384")}


def test_claims() -> None:
    """Roles are a list or words; dots lead into objects, unless the claim is named with them."""
    config = OidcConfig("https://i", "a", roles_claim="realm.roles", org_claim="https://x/org")
    base = {"sub": "s", "https://x/org": "o"}
    for roles, expected in (
        ({"realm": {"roles": ["admin", 1]}}, {"admin"}),
        ({"realm": {"roles": "viewer operator"}}, {"viewer", "operator"}),
        ({"realm.roles": "viewer"}, {"viewer"}),
        ({"realm": "admin"}, set()),
        ({}, set()),
    ):
        found = principal_of({**base, **roles}, config)
        assert found is not None and (found.id, found.org, found.roles) == ("https://i#s", "o", expected)
        assert (found.user, found.groups) == ("s", expected)
    named = principal_of({**base, "realm": {"roles": ["admin", "release-managers"]}}, config)
    assert named is not None and named.roles == {"admin"} and named.groups == {"admin", "release-managers"}
    assert principal_of({"sub": "s", "https://x/org": ""}, config) is None
    assert principal_of({"sub": "s\n", "https://x/org": "o"}, config) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": "http://issuer.example"}, {"issuer": "issuer.example"}, {"issuer": ""}, {"audience": ""},
        {"jwks_url": "http://keys.example/"}, {"jwks_url": "file:///etc/passwd"},
        {"algorithms": frozenset({"HS256"})}, {"algorithms": frozenset({"none"})}, {"algorithms": frozenset()},
    ],
)  # fmt: skip
def test_what_an_issuer_may_not_be(settings: dict[str, Any]) -> None:
    """Keys over plain HTTP from elsewhere, no audience, shared secrets."""
    with pytest.raises(Problem) as error:
        OidcConfig(**{"issuer": "https://issuer.example", "audience": "a", **settings})
    assert error.value.code == "VALIDATION_FAILED"
