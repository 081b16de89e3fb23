"""Notices as e-mails, handed in by SMTP on a thread.

Addresses are checked again after rendering and a subject is one line of printable characters: no text of a task can
add a header or a recipient. The Message-ID is the notice's id: mailboxes show a repeated one once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate

from formicary.engine.jobs.notices import is_address
from formicary.engine.queen.notify.attempts import NotDelivered
from formicary.engine.queen.notify.config import SMTPS, MailServer, NotifyConfig

LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail.

    Attributes:
        notice_id: Stable over the attempts.
        recipients: Addresses.
        subject: One line; whatever else is in it becomes a blank.
        body: Plain text.
    """

    notice_id: str
    recipients: tuple[str, ...]
    subject: str
    body: str


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """The message as it is sent. Raises NotDelivered where an address is none."""
    for one in mail.recipients:
        if not is_address(one):
            raise NotDelivered(f"{one[:60]!r} is not the address of a mailbox.", is_final=True)
    if not mail.recipients:
        raise NotDelivered("There is no recipient.", is_final=True)
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = sender
    message["To"] = ", ".join(mail.recipients)
    message["Subject"] = one_line(mail.subject)[:LONGEST_SUBJECT]
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = f"<{mail.notice_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Formicary-Notice"] = mail.notice_id
    message.set_content(mail.body.encode("utf-8", "replace").decode())
    return message


def one_line(text: str) -> str:
    """The text without line ends and other characters that a header cannot have."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


class Mailer:
    """Hands e-mails in.

    Args:
        config: The server, the sender and times.
    """

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config
        self._server = config.mail_server
        host = socket.gethostname()
        self._sender = config.smtp_from or f"formicary@{host if is_address('a@' + host) else 'localhost'}"

    async def send(self, mail: Mail) -> str:
        """Hands one in; returns what has to be remembered of it, or nothing. Raises NotDelivered."""
        server = self._server
        if server is None:
            text = "No mail server is named: start the server with --smtp-url."
            raise NotDelivered(text, is_final=True)
        message = message_of(mail, self._sender)
        return await asyncio.to_thread(self._hand_in, server, message, mail.recipients)

    def _hand_in(self, server: MailServer, message: EmailMessage, recipients: tuple[str, ...]) -> str:
        where = f"The mail server {server.host}:{server.port}"
        try:
            with self._connected(server) as connection:
                refused = connection.send_message(message, self._sender, list(recipients))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            final = all(code >= 500 for code in codes)
            raise NotDelivered(f"{where} refused every recipient ({codes[0]}).", is_final=final) from error
        except smtplib.SMTPAuthenticationError as error:
            raise NotDelivered(f"{where} does not let us log in ({error.smtp_code}).") from error
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"{where} answered {error.smtp_code}.", is_final=error.smtp_code >= 500) from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(f"{where} could not be used: {str(error) or type(error).__name__}.") from error
        return f"{where} refused {', '.join(sorted(refused))[:200]}." if refused else ""

    @contextlib.contextmanager
    def _connected(self, server: MailServer) -> Iterator[smtplib.SMTP]:
        """A connection that is encrypted where the server can, and logged in where a user is named."""
        timeout_s, context = self._config.timeout_s, ssl.create_default_context()
        if server.scheme == SMTPS:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=timeout_s, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=timeout_s)
        with connection:
            is_encrypted = server.scheme == SMTPS
            connection.ehlo_or_helo_if_needed()
            if not is_encrypted and connection.has_extn("starttls"):
                connection.starttls(context=context)
                is_encrypted = True
            if server.user:
                if not (is_encrypted or _is_loopback(server.host)):
                    text = f"The mail server {server.host} does not encrypt: the password is not sent to it."
                    raise NotDelivered(text, is_final=True)
                connection.login(server.user, server.password)
            yield connection


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
