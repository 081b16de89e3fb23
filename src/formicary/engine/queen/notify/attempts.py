"""What an attempt to deliver a notice may come to."""

from __future__ import annotations


class NotDelivered(Exception):
    """It was not delivered.

    Args:
        why: One sentence, without secrets.
        is_final: Another attempt would fail in the same way.
        after_s: How long the receiver asks to wait.
    """

    def __init__(self, why: str, *, is_final: bool = False, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.is_final = is_final
        self.after_s = after_s
