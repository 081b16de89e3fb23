"""Whatever a handler raises becomes a problem; what nobody expected is logged in full and shown as nothing but that."""

from __future__ import annotations

import logging

from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import Problem, problem

log = logging.getLogger("formicary.gateway")


async def as_problems(call: Call, proceed: Run) -> None:
    """Raises Problem instead of every other exception; a cancelled call stays cancelled."""
    try:
        await proceed(call)
    except Problem:
        raise
    except TimeoutError as error:
        raise problem("DEADLINE_EXCEEDED") from error
    except Exception as error:
        log.exception("%s failed, trace %s", call.method.full_name, call.trace_id)
        raise problem("INTERNAL") from error
