"""Transfers on SQLite and PostgreSQL: one effect for each key under kill -9, and the README's session."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import httpx
import pytest

from formicary.idempotency import AsyncIdempotentClient, Calling, Retry, RetryBudget
from tests.acceptance.server import free_port
from tests.components import require
from tests.integration.payments.serving import ROOT, bank

README = ROOT / "examples" / "payments" / "README.md"
PATIENT = Retry(tries=4000, total_s=300, first_s=0.05, most_s=0.3)
ACCOUNTS = ("ada", "bob", "eve")
STARTED = 1000
TRANSFERS = 90
BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])


@pytest.fixture
def database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the accounts are."""
    if kind == "sqlite":
        yield str(tmp_path / "payments.db")
    else:
        require("psycopg")
        yield str(request.getfixturevalue("postgres_url"))


def post(url: str, key: str, body: object) -> httpx.Response:
    return httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=20)


def opened(api: str, *, cents: int = STARTED) -> None:
    """Accounts with money in them."""
    for name in ACCOUNTS:
        assert httpx.put(f"{api}/accounts/{name}", timeout=60).status_code == 200
        assert post(f"{api}/accounts/{name}/deposits", f"first-{name}", {"amount": cents}).status_code == 201


async def move_all(api: str) -> dict[str, httpx.Response]:
    """Sends every transfer until it is answered, through any death of the service."""
    chosen, calling = Random(7), Calling(PATIENT, RetryBudget(reserve=10_000))
    async with AsyncIdempotentClient(calling, base_url=api, verify=False, timeout=20) as client:

        async def move(number: int) -> tuple[str, httpx.Response]:
            source, target = chosen.sample(ACCOUNTS, 2)
            body = {"from": source, "to": target, "amount": chosen.randint(1, 900)}
            key = f"transfer-{number}"
            return key, await client.post("/transfers", json=body, headers={"Idempotency-Key": key})

        return dict(await asyncio.gather(*(move(number) for number in range(TRANSFERS))))


@BOTH
def test_killed_under_load_no_cent_is_lost_and_each_key_has_one_effect(database: str) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    answers: dict[str, httpx.Response] = {}
    moving = threading.Thread(target=lambda: answers.update(asyncio.run(move_all(api))))
    with bank(database, port):
        opened(api)
    for least in (10, 25):
        with bank(database, port):
            if not moving.ident:
                moving.start()
            while moving.is_alive() and httpx.get(f"{api}/sums", timeout=60).json()["postings"] < least:
                moving.join(0.01)
    with bank(database, port):
        moving.join(180)
        assert len(answers) == TRANSFERS
        moved = {key for key, answer in answers.items() if answer.status_code == 201}
        assert {answers[key].status_code for key in answers.keys() - moved} <= {412}
        postings = len(moved) + len(ACCOUNTS)
        sums = httpx.get(f"{api}/sums", timeout=60).json()
        assert sums == {"balances": 0, "entries": 0, "accounts_that_differ": 0, "postings": postings}
        balances = [httpx.get(f"{api}/accounts/{name}", timeout=60).json()["balance"] for name in ACCOUNTS]
        assert sum(balances) == STARTED * len(ACCOUNTS) and min(balances) >= 0
        assert len({answers[key].json()["id"] for key in moved}) == len(moved)


