"""A call ends when its caller has stopped waiting."""

from __future__ import annotations

import asyncio
import time

from formicary.gateway.call import Call
from formicary.gateway.service import Run, stepping
from formicary.problems import problem


def _has_none(call: Call) -> bool:
    """Nothing is to be done for a call without a deadline."""
    return call.deadline is None


@stepping(_has_none)
async def keep_deadline(call: Call, proceed: Run) -> None:
    """Raises Problem DEADLINE_EXCEEDED and cancels the handler when the deadline has passed."""
    deadline = call.deadline
    if deadline is None:
        await proceed(call)
        return
    try:
        async with asyncio.timeout(deadline - time.monotonic()) as limit:
            await proceed(call)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise problem("DEADLINE_EXCEEDED") from error
