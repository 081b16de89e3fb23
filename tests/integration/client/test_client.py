"""The client against a real queen over gRPC: coalescing, refusals, broken streams, waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from formicary.client import Client, SyncClient
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem
from formicary.server.api.serving import GrpcServer, serve
from tests.acceptance.server import free_port

NOOP = "job_type: noop\ntasks:\n- task_type: t\n  script: ['true']\n"
NEEDY = "job_type: needy\nrequired_params: [year]\ntasks:\n- task_type: t\n  script: ['true']\n"


class Service:
    """A queen whose gRPC server can be stopped and started on the same port."""

    def __init__(self, queen: Queen) -> None:
        self.queen = queen
        self.port = free_port()  # one that nobody is given while the server is stopped
        self._server: GrpcServer | None = None

    @property
    def address(self) -> str:
        """For clients."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serves."""
        self._server = await serve(self.queen, "127.0.0.1", self.port)
        self.port = self._server.port

    async def stop(self) -> None:
        """Cuts every connection."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """A serving queen without ants."""
    queen = Queen(MemoryStore(), MemoryLogs())
    await queen.start()
    found = Service(queen)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
        await queen.stop()


def on_service(test: Callable[[Service, Client], Awaitable[None]]) -> None:
    """Runs a test with a serving queen and a client, bounded."""

    async def whole() -> None:
        async with service() as found, Client(found.address, timeout_s=60) as client:
            await test(found, client)

    asyncio.run(asyncio.wait_for(whole(), 180))


def test_calls_of_one_turn_travel_together() -> None:
    """300 concurrent submissions cost a handful of commits, and every caller gets the id of its own job."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        before = service.queen.counters()["commits"]
        handles = await asyncio.gather(*(client.submit(ref, {"n": n}) for n in range(300)))
        assert len({handle.id for handle in handles}) == 300
        assert service.queen.counters()["commits"] - before <= 5
        for n in (0, 137, 299):
            assert (await client.get(handles[n].id))["outputs"]["n"] == n

    on_service(test)


def test_one_callers_mistake_fails_only_that_caller() -> None:
    """Of submissions that travelled together, the refused one raises and the others are accepted."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NEEDY)
        calls = [client.submit(ref, {"year": 1} if n != 3 else {}) for n in range(6)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in found if isinstance(one, Problem)]
        assert [one.code for one in refused] == ["VALIDATION_FAILED"]
        assert "year" in refused[0].detail
        assert isinstance(found[3], Problem)
        assert service.queen.counters()["submitted"] == 5

    on_service(test)


def test_a_key_gives_the_same_job_again() -> None:
    """The same request gives the same id, also within one message; another request under the key is refused."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        same = [client.submit(ref, {"a": 1}, idempotency_key="k") for _ in range(3)]
        ids = {handle.id for handle in await asyncio.gather(*same)}
        ids.add((await client.submit(ref, {"a": 1}, idempotency_key="k")).id)
        assert len(ids) == 1
        with pytest.raises(Problem) as refused:
            await client.submit(ref, {"a": 2}, idempotency_key="k")
        assert refused.value.code == "IDEMPOTENCY_KEY_REUSED"
        keys = [f"m/{n}" for n in range(5)]
        first = await client.submit_many(ref, [{}] * 5, idempotency_keys=keys)
        assert await client.submit_many(ref, [{}] * 5, idempotency_keys=keys) == first

    on_service(test)


def test_a_broken_stream_loses_and_doubles_nothing() -> None:
    """Connections are cut again and again while jobs go in: each call gets an id, each job is there once."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)

        async def cut() -> None:
            for _ in range(6):
                await asyncio.sleep(0.05)
                await service.stop()
                await service.start()

        async def caller(number: int) -> list[str]:
            ids = []
            for step in range(20):
                ids.append((await client.submit(ref, {"n": number, "s": step}, watch=True)).id)
                await asyncio.sleep(0.005)
            return ids

        many = asyncio.create_task(client.submit_many(ref, [{"n": n} for n in range(2000)], chunk=50))
        *callers, _ = await asyncio.gather(*(caller(n) for n in range(20)), cut())
        ids = [job_id for found in callers for job_id in found] + await many
        assert len(ids) == len(set(ids)) == 2400
        stored = [document["id"] async for document in client.list()]
        assert sorted(stored) == sorted(ids)

    on_service(test)


def test_ends_reach_a_client_whose_stream_was_cut() -> None:
    """A job that ends while the client is away is told when it is back, to every wait for it."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        ids = await client.submit_many(ref, [{}] * 50, watch=True)
        await service.stop()
        for job_id in ids:
            await service.queen.cancel(job_id)
        await asyncio.sleep(0.05)  # the client has noticed and has nothing to send
        await service.start()
        ends = await client.wait_all(ids, timeout_s=60)
        assert [end.id for end in ends] == ids
        assert {end.state for end in ends} == {"CANCELLED"}

    on_service(test)


