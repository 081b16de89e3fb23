"""A store in Redis (6.2 on): scripts inside the server, on the server's clock.

Redis keeps what it was told as well as it is set up to: with ``appendonly yes`` and ``appendfsync always`` an answer
outlives a crash, otherwise the last second may be lost with its keys. A server that may evict keys is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, cast

from formicary.idempotency import redis_scripts as scripts
from formicary.idempotency.deciding import retry_after_s
from formicary.idempotency.model import Acquired, Busy, Claim, Mismatch, Outcome, Record, Replay, State
from formicary.idempotency.refusals import lease_lost, store_unavailable
from formicary.idempotency.schema import COLUMNS, NUMBERS, TEXTS, damaged, from_row
from formicary.idempotency.store import Capabilities

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

T = TypeVar("T")
Value = bytes | str | int

_PAGE: Final = 200
_FIELDS: Final = [name.encode() for name in COLUMNS]


class RedisStore:
    """Records as hashes.

    Args:
        url: ``redis://user:password@host:port/0``.
        prefix: Begins every key; its part in braces keeps them in one slot of a cluster.
        max_connections: Most connections.
        timeout_s: Longest wait for an answer; then 503.
    """

    name = "redis"
    capabilities = Capabilities(
        durable=True,
        shared=True,
        grouped=False,
        isolation="Serial: the server runs a script to its end before it looks at anything else.",
    )

    def __init__(
        self, url: str, *, prefix: str = "{formicary-idempotency}", max_connections: int = 64, timeout_s: float = 5.0
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._max = max_connections
        self._timeout_s = timeout_s
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._sets = [f"{prefix}:ids", f"{prefix}:expiry"]

    async def open(self) -> None:
        """Connects. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE, also where the server may evict keys."""
        if self._client is not None:
            return
        self._client = self._connect()
        try:
            await self._refuse_eviction()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        self._scripts.clear()
        if client is not None:
            await client.aclose()

    async def now_ms(self) -> int:
        """The server's time."""
        seconds, micros = await self._ask(lambda client: client.time())
        return int(seconds) * 1000 + int(micros) // 1000

    async def acquire(self, claim: Claim) -> Outcome:
        """One script."""
        answer = await self._run(
            scripts.ACQUIRE, claim.id, claim.key, claim.fingerprint, claim.tenant, claim.method, claim.route,
            claim.parent, round(claim.lease_s * 1000), round(claim.ttl_s * 1000),
        )  # fmt: skip
        kind, *rest = cast("list[bytes]", answer)
        if kind == b"ACQUIRED":
            token, attempts, point, data, begun = rest
            return Acquired(int(token), int(attempts), point.decode(), data, bool(int(begun)))
        if kind == b"REPLAY":
            return Replay(rest[0], int(rest[1]))
        if kind == b"BUSY":
            return Busy(retry_after_s(int(rest[0]), int(rest[1])))
        if kind == b"MISMATCH":
            return Mismatch()
        raise damaged(claim.id)

    async def renew(self, record_id: bytes, token: int, lease_s: float) -> None:
        """Moves the lease's end."""
        await self._change(scripts.RENEW, record_id, token, round(lease_s * 1000))

    async def checkpoint(self, record_id: bytes, token: int, point: str, data: bytes) -> None:
        """Notes a recovery point."""
        await self._change(scripts.CHECKPOINT, record_id, token, point, data)

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """Keeps the answer."""
        await self._change(scripts.COMPLETE, record_id, token, response, round(ttl_s * 1000))

    async def release(self, record_id: bytes, token: int) -> None:
        """May be tried again."""
        await self._change(scripts.RELEASE, record_id, token)

    async def discard(self, record_id: bytes, token: int) -> None:
        """Keeps nothing."""
        await self._change(scripts.DISCARD, record_id, token)

    async def get(self, record_id: bytes) -> Record | None:
        """The record as it is."""
        values = await self._ask(lambda client: client.hmget(self._key(record_id), _FIELDS))
        return _record(record_id, cast("list[bytes | None]", values))

    async def records(
        self,
        *,
        tenant: str | None = None,
        state: State | None = None,
        parent: str | None = None,
        key: str | None = None,
        after: bytes = b"",
        limit: int = 100,
    ) -> Sequence[Record]:
        """Records in the order of their ids; filters look through all of them."""
        wanted = (("tenant", tenant), ("state", state), ("parent", parent), ("key", key))
        asked = [(name, value) for name, value in wanted if value is not None]
        found: list[Record] = []
        while len(found) < limit:
            page = await self._page(after)
            if not page:
                break
            after = page[-1][0]
            records = [_record(record_id, values) for record_id, values in page]
            found += [r for r in records if r is not None and all(getattr(r, name) == value for name, value in asked)]
        return found[:limit]

    async def purge(self, limit: int = 1000) -> int:
        """Deletes what is over."""
        script = self._script(scripts.PURGE)
        keys = [f"{self._prefix}:r:", *self._sets]
        return int(await self._ask(lambda client: script(keys=keys, args=[limit], client=client)))

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _page(self, after: bytes) -> list[tuple[bytes, list[bytes | None]]]:
        begin = b"(" + after if after else b"-"
        found = await self._ask(lambda client: client.zrangebylex(self._sets[0], begin, "+", 0, _PAGE))
        ids = cast("list[bytes]", found)
        if not ids:
            return []

        async def read(client: Redis) -> list[list[bytes | None]]:
            async with client.pipeline(transaction=False) as pipe:
                for record_id in ids:
                    pipe.hmget(self._key(record_id), _FIELDS)
                return cast("list[list[bytes | None]]", await pipe.execute())

        return list(zip(ids, await self._ask(read), strict=True))

    async def _change(self, text: str, record_id: bytes, token: int, *values: Value) -> None:
        if not await self._run(text, record_id, token, *values):
            raise lease_lost()

    async def _run(self, text: str, record_id: bytes, *values: Value) -> object:
        script = self._script(text)
        keys: list[bytes | str | memoryview[int]] = [self._key(record_id), *self._sets]
        return await self._ask(lambda client: script(keys=keys, args=[record_id, *values], client=client))

    def _script(self, text: str) -> AsyncScript:
        if self._client is None:
            raise store_unavailable("the idempotency store in Redis is not open")
        if text not in self._scripts:
            self._scripts[text] = self._client.register_script(text)
        return self._scripts[text]

    async def _ask(self, question: Callable[[Redis], Awaitable[T]]) -> T:
        if self._client is None:
            raise store_unavailable("the idempotency store in Redis is not open")
        from redis.exceptions import RedisError

        try:
            return await question(self._client)
        except (RedisError, OSError) as error:
            raise store_unavailable(f"Redis: {str(error) or type(error).__name__}") from error

    def _key(self, record_id: bytes) -> bytes:
        return f"{self._prefix}:r:".encode() + record_id

    def _connect(self) -> Redis:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise store_unavailable("Redis needs its driver: pip install 'formicary[redis]'") from error
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=self._max,
            timeout=self._timeout_s,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),  # a change that was repeated would meet its own first time
        )
        return Redis.from_pool(pool)

    async def _refuse_eviction(self) -> None:
        from redis.exceptions import ResponseError

        async def policy(client: Redis) -> str:
            try:
                return str((await client.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction"))
            except ResponseError:  # some services do not let one ask
                await client.ping()
                return "noeviction"

        found = await self._ask(policy)
        if found != "noeviction":
            text = f"Redis may evict keys (maxmemory-policy {found}): set noeviction, or operations run twice"
            raise store_unavailable(text)


def _record(record_id: bytes, values: Sequence[bytes | None]) -> Record | None:
    if values[0] is None:
        return None
    row: list[object] = []
    try:
        for name, value in zip(COLUMNS, values, strict=True):
            if value is not None and name in NUMBERS:
                row.append(int(value))
            else:
                row.append(value.decode() if value is not None and name in TEXTS else value)
    except ValueError as error:
        raise damaged(record_id) from error
    return from_row(row)
