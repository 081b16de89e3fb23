"""The answer before is remembered: what comes out is the same as without, whatever changes from call to call."""

from __future__ import annotations

import random
from collections.abc import Sequence

from formicary.headers import (
    Direction,
    HeaderMapping,
    MappingBuilder,
    MappingConfig,
    PathPattern,
    Route,
    Rule,
    compile_mapping,
    engine_mapping,
)
from formicary.headers.carrying import Value
from formicary.problems import Problem

SENT = [("ratelimit-limit", "10"), ("ratelimit-remaining", "9")]


def plainly(
    mapping: HeaderMapping, sent: list[tuple[str, str]], request: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """The same by the other way."""
    return {name.lower(): value for name, value in mapping.response("/x", sent, (), request)}


def test_each_answer_is_that_of_its_own_call() -> None:
    """Values, ids and names of requests vary; an answer never has those of the call before."""
    mapping, rng = engine_mapping(), random.Random(1)
    for turn in range(300):
        sent = list(SENT) if rng.random() < 0.5 else [("ratelimit-limit", "10"), ("ratelimit-remaining", str(turn))]
        ids = [("request-id", f"r{turn}"), ("correlation-id", f"c{turn}")]
        request = tuple(ids if rng.random() < 0.7 else [*ids, ("http-user-agent", "u")])
        found = mapping.answer("/x", sent, request)
        assert found is None or dict(found) == plainly(mapping, sent, request), turn
        sent.clear()  # it is the caller's: what happens to it later is none of ours
    assert mapping.answer("/x", list(SENT), (*ids, ("http-user-agent", "u"))) is not None


def test_every_answer_is_counted_once() -> None:
    """Also when what is remembered has been forgotten by the cache of shapes."""
    mapping = MappingBuilder().outgoing("a", "A").outgoing("b", "B").build()
    calls = 0
    for turn in range(2000):
        sent = [("a", "1")] if turn % 2 else [("a", "1"), (f"x{turn % 700}", "2")]
        for _ in range(4):
            calls += mapping.answer("/x", sent, ()) is not None or bool(mapping.response("/x", sent))
    rule = next(one for one in mapping.statistics.read() if one.header == "A")
    assert rule.counts["mapped"] == calls == 8000


def test_each_request_is_mapped_by_itself() -> None:
    """The request before is remembered, too: values, order, trust and refusals are never those of another call."""
    mapping, rng = engine_mapping(trusted_peers=["10.0.0.0/8"]), random.Random(2)
    for turn in range(400):
        pairs = [("authorization", f"Bearer {rng.randrange(2)}"), ("user-agent", rng.choice(["a", "b<>", "\x07"]))]
        pairs += [("x-user-id", "u"), ("x-request-id", "r"), ("x-correlation-id", "c")]
        if rng.random() < 0.3:
            pairs.reverse()
        trusted = rng.random() < 0.5
        found = [outcome(mapping, given, trusted) for given in (tuple(pairs), pairs)]
        assert found[0] == found[1], turn
        assert isinstance(found[0], str) or ("user-id" in dict(found[0])) == trusted


def outcome(mapping: HeaderMapping, pairs: Sequence[tuple[str, str]], trusted: bool) -> list[tuple[str, Value]] | str:
    """The metadata, or the refusal's code."""
    try:
        return mapping.request("/x", pairs, trusted)
    except Problem as error:
        return error.code


def test_what_somebody_else_wrote_runs_each_time() -> None:
    """A transform of one's own may count, or look at a clock."""
    turns = iter(range(100))
    mapping = MappingBuilder().incoming("A", "a").with_transform(lambda value: f"{value}{next(turns)}").build()
    found = [mapping.request("/x", (("a", "v"),)) for _ in range(9)]
    assert found == [[("a", f"v{turn}")] for turn in range(9)]


def test_routes_have_answers_of_their_own() -> None:
    """The same metadata on two paths."""
    out = Direction.OUTGOING
    route = Route(paths=(PathPattern.of("/y"),), mappings=(Rule(header="Y", metadata="a", direction=out),))
    config = MappingConfig(mappings=(Rule(header="A", metadata="a", direction=out),), routes=(route,))
    mapping = compile_mapping(config)
    for _ in range(6):
        x, y = (mapping.answer(path, [("a", "1")], ()) for path in ("/x", "/y"))
    assert x == (("a", "1"),) and y is not None and ("y", "1") in y
