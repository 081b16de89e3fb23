"""Who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
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
        name: Of the user for whom it stands, where the id is not that already.
        groups: What else the user is, for the approval policies of jobs; nothing here depends on it.
    """

    id: str
    org: str
    roles: frozenset[str]
    name: str = ""
    groups: frozenset[str] = frozenset()

    @property
    def user(self) -> str:
        """Whose votes are counted: two tokens of one name are one user."""
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class Known:
    """A caller and how long what it showed is good.

    Attributes:
        principal: Who it is.
        lasts_s: Seconds until what it showed expires; None = it does not.
        watching: Within what it returns, the given function is called once the caller is not known any more; None =
            that does not happen before it expires.
    """

    principal: Principal
    lasts_s: float | None = None
    watching: Callable[[Callable[[], None]], AbstractContextManager[None]] | None = None


Verify = Callable[[str], Awaitable[Known | None]]
"""From the text of a bearer token to whoever it stands for, None where anything is wrong with it."""
