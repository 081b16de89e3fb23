"""The accounts over HTTP: one ASGI application. Routes::

PUT  /accounts/{id}                make an account (idempotent by itself)
GET  /accounts/{id}                its balance
GET  /accounts/{id}/history        its newest entries
POST /accounts/{id}/deposits       {"amount": cents}                               needs Idempotency-Key
POST /transfers                    {"from": id, "to": id, "amount": cents}         needs Idempotency-Key
GET  /sums                         what must always be 0
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec

from examples.payments.banks import Bank
from examples.payments.ledger import Posting, answer, deposit, named, transfer
from formicary.idempotency import StoredResponse
from formicary.idempotency.grouped import Executed
from formicary.idempotency.keys import key_of
from formicary.idempotency.refusals import key_missing
from formicary.problems import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")
MAX_BODY_BYTES = 64 * 1024
KEY = "Idempotency-Key"
TRANSFERS = "/transfers"
DEPOSITS = "/accounts/{id}/deposits"
"""The operations to which keys belong, whichever protocol brings them."""


class Deposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a deposit."""

    amount: int


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a transfer."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    amount: int


class Service:
    """Answers requests.

    Args:
        bank: Where the accounts are.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises Problem."""
        await _send(send, await self._answer(scope, receive))

    async def _answer(self, scope: Scope, receive: Receive) -> Executed:
        bank = self._bank
        match scope["method"], scope["path"].strip("/").split("/"):
            case "POST", ["transfers"]:
                return await self._post(scope, receive, TRANSFERS, _transfer)
            case "POST", ["accounts", name, "deposits"]:
                return await self._post(scope, receive, DEPOSITS, lambda body: _deposit(name, body))
            case "PUT", ["accounts", name]:
                made = named(name)
                await bank.ask(lambda ledger: ledger.make_account(made))
                found: object = await bank.ask(lambda ledger: ledger.account(name))
            case "GET", ["accounts", name]:
                found = await bank.ask(lambda ledger: ledger.account(name))
            case "GET", ["accounts", name, "history"]:
                found = {"entries": await bank.ask(lambda ledger: ledger.history(name))}
            case "GET", ["sums"]:
                found = await bank.ask(lambda ledger: ledger.sums())
            case _:
                raise problem("NOT_FOUND", f"There is no {scope['method']} {scope['path']}.")
        return Executed(answer(200, found))

    async def _post(
        self, scope: Scope, receive: Receive, route: str, posting_of: Callable[[bytes], Posting]
    ) -> Executed:
        """What the request asks for is checked before its key is claimed: a refusal here keeps nothing."""
        headers = scope["headers"]
        key = key_of([value for name, value in headers if name == b"idempotency-key"], header=KEY)
        if key is None:
            raise key_missing(KEY)
        posting = posting_of(await _read(receive))
        return await self._bank.post(posting.claim(key, route), posting)


def _transfer(body: bytes) -> Posting:
    wanted = _decoded(body, Transfer)
    return transfer(wanted.source, wanted.target, wanted.amount)


def _deposit(name: str, body: bytes) -> Posting:
    return deposit(name, _decoded(body, Deposit).amount)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise problem("VALIDATION_FAILED", f"The body is not what is asked for: {error}.") from error


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise problem("PAYLOAD_TOO_LARGE", f"At most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return body


async def _send(send: Send, executed: Executed) -> None:
    response: StoredResponse = executed.response
    headers = [pair for pair in response.headers if pair[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(response.body)))
    if executed.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
