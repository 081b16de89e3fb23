"""Local mode: whoever reaches a loopback port of a server without tokens administers it."""

from __future__ import annotations

from formicary.gateway import Call, before
from formicary.server.auth.principal import HOME, Principal

LOCAL_ADMIN = Principal("local", HOME, frozenset({"admin"}))


@before
def as_local_admin(call: Call) -> None:
    """Interceptor: every caller is the local administrator."""
    call.principal = LOCAL_ADMIN
