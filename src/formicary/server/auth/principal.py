"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass

HOME = "local"
"""The server's own organisation: its administrators administer the server, and ants belong to it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that is known.

    Attributes:
        id: Of the token, or the name of a caller without one.
        org: Organisation; a caller sees nothing of any other.
        roles: Names of what the caller is allowed to be: admin, operator, submitter, viewer or ant.
    """

    id: str
    org: str
    roles: frozenset[str]
