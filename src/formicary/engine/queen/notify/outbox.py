"""The outbox: notices that are due are delivered, tried again or given up.

Theory of operation. Notices are rows that were committed with the end that they are about. The outbox reads those that
are due, in front those that wait longest, and delivers a few at a time. What becomes of one is written through the
journal: SENT, the time of its next attempt, or DEAD. A queen that is killed in between delivers it again, with the same
id: at least once. Nothing is polled: a commit with notices wakes the outbox, and otherwise one timer for the next one
that is due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs.configs import without_secrets
from formicary.engine.jobs.notices import EMAIL, Channel
from formicary.engine.queen.documents import timestamp
from formicary.engine.queen.keyring import CannotDecrypt
from formicary.engine.queen.notify import alerting
from formicary.engine.queen.notify.attempts import NotDelivered
from formicary.engine.queen.notify.calls import Calls
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.engine.queen.notify.mail import Mail, Mailer
from formicary.engine.queen.notify.rendering import Facts, to_send
from formicary.engine.storage.port import NOTICE_COLUMNS, Row, StoreError
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.queen")
LONGEST_ERROR = 500
LONGEST_REPORT = 16 * 1024
STORE_PAUSE_S = 1.0
_AT = {name: position for position, name in enumerate(NOTICE_COLUMNS)}
_ID, _JOB_ID, _ORG, _TARGET, _PAYLOAD = (_AT[name] for name in ("id", "job_id", "org", "target", "payload"))
_STATE, _ATTEMPTS, _NEXT = _AT["state"], _AT["attempts"], _AT["next_at"]
_channel = msgspec.json.Decoder(Channel).decode
_payload = msgspec.json.Decoder(dict[str, Any]).decode


class Outbox:
    """The notices of one queen.

    Args:
        queen: Whose they are.
        config: How they are delivered.
    """

    def __init__(self, queen: Queen, config: NotifyConfig) -> None:
        self._queen = queen
        self._config = config
        self._mailer = Mailer(config)
        self._calls = Calls(config)
        self._wake = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._taken_care: set[str] = set()
        """Those that have ended since the last look at the store began: what it finds of them may be old."""
        self._runner: asyncio.Task[None] | None = None
        self.delivered = 0
        """Notices delivered since the start."""
        self.failed = 0
        """Attempts that failed since then."""
        self.given_up = 0
        """Notices that are DEAD since then."""

    def start(self) -> None:
        """Begins to deliver."""
        self._queen.pump.on_notices = self._wake.set
        self._runner = asyncio.create_task(self._run(), name="notices")

    async def stop(self) -> None:
        """Gives those that are due a moment, then ends; what is left goes out after the next start."""
        if self._runner is None:
            return
        try:
            async with asyncio.timeout(self._config.drain_s):
                while self._under_way or await self._due():
                    self._wake.set()
                    await asyncio.sleep(0.02)
        except (TimeoutError, StoreError, Problem):
            log.info("notices that were not delivered yet go out after the next start")
        for task in (self._runner, *self._under_way.values()):
            task.cancel()
        await asyncio.gather(self._runner, *self._under_way.values(), return_exceptions=True)
        await self._calls.close()

    @property
    def can_mail(self) -> bool:
        """There is a mail server to hand e-mails in."""
        return bool(self._config.smtp_url)

    def wake(self) -> None:
        """There may be something to deliver."""
        self._wake.set()

    # --- what people do ---------------------------------------------------------------------------------------------

    async def page(
        self, org: str, *, job_id: str = "", state: str = "", after: tuple[float, str] = (1e12, ""), size: int = 100
    ) -> list[Row]:
        """At most `size` rows of notices, newest first."""
        store = self._queen.store
        return await self._queen.pump.read(
            lambda: store.notices(org, job_id=job_id, state=state, after=after, limit=size)
        )

    async def again(self, org: str, notice_id: str) -> Row:
        """A notice that is DEAD is tried anew. Raises Problem NOT_FOUND, FAILED_PRECONDITION, UNAVAILABLE."""
        await self._queen.pump.settle()
        row = await self._queen.pump.read(lambda: self._queen.store.notice(org, notice_id))
        if row is None:
            raise problem(
                "NOT_FOUND", f"There is no notice {notice_id[:60]!r}; `formicary notifications list` shows all."
            )
        if row[_STATE] != "DEAD":
            raise problem(
                "FAILED_PRECONDITION", f"The notice {notice_id} is {row[_STATE]!s}: only a DEAD one is tried anew."
            )
        row = _with(row, state="PENDING", attempts=0, next_at=time.time())
        await self._write(row)
        self._wake.set()
        return row

    # --- delivery ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause_s = await self._start_due()
            except (StoreError, Problem) as error:
                log.warning("notices wait for the store: %s", error)
                pause_s = STORE_PAUSE_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _due(self) -> bool:
        rows = await self._queen.pump.read(lambda: self._queen.store.due_notices(1))
        return bool(rows) and float(rows[0][_NEXT] or 0.0) <= time.time()

    async def _start_due(self) -> float | None:
        """Starts what is due and has room; returns seconds until there may be more, None = until something happens."""
        limit = self._config.at_once + len(self._under_way) + 1
        self._taken_care.clear()
        rows = await self._queen.pump.read(lambda: self._queen.store.due_notices(limit))
        now = time.time()
        for row in rows:
            if str(row[_ID]) in self._under_way or str(row[_ID]) in self._taken_care:
                continue
            if len(self._under_way) >= self._config.at_once:
                return None  # an end of those under way wakes
            due = float(row[_NEXT] or 0.0)
            if due > now:
                return due - now
            task = asyncio.create_task(self._deliver(row), name="notice")
            self._under_way[str(row[_ID])] = task
            task.add_done_callback(partial(self._ended, str(row[_ID])))
        return None

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(key, None)
        self._taken_care.add(key)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a notice could not be taken care of", exc_info=error)
        self._wake.set()

    async def _deliver(self, row: Row) -> None:
        attempts = int(row[_ATTEMPTS] or 0) + 1
        try:
            remark = await self._send(row)
        except NotDelivered as error:
            is_over = error.is_final or attempts >= self._config.attempts
            self.failed += 1
            self.given_up += is_over
            wait_s = min(self._config.first_delay_s * 2 ** (attempts - 1), self._config.longest_delay_s)
            wait_s = max(wait_s, min(error.after_s, self._config.longest_delay_s))
            log.log(
                logging.ERROR if is_over else logging.WARNING,
                "notice %s was not delivered (attempt %d%s): %s",
                row[_ID], attempts, ", given up" if is_over else "", error,
            )  # fmt: skip
            row = _with(
                row,
                state="DEAD" if is_over else "PENDING",
                attempts=attempts,
                next_at=None if is_over else time.time() + wait_s,
                error=str(without_secrets(str(error)))[:LONGEST_ERROR],
            )
        else:
            self.delivered += 1
            row = _with(
                row, state="SENT", attempts=attempts, next_at=None, sent_at=time.time(), error=remark[:LONGEST_ERROR]
            )
        try:
            await self._write(row)
        except Problem as error:
            log.warning("what became of notice %s was not stored, it goes out again: %s", row[_ID], error)
            await asyncio.sleep(STORE_PAUSE_S)

    async def _send(self, row: Row) -> str:
        """Renders and sends one; returns what is remembered of it. Raises NotDelivered."""
        channel, payload = _channel(_bytes(row[_TARGET])), _payload(_bytes(row[_PAYLOAD]))
        if payload["outcome"] == alerting.ALERT:
            message = alerting.to_send(channel, payload)
            if isinstance(message, Mail):
                return await self._mailer.send(message)
            await self._calls.send(message)
            return ""
        configs, org, job_type = self._queen.configs, str(row[_ORG]), str(payload["job"]["job_type"])
        try:
            facts = await self._facts(row, payload)
            secret = b""
            if channel.secret_config:
                secret = configs.secret_text(org, job_type, channel.secret_config).encode()
                if not secret:
                    raise NotDelivered(
                        f"There is no secret {channel.secret_config[:60]!r} to sign with.", is_final=True
                    )
            found = await asyncio.to_thread(
                to_send, channel, facts, partial(configs.fill_text, view=facts.configs), secret
            )
            if isinstance(found, Mail):
                return await self._mailer.send(found)
            await self._calls.send(found)
        except CannotDecrypt as error:
            raise NotDelivered(str(error), is_final=True) from error
        return ""

    async def _facts(self, row: Row, payload: dict[str, Any]) -> Facts:
        """What can be said: the job may have been removed, or run again, since its end."""
        queen, job_id, org = self._queen, str(row[_JOB_ID]), str(row[_ORG])
        job = payload["job"]
        view = queen.configs.view(org, job["submitted_by"] or "", job["job_type"])
        link = f"{self._config.public_url.rstrip('/')}/v1/jobs/{job_id}" if self._config.public_url else ""
        try:
            document = await queen.document(job_id, org=org)
            definition = await queen.submitting.definition(document["definition_id"])
        except Problem as error:
            if error.code != "NOT_FOUND":
                raise NotDelivered(f"The job could not be read: {error.detail}.") from error
            return Facts(payload, configs=view, link=link)
        except StoreError as error:
            raise NotDelivered(f"The job could not be read: {error}.") from error
        wanted = [task.task_type for task in definition.model.tasks if task.report_stdout]
        if payload.get("task"):
            wanted = [name for name in wanted if name == payload["task"]["task_type"]]
        report = await asyncio.to_thread(self._report, job_id, wanted) if wanted else ""
        return Facts(payload, document["outputs"], view, definition.model.template, report, link)

    def _report(self, job_id: str, tasks: list[str]) -> str:
        """The end of what these tasks have written to standard output."""
        parts = []
        for name in tasks:
            records, _ = self._queen.log_lines(job_id, task_type=name)
            lines = [record.text for record in records if record.stream == 1]
            if lines:
                parts.append(f"{name}:\n" + "\n".join(lines)[-LONGEST_REPORT:])
        return "\n\n".join(parts)[-LONGEST_REPORT:]

    async def _write(self, row: Row) -> None:
        """Stores what became of a notice. Raises Problem UNAVAILABLE."""
        pump = self._queen.pump
        pump.now().batch.changes.notices[str(row[_ID])] = row
        await pump.commit()


def _with(row: Row, **changes: Any) -> Row:
    found = list(row)
    for name, value in changes.items():
        found[_AT[name]] = value
    return tuple(found)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b"{}"


def document_of(row: Row) -> dict[str, Any]:
    """A notice as the command line and the API show it: where it goes without secrets, and what became of it."""
    found: dict[str, Any] = dict(zip(NOTICE_COLUMNS, row, strict=True))
    channel = _channel(_bytes(found["target"]))
    to = list(channel.recipients) if channel.kind == EMAIL else [channel.url.partition("?")[0]]
    return {
        **{name: found[name] for name in ("id", "job_id", "job_type", "kind", "event", "state", "attempts", "error")},
        "outcome": _payload(_bytes(found["payload"]))["outcome"],
        "to": to,
        "created_at": timestamp(found["created_at"]),
        "next_at": timestamp(found["next_at"]),
        "sent_at": timestamp(found["sent_at"]),
    }
