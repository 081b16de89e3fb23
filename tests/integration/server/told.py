"""Real receivers of notices: a mail server and a web server, each with a memory."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.acceptance.server import free_port


@dataclass
class Letter:
    """One e-mail as the server took it."""

    recipients: list[str]
    message: EmailMessage


class MailServer:
    """A mail server on a port of this machine.

    Args:
        port: 0 = any free one.
        login: User and password that it asks for, None = nobody logs in.
        tls: It takes letters after STARTTLS only.
    """

    def __init__(self, port: int = 0, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.letters: list[Letter] = []
        self.answers: list[str] = []
        """What it says to the next letters instead of taking them."""
        self._login = login
        options: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls is not None else {}
        if login is not None:
            options |= {"authenticator": self._check, "auth_require_tls": tls is not None}
        self.port = port or free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=60, **options)

    def _check(self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        given = cast(LoginPassword, data)
        return AuthResult(success=(given.login.decode(), given.password.decode()) == self._login)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        """Takes a letter."""
        if self._login is not None and not session.authenticated:
            return "530 log in first"
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message = cast(EmailMessage, message_from_bytes(content, policy=default))
        self.letters.append(Letter(list(envelope.rcpt_tos), message))
        return "250 taken"

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


@dataclass
class Received:
    """One call."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A web server that remembers calls; `answer` says the status of each, and headers."""

    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda _call: (204, {})
    calls: list[Received] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            """Takes any verb."""

            def take(self) -> None:
                """Remembers and answers."""
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                call = Received(self.command, self.path, headers, body)
                status, more = receiver.answer(call)
                receiver.calls.append(call)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_PATCH = take

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"
