"""Who is calling, for both protocols alike: an interceptor below the gateway's chain, so neither port is open."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from examples.todo.v1 import todo_pb2
from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import problem

LOCAL_USER = "local"
"""Who calls a service that was started without tokens; it serves the loopback interface alone."""


@dataclass(frozen=True, slots=True)
class User:
    """Whoever calls.

    Attributes:
        name: Owner of what is created.
        admin: Whether all tasks are theirs to see and change.
    """

    name: str
    admin: bool = False

    def may_use(self, task: todo_pb2.Task) -> bool:
        """Whether the task is the user's to read and change."""
        return self.admin or task.created_by == self.name


def parse_tokens(texts: Iterable[str]) -> dict[str, str]:
    """Reads ``USER=SECRET`` arguments.

    Raises:
        ValueError: One of them is not of this form, or a user comes twice.
    """
    tokens: dict[str, str] = {}
    for text in texts:
        user, _, secret = text.partition("=")
        if not user or not secret or user in tokens:
            raise ValueError("--token is USER=SECRET, once for each user")
        tokens[user] = secret
    return tokens


class Authentication:
    """Finds the user of each call by its bearer token.

    Args:
        tokens: User -> secret. None at all = everybody is LOCAL_USER.
        admins: Users to whom all tasks are open.
    """

    def __init__(self, tokens: dict[str, str], admins: Iterable[str] = ()) -> None:
        self._digests = {user: _digest(secret) for user, secret in tokens.items()}
        self._admins = frozenset(admins)

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Raises Problem UNAUTHENTICATED; it never says whether a token is missing, malformed or unknown."""
        if not self._digests:
            call.principal = User(LOCAL_USER, LOCAL_USER in self._admins)
        else:
            call.principal = self._user(_bearer(call.value("authorization")) or call.value("auth-token"))
        await proceed(call)

    def _user(self, token: str) -> User:
        """Compares with every secret in constant time, so that time tells nothing about any of them."""
        given, found = _digest(token), ""
        for user, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = user
        if not found or not token:
            raise problem(
                "UNAUTHENTICATED", "The call needs a valid bearer token in authorization.", challenge="Bearer"
            )
        return User(found, found in self._admins)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _bearer(text: str) -> str:
    kind, _, token = text.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
