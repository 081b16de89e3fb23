"""Virtual resources over the API."""

from __future__ import annotations

from formicary.engine.queen.core.locking import State
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import page_tokens
from formicary.v1 import locks_pb2 as pb
from formicary.v1 import locks_pb2_grpc

DEFAULT_PAGE = 100
MOST_HOLDERS = 1000
MOST_LOCKS = 10_000
"""That one organisation may configure."""


class LockServicer(locks_pb2_grpc.LockServiceServicer):
    """Virtual resources as clients see them.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def ListLocks(self, request: pb.ListLocksRequest, call: Call) -> pb.ListLocksResponse:
        """A page of them, by name."""
        after = page_tokens.named_position(request.page_token, [])[0] if request.page_token else ""
        await self._queen.pump.settle()  # what is shown is committed
        found = [one for one in self._queen.pump.now().locking.shown(call.principal.org) if one.name > after]
        page = found[: request.page_size or DEFAULT_PAGE]
        more = len(found) > len(page)
        return pb.ListLocksResponse(
            locks=map(_message, page), next_page_token=page_tokens.named(page[-1].name, 1, []) if more else ""
        )

    async def GetLock(self, request: pb.GetLockRequest, call: Call) -> pb.Lock:
        """One of them."""
        await self._queen.pump.settle()
        return _message(self._find(call.principal.org, request.name))

    async def SetLock(self, request: pb.SetLockRequest, call: Call) -> pb.Lock:
        """How much there is of one."""
        locking, key = self._queen.pump.now().locking, (call.principal.org, request.name)
        known = locking.configured.get(key)
        if known is None and sum(org == key[0] for org, _ in locking.configured) >= MOST_LOCKS:
            raise problem("FAILED_PRECONDITION", f"There are {MOST_LOCKS} virtual resources already; delete some.")
        if known is None or (known.capacity, known.description) != (request.capacity, request.description):
            locking.put(key, request.capacity, request.description, call.principal.id)
            await self._queen.pump.commit()
        return _message(self._find(*key))

    async def DeleteLock(self, request: pb.DeleteLockRequest, call: Call) -> pb.Lock:
        """Forgets what was configured and shows what it was."""
        key = (call.principal.org, request.name)
        locking = self._queen.pump.now().locking
        if key not in locking.configured:
            raise _missing(request.name)
        shown = _message(self._find(*key))
        locking.remove(key)
        await self._queen.pump.commit()
        return shown

    def _find(self, org: str, name: str) -> State:
        for one in self._queen.pump.now().locking.shown(org):
            if one.name == name:
                return one
        raise _missing(name)


def _missing(name: str) -> Exception:
    return problem("NOT_FOUND", f"there is no virtual resource {name!r}; `formicary locks list` shows them")


def _message(state: State) -> pb.Lock:
    given = state.configured
    found = pb.Lock(
        name=state.name,
        capacity=state.capacity,
        configured=given is not None,
        held=state.held,
        waiting=state.waiting,
        holders=[
            pb.LockHolder(job_id=one.job_id, job_type=one.job_type, task_type=one.task_type, amount=one.amount)
            for one in state.holders[:MOST_HOLDERS]
        ],
    )
    if given is not None:
        found.description, found.updated_by = given.description, given.by
        found.updated_at.FromMilliseconds(round(given.updated_at * 1000))
    return found
