"""The fields of a trigger as older files put them: in a block named after the type, under other names, in capitals.

Older files write what is special to a type into a block of its own, and the authentication beside it::

    - name: push
      type: WEBHOOK
      webhook:
        auth_method: hmac_sha256
        secret_config: BuildHook

Here such fields are brought to the place and the name under which they are read; the nodes keep their lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from formicary.engine.jobs import triggers as spec
from formicary.engine.jobs.readers import Context, entries, join
from formicary.engine.jobs.yaml_nodes import Node

Entry = tuple[str, Node, Node, str]
"""Name, key, value and path of a field."""

_BLOCKS: Final[Mapping[str, str]] = {
    "webhook": spec.WEBHOOK,
    "queue": spec.QUEUE,
    "s3": spec.OBJECTS,
    "object_store": spec.OBJECTS,
}
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    spec.WEBHOOK: {"authentication": "auth"},
    spec.QUEUE: {"queue": "topic", "queue_name": "topic", "topic_name": "topic", "consumer_group": "group"},
    spec.OBJECTS: {
        "interval": "poll_interval",
        "polling_interval": "poll_interval",
        "poll_every": "poll_interval",
        "key_prefix": "prefix",
        "key_suffix": "suffix",
    },
}
AUTH_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("method", "type", "auth_method", "auth_type"), "method"),
    **dict.fromkeys(("header", "header_name", "signature_header", "api_key_header"), "header"),
    **dict.fromkeys(
        ("secret_config", "secret_config_key", "secret_name", "secret_key", "secret_ref", "config_key", "config"),
        "secret_config",
    ),
    **dict.fromkeys(("secret", "token", "api_key"), "secret"),
}
"""Names of the authentication's fields."""
LIMIT_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("max", "limit", "max_requests", "max_count", "requests"), "max"),
    **dict.fromkeys(("window", "per", "interval", "period"), "window"),
}
_BESIDE: Final = frozenset(
    {"auth_method", "auth_type", "secret_env", "secret_file", "form", "tolerance"}
    | (AUTH_NAMES.keys() - {"method", "type", "config", "token", "api_key"})
)
"""Those that may also stand beside the others, without a mapping `auth`."""
AUTH_METHODS: Final[Mapping[str, str]] = {
    **{name: name for name in spec.METHODS},
    **dict.fromkeys(("hmac", "hmac_sha_256"), "hmac_sha256"),
    **dict.fromkeys(("bearer", "token"), "bearer_token"),
    **dict.fromkeys(("api_key", "apikey"), "api_key_header"),
}


def kind_of(node: Node) -> str:
    """The type of a trigger: what it says, else that of its block; empty = it says none, or one that is none."""
    said = next((value.text for key, value in node.pairs if key.text == "type"), "").strip().lower()
    if said:
        return _BLOCKS.get(said, "")
    blocks = {_BLOCKS[key.text] for key, value in node.pairs if key.text in _BLOCKS and value.kind == "map"}
    return blocks.pop() if len(blocks) == 1 else ""


def unfolded(ctx: Context, node: Node, path: str, kind: str) -> tuple[list[Entry], list[Entry]]:
    """The fields of a trigger, and those of its authentication that stand beside them."""
    found: list[Entry] = []
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if value.kind == "map" and _BLOCKS.get(name) == kind and kind:
            found += [(inner, k, v, join(here, inner)) for inner, k, v in entries(ctx, value, here)]
        else:
            found.append((name, key, value, here))
    renamed = _NAMES.get(kind, {})
    fields = [(renamed.get(name, name), key, value, here) for name, key, value, here in found]
    if kind != spec.WEBHOOK:
        return fields, []
    beside = [(AUTH_NAMES.get(name, name), key, value, here) for name, key, value, here in fields if name in _BESIDE]
    return [entry for entry in fields if entry[0] not in _BESIDE], beside


def renamed(ctx: Context, node: Node, path: str, names: Mapping[str, str]) -> list[Entry]:
    """The fields of a mapping, older names replaced."""
    return [(names.get(name, name), key, value, join(path, name)) for name, key, value in entries(ctx, node, path)]


def auth_method(text: str) -> str:
    """A way of authentication under the name that it has here; what is none stays as it is."""
    return AUTH_METHODS.get(text.strip().lower().replace("-", "_"), text)
