"""Everything that can be wrong with a mapping, found at once, each with its place."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from formicary.headers import names
from formicary.headers.model import GENERATED, Direction, Generated, MappingConfig, PathPattern, Rule, Step
from formicary.headers.presets import PRESETS
from formicary.headers.transforms import TRANSFORMS, of_step
from formicary.problems import FieldError

MOST_RULES = 1_000
MOST_ROUTES = 64
MOST_STEPS = 32


def _bad(field: str, code: str, message: str) -> FieldError:
    return FieldError(field, code, message)


def check(config: MappingConfig) -> list[FieldError]:
    """Returns every mistake; empty for a good mapping."""
    found = list(_check_whole(config))
    found += _check_rules(config.mappings, "mappings")
    for n, route in enumerate(config.routes):
        found += _check_paths(route.paths, f"routes[{n}].paths")
        if not route.paths:
            found.append(_bad(f"routes[{n}].paths", "REQUIRED", "Name at least one path."))
        found += _check_rules(route.mappings, f"routes[{n}].mappings")
    found += _check_paths(config.skip_paths, "skip_paths")
    return found


def _check_whole(config: MappingConfig) -> Iterator[FieldError]:
    for n, name in enumerate(config.presets):
        if name not in PRESETS:
            yield _bad(f"presets[{n}]", "UNKNOWN_PRESET", f"There is no preset {name!r}; {_known(name, PRESETS)}")
    for n, name in enumerate(config.allow):
        fault = names.header_fault(name, incoming=True, outgoing=False) or names.metadata_fault(name.lower())
        if not fault and names.is_identity(name):
            fault = "says who is calling; map it with trusted_only instead"
        if fault:
            yield _bad(f"allow[{n}]", "NAME_REFUSED", f"{name!r} {fault}.")
    for n, name in enumerate(config.allow_response):
        fault = names.header_fault(name, incoming=False, outgoing=True) or names.metadata_fault(name.lower())
        if fault:
            yield _bad(f"allow_response[{n}]", "NAME_REFUSED", f"{name!r} {fault}.")
    if config.non_ascii not in ("reject", "percent"):
        yield _bad("non_ascii", "INVALID_VALUE", "non_ascii is `reject` or `percent`.")
    limits = config.limits
    for name, value, most in (
        ("max_values", limits.max_values, 1_000),
        ("max_value_bytes", limits.max_value_bytes, 1 << 20),
        ("max_total_bytes", limits.max_total_bytes, 1 << 20),
    ):
        if not 0 < value <= most:
            yield _bad(f"limits.{name}", "OUT_OF_RANGE", f"limits.{name} is from 1 to {most}.")
    for n, peer in enumerate(config.trusted_peers):
        if peer != "unix":
            try:
                ipaddress.ip_network(peer)
            except ValueError:
                yield _bad(
                    f"trusted_peers[{n}]", "INVALID_VALUE", f"{peer!r} is no network like 10.0.0.0/8, nor `unix`."
                )
    if len(config.routes) > MOST_ROUTES:
        yield _bad("routes", "TOO_MANY", f"There are {len(config.routes)} routes, at most {MOST_ROUTES}.")


def _known(name: str, known: Sequence[str] | object) -> str:
    choices = list(known) if isinstance(known, dict | tuple | list) else []
    near = get_close_matches(name, choices, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(choices)}."


def _check_paths(paths: Sequence[PathPattern | str], where: str) -> Iterator[FieldError]:
    for n, path in enumerate(paths):
        pattern = path if isinstance(path, PathPattern) else PathPattern.of(path)
        if pattern.kind not in ("exact", "prefix", "glob"):
            yield _bad(f"{where}[{n}]", "INVALID_VALUE", f"{pattern.kind!r} is none of exact, prefix and glob.")
        elif not pattern.text.startswith(("/", "**")) or len(pattern.text) > 1_000:
            yield _bad(
                f"{where}[{n}]", "INVALID_VALUE", f"{pattern.text[:80]!r} must begin with / and be no longer than 1000."
            )


def _check_rules(rules: Sequence[Rule], where: str) -> Iterator[FieldError]:
    if len(rules) > MOST_RULES:
        yield _bad(where, "TOO_MANY", f"There are {len(rules)} mappings, at most {MOST_RULES}.")
    seen: dict[tuple[str, str, str], int] = {}
    for n, rule in enumerate(rules):
        yield from _check_rule(rule, f"{where}[{n}]")
        for way in ("incoming", "outgoing"):
            if getattr(rule.direction, way, False):
                first = seen.setdefault((way, rule.header.lower(), rule.key), n)
                if first != n:
                    message = f"{rule.header} and {rule.key} are mapped {way} by {where}[{first}] already."
                    yield _bad(f"{where}[{n}]", "DUPLICATE", message)
                    break


def _check_rule(rule: Rule, where: str) -> Iterator[FieldError]:
    if not rule.header:
        yield _bad(f"{where}.header", "REQUIRED", "Name the header.")
        return
    direction: object = rule.direction
    if not isinstance(direction, Direction):
        message = f"A direction is one of {', '.join(Direction)}, not {direction!r}."
        yield _bad(f"{where}.direction", "INVALID_VALUE", message)
        return
    incoming, outgoing = direction.incoming, direction.outgoing
    fault = names.header_fault(rule.header, incoming=incoming, outgoing=outgoing)
    if fault:
        yield _bad(f"{where}.header", "NAME_REFUSED", f"{rule.header!r} {fault}.")
    fault = names.metadata_fault(rule.key) if rule.metadata or not fault else ""
    if fault:
        yield _bad(f"{where}.metadata", "NAME_REFUSED", f"{rule.key!r} {fault}.")
    if rule.header.lower().endswith("-bin") and not rule.key.endswith("-bin"):
        message = f"{rule.header!r} holds bytes for gRPC peers, so the metadata key must end in -bin too."
        yield _bad(f"{where}.metadata", "BINARY_MISMATCH", message)
    yield from _check_steps(rule.incoming, f"{where}.incoming", incoming, rule)
    yield from _check_steps(rule.outgoing, f"{where}.outgoing", outgoing, rule)
    yield from _check_default(rule, where)
    if rule.required and rule.direction is Direction.OUTGOING:
        message = "A response cannot be refused, so `required` needs direction incoming or bidirectional."
        yield _bad(f"{where}.required", "CONTRADICTION", message)
    if rule.trusted_only and not incoming:
        yield _bad(f"{where}.trusted_only", "CONTRADICTION", "trusted_only is about requests; this is outgoing.")


def _check_default(rule: Rule, where: str) -> Iterator[FieldError]:
    default = rule.default
    if default is None:
        return
    if rule.key.endswith("-bin"):
        yield _bad(f"{where}.default", "INVALID_VALUE", "A -bin key holds bytes and cannot have a default.")
    if isinstance(default, Generated):
        if default.kind not in GENERATED:
            message = f"There is no generated {default.kind!r}; there are {', '.join(GENERATED)}."
            yield _bad(f"{where}.default", "INVALID_VALUE", message)
    elif not default or not default.isascii() or not default.isprintable() or default != default.strip():
        message = "A default is printable ASCII without blanks around it, and not empty."
        yield _bad(f"{where}.default", "INVALID_VALUE", message)


def _check_steps(steps: Sequence[Step], where: str, used: bool, rule: Rule) -> Iterator[FieldError]:
    if steps and not used:
        message = f"This mapping is {rule.direction.value}, so these transforms would never run."
        yield _bad(where, "CONTRADICTION", message)
    for n, step in enumerate(steps):
        try:
            of_step(step)
        except ValueError as error:
            shown = step if isinstance(step, str) else step[0] if isinstance(step, tuple) and step else step
            code = "UNKNOWN_TRANSFORM" if isinstance(shown, str) and shown not in TRANSFORMS else "INVALID_VALUE"
            yield _bad(f"{where}[{n}]", code, f"{str(shown)[:80]!r}: {error}.")
    if len(steps) > MOST_STEPS:
        yield _bad(where, "TOO_MANY", f"There are {len(steps)} transforms, at most {MOST_STEPS}.")
