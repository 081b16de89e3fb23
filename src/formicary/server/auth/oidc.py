"""Callers with a JSON web token of an OpenID Connect issuer.

Theory of operation. A token is read once: its header names a key and an algorithm, of which only asymmetric ones are
taken, and only in the kind that the key itself is of. Then signature, issuer, audience and times are checked. What was
found is remembered until it expires or the issuer's keys change, by the hash of the token, so that a caller who comes
often costs one signature. Whatever is wrong, the answer is the same.
Source: RFC 7519; RFC 8725 (best current practices), sections 3.1 to 3.10.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from formicary.problems import problem
from formicary.server.auth.oidc_config import OidcConfig
from formicary.server.auth.principal import Known, Principal
from formicary.server.auth.roles import ROLES
from formicary.server.auth.tokens import LONGEST

try:
    import jwt

    from formicary.server.auth.jwks import KeySet, new_http
except ModuleNotFoundError as error:
    raise problem(
        "FAILED_PRECONDITION", "Tokens of an issuer need one more package.", remedy="pip install 'formicary[oidc]'"
    ) from error

log = logging.getLogger("formicary.server.oidc")
MOST_CHARACTERS = 16 * 1024
MOST_REMEMBERED = 2000
_KINDS = (None, "jwt", "at+jwt", "application/at+jwt")
_REQUIRED = ("exp", "iss", "aud", "sub")


class Issuer:
    """One issuer whose tokens are taken.

    Args:
        config: Which one.
        keys: Its keys.
        wall: Seconds since the epoch.
    """

    def __init__(self, config: OidcConfig, keys: KeySet, wall: Callable[[], float] = time.time) -> None:
        self._config = config
        self._keys = keys
        self._wall = wall
        self._remembered: dict[bytes, tuple[Principal, float]] = {}
        self._version = 0

    async def verify(self, text: str) -> Known | None:
        """Whoever a token stands for, None where anything is wrong with it.

        Raises:
            Problem: UNAVAILABLE while the issuer's keys are not known.
        """
        if len(text) > MOST_CHARACTERS or text.count(".") != 2 or not text.isascii():
            return None
        digest = sha256(text.encode()).digest()
        self._forget_others()
        remembered = self._remembered.get(digest)
        if remembered is None:
            remembered = await self._read(text)
            if remembered is None:
                return None
            self._forget_others()  # the keys may have changed meanwhile
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = remembered
        principal, expires_at = remembered
        lasts_s = expires_at + self._config.leeway_s - self._wall()
        return Known(principal, lasts_s) if lasts_s > 0 else None

    def _forget_others(self) -> None:
        """Whoever was known by earlier keys has to show that anew."""
        if self._version != self._keys.version:
            self._version = self._keys.version
            self._remembered.clear()

    async def _read(self, text: str) -> tuple[Principal, float] | None:
        try:
            header = jwt.get_unverified_header(text)
            algorithm, kid, kind = header.get("alg"), header.get("kid", ""), header.get("typ")
            if algorithm not in self._config.algorithms or not isinstance(kid, str) or "crit" in header:
                return None
            if (kind.lower() if isinstance(kind, str) else kind) not in _KINDS:
                return None
            key = await self._keys.find(kid, algorithm)
            if key is None:
                return None
            claims = jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=self._config.leeway_s,
                options={"require": list(_REQUIRED)},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            log.debug("a token was refused: %s", type(error).__name__)
            return None
        principal = principal_of(claims, self._config)
        return None if principal is None else (principal, float(claims["exp"]))


def principal_of(claims: Mapping[str, Any], config: OidcConfig) -> Principal | None:
    """Whom checked claims stand for; None where subject or organisation is missing or no text.

    A missing organisation is never taken for the server's own: whose roles hold there administers the server.
    """
    subject, org = claims.get("sub"), _claim(claims, config.org_claim)
    for text in (subject, org):
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST or not text.isprintable():
            return None
    roles = _claim(claims, config.roles_claim)
    named = roles.split() if isinstance(roles, str) else roles if isinstance(roles, list) else []
    groups = frozenset(role for role in named if isinstance(role, str))
    known = groups.intersection(ROLES)
    return Principal(f"{config.issuer}#{subject}", str(org), known, str(subject), groups)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim of this very name, else the one that its dots lead to."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


@asynccontextmanager
async def open_issuer(config: OidcConfig) -> AsyncIterator[Issuer]:
    """An issuer whose keys are being fetched from now on; nobody waits for them before a token arrives."""
    async with new_http(config) as http:
        keys = KeySet(config, http)
        keys.ask()
        try:
            yield Issuer(config, keys)
        finally:
            await keys.close()
