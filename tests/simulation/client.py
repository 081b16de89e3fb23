"""Clients: submit with ids or idempotency keys, send again until they are told that it is stored, cancel some jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from formicary.engine.queen.core.submission import Submission

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Order:
    """One job as its client knows it."""

    id: str
    """Of the job; for an order with a key, whatever job the key has made."""
    kind: str
    key: str
    """Idempotency key, empty = none: such an order is sent again with its id."""
    is_accepted: bool = False
    is_cancelled: bool = False
    """The client asked for it; whether that came before the end the store says."""


class Client:
    """Sends a few jobs per call; a call or its answer may be lost or come twice."""

    def __init__(self, world: World, orders: list[Order]) -> None:
        self.world = world
        self.loop = world.loop
        self.orders = orders
        self.open = len(orders)

    def start(self, spread_s: float) -> None:
        """Sends everything, spread over a time."""
        rng, left = self.loop.random, list(self.orders)
        while left:
            size = rng.randint(1, 5)
            call, left = left[:size], left[size:]
            self.loop.after(rng.random() * spread_s, self._submit, call)

    def _submit(self, call: list[Order]) -> None:
        call = [order for order in call if not order.is_accepted]
        if not call:
            return
        by_kind: dict[str, list[Order]] = {}
        for order in call:
            by_kind.setdefault(order.kind, []).append(order)
        for kind, orders in by_kind.items():
            weather = self.world.weather
            copies = 2 if self.loop.chance(weather.duplicate) else 1
            for _ in range(copies):
                if not self.loop.chance(weather.loss):
                    self.loop.after(self.world.delay_s(), self._arrive, kind, orders)
        self.loop.after(1.0 + self.loop.random.random(), self._submit, call)

    def _arrive(self, kind: str, orders: list[Order]) -> None:
        queen, wall = self.world.queen, self.world.queen.wall
        delay_s = self.world.kinds[kind].delay_s
        start = wall + delay_s if delay_s else None
        items = [
            Submission(self.world.new_id() if order.key else order.id, b"{}", None, start, order.key, "same")
            for order in orders
        ]

        def answer(is_stored: bool) -> None:
            if is_stored:
                self.world.monitor.acknowledged(orders)
                if not self.loop.chance(self.world.weather.loss):
                    self.loop.after(self.world.delay_s(), self._accepted, orders)

        queen.submit(kind, items, answer)

    def _accepted(self, orders: list[Order]) -> None:
        for order in orders:
            if not order.is_accepted:
                order.is_accepted = True
                self.open -= 1
                if self.loop.chance(0.04):
                    self.loop.after(self.loop.random.random() * 3.0, self._cancel, order)

    def _cancel(self, order: Order) -> None:
        order.is_cancelled = True
        self.loop.note("client: cancel", order.id)
        self.world.queen.cancel(order.id, lambda _is_stored: None)
