"""The quick way: bounded, exact, and without a second run of anybody's transform."""

import asyncio
import itertools
import logging
from typing import Any

import pytest

from formicary.headers import Generated, HeaderMapping, MappingBuilder, Rejected
from formicary.headers.asgi import KEY, HeaderMiddleware
from formicary.headers.shapes import MOST_BUILT, MOST_SEEN, MOST_SHAPES, REST_CALLS, Budget, Shapes
from formicary.problems import Problem


@pytest.mark.parametrize("value", ["bad", "empty", "good"])
def test_a_transform_runs_once_a_call(value: str) -> None:
    """Whether a transform takes, empties or refuses a value, it sees it once, however often the shape was seen."""
    calls: list[str] = []

    def look(text: str) -> str:
        calls.append(text)
        if text == "bad":
            raise Rejected("is bad")
        return "" if text == "empty" else text

    def also(text: str) -> str:
        calls.append(text)
        return text

    mapping = MappingBuilder().incoming("X-Z").with_transform(also).incoming("X-A").with_transform(look).build()
    back = MappingBuilder().outgoing("z", "X-Z").with_transform(also).outgoing("a", "X-A").with_transform(look).build()
    for _ in range(6):
        calls.clear()
        try:
            mapping.request("/", [("x-a", value), ("x-z", "z")])
        except Problem:
            assert value == "bad"
        assert calls == ["z", value]
        calls.clear()
        back.response("/", [("a", value), ("z", "z")])
        assert calls == ["z", value]
        calls.clear()
        back.reply("/", [], [("a", value), ("z", "z")], [], ())
        assert calls in ([], ["z", value])


def test_names_made_up_by_callers_fill_no_memory() -> None:
    """However many names come, however often, no more shapes are kept than allowed, over all routes."""
    mapping = MappingBuilder().incoming("X-A").build()
    quick = mapping._plan.quick
    for n in range(2 * MOST_SHAPES):
        for _ in range(3):
            mapping.request("/", [("x-a", "1"), (f"x-{n}", "2")])
            mapping.arrive("/", [(b"x-a", b"1"), (f"x-{n}".encode(), b"2")], False)
    for n in range(MOST_SEEN + 5):
        mapping.request("/", [(f"y-{n}", "2")])
    caches: list[Any] = [value for value in vars(quick).values() if isinstance(value, Shapes)]
    assert 0 < sum(len(cache._known) for cache in caches) <= MOST_SHAPES
    assert all(len(cache._seen) <= MOST_SEEN for cache in caches)
    assert len(mapping.statistics._tallies) <= MOST_SHAPES
    counts = {rule.header: rule.counts["mapped"] for rule in mapping.statistics.read()}
    assert counts == {"X-A": 12 * MOST_SHAPES}


def test_the_oldest_shape_makes_room() -> None:
    """When the budget is used up, a new shape takes the place of the oldest of its cache, and that is told."""
    gone: list[int] = []
    shapes: Shapes[tuple[str, ...], int] = Shapes(lambda key: int(key[0]), gone.append, Budget(2))
    for n in (1, 2, 3):
        assert [shapes.find((str(n),)) for _ in range(3)] == [None, None, n]
    assert gone == [1] and shapes.find(("3",)) == 3 and shapes.find(("1",)) is None


