"""Runs an async test in a loop of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

P = ParamSpec("P")


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Makes a plain test of an async one; whatever fails in a task of its own fails the test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            failures: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
            async with asyncio.timeout(180):
                await test(*args, **kwargs)
            assert not failures, failures

        asyncio.run(main())

    return run
