"""How notices are delivered: one frozen value, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from formicary.engine.jobs.notices import is_address
from formicary.problems import problem

SMTP, SMTPS = "smtp", "smtps"
_PORTS = {SMTP: 25, SMTPS: 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where e-mails are handed in.

    Attributes:
        scheme: smtp (with STARTTLS where the server offers it) or smtps (encrypted from the start).
        host: Of the server.
        port: Of the server.
        user: Empty = nobody logs in.
        password: Never shown.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """What delivers notices, and how often it tries. Durations are seconds.

    Attributes:
        smtp_url: ``smtp://[user:password@]host[:port]`` or ``smtps://…``; empty = e-mails cannot be sent.
        smtp_password: Instead of one in the address.
        smtp_from: Who e-mails are from; empty = formicary@ and the name of the machine.
        may_reach_private: Webhooks may go to loopback, private and link-local addresses. On a server that others
            submit jobs to, that lets them call whatever the queen can reach.
        public_url: Where people find this server, like ``https://jobs.example.com``; empty = notices have no link.
        attempts: How often one notice is tried, 1 or more; then it is DEAD.
        first_delay_s: Wait after the first attempt; it doubles each time.
        longest_delay_s: Longest wait.
        timeout_s: Of one attempt.
        at_once: Notices that are delivered at the same time.
        drain_s: How long a stop waits for those that are due.

    Raises:
        Problem: VALIDATION_FAILED; the text says which value and what to do, and shows no password.
    """

    smtp_url: str = field(default="", repr=False)
    smtp_password: str = field(default="", repr=False)
    smtp_from: str = ""
    may_reach_private: bool = False
    public_url: str = ""
    attempts: int = 12
    first_delay_s: float = 2.0
    longest_delay_s: float = 600.0
    timeout_s: float = 15.0
    at_once: int = 16
    drain_s: float = 5.0

    def __post_init__(self) -> None:
        _ = self.mail_server
        if self.smtp_from and not is_address(self.smtp_from):
            raise problem("VALIDATION_FAILED", f"The sender {self.smtp_from[:80]!r} is not the address of a mailbox.")
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise problem("VALIDATION_FAILED", "The public address begins with http:// or https://.")
        for name in ("attempts", "first_delay_s", "longest_delay_s", "timeout_s", "at_once"):
            if not getattr(self, name) > 0:
                raise problem("VALIDATION_FAILED", f"{name} is {getattr(self, name)}: it has to be above 0.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> NotifyConfig:
        """What the variables of a process on one's own machine say, where webhooks may go anywhere. Raises Problem."""
        return cls(
            smtp_url=environment.get("FORMICARY_SMTP_URL", ""),
            smtp_password=environment.get("FORMICARY_SMTP_PASSWORD", ""),
            smtp_from=environment.get("FORMICARY_SMTP_FROM", ""),
            may_reach_private=True,
        )

    @property
    def mail_server(self) -> MailServer | None:
        """Where e-mails are handed in, None = nowhere."""
        if not self.smtp_url:
            return None
        form = "smtp://HOST:PORT or smtps://HOST:PORT, with USER:PASSWORD@ in front of HOST if need be"
        try:
            parts = urlsplit(self.smtp_url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise problem("VALIDATION_FAILED", f"The address of the mail server is not valid: give {form}.") from None
        if parts.scheme not in _PORTS or not host or parts.path not in ("", "/"):
            raise problem("VALIDATION_FAILED", f"The address of the mail server is not valid: give {form}.")
        password = self.smtp_password or unquote(parts.password or "")
        return MailServer(parts.scheme, host, port or _PORTS[parts.scheme], unquote(parts.username or ""), password)