def test_nothing_is_learned_for_a_while_when_names_never_come_again() -> None:
    """Callers who make names up cost the mapping few shapes; those it knows stay quick, and later it learns again."""
    made: list[tuple[str, ...]] = []

    def make(key: tuple[str, ...]) -> int:
        made.append(key)
        return 1

    shapes: Shapes[tuple[str, ...], int] = Shapes(make, lambda old: None, Budget())
    for n in range(MOST_BUILT + REST_CALLS // 3):
        for _ in range(3):
            shapes.find((str(n),))
    assert MOST_BUILT <= len(made) <= MOST_BUILT + 1
    assert shapes.find(("0",)) == 1
    for _ in range(REST_CALLS):
        shapes.find(("new",))
    assert [shapes.find(("later",)) for _ in range(3)] == [None, None, 1]
    once: Shapes[tuple[str, ...], int] = Shapes(len, lambda old: None, Budget())
    for n in range(MOST_SEEN + 2):
        once.find((str(n),))
    assert once.resting and len(once._seen) <= 2


def test_debug_logs_do_not_depend_on_the_way(caplog: pytest.LogCaptureFixture) -> None:
    """With debug on, every call is logged with secrets masked, also while nothing is learned."""
    mapping = MappingBuilder().incoming("Authorization").incoming("X-A", "a").debug().build()
    mapping._plan.quick.strange.resting = mapping._plan.quick.strange_wire.resting = 100
    for _ in range(5):
        caplog.clear()
        with caplog.at_level(logging.INFO, "formicary.headers"):
            mapping.arrive("/", [(b"authorization", b"Bearer s3cr3t"), (b"x-a", b"visible")], False)
        assert "visible" in caplog.text and "s3cr3t" not in caplog.text


def test_huge_names_are_not_kept() -> None:
    """A shape with very many or very long names goes the slow way for ever."""
    kept: Shapes[tuple[str, ...], int] = Shapes(len, lambda old: None, Budget())
    for key in (("a",) * 65, ("x" * 5_000,)):
        assert [kept.find(key) for _ in range(5)] == [None] * 5
    assert [kept.find(("a",)) for _ in range(4)] == [None, None, 1, 1]


def test_a_tally_that_was_forgotten_still_counts() -> None:
    """A call that ends after its shape was forgotten is counted all the same."""
    statistics = MappingBuilder().incoming("X-A").build().statistics
    tally = statistics.tally([0])
    tally.hit()
    statistics.retire(tally)
    tally.hit()
    assert not tally.kept
    statistics.late(tally)
    assert [rule.counts["mapped"] for rule in statistics.read()] == [2]
    assert [rule.counts["mapped"] for rule in statistics.read()] == [2]


def _mapping() -> HeaderMapping:
    return (
        MappingBuilder()
        .incoming("X-A", "a")
        .incoming("X-User-ID", "user-id")
        .outgoing("time", "X-Time")
        .with_transform(("add_suffix", "ms"))
        .outgoing("frame", "X-Frame-Options")
        .with_default("DENY")
        .outgoing("cache", "Cache-Control")
        .with_overwrite()
        .build()
    )


def _send(served: HeaderMiddleware, headers: list[tuple[bytes, bytes]]) -> tuple[list[Any], list[Any]]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "path": "/", "headers": headers}
    asyncio.run(served(scope, receive, send))
    return messages[0]["headers"], messages


def test_a_middleware_answers_the_first_call_and_the_hundredth_alike() -> None:
    """Headers that the application set, metadata in them, overwriting and stripping do not depend on the way."""
    own: list[tuple[bytes, bytes]] = []
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["headers"], scope[KEY].metadata))
        scope[KEY].headers += [("time", "1"), ("inner", "x"), ("cache", "no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    served = HeaderMiddleware(app, _mapping())
    strange = [(b"x-user-id", b"root"), (b"grpc-metadata-z", b"1")]
    for extra in ([], [(b"x-frame-options", b"SAMEORIGIN")], [(b"Cache-Control", b"a")], [(b"Grpc-Metadata-Q", b"1")]):
        own[:] = [(b"content-type", b"text/plain"), *extra]
        answers = [_send(served, [(b"x-a", b"1"), (b"accept", b"*/*"), *strange])[0] for _ in range(6)]
        assert all(answer == answers[0] for answer in answers)
        assert (b"x-time", b"1ms") in answers[0] and answers[0].count((b"cache-control", b"no-store")) == 1
        assert [n for n, _ in answers[0]].count(b"x-frame-options") == 1
    assert all(call == ([(b"x-a", b"1"), (b"accept", b"*/*")], [("a", "1")]) for call in seen)


def test_generated_defaults_are_new_for_each_call_and_come_back() -> None:
    """A shape that is known does not make an id once for all; the response repeats the id of its request."""
    mapping = MappingBuilder().bidirectional("X-Request-ID", "request-id").with_default(Generated("uuid")).build()
    ids = set()
    for _ in range(8):
        metadata = mapping.request("/", [("accept", "*/*")])
        assert mapping.response("/", [("other", "1")], (), metadata) == [("X-Request-ID", metadata[0][1])]
        ids.add(metadata[0][1])
    assert len(ids) == 8


def test_responses_beyond_the_bound_are_dropped_on_the_quick_way_too() -> None:
    """Values that a transform makes too long are refused, and headers beyond the whole bound are dropped."""
    double = MappingBuilder().outgoing("a", "X-A").with_transform(lambda text: text * 100).build()
    for size, count in itertools.product((50, 100), range(5)):
        assert len(double.response("/", [("a", "x" * size)])) == (size == 50), count
