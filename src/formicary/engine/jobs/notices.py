"""Who is told of a job's or a task's end: the fields `notify` and `webhook` as channels, and which ends they want.

Texts of a channel may hold templates; they are rendered when a notice is delivered, each text by itself, so that what
a task has said can change no address and no header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from formicary.engine.jobs.model import Json
from formicary.engine.jobs.templates.go_format import NO_VALUE

EMAIL: Final = "email"
SLACK: Final = "slack"
WEBHOOK: Final = "webhook"
KINDS: Final = (EMAIL, SLACK, WEBHOOK)

SUCCESS: Final = "success"
FAILURE: Final = "failure"
FIXED: Final = "fixed"
CANCELLED: Final = "cancelled"
ESCALATED: Final = "escalated"
STARTED: Final = "started"
PAUSED: Final = "paused"
WANTED: Final = "approval"
DEAD_LETTER: Final = "dead_letter"
OUTCOMES: Final = (SUCCESS, FAILURE, FIXED, CANCELLED, ESCALATED, STARTED, PAUSED, WANTED, DEAD_LETTER)
"""What a notice is about; *fixed* is the first success of a job type after a failure."""

WHEN: Final[Mapping[str, frozenset[str]]] = {
    "onsuccess": frozenset({SUCCESS, FIXED}),
    "onfailure": frozenset({FAILURE, FIXED}),
    "onfixed": frozenset({FIXED}),
    "always": frozenset({SUCCESS, FAILURE, FIXED, CANCELLED}),
    "onstart": frozenset({STARTED}),
    "onpause": frozenset({PAUSED}),
    "onapproval": frozenset({WANTED}),
    "ondeadletter": frozenset({DEAD_LETTER}),
    "never": frozenset(),
    "none": frozenset(),
}
"""Values of `when`, lower case without separators -> outcomes."""
_WHEN_NAMES = (
    *("onSuccess", "onFailure", "onFixed", "always", "onStart", "onPause", "onApproval", "onDeadLetter", "never"),
)
NOTICE_STATES: Final = ("PENDING", "SENT", "DEAD")
MOST_RECIPIENTS: Final = 50
VERBS: Final = ("POST", "PUT", "PATCH", "GET")
SLACK_URL: Final = "{{.SLACK_WEBHOOK_URL}}"
"""Where a `slack` channel without `url` sends: a configuration or secret of that name."""
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_EMAIL_FIELDS = ("recipients", "when", "subject", "body")
_SLACK_FIELDS = ("url", "recipients", "when", "text")
_WEBHOOK_FIELDS = ("url", "method", "headers", "query", "when", "secret_config", "tasks")
Note = Callable[[str, str, bool], None]
"""Takes where, what is wrong, and whether it is an error."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to tell somebody.

    Attributes:
        kind: email, slack or webhook.
        when: Outcomes it is used for.
        recipients: Addresses (email) or names of channels (slack).
        subject: Of an e-mail, empty = the engine's own.
        body: Text of an e-mail or of a slack message, empty = the engine's own.
        url: Of a webhook.
        method: HTTP verb of a webhook.
        headers: Of a webhook.
        query: Of a webhook.
        secret_config: Name of the secret that signs a webhook's body, empty = it is not signed.
        of_tasks: A webhook of a job that is told of its tasks too.
    """

    kind: str
    when: frozenset[str]
    recipients: tuple[str, ...] = ()
    subject: str = ""
    body: str = ""
    url: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    secret_config: str = ""
    of_tasks: bool = False


def is_address(text: str) -> bool:
    """Whether a text is the address of a mailbox and nothing else."""
    return len(text) <= 254 and ".." not in text and _ADDRESS.fullmatch(text) is not None


def read_channels(
    notify: Json, webhook: Json, note: Note | None = None, *, of_task: bool = False
) -> tuple[Channel, ...]:
    """Reads both fields.

    Args:
        notify: Value of `notify`, None = there is none.
        webhook: Value of `webhook`, likewise.
        note: Receives what is wrong.
        of_task: They stand at a task.

    Returns:
        What can be used of them.
    """
    reader = _Reader(note or (lambda _path, _text, _error: None))
    return (*reader.notify(notify), *reader.webhook(webhook, of_task=of_task))


class _Reader:
    def __init__(self, note: Note) -> None:
        self._note = note

    def notify(self, value: Json) -> Iterable[Channel]:
        if not isinstance(value, Mapping):
            return
        for name, given in value.items():
            path = f"notify.{name}"
            if name not in (EMAIL, SLACK):
                self._note(path, f"There is no channel {name[:40]!r}; possible are email and slack.", False)
            elif isinstance(given, str | list):
                yield from self._channel(name, {"recipients": given}, path)
            elif isinstance(given, Mapping):
                yield from self._channel(name, given, path)
            elif given is not None:
                self._note(path, "Write a mapping with recipients and when.", True)

    def _channel(self, name: str, given: Mapping[str, Json], path: str) -> Iterable[Channel]:
        self._unknown(given, _EMAIL_FIELDS if name == EMAIL else _SLACK_FIELDS, path)
        when = self._when(given.get("when"), path)
        recipients = self._recipients(given.get("recipients"), path, mail=name == EMAIL)
        if name == EMAIL:
            if not recipients:
                self._note(f"{path}.recipients", "Name at least one recipient: recipients: [ops@example.com].", False)
                return
            subject, body = self._text(given, "subject", path), self._text(given, "body", path)
            yield Channel(EMAIL, when, recipients, subject, body)
        else:
            url = self._text(given, "url", path) or SLACK_URL
            self._check_url(url, f"{path}.url")
            yield Channel(SLACK, when, recipients, body=self._text(given, "text", path), url=url)

    def webhook(self, value: Json, *, of_task: bool) -> Iterable[Channel]:
        if not isinstance(value, Mapping):
            return
        self._unknown(value, _WEBHOOK_FIELDS, "webhook")
        url = self._text(value, "url", "webhook")
        if not url:
            self._note("webhook.url", "A webhook needs a url.", True)
        self._check_url(url, "webhook.url")
        method = (self._text(value, "method", "webhook") or "POST").upper()
        if method not in VERBS and "{{" not in method:
            self._note("webhook.method", f"The method is one of {', '.join(VERBS)}.", True)
        headers, query = self._pairs(value, "headers"), self._pairs(value, "query")
        for name in headers:
            if not _HEADER.fullmatch(name):
                self._note(f"webhook.headers.{name}", f"{name[:40]!r} is no name of a header.", True)
        tasks = value.get("tasks")
        if tasks is not None and not isinstance(tasks, bool):
            self._note("webhook.tasks", "Write true or false: whether the ends of tasks are told too.", True)
        yield Channel(
            WEBHOOK,
            self._when(value.get("when"), "webhook"),
            url=url,
            method=method,
            headers=headers,
            query=query,
            secret_config=self._text(value, "secret_config", "webhook"),
            of_tasks=not of_task and tasks is not False,
        )

    def _unknown(self, given: Mapping[str, Json], known: tuple[str, ...], path: str) -> None:
        for name in given:
            if name not in known:
                self._note(
                    f"{path}.{name}", f"There is no field {name[:40]!r}; possible are {', '.join(known)}.", False
                )

    def _when(self, value: Json, path: str) -> frozenset[str]:
        if value is None:
            return WHEN["always"]
        found: frozenset[str] = frozenset()
        for one in value if isinstance(value, list | tuple) else [value]:
            word = str(one).replace("_", "").replace("-", "").lower()
            wanted = WHEN.get(word, WHEN.get(f"on{word}"))
            if wanted is None:
                self._note(f"{path}.when", f"{str(one)[:40]!r} is not one of {', '.join(_WHEN_NAMES)}.", True)
            else:
                found |= wanted
        return found

    def _recipients(self, value: Json, path: str, *, mail: bool) -> tuple[str, ...]:
        given = [value] if isinstance(value, str) else value
        if given is None:
            return ()
        if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
            self._note(f"{path}.recipients", "Write a list of texts.", True)
            return ()
        if len(given) > MOST_RECIPIENTS:
            self._note(f"{path}.recipients", f"There are at most {MOST_RECIPIENTS} recipients.", True)
        for at, one in enumerate(given):
            if mail and "{" not in one and NO_VALUE not in one and not is_address(one):
                self._note(f"{path}.recipients[{at}]", f"{one[:60]!r} is not the address of a mailbox.", True)
        return tuple(dict.fromkeys(given))

    def _text(self, given: Mapping[str, Json], name: str, path: str) -> str:
        value = given.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        self._note(f"{path}.{name}", "Write text.", True)
        return ""

    def _pairs(self, given: Mapping[str, Json], name: str) -> dict[str, str]:
        value = given.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or any(isinstance(one, list | Mapping) for one in value.values()):
            self._note(f"webhook.{name}", "Write a mapping of texts.", True)
            return {}
        return {key: one if isinstance(one, str) else str(one) for key, one in value.items()}

    def _check_url(self, url: str, path: str) -> None:
        if url and "{" not in url and NO_VALUE not in url and not url.startswith(("http://", "https://")):
            self._note(path, "The address begins with http:// or https://.", True)
