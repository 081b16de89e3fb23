"""From what a mapping says to what runs: checks it, then lays out carriers for each way and each set of routes."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial

from formicary.headers import names, rate_limits
from formicary.headers.carrying import Carrier, Rules
from formicary.headers.checking import check
from formicary.headers.defaults import MAKERS
from formicary.headers.mapping import HeaderMapping, Paths, Plan, Way
from formicary.headers.model import Direction, Generated, MappingConfig, PathPattern, Rule, Step
from formicary.headers.presets import PRESETS
from formicary.headers.quick import Quick
from formicary.headers.shapes import Budget
from formicary.headers.statistics import KIND_COUNT, Statistics
from formicary.headers.transforms import Transform, each_of, gives_back, growth_of, inverse, of_step, pipeline
from formicary.problems import FieldError, Problem, problem

_Slots = dict[tuple[str, str, str], int]


def compile_mapping(config: MappingConfig, hints: Sequence[str] = ()) -> HeaderMapping:
    """Checks a mapping and compiles it.

    Args:
        config: What it says.
        hints: What its reader found worth telling the author.

    Raises:
        Problem: VALIDATION_FAILED with every mistake.
    """
    errors = check(config)
    if errors:
        raise refuse(errors)
    general = _general_rules(config)
    everything = [*general, *(rule for route in config.routes for rule in route.mappings)]
    slots: _Slots = {}
    for rule in everything:
        for way in ("incoming", "outgoing"):
            if getattr(rule.direction, way):
                slots.setdefault((rule.header, rule.key, way), len(slots) * KIND_COUNT)

    def route_plan(matching: tuple[int, ...]) -> Plan:
        rules = general
        for n in matching:
            rules = _merged(rules, config.routes[n].mappings)
        return _plan(rules, config, slots, quick)

    limits = config.limits
    bounds = Rules(config.non_ascii == "percent", limits.max_values, limits.max_value_bytes, limits.max_total_bytes)
    counters = Statistics(list(slots))
    quick = partial(
        Quick,
        rules=bounds,
        statistics=counters,
        budget=Budget(),
        prefixed=config.grpc_gateway,
        rate_limit=config.rate_limit,
    )
    return HeaderMapping(
        config,
        (*hints, *_hints(config)),
        counters,
        tuple(_lossy(everything)),
        bounds,
        _paths(config.skip_paths),
        _plan(general, config, slots, quick),
        tuple(_paths(route.paths) for route in config.routes),
        route_plan,
        tuple(ipaddress.ip_network(peer) for peer in config.trusted_peers if peer != "unix"),
        "unix" in config.trusted_peers,
        bool(config.skip_paths or config.routes),
        logging.INFO if config.debug else logging.DEBUG,
    )


def refuse(errors: Sequence[FieldError]) -> Problem:
    """Returns the problem of a mapping with these mistakes."""
    lines = [f"{error.field}: {error.message}" for error in errors]
    detail = f"The mapping has {len(errors)} mistake{'s' if len(errors) > 1 else ''}: {' '.join(lines)}"
    return problem("VALIDATION_FAILED", detail, errors=errors)


def _general_rules(config: MappingConfig) -> list[Rule]:
    rules: list[Rule] = []
    for name in config.presets:
        rules = _merged(rules, PRESETS[name])
    if config.grpc_gateway:
        permanent = [
            Rule(header=name, metadata=names.PERMANENT_PREFIX + name, direction=Direction.INCOMING)
            for name in names.PERMANENT
        ]
        rules = _merged(rules, permanent)
    rules = _merged(rules, config.mappings)
    allowed = [Rule(header=name, direction=Direction.INCOMING, overwrite=False) for name in config.allow]
    allowed += [Rule(header=name, direction=Direction.OUTGOING, overwrite=False) for name in config.allow_response]
    taken = {(rule.header.lower(), rule.key) for rule in rules}
    return rules + [rule for rule in allowed if (rule.header.lower(), rule.key) not in taken]


def _merged(first: Sequence[Rule], second: Sequence[Rule]) -> list[Rule]:
    """The rules of both; one of the second takes the place of one of the first with its header and key."""
    replaced = {(rule.header.lower(), rule.key) for rule in second}
    return [rule for rule in first if (rule.header.lower(), rule.key) not in replaced] + list(second)


def _plan(rules: Sequence[Rule], config: MappingConfig, slots: _Slots, quick: Callable[..., Quick]) -> Plan:
    incoming = [rule for rule in rules if rule.direction.incoming]
    outgoing = [rule for rule in rules if rule.direction.outgoing]
    response = Way.of(_carrier(rule, "response", config, slots) for rule in outgoing)
    if config.rate_limit:
        response = Way(response.carriers, response.sources | set(rate_limits.KEYS))
    request = Way.of(_carrier(rule, "request", config, slots) for rule in incoming)
    overwrites = frozenset(carrier.target.lower() for carrier in response.carriers if carrier.overwrite)
    strips = frozenset(c.source for c in request.carriers if c.trusted_only) | names.IDENTITIES
    return Plan(
        request,
        response,
        Way.of(_carrier(rule, "outbound", config, slots) for rule in incoming),
        Way.of(_carrier(rule, "received", config, slots) for rule in outgoing),
        overwrites,
        strips,
        None if config.grpc_gateway else frozenset(name.encode() for name in request.sources),
        quick(request=request.carriers, response=response.carriers, strips=strips, overwrites=overwrites),
    )


def _steps(rule: Rule, way: str) -> tuple[Transform, ...]:
    """The transforms of one way; a client undoes what the server's end does."""
    incoming, outgoing = transforms_of(rule.incoming), transforms_of(rule.outgoing)
    if way == "request":
        return incoming
    if way == "response":
        return outgoing
    if way == "outbound":
        return outgoing or inverse(incoming)
    return incoming or inverse(outgoing)