def test_waiting_for_a_job_of_somebody_else() -> None:
    """A job that was not watched can be waited for, before and after its end, by several at once."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        handle = await client.submit(ref)
        async with Client(service.address) as other:
            waits = [asyncio.create_task(other.wait(handle.id, 60)) for _ in range(3)]
            await asyncio.sleep(0.05)
            await client.cancel(handle.id, "no need")
            for end in await asyncio.gather(*waits):
                assert end.error is not None
                assert "no need" in end.error.detail
                with pytest.raises(Problem):
                    end.raise_for_state()
        assert (await client.wait(handle.id, 60)).state == "CANCELLED"
        assert (await client.wait(handle.id, 60)).state == "CANCELLED"

    on_service(test)


def test_waits_are_bounded_and_unknown_jobs_are_refused() -> None:
    """DEADLINE_EXCEEDED says how many are missing; NOT_FOUND does not disturb other waits."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        ids = await client.submit_many(ref, [{}] * 3, watch=True)
        with pytest.raises(Problem) as late:
            await client.wait_all(ids, timeout_s=0.1)
        assert late.value.code == "DEADLINE_EXCEEDED"
        assert "3 of 3" in late.value.detail
        with pytest.raises(Problem) as missing:
            await client.wait("0" * 26)
        assert missing.value.code == "NOT_FOUND"

    on_service(test)


def test_nobody_answers() -> None:
    """Every kind of call ends with UNAVAILABLE, the address and what to do, within the client's time-out."""

    async def test(service: Service, client: Client) -> None:
        await service.stop()
        ref_client = Client(service.address, timeout_s=0.4)
        begin = time.monotonic()
        from formicary.client import DefinitionRef

        ref = DefinitionRef("0" * 32)
        calls = [
            ref_client.register(NOOP),
            ref_client.submit(ref),
            ref_client.submit_many(ref, [{}] * 3),
            ref_client.get("0" * 26),
            ref_client.cancel("0" * 26),
            anext(ref_client.list()),
            anext(ref_client.follow("0" * 26)),
        ]
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, Problem), found
            assert found.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        assert time.monotonic() - begin < 30
        await ref_client.close()

    on_service(test)


def test_parameters_that_are_no_json_are_refused_before_they_are_sent() -> None:
    """An object and a megabyte each raise a problem that says so."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        with pytest.raises(Problem, match="not values of JSON"):
            await client.submit(ref, {"a": object()})
        with pytest.raises(Problem) as large:
            await client.submit(ref, {"a": "x" * 2_000_000})
        assert large.value.code == "PAYLOAD_TOO_LARGE"
        big = {"a": "x" * 900_000}
        assert len(await client.submit_many(ref, [big] * 6)) == 6  # one message each: none exceeds gRPC's bound

    on_service(test)


def test_a_definition_is_registered_once(tmp_path: Path) -> None:
    """The same content is asked for once; a file brings its name and its folder; a bad one all its violations."""

    async def test(service: Service, client: Client) -> None:
        file = tmp_path / "job.yaml"
        file.write_text(NOOP)
        ref = await client.register(file)
        assert await client.register(file) is ref
        assert (ref.job_type, ref.version) == ("noop", 1)
        file.write_text("job_type: j\ncolour: red\nretry: many\ntasks:\n- task_type: t\n")
        with pytest.raises(Problem) as refused:
            await client.register(file)
        assert {error.line for error in refused.value.errors} >= {2, 3}
        assert str(file) in refused.value.detail

    on_service(test)


def test_follow_goes_on_over_a_cut_connection() -> None:
    """The last document of a followed job is its end, although the server was away in between."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        handle = await client.submit(ref)
        states: list[str] = []

        async def follow() -> None:
            async for document in client.follow(handle.id):
                states.append(document["state"])

        following = asyncio.create_task(follow())
        while not states:
            await asyncio.sleep(0.01)
        await service.stop()
        await service.queen.cancel(handle.id)
        await service.start()
        await asyncio.wait_for(following, 60)
        assert (states[0], states[-1]) == ("PENDING", "CANCELLED")

    on_service(test)


def test_closing_fails_what_is_open() -> None:
    """A wait that is open when the client is closed ends with CANCELLED instead of hanging."""

    async def test(service: Service, client: Client) -> None:
        ref = await client.register(NOOP)
        handle = await client.submit(ref, watch=True)
        waiting = asyncio.create_task(client.wait(handle.id))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(Problem) as closed:
            await waiting
        assert closed.value.code == "CANCELLED"

    on_service(test)


def test_the_blocking_client_does_the_same() -> None:
    """Register, submit, list, cancel and wait without an event loop of one's own."""

    async def whole() -> None:
        async with service() as found:

            def block() -> None:
                with SyncClient(found.address, timeout_s=60) as client:
                    ref = client.register(NOOP)
                    handle = client.submit(ref, {"a": 1}, watch=True)
                    ids = client.submit_many(ref, [{}] * 3)
                    assert {document["id"] for document in client.list()} == {handle.id, *ids}
                    assert client.cancel(handle.id)["state"] == "CANCELLED"
                    assert client.wait(handle.id, 60).state == "CANCELLED"
                    assert [document["state"] for document in client.follow(handle.id)] == ["CANCELLED"]
                    assert list(client.logs(handle.id)) == []
                    assert client.get(ids[0])["state"] == "PENDING"

            await asyncio.to_thread(block)

    asyncio.run(asyncio.wait_for(whole(), 180))
