"""Random requests under a seed: valid ones, and ones a little off in one or more ways."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from tests.integration.gateway_envoy import texts

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of the service.

    Attributes:
        verb: of HTTP.
        template: with `{name=...}` for what a generator fills in.
        method: name of the method.
        body: ``*``, a field, or empty.
    """

    verb: str
    template: str
    method: str
    body: str = ""


BINDINGS = (
    Binding("GET", "/v1/things/{s}", "Get"),
    Binding("GET", "/v1/kinds/{kind}/things/{s}/view", "Get"),
    Binding("GET", "/v1/pages/{s64}", "Get"),
    Binding("GET", "/v1/shelves/{s}/items/{s}", "GetNested"),
    Binding("GET", "/v1/files/{deep}", "GetFile"),
    Binding("GET", "/v1/files/{deep}:describe", "DescribeFile"),
    Binding("GET", "/v1/mixed/{s}/x/{s}/y/{deep}", "GetMixed"),
    Binding("GET", "/v1/search", "Search"),
    Binding("GET", "/v1/search", "Search"),
    Binding("GET", "/v1/search", "Search"),
    Binding("POST", "/v1/things", "Create", "*"),
    Binding("POST", "/v1/things", "Create", "*"),
    Binding("POST", "/v1/things", "Create", "*"),
    Binding("POST", "/v1/shelves/{s}/things", "CreateIn", "*"),
    Binding("PUT", "/v1/things/{s}", "CreateIn", "*"),
    Binding("PUT", "/v1/things/{s}/scalars", "SetScalars", "scalars"),
    Binding("PUT", "/v1/things/{s}/inners", "SetInners", "inners"),
    Binding("POST", "/v1/things/{s}:touch", "Touch"),
    Binding("PATCH", "/v1/things/{s}", "Update", "thing"),
    Binding("DELETE", "/v1/things/{s}", "Delete"),
    Binding("PURGE", "/v1/things/{s}", "Delete"),
    Binding("GET", "/v1/inner/{s}", "GetInner"),
    Binding("POST", "/v1/raw/{s}", "Upload", "data"),
    Binding("POST", "/v1/raw/{s}:download", "Download", "*"),
    Binding("GET", "/v1/things/{s}:watch", "Watch"),
    Binding("POST", "/oracle.v1.Oracle/Unbound", "Unbound", "*"),
)

