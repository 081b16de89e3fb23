"""Reads `triggers`: the events that start a job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from formicary.engine.jobs import triggers as spec
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.readers import ABSENT, READERS, Context, is_null, join
from formicary.engine.jobs.trigger_blocks import (
    AUTH_NAMES,
    LIMIT_NAMES,
    Entry,
    auth_method,
    kind_of,
    renamed,
    unfolded,
)
from formicary.engine.jobs.yaml_nodes import Node

_TEXT: Final = 4000
_COMMON: Final = (
    Field("type", "trigger_type", "What the events are.", choices=spec.TYPES),
    Field("name", "name", "Name of the trigger.", required=True, most=100),
    Field("description", "text", "What it is for.", "", most=500),
    Field("enabled", "bool", "Whether its events start jobs."),
    Field("filter", "text", "Template that has to render to true.", most=_TEXT),
    Field("params", "object", "Parameters of the job."),
    Field("dedup_key", "text", "Template; one job per key.", most=_TEXT),
    Field("rate_limit", "limit", "At most max jobs within window."),
)
_WEBHOOK: Final = (Field("auth", "auth", "How callers are known."),)
_QUEUE: Final = (
    Field("topic", "text", "Subject or stream.", required=True, most=300),
    Field("group", "text", "Name of the consumer.", most=100),
    Field("shared", "any", "Accepted for older files; one server takes the messages.", ""),
    Field("provider", "choice", "What the queue is.", choices=spec.PROVIDERS),
    Field("url", "text", "Address of the queue.", most=1000),
)
_OBJECTS: Final = (
    Field("mode", "choice", "How objects are found.", choices=("poll", "queue", "notification")),
    Field("bucket", "text", "Name of the bucket.", most=300),
    Field("url", "text", "Address of the objects.", most=1000),
    Field("prefix", "text", "Beginning of the keys.", most=1000),
    Field("suffix", "text", "End of the keys.", most=300),
    Field("poll_interval", "duration", "Time between two lists.", "poll_interval_s"),
    Field("from_beginning", "bool", "Whether what is there already counts."),
    Field("notification_queue", "text", "Subject or stream in which the store tells of new objects.", most=300),
    Field("notification_url", "text", "Address of that queue.", most=1000),
)
_FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    kind: {row.name: row for row in (*_COMMON, *own)}
    for kind, own in ((spec.WEBHOOK, _WEBHOOK), (spec.QUEUE, _QUEUE), (spec.OBJECTS, _OBJECTS))
}
FIELDS: Final[Mapping[str, Field]] = {name: row for own in _FIELDS.values() for name, row in own.items()}
AUTH_FIELDS: Final = {
    row.name: row
    for row in (
        Field("method", "auth_method", "How.", required=True, choices=spec.METHODS),
        Field("header", "text", "Header of the signature or the key.", most=100),
        Field("form", "choice", "What is signed.", choices=spec.FORMS),
        Field("tolerance", "duration", "Oldest signed time.", "tolerance_s"),
        Field("secret_config", "text", "Name of the secret.", most=100),
        Field("secret_env", "text", "Environment variable of the server.", most=200),
        Field("secret_file", "text", "File among the server's secrets.", most=200),
        Field("secret", "secret", "Accepted for older files: name of the secret.", "secret_config"),
    )
}
LIMIT_FIELDS: Final = {
    row.name: row
    for row in (
        Field("max", "int", "Jobs.", "max_starts", required=True, least=1, most=1_000_000),
        Field("window", "duration", "Time.", "window_s", required=True),
    )
}
_ELSEWHERE: Final = ("http:", "https:", "arn:")
"""How names of queues begin that this server cannot read."""
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_NAMED: Final = re.compile(r"\{\{-?\s*\.?(\w{1,100})\s*-?\}\}")
_UNSIGNED: Final = re.compile(r"\b(Headers|Query)\b")
_BEGIN: Final = {"nats": ("nats", "tls"), "redis": ("redis",)}
"""How the schemes of a provider's addresses begin."""
_SCHEMES: Final = {spec.QUEUE: ("nats", "tls", "redis", "rediss"), spec.OBJECTS: ("file", "s3", "http", "https")}


