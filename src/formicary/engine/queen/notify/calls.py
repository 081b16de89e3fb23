"""Notices as HTTP calls: webhooks and slack.

The notice's id is in `Idempotency-Key` and in the body: a receiver that gets it twice can tell. Redirects are not
followed, the answer is not read beyond a few KB, and nothing of it is kept but its status.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from formicary.engine.queen.notify.attempts import NotDelivered
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.engine.queen.notify.guard import checked_address

if TYPE_CHECKING:
    import httpx

MOST_READ_BYTES = 16 * 1024
_LATER = frozenset({408, 409, 423, 425, 429})
SIGNATURE = "X-Formicary-Signature"
_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})
"""Headers that a job file cannot set."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One call, with secrets in it: never shown.

    Attributes:
        notice_id: Stable over the attempts.
        verb: HTTP method.
        url: Where.
        body: JSON.
        headers: Beside our own.
        query: Added to the URL's.
        secret: Signs the body, empty = it is not signed.
        is_trusted: The address comes from the server's operator: it may be a private one.
    """

    notice_id: str
    verb: str
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: dict[str, str] = field(default_factory=dict, repr=False)
    secret: bytes = field(default=b"", repr=False)
    is_trusted: bool = False


class Calls:
    """Makes calls with one client.

    Args:
        config: Times and where calls may go.
    """

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config
        self._client: httpx.AsyncClient | None = None

    async def send(self, call: HttpCall) -> None:
        """Makes the call. Raises NotDelivered."""
        import httpx

        try:
            url = httpx.URL(call.url)
            url = url.copy_merge_params(call.query) if call.query else url
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise NotDelivered("The address is not a URL that can be called.", is_final=True) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise NotDelivered("The address does not begin with http:// or https://.", is_final=True)
        port = url.port or (443 if url.scheme == "https" else 80)
        where = f"{url.scheme}://{url.host}:{port}"
        may_reach_private = self._config.may_reach_private or call.is_trusted
        ip = await checked_address(url.host, port, may_reach_private=may_reach_private)
        headers = self._headers(call, url)
        try:
            request = self._open().build_request(
                call.verb,
                url.copy_with(host=ip),
                headers=headers,
                content=None if call.verb == "GET" else call.body,
                extensions={"sni_hostname": url.host},
            )
            response = await self._open().send(request, stream=True)
            try:
                await self._drain(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, UnicodeError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise NotDelivered(f"{call.verb} {where} got no answer: {reason}.") from error
        self._judge(f"{call.verb} {where}", response)

    def _headers(self, call: HttpCall, url: httpx.URL) -> dict[str, str]:
        headers = {name: value for name, value in call.headers.items() if name.lower() not in _OWN}
        for name, value in headers.items():
            if not value.isprintable() or not value.isascii():
                raise NotDelivered(f"The header {name} would hold characters that no header may have.", is_final=True)
        names = {name.lower() for name in headers}
        if "content-type" not in names and call.verb != "GET":
            headers["Content-Type"] = "application/json"
        if "user-agent" not in names:
            headers["User-Agent"] = "formicary"
        headers["Idempotency-Key"] = call.notice_id
        headers["Host"] = url.netloc.decode("ascii").rpartition("@")[2]
        if call.secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(call.secret, call.body, hashlib.sha256).hexdigest()
        return headers

    async def _drain(self, response: httpx.Response) -> None:
        read = 0
        async for piece in response.aiter_raw():
            read += len(piece)
            if read > MOST_READ_BYTES:
                return

    def _judge(self, what: str, response: httpx.Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        after = response.headers.get("retry-after", "")
        raise NotDelivered(
            f"{what} answered {status}.",
            is_final=status < 500 and status not in _LATER,
            after_s=float(after) if after.isdigit() else 0.0,
        )

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=self._config.at_once, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(
                timeout=self._config.timeout_s, limits=limits, follow_redirects=False, trust_env=False
            )
        return self._client
