"""Local mode: whoever reaches a loopback port of a server without tokens administers it."""

from __future__ import annotations

from formicary.gateway import Call, Run
from formicary.server.auth.principal import HOME, Principal

LOCAL_ADMIN = Principal("local", HOME, frozenset({"admin"}))


async def as_local_admin(call: Call, proceed: Run) -> None:
    """Interceptor: every caller is the local administrator."""
    call.principal = LOCAL_ADMIN
    await proceed(call)
