"""The shop over HTTP: one ASGI application, protected by the idempotency middleware."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec

from examples.orders.bank import Bank
from examples.orders.shop import CENTS, Order, Shop, Wanted
from formicary.idempotency import Claim, IdempotencyMiddleware, Policy, Route, Rule, Step, status, workflow
from formicary.idempotency.asgi import EXECUTION
from formicary.problems import Problem, problem
from formicary.problems.asgi import ProblemMiddleware

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")
KIND = "buy"
MAX_BODY_BYTES = 64 * 1024


class RefusedError(Problem):
    """What can never be: the workflow is undone. Other problems leave it to be resumed."""


class Service:
    """Routes: ``POST /orders``, ``GET /orders/{id}``, ``GET /orders/{id}/steps``, ``GET|PUT /stock/{sku}``.

    Args:
        shop: Its data.
        bank: The outside.
        lease_s: How long a process may be silent before its work goes on in another one.
        die_after: Kill this process after that step, to see what becomes of the order.
    """

    def __init__(self, shop: Shop, bank: Bank, *, lease_s: float = 5.0, die_after: str = "") -> None:
        self._shop = shop
        self._bank = bank
        self._lease_s = lease_s
        self._die_after = die_after

    def app(self) -> App:
        """The application with errors as problems; stock is set to a value, which needs no key."""
        policy = Policy(Rule(lease_s=self._lease_s), [Route("/stock/{sku}", None)])
        return ProblemMiddleware(IdempotencyMiddleware(self, self._shop.store, policy))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        match scope["method"], scope["path"].strip("/").split("/"):
            case "POST", ["orders"]:
                wanted = await _read(receive, Wanted)
                order, left = await self.buy(scope[EXECUTION].claim, wanted)
                await _answer(send, 201, {"id": order.id, "state": order.state, "left": left})
            case "GET", ["orders", order_id]:
                order = await self._shop.order(order_id)
                await _answer(send, 200, {"id": order.id, "state": order.state, "quantity": order.quantity})
            case "GET", ["orders", order_id, "steps"]:
                await _answer(send, 200, await self._steps(order_id))
            case "GET", ["stock", sku]:
                await _answer(send, 200, {"available": await self._shop.stock(sku)})
            case "PUT", ["stock", sku]:
                available = await _read(receive, dict[str, int])
                await self._shop.set_stock(sku, available["available"])
                await _answer(send, 200, available)
            case _:
                raise problem("NOT_FOUND", f"There is no {scope['method']} {scope['path']}.")

    async def buy(self, claim: Claim, wanted: Wanted) -> tuple[Order, int]:
        """Create, charge, allocate: resumed by whoever sends the key again; undone where it cannot be."""
        shop, bank, cents = self._shop, self._bank, CENTS * wanted.quantity
        if wanted.quantity < 1:
            raise problem("VALIDATION_FAILED", "`quantity` is 1 or more.")

        async def create(step: Step) -> str:
            return await shop.create(step.key, claim.key, claim.tenant, wanted)

        async def cancel(step: Step, order_id: str) -> None:
            await shop.cancel(step.key, order_id)

        async def charge(step: Step) -> str:
            with Refusals():
                return await bank.charge(step.key, wanted.card, cents)

        async def refund(step: Step, _: str) -> None:
            await bank.refund(step.key, wanted.card, cents)

        async def allocate(step: Step) -> int:
            with Refusals():
                return await shop.allocate(step.key, order_id, wanted)

        async with workflow(
            shop.store, claim.key, name=KIND, tenant=claim.tenant, input=msgspec.to_builtins(wanted),
            lease_s=self._lease_s, wait_s=2 * self._lease_s, undo_on=RefusedError,
        ) as flow:  # fmt: skip
            order_id = await flow.step("create", create, compensate=cancel)
            self._die("create")
            await flow.step("charge", charge, compensate=refund)
            self._die("charge")
            left = await flow.step("allocate", allocate)
            self._die("allocate")
        return await shop.order(order_id), left

    async def _steps(self, order_id: str) -> dict[str, object]:
        order = await self._shop.order(order_id)
        stands = await status(self._shop.store, order.workflow, name=KIND, tenant=order.tenant)
        if stands is None:
            raise problem("NOT_FOUND", f"How {order_id} was bought is no longer kept.")
        return {"state": stands.state, "steps": {step.name: step.state for step in stands.steps}}

    def _die(self, step: str) -> None:
        if step == self._die_after:
            os.kill(os.getpid(), signal.SIGKILL)


class Refusals:
    """Turns a problem that no retry changes into one after which everything is undone."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Problem) and not error.retryable:
            raise RefusedError.from_document(error.to_document()) from error


async def _read(receive: Receive, kind: type[T]) -> T:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise problem("PAYLOAD_TOO_LARGE", f"At most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            break
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise problem("VALIDATION_FAILED", f"The body is not what is asked for: {error}.") from error


async def _answer(send: Send, status_code: int, value: object) -> None:
    body = msgspec.json.encode(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