_SEGMENTS = (
    "a",
    "abc-1",
    "x",
    "shelves",
    "%C3%BC",
    "a%20b",
    "a%2Fb",
    "a%2fb",
    "a%3Ab",
    "a+b",
    "~t",
    "1",
    "a.b",
    "a,b;c",
)
_ODD_SEGMENTS = (
    "",
    ".",
    "..",
    "%",
    "%zz",
    "%4",
    "a:b",
    "a:touch",
    ":",
    "%00",
    "%FF",
    "a%252Fb",
    "@",
    "'",
    "(x)",
    "$&",
    "*",
)
_PAGES = ("0", "1", "-1", "9223372036854775807", "9223372036854775808", "abc", "1.0", "%31")
_KINDS = ("SMALL", "LARGE", "1", "99", "small", "HUGE", "%53MALL")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to both sides.

    Attributes:
        index: its number under the seed.
        binding: what it was made from.
        changes: in which ways it was made off.
    """

    index: int
    binding: Binding
    verb: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    changes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        body = "" if self.body is None else f"\n  body {self.body!r}"
        headers = "".join(f"\n  {name}: {text}" for name, text in self.headers.items())
        made = f"request {self.index} for {self.binding.method} ({', '.join(self.changes) or 'plain'})"
        return f"{made}\n  {self.verb} {self.target}{headers}{body}"


class Generator:
    """Makes request number `index` of a seed, the same each time."""

    def __init__(self, service: ServiceDescriptor, seed: int) -> None:
        self._inputs = {method.name: method.input_type for method in service.methods}
        self._seed = seed

    def request(self, index: int) -> Request:
        """The request of a number."""
        rng = random.Random(f"{self._seed}:{index}")
        odd = rng.choice((0.0, 0.0, 0.05, 0.2))
        binding = rng.choice(BINDINGS)
        message = self._inputs[binding.method]
        changes: list[str] = []
        path = _path(rng, binding.template, odd)
        query = _query(rng, message, binding, odd)
        verb = binding.verb
        headers, body = _body(rng, message, binding, odd, changes)
        if odd and rng.random() < 0.3:
            name, change = rng.choice(list(_PATH_CHANGES.items()))
            changes.append(name)
            path = change(rng, path)
        if odd and rng.random() < 0.05:
            changes.append("verb")
            verb = rng.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"))
        target = path + (f"?{query}" if query or rng.random() < odd / 4 else "")
        return Request(index, binding, verb, target, headers, body, tuple(changes))


def _path(rng: random.Random, template: str, odd: float) -> str:
    def segment() -> str:
        return rng.choice(_ODD_SEGMENTS if rng.random() < odd else _SEGMENTS)

    path = template
    while "{s}" in path:
        path = path.replace("{s}", segment(), 1)
    if "{deep}" in path:
        path = path.replace("{deep}", "/".join(segment() for _ in range(rng.choice((0, 1, 1, 2, 3)))))
    return path.replace("{s64}", rng.choice(_PAGES)).replace("{kind}", rng.choice(_KINDS))


_PATH_CHANGES: dict[str, Callable[[random.Random, str], str]] = {
    "trailing slash": lambda rng, path: path + "/",
    "double slash": lambda rng, path: path.replace("/v1/", "/v1//", 1),
    "leading slashes": lambda rng, path: "/" + path,
    "case of the path": lambda rng, path: path.replace("/v1/", "/V1/"),
    "encoded literal": lambda rng, path: path.replace("/v1/t", "/v1/%74"),
    "verb of the path": lambda rng, path: path + rng.choice((":touch", ":nope", ":", ":a:b")),
    "segment more": lambda rng, path: path + "/more",
    "segment less": lambda rng, path: path.rpartition("/")[0] or "/",
    "fragment": lambda rng, path: path + "%23x",
}


@cache
def _leaves(message: Descriptor, depth: int = 0) -> tuple[tuple[tuple[FieldDescriptor, ...], FieldDescriptor], ...]:
    """Every leaf with the fields that lead to it."""
    found: list[tuple[tuple[FieldDescriptor, ...], FieldDescriptor]] = []
    for each in message.fields:
        if texts.is_leaf(each):
            found.append(((each,), each))
        elif depth < 2 and not each.is_repeated and each.message_type.full_name != "google.api.HttpBody":
            found += [((each, *way), leaf) for way, leaf in _leaves(each.message_type, depth + 1)]
    return tuple(found)


def _query(rng: random.Random, message: Descriptor, binding: Binding, odd: float) -> str:
    if binding.body == "*" and rng.random() > odd / 2:
        return ""
    count = rng.choice((0, 1, 2, 3, 5)) if not binding.body else rng.choice((0, 0, 0, 1))
    pairs = []
    for _ in range(count):
        way, leaf = rng.choice(_leaves(message))
        name = ".".join(texts.name_of(rng, each, odd) for each in way)
        times = rng.choice((1, 2, 3)) if leaf.is_repeated or rng.random() < odd / 2 else 1
        pairs += [_pair(rng, name, texts.text(rng, leaf, odd), odd) for _ in range(times)]
    if rng.random() < odd / 2:
        pairs.append(rng.choice(_ODD_PAIRS))
    rng.shuffle(pairs)
    return "&".join(pairs)


_ODD_PAIRS = (
    "unknown=1",
    "id",
    "=",
    "",
    "=x",
    "inner=x",
    "inner.=x",
    ".id=x",
    "inner..name=x",
    "inners.name=x",
    "inners=x",
    "labels=a",
    "labels[a]=b",
    "labels.a=b",
    "id.x=1",
    "page=1=2",
    "id=%zz",
    "id=%",
    "id=%FF",
    "i%64=x",
    "id=x;page=1",
    "numbers=1,2",
    "numbers[]=1",
    "numbers[0]=1",
    "created_at.seconds=1",
    "read_mask.paths=a",
    "wrapped.a_bool.value=true",
    "$alt=json",
    "text=a&number=1",
)


def _pair(rng: random.Random, name: str, value: str, odd: float) -> str:
    if rng.random() < odd / 8:
        return (
            f"{name}={value}" if value.isascii() and value.isprintable() and not set(value) & set(' &#%"<>') else name
        )
    said = quote(value, safe=rng.choice(("", ":/,-", "-_.~")))
    if rng.random() < 0.3:
        said = said.replace("%20", "+")
    if rng.random() < 0.01:
        name = name.replace(".", "%2E", 1)
    return f"{name}={said}"


def _body(
    rng: random.Random, message: Descriptor, binding: Binding, odd: float, changes: list[str]
) -> tuple[dict[str, str], bytes | None]:
    if not binding.body:
        if binding.verb in ("POST", "PUT", "PATCH") and rng.random() < 0.5:
            return {"content-type": JSON}, b"{}" if rng.random() < 0.3 else b""
        return {}, None
    target = message.fields_by_name.get(binding.body)
    if target is not None and target.message_type.full_name == "google.api.HttpBody":
        kind = rng.choice(("text/plain", "application/octet-stream", "image/png", JSON))
        return {"content-type": kind}, rng.randbytes(rng.choice((0, 1, 40)))
    content: Any = texts.json_message(rng, message, odd) if target is None else texts.json_value(rng, target, odd)
    said = json.dumps(content, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 2))).encode()
    if odd and rng.random() < 0.15:
        name, change = rng.choice(list(_BODY_CHANGES.items()))
        changes.append(name)
        said = change(said)
    headers = {"content-type": JSON}
    if odd and rng.random() < 0.06:
        kind = rng.choice(
            ("text/plain", "application/JSON; charset=utf-8", "application/vnd.x+json", "", "application/xml")
        )
        changes.append(f"content type {kind!r}")
        headers = {"content-type": kind} if kind else {}
    return headers, said


_BODY_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "no body": lambda said: b"",
    "cut body": lambda said: said[: len(said) // 2],
    "spaces around": lambda said: b"  \n" + said + b"\n ",
    "rubbish after": lambda said: said + b"x",
    "second value": lambda said: said + said,
    "trailing comma": lambda said: said[:-1] + b"," + said[-1:],
    "single quotes": lambda said: said.replace(b'"', b"'"),
    "doubled key": lambda said: (
        b'{"id": "one", "id": "two"' + (b", " + said[1:] if said[:1] == b"{" and len(said) > 2 else b"}")
    ),
    "bad UTF-8": lambda said: said.replace(b'"', b'"\xff', 1),
    "mark in front": lambda said: b"\xef\xbb\xbf" + said,
    "comment": lambda said: b"/* x */" + said,
    "null": lambda said: b"null",
    "array": lambda said: b"[" + said + b"]",
    "string": lambda said: b'"x"',
    "lone surrogate": lambda said: b'{"id": "\\ud800"}',
    "deep": lambda said: b'{"inner":' * 150 + b"{}" + b"}" * 150,
}