def read_triggers(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads all triggers of a job; a tuple of :class:`Trigger`."""
    if is_null(node):
        return ABSENT
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of mappings")
    if len(node.items) > spec.MOST_TRIGGERS:
        message = f"A job has at most {spec.MOST_TRIGGERS} triggers, not {len(node.items)}: put some into another job."
        ctx.add(node, path, "TOO_MANY", message)
    found: dict[str, spec.Trigger] = {}
    for i, item in enumerate(node.items):
        one = _trigger(ctx, item, f"{path}[{i}]")
        if one is None:
            continue
        if one.name in found or one.name == spec.RESERVED_NAME:
            why = "is the name of cron_trigger" if one.name == spec.RESERVED_NAME else "stands here twice"
            ctx.add(item, f"{path}[{i}].name", "DUPLICATE_NAME", f"The trigger name {one.name} {why}: choose another.")
        found.setdefault(one.name, one)
    return tuple(found.values())


def _trigger(ctx: Context, node: Node, path: str) -> spec.Trigger | None:
    if node.kind != "map":
        ctx.wrong_type(node, path, "a mapping")
        return None
    kind = kind_of(node)
    fields, beside = unfolded(ctx, node, path, kind)
    values = _read(ctx, node, path, fields, _FIELDS.get(kind, FIELDS))
    values["type"] = kind or values.get("type")
    if beside and "auth" not in values and (auth := _auth(ctx, node, path, beside)) is not None:
        values["auth"] = auth
    if not isinstance(values.get("type"), str) or not isinstance(values.get("name"), str):
        return None
    if values["type"] not in spec.TYPES:
        ctx.add(node, f"{path}.type", "BAD_VALUE", "The type of a trigger is written out: no template can stand here.")
        return None
    if "/" in str(values["name"]) or ":" in str(values["name"]):
        ctx.add(node, f"{path}.name", "BAD_NAME", "The name of a trigger is part of an address: no / and no : in it.")
        return None
    _read_mode(ctx, node, path, values)
    one = spec.Trigger(**values)
    _check(ctx, node, path, one)
    return one


def _read_mode(ctx: Context, node: Node, path: str, values: dict[str, Any]) -> None:
    """Whether the store is listed, or tells of new objects; what cannot be is listed, with a warning."""
    mode, queue = values.pop("mode", None), str(values.get("notification_queue", ""))
    if mode is None:
        mode = "notification" if queue else "poll"
    if mode != "poll" and queue.startswith(_ELSEWHERE):
        message = (
            "notification_queue is the subject of NATS or the key of a Redis stream; without one the store is listed."
        )
        ctx.add(node, join(path, "notification_queue"), "BAD_VALUE", message, "warning")
        values.pop("notification_queue")
    elif mode != "poll" and not queue:
        message = "Without a notification_queue the store is listed each poll_interval: poll is meant."
        ctx.add(node, join(path, "mode"), "BAD_VALUE", message, "warning")
    elif mode == "poll":
        values.pop("notification_queue", None)


def _read(ctx: Context, node: Node, path: str, given: Sequence[Entry], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The values of a mapping by attribute; notes fields that are unknown or missing."""
    values: dict[str, Any] = {}
    for name, key, value, here in given:
        row = fields.get(name)
        if row is None:
            if name in FIELDS and fields is not AUTH_FIELDS:
                ctx.add(key, here, "UNKNOWN_FIELD", f"{name} is a field of another type of trigger.")
            else:
                ctx.unknown(key, here, name, fields)
            continue
        found = _NESTED[row.kind](ctx, value, here) if row.kind in _NESTED else READERS[row.kind](ctx, value, here, row)
        if found is not ABSENT and row.target:
            values.setdefault(row.target, found)
    names = {name for name, *_ in given}
    for row in fields.values():
        if row.required and row.name not in names and fields is not FIELDS:
            ctx.add(node, join(path, row.name), "MISSING_FIELD", f"{path} needs a {row.name}; add '{row.name}: …'.")
    if fields is FIELDS and "type" not in names:
        kinds = " or ".join(spec.TYPES)
        ctx.add(node, join(path, "type"), "MISSING_FIELD", f"{path} needs a type: {kinds}.")
    return values


def _read_type(ctx: Context, node: Node, path: str) -> object:
    kind = node.text.strip().lower() if node.kind == "scalar" else ""
    if kind in (*spec.TYPES, "object_store"):
        return spec.OBJECTS if kind == "object_store" else kind
    return READERS["choice"](ctx, node, path, FIELDS["type"])


def _read_auth(ctx: Context, node: Node, path: str) -> object:
    if is_null(node):
        return ABSENT
    if node.kind == "scalar":
        given: list[Entry] = [("method", node, node, path)]
    elif node.kind == "map":
        given = renamed(ctx, node, path, AUTH_NAMES)
    else:
        return ctx.wrong_type(node, path, "a mapping of method and secret")
    return _auth(ctx, node, path, given) or ABSENT


def _read_auth_method(ctx: Context, node: Node, path: str) -> object:
    found = auth_method(node.text) if node.kind == "scalar" else ""
    return found if found in spec.METHODS else READERS["choice"](ctx, node, path, AUTH_FIELDS["method"])


def _read_secret(ctx: Context, node: Node, path: str) -> object:
    """The name of a secret where older files write `secret`; a template that names one, too."""
    text = ctx.text(node) if node.kind == "scalar" else ""
    if (named := _NAMED.fullmatch(text.strip())) is not None:
        return named.group(1)
    message = "A secret does not belong into a job file: this is read as the name of one, as in 'secret_config: NAME'."
    ctx.add(node, path, "SECRET_IN_FILE", message, "warning")
    return text[:100] or ABSENT


def _auth(ctx: Context, node: Node, path: str, given: Sequence[Entry]) -> spec.WebhookAuth | None:
    values = _read(ctx, node, path, given, AUTH_FIELDS)
    if "method" not in values:
        return None
    auth = spec.WebhookAuth(**values)
    secrets = [name for name in ("secret_config", "secret_env", "secret_file") if getattr(auth, name)]
    if auth.method != "none" and len(secrets) != 1:
        message = f"{path} needs one of secret_config, secret_env and secret_file, which says where the secret is."
        ctx.add(node, path, "MISSING_FIELD", message)
    if auth.secret_env and not auth.secret_env.startswith("FORMICARY_SECRET_"):
        message = "The variable of a secret begins with FORMICARY_SECRET_, so that no other one can be read."
        ctx.add(node, join(path, "secret_env"), "BAD_VALUE", message)
    if auth.secret_file and ("/" in auth.secret_file or auth.secret_file.startswith(".")):
        message = "secret_file is the bare name of a file in the server's folder of secrets."
        ctx.add(node, join(path, "secret_file"), "BAD_PATH", message)
    if auth.header and not _HEADER.match(auth.header):
        ctx.add(node, join(path, "header"), "BAD_VALUE", f"{auth.header[:60]!r} is no name of a header.")
    return _with_header(auth, chosen="form" in values)


def _with_header(auth: spec.WebhookAuth, *, chosen: bool) -> spec.WebhookAuth:
    if auth.method == "api_key_header":
        return replace(auth, header=auth.header or spec.KEY_HEADER)
    if auth.method != "hmac_sha256":
        return auth
    form = auth.form
    if not chosen and auth.header.lower() in (spec.STANDARD_HEADER, spec.TIMESTAMP_HEADER.lower()):
        form = "standard" if auth.header.lower() == spec.STANDARD_HEADER else "timestamp"
    usual = {"body": spec.BODY_HEADER, "timestamp": spec.TIMESTAMP_HEADER, "standard": spec.STANDARD_HEADER}
    return replace(auth, form=form, header=auth.header or usual[form])


def _read_limit(ctx: Context, node: Node, path: str) -> object:
    if is_null(node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping of max and window")
    values = _read(ctx, node, path, renamed(ctx, node, path, LIMIT_NAMES), LIMIT_FIELDS)
    if len(values) < len(LIMIT_FIELDS):
        return ABSENT
    if not values["window_s"] > 0:
        ctx.add(node, join(path, "window"), "OUT_OF_RANGE", f"{path}.window has to be longer than nothing.")
        return ABSENT
    return spec.RateLimit(**values)


def _check(ctx: Context, node: Node, path: str, one: spec.Trigger) -> None:
    if one.auth is not None and one.auth.method == "hmac_sha256" and _UNSIGNED.search(one.dedup_key):
        message = "The signature does not cover headers and query: a dedup_key made of them could be changed."
        ctx.add(node, join(path, "dedup_key"), "BAD_VALUE", message)
    if one.type == spec.OBJECTS and bool(one.bucket) == bool(one.url):
        ctx.add(node, path, "MISSING_FIELD", f"{path} needs either a bucket or a url, like file:///srv/inbox.")
    if one.poll_interval_s < spec.LEAST_POLL_S:
        ctx.add(node, join(path, "poll_interval"), "OUT_OF_RANGE", f"Poll each {spec.LEAST_POLL_S:g} s at most.")
    if one.notification_url:
        parts, where = urlsplit(one.notification_url), join(path, "notification_url")
        if parts.scheme not in _SCHEMES[spec.QUEUE]:
            known = ", ".join(_SCHEMES[spec.QUEUE])
            ctx.add(node, where, "BAD_VALUE", f"{where} begins with one of {known}, then ://.")
        if "@" in parts.netloc:
            message = f"{where} holds a password: give the server its address with FORMICARY_QUEUE_URL instead."
            ctx.add(node, where, "SECRET_IN_FILE", message)
    if one.url:
        parts = urlsplit(one.url)
        if parts.scheme not in _SCHEMES.get(one.type, ()):
            known = ", ".join(_SCHEMES.get(one.type, ()))
            ctx.add(node, join(path, "url"), "BAD_VALUE", f"{path}.url begins with one of {known}, then ://.")
        elif one.provider and not parts.scheme.startswith(_BEGIN[one.provider]):
            message = f"{path}.url is no address of {one.provider}; leave the provider out, or correct the url."
            ctx.add(node, join(path, "url"), "BAD_VALUE", message)
        if "@" in parts.netloc:
            message = f"{path}.url holds a password: give the server its address with FORMICARY_QUEUE_URL instead."
            ctx.add(node, join(path, "url"), "SECRET_IN_FILE", message)


_NESTED: Final = {
    "auth": _read_auth,
    "limit": _read_limit,
    "trigger_type": _read_type,
    "auth_method": _read_auth_method,
    "secret": _read_secret,
}
