"""The public keys of an issuer: fetched in the background, kept, and asked for again with restraint.

Theory of operation. Keys are fetched by one task at a time, never by the call that needs one; calls only wait for it.
A token with an unknown key asks again, but not sooner than a set time after the last question, so that a flood of such
tokens costs the issuer nothing more. Keys that were fetched stay when the issuer cannot be reached. While there are
none at all, nobody can be told from anybody, and callers are asked to come back.
Source: OpenID Connect Discovery 1.0; RFC 7517; on rotation, OpenID Connect Core 1.0, section 10.1.1.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import httpx
import jwt
import msgspec

from formicary.problems import Problem, problem
from formicary.server.auth.oidc_config import OidcConfig, check_url

log = logging.getLogger("formicary.server.oidc")
MOST_BYTES = 512 * 1024
MOST_KEYS = 100
RSA_BITS = 2048
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
Keys = Mapping[tuple[str, str], jwt.PyJWK]
"""(name of the key, algorithm) -> key."""
_EMPTY: Keys = MappingProxyType({})


class KeySet:
    """The keys of one issuer.

    Args:
        config: Where they are and how often they are asked for.
        http: What asks.
        now: A clock that never goes back, in seconds.
    """

    def __init__(self, config: OidcConfig, http: httpx.AsyncClient, now: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._http = http
        self._now = now
        self._keys: Keys = _EMPTY
        self._fetched_at = self._asked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._url = config.jwks_url
        self.version = 0

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of a name, None where the issuer has none for this algorithm.

        Args:
            kid: Its name; empty = the only one there is.
            algorithm: What it is to verify.

        Raises:
            Problem: UNAVAILABLE while no keys are known.
        """
        now = self._now()
        if now - self._fetched_at > self._config.refresh_s:
            self.ask()
        found = self._known(kid, algorithm)
        if found is None:
            self.ask()
            if self._task is not None:
                await asyncio.shield(self._task)
                found = self._known(kid, algorithm)
        if found is None and not self._keys:
            wait_s = max(1.0, self._asked_at + self._config.interval_s - self._now())
            text = "Callers cannot be told apart at the moment: the keys of the issuer cannot be read."
            raise problem("UNAVAILABLE", text, retry_after_s=wait_s)
        return found

    def ask(self) -> None:
        """Fetches the keys in the background, unless it does so already or has done so a moment ago."""
        now = self._now()
        if self._task is None and now - self._asked_at >= self._config.interval_s:
            self._asked_at = now
            self._task = asyncio.create_task(self._fetch(), name="keys of the issuer")

    async def close(self) -> None:
        """Asks no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _known(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        if kid:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, one), key in self._keys.items() if one == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                if not self._url:
                    self._url = await self._discover()
                keys = read_keys(await self._get(self._url), self._config.algorithms)
            if not keys:
                raise ValueError("there is no key that could be used")
            if set(keys) != set(self._keys):
                log.info("the issuer %s has %d keys", self._config.issuer, len(keys))
            self._keys, self._fetched_at = keys, self._now()
            self.version += 1
        except (OSError, ValueError, Problem, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
            self._url = self._config.jwks_url  # where they are is asked again, too
            reason = str(error) or type(error).__name__
            log.warning("the keys of %s cannot be read: %s", self._config.issuer, reason[:300])
        finally:
            self._task = None

    async def _discover(self) -> str:
        found = await self._get(f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._config.issuer:
            raise ValueError("the discovery document is another issuer's")
        url = str(found.get("jwks_uri", ""))
        check_url(url, "jwks_uri", insecure=self._config.insecure)
        return url

    async def _get(self, url: str) -> Mapping[str, Any]:
        content = bytearray()
        async with self._http.stream("GET", url, headers={"accept": "application/json"}) as answer:
            if answer.status_code != 200:
                raise ValueError(f"{url} answers {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise ValueError(f"{url} has more than {MOST_BYTES} bytes")
        found = msgspec.json.decode(bytes(content))
        if not isinstance(found, dict):
            raise ValueError(f"{url} is no JSON object")
        return found


def new_http(config: OidcConfig) -> httpx.AsyncClient:
    """What asks an issuer; certificates are checked with those of the system (SSL_CERT_FILE)."""
    verify = ssl.create_default_context()
    return httpx.AsyncClient(timeout=config.timeout_s, verify=verify, trust_env=False, follow_redirects=False)


def read_keys(document: Mapping[str, Any], algorithms: frozenset[str]) -> Keys:
    """The keys of a document that can verify signatures, under every algorithm they are good for.

    What cannot be read, is too weak or is for another use is left out: other keys do not suffer from it.
    """
    listed = document.get("keys")
    found: dict[tuple[str, str], jwt.PyJWK] = {}
    for one in listed[:MOST_KEYS] if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("use", "sig") == "sig":
            for algorithm in sorted(_good_for(one) & algorithms):
                key = _key(one, algorithm)
                if key is not None:
                    found[str(one.get("kid", "")), algorithm] = key
    return MappingProxyType(found)


def _good_for(one: Mapping[str, Any]) -> frozenset[str]:
    """The algorithms of a key by its kind alone: what a token says never makes a key be used as another kind."""
    kind = one.get("kty")
    if kind == "RSA":
        able = _RSA
    elif kind == "EC":
        able = frozenset({_CURVES.get(str(one.get("crv")), "")})
    else:
        able = frozenset({"EdDSA"} if kind == "OKP" else ())
    named = one.get("alg")
    return able if named is None else able & {str(named)}


def _key(one: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        key = jwt.PyJWK(dict(one), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        log.warning("a key of the issuer cannot be read: %s", type(error).__name__)
        return None
    if algorithm in _RSA and getattr(key.key, "key_size", 0) < RSA_BITS:
        log.warning("an RSA key of the issuer has less than %d bits and is not used", RSA_BITS)
        return None
    return key
