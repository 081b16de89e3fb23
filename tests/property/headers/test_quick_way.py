"""The quick way is the slow way: calls of known shapes give what calls that are looked at rule by rule give."""

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.headers import Direction, HeaderMapping, MappingConfig, Rule, compile_mapping, transform
from formicary.headers.carrying import Carrier, Value
from formicary.problems import Problem

STEPS = [
    transform("add_prefix", "p-"),
    transform("add_prefix", " p"),
    transform("remove_prefix", "Bearer "),
    transform("add_suffix", "m "),
    transform("base64_encode"),
    transform("base64_decode"),
    transform("lower"),
    transform("truncate", 3),
    transform("bearer"),
    transform("traceparent"),
    transform("require_match", "[a-z]+"),
    transform("split", ","),
    transform("sanitize_user_agent"),
]
NAMES = ["x-a", "x-b", "x-c", "x-d", "traceparent", "x-user-id", "x-blob", "x-other", "X-A"]
TEXT = st.one_of(
    st.sampled_from(["a", "Bearer x", "Bearer ", " a ", "", "`", "a`b", "é", "a\tb", "a\nb", "QUJD", "x" * 40, "a,b"]),
    st.text(st.characters(max_codepoint=0xFF), max_size=8),
)


@st.composite
def mappings(draw: st.DrawFn) -> MappingConfig:
    rules = []
    for n, header in enumerate(draw(st.lists(st.sampled_from(["X-A", "X-A", "X-B", "X-C", "X-User-ID"]), max_size=6))):
        direction = draw(st.sampled_from(list(Direction)))
        chains = st.lists(st.sampled_from(STEPS), max_size=2).map(tuple)
        rules.append(
            Rule(
                header=header,
                metadata=draw(st.sampled_from([f"k{n}", "x-shared"])) if header != "X-A" else f"k{n}",
                direction=direction,
                incoming=draw(chains) if direction.incoming else (),
                outgoing=draw(chains) if direction.outgoing else (),
                required=direction.incoming and draw(st.booleans()) and draw(st.booleans()),
                default=draw(st.sampled_from([None, "d"])),
                overwrite=draw(st.sampled_from([None, True])),
            )
        )
    unique = {(rule.header, rule.key): rule for rule in rules}
    binary = (Rule(header="X-Blob", metadata="blob-bin"),) if draw(st.booleans()) else ()
    return MappingConfig(mappings=(*unique.values(), *binary))


def ignore(carrier: Carrier, kind: int, values: list[Value], reason: str) -> None:
    """Whoever listens makes every call go the slow way."""


def asked(mapping: HeaderMapping, pairs: list[tuple[str, str]], trusted: bool, *, slowly: bool) -> object:
    try:
        return mapping.request("/", pairs, trusted, note=ignore if slowly else None)
    except Problem as refusal:
        return refusal.code, [(error.field, error.code, error.message) for error in refusal.errors]


@settings(deadline=None)
@given(
    mappings(), st.lists(st.tuples(st.sampled_from(NAMES), TEXT), max_size=6), st.lists(TEXT, max_size=6), st.booleans()
)
def test_quick_calls_are_slow_calls(
    config: MappingConfig, headers: list[tuple[str, str]], more: list[str], trusted: bool
) -> None:
    """Requests, responses and counters are the same, whatever the rules and the values, text or as ASGI has them."""
    quick, slow = compile_mapping(config), compile_mapping(config)
    again = [(name, value) for (name, _), value in zip(headers, more, strict=False)] + headers[len(more) :]
    for pairs in [headers] * 3 + [again, headers]:
        expected = asked(slow, pairs, trusted, slowly=True)
        assert asked(quick, pairs, trusted, slowly=False) == expected
        wire = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        asked(slow, pairs, trusted, slowly=True)
        try:
            metadata, _ = quick.arrive("/", wire, trusted)
            assert metadata == expected
        except Problem as refusal:
            assert isinstance(expected, tuple) and expected[0] == refusal.code
        keys = ["k0", "k1", "k2", "x-shared", "blob-bin", "traceparent"]
        sent: list[tuple[str, Value]] = [(keys[n % 6], value) for n, (_, value) in enumerate(pairs)]
        back = slow.response("/", sent[:3], sent[3:], note=ignore)
        assert quick.response("/", sent[:3], sent[3:]) == back
    assert quick.statistics.read() == slow.statistics.read()
