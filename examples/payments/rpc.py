"""The accounts over gRPC, and the same operations as over HTTP: a key counts in both."""

from __future__ import annotations

import msgspec

from examples.payments.banks import Bank
from examples.payments.ledger import Posting, deposit, named, transfer
from examples.payments.service import DEPOSITS, TRANSFERS
from examples.payments.v1 import payments_pb2 as pb
from examples.payments.v1 import payments_pb2_grpc
from formicary.gateway import Call
from formicary.idempotency.keys import key_of
from formicary.idempotency.refusals import key_missing
from formicary.problems.http import parse_http

KEY = "idempotency-key"


class Payments(payments_pb2_grpc.PaymentsServicer):
    """Answers calls.

    Args:
        bank: Where the accounts are.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def MakeAccount(self, request: pb.MakeAccountRequest, call: Call) -> pb.Account:
        """Makes an account."""
        name = named(request.id)
        await self._bank.ask(lambda ledger: ledger.make_account(name))
        return await self._account(name)

    async def GetAccount(self, request: pb.GetAccountRequest, call: Call) -> pb.Account:
        """Reads an account."""
        return await self._account(request.id)

    async def ListEntries(self, request: pb.ListEntriesRequest, call: Call) -> pb.ListEntriesResponse:
        """Reads the newest entries."""
        found = await self._bank.ask(lambda ledger: ledger.history(request.account))
        return pb.ListEntriesResponse(entries=[pb.Entry(**entry) for entry in found])  # type: ignore[arg-type]  # as its columns are

    async def Deposit(self, request: pb.DepositRequest, call: Call) -> pb.Posting:
        """Moves money into an account."""
        return await self._post(call, DEPOSITS, deposit(request.account, request.amount))

    async def Transfer(self, request: pb.TransferRequest, call: Call) -> pb.Posting:
        """Moves money between accounts."""
        return await self._post(call, TRANSFERS, transfer(request.source, request.target, request.amount))

    async def _account(self, name: str) -> pb.Account:
        found = await self._bank.ask(lambda ledger: ledger.account(name))
        return pb.Account(**found)  # type: ignore[arg-type]  # as its columns are

    async def _post(self, call: Call, route: str, posting: Posting) -> pb.Posting:
        """Moves it once. Raises Problem: the refusal of the first time, too, when it is repeated."""
        sent = [value if isinstance(value, bytes) else value.encode("latin-1") for value in call.values(KEY)]
        key = key_of(sent, header=KEY)
        if key is None:
            raise key_missing(KEY)
        done = await self._bank.post(posting.claim(key, route), posting)
        if done.replayed:
            call.set_header("idempotency-replayed", "true")
        response = done.response
        if response.status >= 400:
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
            raise parse_http(response.status, headers, response.body)
        found = msgspec.json.decode(response.body)
        return pb.Posting(id=found["id"], source=found["from"], target=found["to"], amount=found["amount"])