def transforms_of(steps: Sequence[Step]) -> tuple[Transform, ...]:
    """Makes transforms of the functions and names among the steps."""
    return tuple(of_step(step) for step in steps)


def _carrier(rule: Rule, way: str, config: MappingConfig, slots: _Slots) -> Carrier:
    to_metadata = way in ("request", "received")
    incoming = way in ("request", "outbound")
    steps = _steps(rule, way)
    header, key = rule.header, rule.key
    at_server = way in ("request", "response")
    default = rule.default if at_server and not (way == "response" and _request_constant(rule)) else None
    trusted_only = rule.trusted_only
    if trusted_only is None:
        trusted_only = names.is_identity(header) or names.is_identity(key)
    sensitive = rule.sensitive
    if sensitive is None:
        sensitive = names.is_secret(header) or names.is_secret(key)
    return Carrier(
        source=header.lower() if to_metadata else key,
        target=key if to_metadata else (header if way == "response" else header.lower()),
        header=header,
        slot=slots[(header, key, "incoming" if incoming else "outgoing")],
        run=pipeline(steps),
        each=each_of(steps),
        growth=growth_of(steps),
        plain=len(steps) == 1 and steps[0].plain,
        simple=not key.endswith("-bin") and (not steps or each_of(steps) is not None),
        to_metadata=to_metadata,
        binary=key.endswith("-bin"),
        required=rule.required and incoming,
        constant=default if isinstance(default, str) else None,
        maker=MAKERS[default.kind] if isinstance(default, Generated) else None,
        overwrite=config.overwrite if rule.overwrite is None else rule.overwrite,
        sensitive=sensitive,
        trusted_only=trusted_only and way == "request",
        key=key,
    )


def _request_constant(rule: Rule) -> bool:
    """Whether the default is a constant for requests: it is not sent back, since the caller did not ask for it."""
    return rule.direction is Direction.BIDIRECTIONAL and isinstance(rule.default, str)


def _paths(paths: Sequence[PathPattern | str]) -> Paths:
    patterns = [path if isinstance(path, PathPattern) else PathPattern.of(path) for path in paths]
    rest = [pattern.expression() for pattern in patterns if pattern.kind != "exact"]
    exact = frozenset(pattern.text for pattern in patterns if pattern.kind == "exact")
    return Paths(exact, re.compile("|".join(f"(?:{text})" for text in rest), re.DOTALL) if rest else None)


def _lossy(rules: Sequence[Rule]) -> list[str]:
    found = []
    headers: set[str] = set()
    for rule in rules:
        # Two keys that come from one header cannot both go out in it.
        shared = rule.direction.incoming and rule.header.lower() in headers
        headers.add(rule.header.lower())
        out, back = ("outbound", "request") if rule.direction.incoming else ("response", "received")
        if shared or not gives_back(_steps(rule, out), _steps(rule, back)):
            found.append(f"{rule.header} {rule.key}")
    return found


def _hints(config: MappingConfig) -> list[str]:
    found = []
    for n, rule in enumerate(config.mappings):
        if rule.required and rule.default is not None:
            found.append(
                f"mappings[{n}]: {rule.header} has a default, so it is never missing; `required` does nothing."
            )
        if rule.trusted_only is False and (names.is_identity(rule.header) or names.is_identity(rule.key)):
            found.append(
                f"mappings[{n}]: {rule.header} says who is calling, and trusted_only: false lets anybody say so."
            )
    return found
