"""A call ends when its caller has stopped waiting."""

from __future__ import annotations

import asyncio
import time

from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import problem


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
