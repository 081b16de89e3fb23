"""What running attempts leave for the next one of their task, on its way to the queen.

Theory of operation. Only the last checkpoint of an attempt matters, so that a task which leaves one in every turn of a
loop costs no more than ten of them a second: the first leaves at once, later ones when their time has come, and what is
still waiting leaves with the attempt's end, before its result. After a lost stream the last one of each attempt is said
again, because nobody knows whether it arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from formicary.engine.ants.outbox import Outbox

EVERY_S = 0.1
"""Between two checkpoints of one attempt."""


class Checkpoints:
    """Passes checkpoints on.

    Args:
        outbox: Takes them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._sent_at: dict[int, float] = {}
        self._waiting: dict[int, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None

    def put(self, token: int, value: bytes) -> None:
        """Takes the latest checkpoint of an attempt."""
        self._waiting[token] = value
        if self._loop.time() - self._sent_at.get(token, -EVERY_S) >= EVERY_S:
            self._send(token)
        elif self._timer is None:
            self._timer = self._loop.call_later(EVERY_S, self._send_waiting)

    def ended(self, token: int) -> None:
        """The attempt has ended: what it left last goes before its result."""
        if self._sent_at and self._sent_at.pop(token, None) is not None and token in self._waiting:
            self._outbox.add_checkpoint(token, self._waiting.pop(token))

    def forget(self, tokens: Iterable[int]) -> None:
        """The leases of these attempts are lost: nothing of them counts."""
        for token in tokens:
            self._sent_at.pop(token, None)
            self._waiting.pop(token, None)
            self._outbox.drop_checkpoint(token)

    def close(self) -> None:
        """Sends nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, token: int) -> None:
        self._sent_at[token] = self._loop.time()
        self._outbox.add_checkpoint(token, self._waiting.pop(token))

    def _send_waiting(self) -> None:
        self._timer = None
        for token in list(self._waiting):
            self._send(token)
