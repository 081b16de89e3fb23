"""Out and in again loses nothing that is not declared lossy."""

from hypothesis import given
from hypothesis import strategies as st

from formicary.headers import Direction, HeaderMapping, MappingConfig, Rule, Transform, compile_mapping, transform
from formicary.headers.timeouts import (
    read_grpc_timeout,
    read_request_timeout,
    write_grpc_timeout,
    write_request_timeout,
)
from formicary.problems import Problem

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30).filter(
    lambda text: text == text.strip()
)
STEPS = [
    transform("add_prefix", "p-"),
    transform("remove_prefix", "Bearer "),
    transform("add_suffix", "ms"),
    transform("remove_suffix", "!"),
    transform("base64_encode"),
    transform("base64_decode"),
    transform("lower"),
    transform("same"),
    transform("truncate", 5),
    transform("bearer"),
]


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    count = draw(st.integers(1, 5))
    chains = st.lists(st.sampled_from(STEPS), max_size=3).map(tuple)
    found = []
    for n in range(count):
        direction = draw(st.sampled_from(list(Direction)))
        incoming: tuple[Transform, ...] = draw(chains) if direction.incoming else ()
        outgoing: tuple[Transform, ...] = draw(chains) if direction.outgoing else ()
        suffix = "-bin" if draw(st.booleans()) and not (incoming or outgoing) else ""
        found.append(
            Rule(header=f"X-H{n}", metadata=f"k{n}{suffix}", direction=direction, incoming=incoming, outgoing=outgoing)
        )
    return tuple(found)


@given(rules(), st.data())
def test_out_and_in_again_loses_nothing(chosen: tuple[Rule, ...], data: st.DataObject) -> None:
    """Metadata that a client sends out arrives as it was, in order, unless its rule is declared lossy."""
    mapping = compile_mapping(MappingConfig(mappings=chosen))
    kept = [rule for rule in chosen if f"{rule.header} {rule.key}" not in mapping.lossy]
    metadata: list[tuple[str, str | bytes]] = []
    for rule in kept:
        values = st.binary(min_size=1, max_size=20) if rule.key.endswith("-bin") else TEXT
        metadata += [(rule.key, value) for value in data.draw(st.lists(values, max_size=3))]
    up = [(key, value) for key, value in metadata if _way(kept, key).incoming]
    assert mapping.request("/", mapping.outbound("/", up)) == up
    down = [(key, value) for key, value in metadata if _way(kept, key).outgoing and not _way(kept, key).incoming]
    assert mapping.received("/", mapping.response("/", down)) == down


def _way(rules: list[Rule], key: str) -> Direction:
    return next(rule.direction for rule in rules if rule.key == key)


NAMES = st.sampled_from(
    ["x-a", "X-A", "cookie", "Set-Cookie", "x-user-id", "grpc-metadata-x", ":path", "te", "x-b", "x-c-bin"]
)


@given(st.lists(st.tuples(NAMES, st.text(st.characters(max_codepoint=0xFF), max_size=20)), max_size=12), st.booleans())
def test_nothing_unmapped_or_malformed_ever_crosses(headers: list[tuple[str, str]], trusted: bool) -> None:
    """Whatever is sent, only mapped keys with printable ASCII (or bytes for -bin) arrive, or the call is refused."""
    mapping: HeaderMapping = compile_mapping(
        MappingConfig(mappings=(Rule(header="X-A"), Rule(header="X-C-bin"), Rule(header="X-User-ID")))
    )
    try:
        metadata = mapping.request("/", headers, trusted)
    except Problem as refusal:
        assert refusal.errors
        return
    for key, value in metadata:
        assert key in ("x-a", "x-c-bin") or (key == "x-user-id" and trusted)
        assert isinstance(value, bytes) == key.endswith("-bin")
        assert isinstance(value, bytes) or (value.isascii() and value.isprintable() and value == value.strip())


@given(st.floats(0, 1e7, allow_nan=False))
def test_deadlines_are_never_shortened(seconds: float) -> None:
    """A deadline that is written and read again is not earlier, and at most 0.1 % or a millisecond later."""
    for again in (read_grpc_timeout(write_grpc_timeout(seconds)), read_request_timeout(write_request_timeout(seconds))):
        assert seconds - 1e-6 <= again <= seconds + max(0.0011, seconds * 0.001)
