"""Reads what a task says about containers and pods into one form, whatever way it is written.

Older files, the article about the older engine, Kubernetes and Docker write the same things differently: camelCase and
snake_case, flat limits and ``resources.limits``, volumes as a mapping, as texts and by type. What comes out is one
form: snake_case keys, cores and bytes as numbers, lists for what may be several. Only ``affinity``, which has a reader
of its own, comes out as the Kubernetes API has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from formicary.engine.jobs.container_fields import CONTAINER_FIELDS, SERVICE_FIELDS
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.quantities import parse_bytes, parse_cores
from formicary.engine.jobs.readers import ABSENT, READERS, Context, Reader, entries, is_null, join, read_text
from formicary.engine.jobs.yaml_nodes import Node, scalar_value

Json = object
PULL_POLICIES: Mapping[str, str] = {
    "always": "always",
    "never": "never",
    "ifnotpresent": "if_not_present",
    "missing": "if_not_present",
}
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
OPERATORS = ("Exists", "Equal")
EXPRESSION_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
VOLUME_TYPES = ("bind", "volume", "empty_dir", "host_path", "pvc", "config_map", "secret", "projected", "tmpfs")
_VOLUME_NAMES: Mapping[str, str] = {"persistent_volume_claim": "pvc", "hostpath": "host_path", "emptydir": "empty_dir"}
_RESOURCE_NAMES: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "cpu": ("cpu_{}_cores", parse_cores),
    "memory": ("memory_{}_bytes", parse_bytes),
    "ephemeral_storage": ("ephemeral_storage_{}_bytes", parse_bytes),
}
_FLAT = tuple(f"{resource}_{kind}" for resource in _RESOURCE_NAMES for kind in ("limit", "request"))
_LISTS = ("volumes_from", "devices", "command", "entrypoint", "args", "env_from", "env_value_from")
_CONTAINER, _SERVICE = tuple(CONTAINER_FIELDS), tuple(SERVICE_FIELDS)
_ALIASES: Mapping[str, str] = {
    "image_pull_policy": "pull_policy",
    "env": "environment",
    "service_account_name": "service_account",
    "volume_mounts": "volumes",
    "cpu": "cpu_limit",
    "memory": "memory_limit",
}
_FREE = ("match_labels", "matchLabels")
"""Mappings whose keys are the user's own."""


def snake(name: str) -> str:
    """A name in snake_case: ``cpuLimit`` and ``cpu-limit`` are ``cpu_limit``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def camel(name: str) -> str:
    """A name in camelCase: ``node_affinity`` is ``nodeAffinity``."""
    if "_" not in name:
        return name
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _masked(ctx: Context, node: Node) -> bool:
    return node.kind == "scalar" and ctx.is_masked(node)


def _fields(ctx: Context, node: Node, path: str, known: tuple[str, ...]) -> list[tuple[str, Node, str]]:
    """The pairs of a mapping as (name in snake_case, value, path); notes names that are not known."""
    found: list[tuple[str, Node, str]] = []
    for name, key, value in entries(ctx, node, path):
        plain = snake(name)
        plain = plain if plain in known else _ALIASES.get(plain, plain)
        if plain in known:
            found.append((plain, value, join(path, name)))
        elif not ctx.is_masked(key):
            ctx.unknown(key, join(path, name), name, known)
    return found


# --------------------------------------------------------------------------------------------------------- containers
def read_container(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads ``container`` or ``helper``: a mapping, or the image alone."""
    if is_null(node) or _masked(ctx, node):
        return ABSENT
    if node.kind == "scalar":
        return {"image": ctx.text(node)}
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping with an image")
    return _container(ctx, node, path, _CONTAINER)


