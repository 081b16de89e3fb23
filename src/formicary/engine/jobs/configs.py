"""What a job sees of the configurations of its system, organisation, user and type, and how secrets stay out of it.

Theory of operation. The value of a secret is never rendered, stored or shown: its *stand-in* is, a text with the
secret's random id. Stand-ins go through templates, rows and recovery like any other text, and only what an ant is told
has the values in their place. Nobody sees ids, so nobody can write a stand-in by himself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from formicary.engine.jobs.model import JobDefinition

SCOPES = ("system", "org", "user", "job")
"""Each wins over the ones before it; job variables come between `user` and `job`."""
MASK = "***"
SHORTEST_SECRET = 4
"""Characters; less could not be masked without spoiling every log."""

_STAND_IN = re.compile(rb"\xc2\xa7secret-([0-9a-f]{32})\xc2\xa7")
_MARK = "§secret-".encode()
_SHOWN = re.compile("§secret-[0-9a-f]{32}§")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ConfigView:
    """What one job sees; of secrets the stand-ins.

    Attributes:
        below: Values that job variables win over: of system, organisation and user.
        above: Values that win over job variables: of the job type.
        secrets: Ids of the secrets among them by name.
    """

    below: Mapping[str, object] = field(default_factory=dict)
    above: Mapping[str, object] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """True where there is anything to see."""
        return bool(self.below or self.above)

    @property
    def names(self) -> Mapping[str, object]:
        """All values by name."""
        return {**self.below, **self.above}

    def for_task(self, definition: JobDefinition, position: int) -> ConfigView:
        """The same without the secrets that neither the task's own lines nor `required_params` name."""
        if not self.secrets:
            return self
        text = _lines_of(definition, position)
        required = {*definition.required_params, *(p.name for p in definition.parameters)}
        hidden = {name for name in self.secrets if name not in required and not is_named(name, text)}
        if not hidden:
            return self
        return ConfigView(
            {name: value for name, value in self.below.items() if name not in hidden},
            {name: value for name, value in self.above.items() if name not in hidden},
            {name: value for name, value in self.secrets.items() if name not in hidden},
        )


NO_CONFIGS = ConfigView()


class ConfigSource(Protocol):
    """Where views come from: a look-up in memory."""

    def view(self, org: str, user: str, job_type: str) -> ConfigView:
        """What a job of this organisation, user and type sees."""
        ...


class NoConfigs:
    """A source without any configuration."""

    def view(self, org: str, user: str, job_type: str) -> ConfigView:
        """Nothing."""
        return NO_CONFIGS


def _lines_of(definition: JobDefinition, position: int) -> str:
    if position < len(definition.task_spans):
        start, end = definition.task_spans[position]
        return definition.source[start:end]
    return definition.source


def is_named(name: str, text: str) -> bool:
    """Whether a name stands in a text as a word of its own."""
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text) is not None


def stand_in(secret_id: str) -> str:
    """The text that stands for a secret."""
    return f"§secret-{secret_id}§"


def held_secrets(*data: bytes | None) -> frozenset[str]:
    """Ids of the secrets that stand in JSON texts."""
    return frozenset(found.decode() for one in data if one for found in _STAND_IN.findall(one))


def may_hold_secrets(*data: bytes) -> bool:
    """Whether a stand-in may be in JSON texts."""
    return any(_MARK in one for one in data)


def fill(data: bytes, values: Mapping[str, object]) -> bytes:
    """A JSON text with the values in place of the stand-ins.

    Args:
        data: UTF-8.
        values: By id. A stand-in that is a whole string becomes the value whatever its type; inside a longer string
            the value's text.
    """
    for secret_id, value in values.items():
        mark = stand_in(secret_id).encode()
        if mark in data:
            data = data.replace(b'"' + mark + b'"', _encode(value)).replace(mark, _encode(text_of(value))[1:-1])
    return data


def text_of(value: object) -> str:
    """A value as text: strings as they are, anything else as JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def altered_secret(data: bytes, secrets: Mapping[str, str]) -> str | None:
    """The name of a secret whose stand-in was changed by a template function, None = all are whole."""
    rest = _STAND_IN.sub(b"", data).lower()
    return next((name for name, secret_id in secrets.items() if secret_id.encode() in rest), None)


def secret_in(value: object) -> bool:
    """Whether a stand-in is anywhere in a value."""
    if isinstance(value, str):
        return "§secret-" in value and _SHOWN.search(value) is not None
    if isinstance(value, Mapping):
        return any(secret_in(one) for pair in value.items() for one in pair)
    return isinstance(value, list | tuple) and any(map(secret_in, value))


def without_secrets(value: object) -> object:
    """The value with :data:`MASK` for every stand-in."""
    if isinstance(value, str):
        return _SHOWN.sub(MASK, value) if "§secret-" in value else value
    if isinstance(value, Mapping):
        return {key: without_secrets(one) for key, one in value.items()}
    return [without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def texts_to_mask(value: object) -> list[str]:
    """Every text of a secret that must not be seen: of a structure each text in it, and the whole as JSON."""
    if isinstance(value, str):
        return [value] if len(value) >= SHORTEST_SECRET else []
    found: list[str] = []
    if isinstance(value, Mapping | list | tuple):
        parts: Iterable[object] = value.values() if isinstance(value, Mapping) else value
        for part in parts:
            found += texts_to_mask(part)
        found.append(json.dumps(value))
    text = text_of(value)
    return [*found, text] if len(text) >= SHORTEST_SECRET else found
