"""The canonical form against rfc8785 itself, on JSON texts in random spelling."""

from __future__ import annotations

import json

import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from formicary.idempotency.fingerprints import canonical_json, request_fingerprint

_NAMES = st.text(max_size=4) | st.sampled_from(["a", "b", '"', "\\", "\ufb33", "\U0001f600", "\u20ac", "\x7f", "\x00"])
_NUMBERS = (
    st.integers(-(2**54), 2**54)
    | st.integers(-20, 20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1e21, 1e-7, 5e-324, 1e23, 333333333.33333329, 2**53 - 1, 2**53, 10**16 - 1, 10**20])
)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


class Spelling:
    """Writes a value as JSON with blanks, escapes and an order of members that are drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw

    def of(self, value: object) -> str:
        """One value."""
        blank = self._draw(st.sampled_from(["", "", " ", "\t\r\n"]))
        return blank + self._bare(value) + blank

    def _bare(self, value: object) -> str:
        if isinstance(value, dict):
            members = self._draw(st.permutations(list(value.items())))
            return "{" + ",".join(f"{self._text(name)}:{self.of(each)}" for name, each in members) + "}"
        if isinstance(value, list):
            return "[" + ",".join(self.of(each) for each in value) + "]"
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return self._draw(st.sampled_from([repr(value), f"{value:e}", f"{value:.3f}", f"{value:E}"]))
        return json.dumps(value)

    def _text(self, value: str) -> str:
        return '"' + "".join(map(self._letter, value)) + '"'

    def _letter(self, letter: str) -> str:
        escaped = json.dumps(letter)[1:-1]
        if letter in '"\\' or letter < " ":
            return self._draw(st.sampled_from([escaped, f"\\u{ord(letter):04X}"]))
        code = f"\\u{ord(letter):04x}" if letter <= "\uffff" else escaped
        forms = [letter, letter, letter, code] + (["\\/"] if letter == "/" else [])
        return self._draw(st.sampled_from(forms))


def slow_twin(text: bytes) -> bytes | None:
    """What the canonical form is: read by the standard library, written by rfc8785."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member stands twice")
        return dict(pairs)

    def constant(name: str) -> object:
        raise ValueError(name)

    try:
        return rfc8785.dumps(json.loads(text.decode(), object_pairs_hook=members, parse_constant=constant))
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return None


@settings(max_examples=60, deadline=None)
@given(st.data(), _VALUES)
def test_any_spelling_has_the_form_of_rfc8785(data: st.DataObject, value: object) -> None:
    """However a value is written, its canonical form is what rfc8785 gives, or both have none."""
    text = Spelling(data).of(value).encode("utf-8", "surrogatepass")
    assert canonical_json(text) == slow_twin(text)


@settings(max_examples=60, deadline=None)
@given(st.data(), _VALUES)
def test_two_spellings_are_one_request(data: st.DataObject, value: object) -> None:
    """Their fingerprints are equal wherever the value has a canonical form."""
    write = Spelling(data)
    one, two = (write.of(value).encode("utf-8", "surrogatepass") for _ in range(2))
    asked = [
        request_fingerprint(path="/", query=b"", content_type="application/json", body=body) for body in (one, two)
    ]
    if slow_twin(one) is not None:
        assert slow_twin(two) == slow_twin(one)
        assert asked[0] == asked[1]


_PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', '"a"', '"a":1', '"\\u0061":1', "1", "01", "-", "-0", "1.0", "1e2",
     "1E400", "NaN", "Infinity", "true", "null", " ", "\n", "\\", "\\ud800", "\\ud83d\\ude00", "9007199254740992",
     "9007199254740991", "12345678901234567890", "\x00", "\ufeff", "\U0001f600", "\xe9",
     '"\\/"', '"\x7f"', "1234567890123456"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=9).map("".join))
@example('{"a":1,"a":1}')
@example('{"a":1,"\\u0061":2}')
@example('{"a":{"b":1,"b":2}}')
@example('["\\"",{"a":1,"a":"\\""}]')
@example('{"":1,"":2}')
@example("-0")
@example("[-0]")
@example("[1.0,1,100e-2]")
@example("9007199254740993")
@example('["9007199254740993"]')
@example("[" * 100_000)
@example("\ufeff{}")
@example('{"\U0001f600":1,"\ufb33":2}')
@example('{"\\ud83d\\ude00":1,"\\ufb33":2}')
@example('"\\ud800"')
@example('{"a" :1}x')
@example("")
def test_what_is_hardly_json_is_taken_or_refused_alike(text: str) -> None:
    """Pieces of JSON in any order: the same form, or none."""
    body = text.encode()
    assert canonical_json(body) == slow_twin(body)


@given(st.binary(max_size=20))
@example(b'"\xff"')
@example(b'"\xed\xa0\x80"')
@example(b'"\xc0\x80"')
def test_bytes_that_are_no_text_are_refused_alike(body: bytes) -> None:
    """Not UTF-8, or no JSON: the same form, or none."""
    assert canonical_json(body) == slow_twin(body)