def read_services(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads ``services``: containers with a name beside the main one."""
    if is_null(node) or _masked(ctx, node):
        return ABSENT
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of mappings")
    found: list[Mapping[str, Json]] = []
    names: set[str] = set()
    for i, item in enumerate(node.items):
        here = f"{path}[{i}]"
        if item.kind == "scalar" and not is_null(item):
            value: dict[str, Json] = {"image": ctx.text(item)}
        elif item.kind == "map":
            value = _container(ctx, item, here, _SERVICE)
        else:
            ctx.wrong_type(item, here, "a mapping with name and image")
            continue
        if not value.get("image"):
            ctx.add(item, f"{here}.image", "MISSING_FIELD", f"{here} needs an image: add 'image: NAME'.")
        name = str(value.setdefault("name", value.get("alias") or _name_of(str(value.get("image", "")))))
        if name in names:
            ctx.add(item, f"{here}.name", "DUPLICATE_KEY", f"Two services are called {name[:60]!r}; rename one.")
        names.add(name)
        found.append(value)
    return tuple(found)


def _name_of(image: str) -> str:
    return re.sub(r"[^a-z0-9-]", "-", image.rpartition("/")[2].partition("@")[0].partition(":")[0].lower()) or "service"


def _container(ctx: Context, node: Node, path: str, known: tuple[str, ...]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value, here in _fields(ctx, node, path, known):
        if is_null(value):
            continue
        if name in _FLAT:
            resource, _, kind = name.rpartition("_")
            _quantity(ctx, value, here, resource, kind, found)
        elif name == "resources":
            _resources(ctx, value, here, found)
        elif name in ("limits", "requests"):
            if value.kind == "map":
                _limits(ctx, value, here, name.removesuffix("s"), found)
            elif not _masked(ctx, value):
                ctx.wrong_type(value, here, "a mapping of cpu and memory")
        elif name == "privileged":
            if isinstance(is_privileged := _read_bool(ctx, value, here, _TEXT), bool):
                found[name] = is_privileged
        elif name == "volumes":
            found[name] = _volumes(ctx, value, here)
        elif name == "ports":
            found[name] = _ports(ctx, value, here)
        elif name in _LISTS:
            found[name] = _list(ctx, value, here)
        elif name == "environment":
            found[name] = _environment(ctx, value, here)
        elif name == "pull_policy":
            _policy(ctx, value, here, found)
        elif name == "instances":
            _count(ctx, value, here, found)
        elif name == "registry":
            found[name] = plain_json(ctx, value)
        elif isinstance(text := read_text(ctx, value, here, _TEXT), str):
            found[name] = text
    for resource, (target, _) in _RESOURCE_NAMES.items():
        limit, request = found.get(target.format("limit")), found.get(target.format("request"))
        if isinstance(limit, int | float) and isinstance(request, int | float) and request > limit:
            message = f"{path} asks for more {resource} than its limit; lower the request or raise the limit."
            ctx.add(node, path, "OUT_OF_RANGE", message)
    return found


def _quantity(ctx: Context, node: Node, path: str, resource: str, kind: str, found: dict[str, Json]) -> None:
    if _masked(ctx, node):
        return
    if node.kind != "scalar":
        ctx.wrong_type(node, path, "a quantity like 500m or 64Mi")
        return
    target, parse = _RESOURCE_NAMES[resource]
    try:
        found.setdefault(target.format(kind), parse(scalar_value(node)))
    except ValueError as error:
        example = "500m or 2" if resource == "cpu" else "64Mi or 1.5Gi"
        ctx.add(node, path, "BAD_QUANTITY", f"{node.text[:60]!r} is no quantity: {error}; write it like {example}.")


def _resources(ctx: Context, node: Node, path: str, found: dict[str, Json]) -> None:
    """``{limits: {cpu, memory, …}, requests: {…}}``, or the flat names."""
    if node.kind != "map":
        ctx.wrong_type(node, path, "a mapping of limits and requests")
        return
    for name, value, here in _fields(ctx, node, path, ("limits", "requests", *_FLAT)):
        if name in _FLAT:
            resource, _, kind = name.rpartition("_")
            _quantity(ctx, value, here, resource, kind, found)
        elif value.kind != "map":
            if not is_null(value):
                ctx.wrong_type(value, here, "a mapping of cpu and memory")
        else:
            _limits(ctx, value, here, name.removesuffix("s"), found)


def _limits(ctx: Context, node: Node, path: str, kind: str, found: dict[str, Json]) -> None:
    for name, _, value in entries(ctx, node, path):
        if snake(name) in _RESOURCE_NAMES:
            _quantity(ctx, value, join(path, name), snake(name), kind, found)
        elif "/" in name:  # a device of a plugin, like nvidia.com/gpu
            devices = found.setdefault(f"device_{kind}s", {})
            assert isinstance(devices, dict), "it has been made here"
            devices[name] = plain_json(ctx, value)
        else:
            ctx.unknown(value, join(path, name), name, ("cpu", "memory", "ephemeral-storage"))


def _list(ctx: Context, node: Node, path: str) -> list[Json]:
    """A list; a single value is a list of one."""
    return [plain_json(ctx, item) for item in (node.items if node.kind == "seq" else [node]) if not is_null(item)]


def _environment(ctx: Context, node: Node, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if node.kind == "map":
        for name, _, value in entries(ctx, node, path):
            if value.kind != "scalar":
                ctx.wrong_type(value, join(path, name), "text")
            else:
                found[name] = "" if is_null(value) else ctx.text(value)
        return found
    for i, item in enumerate(node.items if node.kind == "seq" else [node]):
        given = plain_json(ctx, item)
        name, equals, text = str(given).partition("=") if item.kind == "scalar" else ("", "", "")
        if isinstance(given, dict) and "name" in given:
            found[str(given["name"])] = str(given.get("value", ""))
        elif name and equals:
            found[name] = text
        else:
            ctx.wrong_type(item, f"{path}[{i}]", "NAME=VALUE or a mapping with name and value")
    return found


def _policy(ctx: Context, node: Node, path: str, found: dict[str, Json]) -> None:
    if _masked(ctx, node):
        return
    policy = PULL_POLICIES.get(re.sub(r"[^a-z]", "", node.text.lower()))
    if policy is None:
        ctx.add(node, path, "BAD_VALUE", f"Write Always, IfNotPresent or Never for {path}.")
    else:
        found["pull_policy"] = policy


def _count(ctx: Context, node: Node, path: str, found: dict[str, Json]) -> None:
    value = scalar_value(node) if node.kind == "scalar" else None
    if _masked(ctx, node):
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        ctx.add(node, path, "OUT_OF_RANGE", f"Write a number from 1 to 100 for {path}.")
    else:
        found["instances"] = value


def _ports(ctx: Context, node: Node, path: str) -> list[Json]:
    """``[6379, "53/udp", {number: 80, name: web, protocol: tcp}]`` as mappings."""
    found: list[Json] = []
    for i, item in enumerate(node.items if node.kind == "seq" else [node]):
        here = f"{path}[{i}]"
        value = plain_json(ctx, item)
        if _masked(ctx, item):
            continue
        if item.kind == "map" and any(_masked(ctx, part) for _, part in item.entries()):
            continue  # it is read again when it has been rendered
        given = dict(value) if isinstance(value, dict) else {"number": value}
        number = given.get("number", given.get("container_port", given.get("port")))
        text, _, protocol = str(number).partition("/")
        protocol = str(protocol or given.get("protocol") or "tcp").lower()
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536) or protocol not in ("tcp", "udp", "sctp"):
            ctx.add(item, here, "BAD_VALUE", f"Write a port like 6379 or {{number: 53, protocol: udp}} for {here}.")
            continue
        port = {"number": int(text), "protocol": protocol}
        found.append({**port, "name": str(given["name"])} if given.get("name") else port)
    return found


# ------------------------------------------------------------------------------------------------------------ volumes
def _volumes(ctx: Context, node: Node, path: str) -> list[Json]:
    """Every form as a list of ``{type, name | source, mount_path, read_only, …}``."""
    if node.kind == "seq":
        return [v for i, item in enumerate(node.items) if (v := _volume(ctx, item, f"{path}[{i}]", "")) is not None]
    if node.kind != "map":
        return [v] if (v := _volume(ctx, node, path, "")) is not None else []
    found: list[Json] = []
    for name, key, value in entries(ctx, node, path):
        here, kind = join(path, name), _volume_type(name)
        if kind is not None and value.kind in ("seq", "map"):
            for i, item in enumerate(value.items if value.kind == "seq" else [value]):
                volume = _volume(ctx, item, f"{here}[{i}]", kind)
                found += [volume] if volume is not None else []
        elif value.kind == "scalar" and not is_null(value) and not _masked(ctx, value) and not ctx.is_masked(key):
            volume = _from_text(ctx, value, here, f"{name}:{ctx.text(value)}")
            found += [volume] if volume is not None else []
        elif value.kind == "map" and name.startswith("/") and not value.entries():
            found.append({"type": "volume", "mount_path": name, "read_only": False})  # Docker's {"/path": {}}
        elif not is_null(value) and not _masked(ctx, value):
            ctx.wrong_type(value, here, "a path in the container")
    return found


def _volume_type(name: str) -> str | None:
    plain = snake(name)
    plain = _VOLUME_NAMES.get(plain, plain)
    return plain if plain in VOLUME_TYPES else None


def _volume(ctx: Context, node: Node, path: str, kind: str) -> dict[str, Json] | None:
    if _masked(ctx, node) or is_null(node):
        return None
    if node.kind == "scalar":
        return _from_text(ctx, node, path, ctx.text(node))
    if node.kind != "map":
        ctx.wrong_type(node, path, "SOURCE:PATH or a mapping with mount_path")
        return None
    value = plain_json(ctx, node)
    assert isinstance(value, dict), "a mapping is one"
    found = {snake(str(key)): item for key, item in value.items()}
    for alias, name in (
        ("target", "mount_path"),
        ("path", "host_path"),
        ("source", "host_path"),
        ("readonly", "read_only"),
    ):
        if alias in found and name not in found:
            found[name] = found.pop(alias)
    given = kind or next((k for k in VOLUME_TYPES if isinstance(found.get(k), dict)), "")
    inner = found.pop(given, None) if isinstance(found.get(given), dict) else None
    found = {**({snake(str(k)): v for k, v in inner.items()} if isinstance(inner, dict) else {}), **found}
    stated = _volume_type(str(found.pop("type", ""))) or ("bind" if found.get("host_path") else "volume")
    found["type"] = "bind" if (given or stated) == "host_path" else given or stated
    if not str(found.get("mount_path", "")).startswith("/"):
        message = f"{path} says not where it is in the container: add 'mount_path: /PATH'."
        ctx.add(node, f"{path}.mount_path", "MISSING_FIELD", message)
        return None
    found["read_only"] = found.get("read_only") is True
    return found


def _from_text(ctx: Context, node: Node, path: str, text: str) -> dict[str, Json] | None:
    """``/host:/path``, ``name:/path:ro`` or ``/path``."""
    parts = text.split(":")
    mode = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rw"
    source, target = (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])
    options = mode.split(",")
    if (
        len(parts) > 2
        or not target.startswith("/")
        or not set(options) <= {"ro", "rw", "z", "Z", "delegated", "cached"}
    ):
        ctx.add(node, path, "BAD_VALUE", f"Write SOURCE:/PATH or SOURCE:/PATH:ro for {path}, not {text[:60]!r}.")
        return None
    found: dict[str, Json] = {"type": "volume", "mount_path": target, "read_only": "ro" in options}
    if source.startswith(("/", ".", "~")):
        found |= {"type": "bind", "host_path": source}
    elif source:
        found["name"] = source
    return found


# ---------------------------------------------------------------------------------------------------------- placement
def read_tolerations(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads tolerations: a list as Kubernetes has it, or a mapping ``key=value: effect``."""
    if is_null(node) or _masked(ctx, node):
        return ABSENT
    found: list[Mapping[str, Json]] = []
    if node.kind == "map":
        for name, _, value in entries(ctx, node, path):
            label, equals, wanted = name.partition("=")
            effect = "" if is_null(value) else ctx.text(value) if value.kind == "scalar" else "?"
            one: dict[str, Json] = {"key": label, "operator": "Equal" if equals else "Exists"}
            one |= {"value": wanted} if equals else {}
            found.append({**one, **_effect(ctx, value, join(path, name), effect)})
        return tuple(found)
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of mappings, or a mapping of key=value to an effect")
    for i, item in enumerate(node.items):
        if item.kind != "map":
            ctx.wrong_type(item, f"{path}[{i}]", "a mapping with key, operator and effect")
        else:
            found.append(_toleration(ctx, item, f"{path}[{i}]"))
    return tuple(found)


def _toleration(ctx: Context, node: Node, path: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value, here in _fields(ctx, node, path, ("key", "operator", "value", "effect", "toleration_seconds")):
        if is_null(value) or (_masked(ctx, value) and name not in ("key", "value")):
            continue
        if name == "toleration_seconds":
            seconds = scalar_value(value) if value.kind == "scalar" else None
            if isinstance(seconds, bool) or not isinstance(seconds, int):
                ctx.wrong_type(value, here, "a whole number of seconds")
            else:
                found[name] = seconds
        elif isinstance(text := read_text(ctx, value, here, _TEXT), str):
            found |= _effect(ctx, value, here, text) if name == "effect" else {name: text}
            if name == "operator" and text not in OPERATORS:
                ctx.add(value, here, "BAD_VALUE", f"Write {' or '.join(OPERATORS)} for {here}.")
    found.setdefault("operator", "Equal" if "value" in found else "Exists")
    if found["operator"] == "Exists" and found.get("value"):
        ctx.add(node, path, "BAD_VALUE", f"{path} has a value, but its operator Exists takes none; write Equal.")
    return found


def _effect(ctx: Context, node: Node, path: str, text: str) -> dict[str, Json]:
    """The effect; empty or absent means every one."""
    if not text or ctx.is_masked(node):
        return {}
    known = {effect.lower(): effect for effect in EFFECTS}.get(text.replace("_", "").replace("-", "").lower())
    if known is None:
        ctx.add(node, path, "BAD_VALUE", f"Write one of {', '.join(EFFECTS)} for {path}, not {text[:60]!r}.")
        return {}
    return {"effect": known}


def plain_json(ctx: Context, node: Node, name: Callable[[str], str] = snake) -> Json:
    """A node as JSON values, with the names of mappings in one form."""
    if node.kind == "scalar":
        return ctx.json(node)
    if node.kind == "seq":
        return [plain_json(ctx, item, name) for item in node.items]
    found: dict[str, Json] = {}
    for key, value in node.entries():
        text = ctx.text(key)
        found[name(text)] = ctx.json(value) if text in _FREE else plain_json(ctx, value, name)
    return found


_read_bool = READERS["bool"]
_TEXT = Field("text", "text", "", most=4000)
CONTAINER_READERS: Mapping[str, Reader] = {
    "container": read_container,
    "services": read_services,
    "tolerations": read_tolerations,
}
"""Readers by kind, beside those of :mod:`formicary.engine.jobs.readers`."""
