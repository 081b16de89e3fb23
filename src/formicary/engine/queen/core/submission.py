"""What the core is given to accept a job."""

from __future__ import annotations

import msgspec


class Submission(msgspec.Struct, frozen=True, gc=False):
    """One job to accept. `params` is a JSON object; `scheduled_at` seconds since the epoch, None = at once."""

    id: str
    params: bytes
    priority: int | None = None
    scheduled_at: float | None = None
    key: str = ""
    fingerprint: str = ""
    user: str = ""
    """Id of who submits it."""