@BOTH
def test_an_overdraft_is_refused_and_stays_refused_when_there_is_money(database: str) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with bank(database, port):
        opened(api, cents=10)
        body = {"from": "ada", "to": "bob", "amount": 11}
        first = post(f"{api}/transfers", "too-much", body)
        assert (first.status_code, first.json()["code"]) == (412, "FAILED_PRECONDITION")
        assert post(f"{api}/accounts/ada/deposits", "more", {"amount": 5}).status_code == 201
        again = post(f"{api}/transfers", "too-much", body)
        assert (again.status_code, again.content) == (412, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        assert post(f"{api}/transfers", "another", body).status_code == 201
        newest = httpx.get(f"{api}/accounts/ada/history", timeout=60).json()["entries"][0]
        assert (newest["amount"], newest["balance"]) == (-11, 4)


@BOTH
def test_a_duplicate_of_a_transfer_under_way_is_told_when_to_come_again(database: str) -> None:
    port = free_port()
    api, body = f"http://127.0.0.1:{port}", {"from": "ada", "to": "bob", "amount": 1}
    answers = list[httpx.Response]()
    with bank(database, port):
        opened(api)
    with bank(database, port, "--slow", "2"):
        first = threading.Thread(target=lambda: answers.append(post(f"{api}/transfers", "slow", body)))
        first.start()
        answers.append(post(f"{api}/transfers", "slow", body))
        first.join(20)
        refused, done = sorted(answers, key=lambda answer: answer.status_code, reverse=True)
        assert (refused.status_code, done.status_code) == (409, 201)
        assert refused.json()["code"] == "IDEMPOTENT_REQUEST_IN_PROGRESS"
        assert int(refused.headers["retry-after"]) >= 1
        assert httpx.get(f"{api}/accounts/bob", timeout=60).json() == {"id": "bob", "balance": STARTED + 1}


def test_what_a_locked_store_did_not_answer_has_one_effect_when_it_is_repeated(tmp_path: Path) -> None:
    database, port = tmp_path / "payments.db", free_port()
    api, body = f"http://127.0.0.1:{port}", {"from": "ada", "to": "bob", "amount": 1}
    with bank(str(database), port):
        opened(api)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = post(f"{api}/transfers", "locked", body)
            assert (refused.status_code, refused.json()["code"]) == (503, "IDEMPOTENCY_STORE_UNAVAILABLE")
            assert int(refused.headers["retry-after"]) >= 1
            assert httpx.get(f"{api}/accounts/bob", timeout=60).json()["balance"] == STARTED
            other.execute("ROLLBACK")
        assert post(f"{api}/transfers", "locked", body).status_code == 201
        assert httpx.get(f"{api}/accounts/bob", timeout=60).json()["balance"] == STARTED + 1


def test_what_no_balance_can_make_right_keeps_nothing(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with bank(str(tmp_path / "payments.db"), port):
        opened(api)
        for body in (
            {"from": "ada", "to": "ada", "amount": 1},
            {"from": "ada", "to": "bob", "amount": 0},
            {"from": "ada", "to": "bob", "amount": 10**16},
            {"from": "world", "to": "bob", "amount": 1},
            {"from": "ada", "to": "bob", "amount": "1"},
        ):
            assert post(f"{api}/transfers", "corrected", body).status_code == 400
        assert post(f"{api}/transfers", "corrected", {"from": "ada", "to": "bob", "amount": 1}).status_code == 201


def test_it_drains_and_tells_wrong_arguments(tmp_path: Path) -> None:
    with bank(str(tmp_path / "payments.db"), 0) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    for name, code in (("mysql://x", 2), (str(tmp_path / "none" / "p.db"), 1), (nowhere, 1)):
        command = [sys.executable, "-m", "examples.payments", "--http-port", "0", "--database", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def plain(text: str) -> str:
    """Without what differs from run to run."""
    text = text.replace("\r\n", "\n")
    text = re.sub(r"\b[0-9a-f]{24}\b", "ID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "TRACE", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:]+\.\d+Z", "NOW", text)
    return re.sub(r"(?m)^(date|content-length): .*$", r"\1: -", text).strip()


def test_the_session_of_the_readme_is_true(tmp_path: Path) -> None:
    """Every command gives the output that is shown, but for ids and times."""
    require("curl")
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    parts = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
    shown = [(command, output) for command, _, output in parts if not command.startswith("python -m examples.payments")]
    assert len(shown) >= 9
    ports = {"8080": str(free_port()), "8081": str(free_port())}
    with ExitStack() as stack:
        stack.enter_context(bank(str(tmp_path / "payments.db"), int(ports["8080"])))
        stack.enter_context(bank(str(tmp_path / "payments.db"), int(ports["8081"]), "--slow", "5"))
        for command, output in shown:
            there = command.replace("8080", ports["8080"]).replace("8081", ports["8081"])
            done = subprocess.run(
                ["sh", "-c", there], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert plain(done.stdout) == plain(output), (command, done.stderr)
