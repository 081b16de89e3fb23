"""The shop under kill -9: one order, one charge, one allocation for each key, and never more sold than there was."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from examples.orders.bank import Bank
from examples.orders.shop import CENTS
from formicary.idempotency import AsyncIdempotentClient, Calling, IdempotentClient, Retry, RetryBudget, sent
from tests.acceptance.server import free_port
from tests.components import require

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "examples" / "orders" / "README.md"
PATIENT = Retry(tries=2000, total_s=300, first_s=0.05, most_s=0.5)
READY = re.compile(r"ready http=127\.0\.0\.1:(\d+) database=.+\n")


@contextmanager
def shop(database: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the shop."""
    command = [sys.executable, "-m", "examples.orders", "--http-port", str(port), "--database", str(database)]
    command += ["--lease", "0.5", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and READY.fullmatch(process.stdout.readline())
            yield process
        finally:
            process.kill()


def moves(database: Path) -> list[int]:
    return Bank(database.with_suffix(".bank")).moves()


@pytest.mark.parametrize("step", ["create", "charge", "allocate"])
def test_killed_after_a_step_the_order_is_bought_once(tmp_path: Path, step: str) -> None:
    """The client's one call goes on through the death of the shop, and what was done is not done again."""
    database, port = tmp_path / "orders.db", free_port()
    answers = list[httpx.Response]()
    calling = Calling(PATIENT, RetryBudget(reserve=10_000))
    with IdempotentClient(calling, base_url=f"http://127.0.0.1:{port}", verify=False, timeout=20) as client:
        wanted = {"sku": "tea", "quantity": 2, "card": "4242"}

        def buy() -> None:
            answers.append(client.post("/orders", json=wanted))

        with shop(database, port, "--die-after", step) as process:
            client.put("/stock/tea", json={"available": 5})
            buying = threading.Thread(target=buy)
            buying.start()
            assert process.wait(120) == -signal.SIGKILL
        with shop(database, port):
            buying.join(180)
            (answer,) = answers
            assert (answer.status_code, answer.json()["state"], answer.json()["left"]) == (201, "DONE", 3)
            again = client.post("/orders", json=wanted, headers={"Idempotency-Key": sent(answer).key})
            assert (again.content, sent(again).replayed) == (answer.content, True)
            steps = client.get(f"/orders/{answer.json()['id']}/steps").json()
            assert steps == {
                "state": "COMPLETED",
                "steps": dict.fromkeys(("create", "charge", "allocate"), "COMPLETED"),
            }
            assert client.get("/stock/tea").json() == {"available": 3}
    assert moves(database) == [2 * CENTS]


def test_a_refusal_is_undone_and_kept(tmp_path: Path) -> None:
    """Out of stock: the money goes back and the order is cancelled; a declined card moves nothing."""
    database, port = tmp_path / "orders.db", free_port()
    with (
        shop(database, port),
        IdempotentClient(Calling(PATIENT), base_url=f"http://127.0.0.1:{port}", verify=False) as client,
    ):
        client.put("/stock/tea", json={"available": 1})
        first = client.post("/orders", json={"sku": "tea", "quantity": 2, "card": "4242"})
        assert (first.status_code, first.json()["code"]) == (409, "CONFLICT")
        again = client.post(
            "/orders",
            json={"sku": "tea", "quantity": 2, "card": "4242"},
            headers={"Idempotency-Key": sent(first).key},
        )
        assert (again.status_code, sent(again).replayed) == (409, True)
        assert moves(database) == [2 * CENTS, -2 * CENTS]
        declined = client.post("/orders", json={"sku": "tea", "quantity": 1, "card": "declined"})
        assert declined.json()["detail"] == "The card was declined."
        assert client.get("/stock/tea").json() == {"available": 1}
        assert len(moves(database)) == 2
        for wrong in ({"sku": "tea", "quantity": 0, "card": "1"}, {"sku": "tea"}):
            assert client.post("/orders", json=wrong).status_code == 400
        assert client.get("/stock/coffee").status_code == 404


def test_stock_is_never_oversold_under_kill_9(tmp_path: Path) -> None:
    """Twelve want one of five while the shop is killed again and again: five get it and pay, the others get it back."""
    database, port = tmp_path / "orders.db", free_port()

    async def buy_all() -> list[httpx.Response]:
        calling = Calling(PATIENT, RetryBudget(reserve=10_000))
        async with AsyncIdempotentClient(
            calling, base_url=f"http://127.0.0.1:{port}", verify=False, timeout=20
        ) as client:
            wanted = {"sku": "tea", "quantity": 1, "card": "4242"}
            return await asyncio.gather(*(client.post("/orders", json=wanted) for _ in range(12)))

    answers = list[httpx.Response]()
    buying = threading.Thread(target=lambda: answers.extend(asyncio.run(buy_all())))
    with shop(database, port):
        httpx.put(f"http://127.0.0.1:{port}/stock/tea", json={"available": 5}, timeout=60).raise_for_status()
    for steps_done in (3, 10, 20):
        with shop(database, port):
            if not buying.ident:
                buying.start()
            while len(moves(database)) < min(steps_done, 12) and buying.is_alive():
                buying.join(0.01)
    with shop(database, port):
        buying.join(180)
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 7
        left = sorted(answer.json()["left"] for answer in answers if answer.status_code == 201)
        assert left == [0, 1, 2, 3, 4]
        assert httpx.get(f"http://127.0.0.1:{port}/stock/tea", timeout=60).json() == {"available": 0}
    assert sum(moves(database)) == 5 * CENTS
    assert len(moves(database)) == 12 + 7


def test_it_drains_and_tells_wrong_arguments(tmp_path: Path) -> None:
    with shop(tmp_path / "orders.db", 0) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    for arguments, code in ((["--database", "mysql://x"], 2), (["--database", str(tmp_path / "none" / "o.db")], 1)):
        command = [sys.executable, "-m", "examples.orders", "--http-port", "0", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_the_session_of_the_readme_is_true(tmp_path: Path) -> None:
    """Every command gives the output that is shown, but for ids."""
    require("curl")
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    parts = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
    shown = [(command, output) for command, _, output in parts if not command.endswith("&")]
    assert len(shown) >= 5
    port = free_port()
    with shop(tmp_path / "orders.db", port):
        for command, output in shown:
            # as bash is, in one folder; the port is another one
            done = subprocess.run(
                ["sh", "-c", command.replace("8080", str(port)).replace("python ", f"{sys.executable} ")],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert plain(done.stdout) == plain(output), (command, done.stderr)


def plain(text: str) -> str:
    """The text without what differs from run to run."""
    text = text.replace("\r\n", "\n")
    for pattern, name in (
        (r"order-[0-9a-f]{12}", "ORDER"),
        (r"20\d\d-\d\d-\d\dT[\d:.]+Z", "NOW"),
        (r'"traceId":"[0-9a-f]+",', ""),
        (r"(?m)^date: .*$", "DATE"),
    ):
        text = re.sub(pattern, name, text)
    return text.strip()
