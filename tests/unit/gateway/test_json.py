"""JSON in and out of messages: tables by hand, and google's json_format as the slow twin."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from formicary.gateway.transcoding import json_text
from formicary.gateway.transcoding.decoder import Decoder
from formicary.gateway.transcoding.encoder import Encoder
from formicary.gateway.transcoding.violations import Violations
from tests.library import message

Everything = message("Everything")
PHASES = (Phase.explicit, Phase.generate)  # shrinking messages takes minutes


def read(document: Any, *, lenient: bool = False, camel: bool = False) -> tuple[Any, list[tuple[str, str]]]:
    found, violations = Everything(), Violations()
    Decoder(lenient=lenient, camel=camel).read(found, document, violations)
    return found, [(one.field, one.code) for one in violations.found]


GOOD: list[tuple[str, str]] = [
    # JSON, and what it is written as again
    ("{}", "{}"),
    ('{"text":"é\\u0000\\ud83d\\ude00"}', '{"text":"é\\u0000😀"}'),
    ('{"text":null,"flag":null,"inner":null,"texts":null,"labels":null}', "{}"),
    ('{"text":"","flag":false,"int32_value":0,"kind":"KIND_UNSPECIFIED"}', "{}"),
    ('{"flag":true}', '{"flag":true}'),
    ('{"blob":"AQL/"}', '{"blob":"AQL/"}'),
    ('{"blob":"AQL_"}', '{"blob":"AQL/"}'),
    ('{"blob":"AQ=="}', '{"blob":"AQ=="}'),
    ('{"blob":"AQ"}', '{"blob":"AQ=="}'),
    ('{"int32_value":2147483647}', '{"int32_value":2147483647}'),
    ('{"int32_value":"-2147483648"}', '{"int32_value":-2147483648}'),
    ('{"int32_value":1e3}', '{"int32_value":1000}'),
    ('{"int32_value":5.0}', '{"int32_value":5}'),
    ('{"int32_value":"1e3"}', '{"int32_value":1000}'),
    ('{"int64_value":"9223372036854775807"}', '{"int64_value":"9223372036854775807"}'),
    ('{"int64_value":-9223372036854775808}', '{"int64_value":"-9223372036854775808"}'),
    ('{"uint64_value":18446744073709551615}', '{"uint64_value":"18446744073709551615"}'),
    ('{"uint32_value":4294967295}', '{"uint32_value":4294967295}'),
    (
        '{"sint64_value":1,"fixed64_value":2,"sfixed64_value":3}',
        '{"sint64_value":"1","fixed64_value":"2","sfixed64_value":"3"}',
    ),
    (
        '{"sint32_value":1,"fixed32_value":2,"sfixed32_value":3}',
        '{"sint32_value":1,"fixed32_value":2,"sfixed32_value":3}',
    ),
    ('{"real":1.5}', '{"real":1.5}'),
    ('{"real":"1.5"}', '{"real":1.5}'),
    ('{"real":-0.0}', '{"real":-0.0}'),
    ('{"real":"NaN"}', '{"real":"NaN"}'),
    ('{"real":"Infinity","single":"-Infinity"}', '{"single":"-Infinity","real":"Infinity"}'),
    ('{"single":0.1}', '{"single":0.1}'),
    ('{"single":1.17549435e-38}', '{"single":1.1754944e-38}'),
    ('{"kind":"KIND_ATLAS"}', '{"kind":"KIND_ATLAS"}'),
    ('{"kind":1}', '{"kind":"KIND_NOVEL"}'),
    ('{"kind":77}', '{"kind":77}'),
    ('{"maybe_text":"","maybe_number":0}', '{"maybe_text":"","maybe_number":0}'),
    ('{"maybeText":"x"}', '{"maybe_text":"x"}'),
    ('{"renamed":"x"}', '{"named":"x"}'),
    ('{"named":"x"}', '{"named":"x"}'),
    ('{"texts":["a",""]}', '{"texts":["a",""]}'),
    ('{"numbers":[1,"2"]}', '{"numbers":["1","2"]}'),
    ('{"kinds":["KIND_NOVEL",2]}', '{"kinds":["KIND_NOVEL","KIND_ATLAS"]}'),
    ('{"blobs":["",""],"flags":[false],"singles":[0]}', '{"blobs":["",""],"singles":[0],"flags":[false]}'),
    ('{"inner":{}}', '{"inner":{}}'),
    ('{"inner":{"inner":{"text":"deep"}}}', '{"inner":{"inner":{"text":"deep"}}}'),
    ('{"inners":[{},{"flag":true}]}', '{"inners":[{},{"flag":true}]}'),
    ('{"labels":{"":"1"}}', '{"labels":{"":"1"}}'),
    ('{"counts":{"-1":"5"}}', '{"counts":{"-1":"5"}}'),
    ('{"kinds_by_flag":{"true":"KIND_NOVEL"}}', '{"kinds_by_flag":{"true":"KIND_NOVEL"}}'),
    ('{"inner_by_name":{"x":{},"y":{"text":"a"}}}', '{"inner_by_name":{"x":{},"y":{"text":"a"}}}'),
    ('{"open_by_name":{"x":null,"y":[1]}}', '{"open_by_name":{"x":null,"y":[1]}}'),
    ('{"choice_text":""}', '{"choice_text":""}'),
    ('{"choice_text":null,"choice_number":0}', '{"choice_number":0}'),
    ('{"choice_null":null}', '{"choice_null":null}'),
    ('{"time":"2026-01-31T12:00:00Z"}', '{"time":"2026-01-31T12:00:00Z"}'),
    ('{"time":"2026-01-31T12:00:00.5+02:00"}', '{"time":"2026-01-31T10:00:00.500Z"}'),
    ('{"time":"1970-01-01T00:00:00Z"}', '{"time":"1970-01-01T00:00:00Z"}'),
    ('{"time":"0001-01-01T00:00:00Z"}', '{"time":"0001-01-01T00:00:00Z"}'),
    ('{"time":"9999-12-31T23:59:59.999999999Z"}', '{"time":"9999-12-31T23:59:59.999999999Z"}'),
    ('{"duration":"1.500s"}', '{"duration":"1.500s"}'),
    ('{"duration":"-0.000000001s"}', '{"duration":"-0.000000001s"}'),
    ('{"duration":"0s"}', '{"duration":"0s"}'),
    ('{"mask":"fooBar,a.bC"}', '{"mask":"fooBar,a.bC"}'),
    ('{"mask":"foo_bar"}', '{"mask":"fooBar"}'),
    ('{"mask":""}', '{"mask":""}'),
    ('{"struct":{"a":[1,null,{"b":true}]}}', '{"struct":{"a":[1,null,{"b":true}]}}'),
    ('{"value":null}', '{"value":null}'),
    ('{"value":"x"}', '{"value":"x"}'),
    ('{"list":[]}', '{"list":[]}'),
    ('{"empty":{}}', '{"empty":{}}'),
    (
        '{"bool_box":false,"int64_box":"0","string_box":"","bytes_box":""}',
        '{"bool_box":false,"bytes_box":"","int64_box":"0","string_box":""}',
    ),
    (
        '{"double_box":"NaN","float_box":0.1,"int32_box":1,"uint32_box":2,"uint64_box":3}',
        '{"double_box":"NaN","float_box":0.1,"int32_box":1,"uint32_box":2,"uint64_box":"3"}',
    ),
    (
        '{"string_boxes":["a"],"times":["2026-01-31T12:00:00Z"]}',
        '{"times":["2026-01-31T12:00:00Z"],"string_boxes":["a"]}',
    ),
    (
        '{"any":{"@type":"type.googleapis.com/formicary.tests.library.Author","country":"x"}}',
        '{"any":{"@type":"type.googleapis.com/formicary.tests.library.Author","country":"x"}}',
    ),
    (
        '{"any":{"@type":"t/google.protobuf.Duration","value":"1s"}}',
        '{"any":{"@type":"t/google.protobuf.Duration","value":"1s"}}',
    ),
    ('{"any":{}}', '{"any":{}}'),
]

BAD: list[tuple[str, list[tuple[str, str]]]] = [
    ("[]", [("", "INVALID_FORMAT")]),
    ('"x"', [("", "INVALID_FORMAT")]),
    ("1", [("", "INVALID_FORMAT")]),
    ('{"nope":1}', [("nope", "UNKNOWN_FIELD")]),
    ('{"TEXT":"x"}', [("TEXT", "UNKNOWN_FIELD")]),
    ('{"inner":{"nope":1}}', [("inner.nope", "UNKNOWN_FIELD")]),
    ('{"inners":[{},{"nope":1}]}', [("inners[1].nope", "UNKNOWN_FIELD")]),
    ('{"text":1}', [("text", "INVALID_FORMAT")]),
    ('{"text":true}', [("text", "INVALID_FORMAT")]),
    ('{"text":["x"]}', [("text", "INVALID_FORMAT")]),
    ('{"text":"\\ud800"}', [("text", "INVALID_FORMAT")]),
    ('{"flag":"true"}', [("flag", "INVALID_FORMAT")]),
    ('{"flag":1}', [("flag", "INVALID_FORMAT")]),
    ('{"blob":"A"}', [("blob", "INVALID_FORMAT")]),
    ('{"blob":"*"}', [("blob", "INVALID_FORMAT")]),
    ('{"blob":"A\\nB="}', [("blob", "INVALID_FORMAT")]),
    ('{"int32_value":2147483648}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":-2147483649}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":1.5}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":""}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":" 1"}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":"1_000"}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":"0x1"}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":"١"}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":true}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int32_value":1e400}', [("int32_value", "INVALID_FORMAT")]),
    ('{"int64_value":9223372036854775808}', [("int64_value", "INVALID_FORMAT")]),
    ('{"uint32_value":-1}', [("uint32_value", "INVALID_FORMAT")]),
    ('{"uint64_value":18446744073709551616}', [("uint64_value", "INVALID_FORMAT")]),
    ('{"real":"abc"}', [("real", "INVALID_FORMAT")]),
    ('{"real":"nan"}', [("real", "INVALID_FORMAT")]),
    ('{"real":1e309}', [("real", "INVALID_FORMAT")]),
    ('{"real":true}', [("real", "INVALID_FORMAT")]),
    ('{"single":1e39}', [("single", "INVALID_FORMAT")]),
    ('{"kind":"ATLAS"}', [("kind", "INVALID_FORMAT")]),
    ('{"kind":1.5}', [("kind", "INVALID_FORMAT")]),
    ('{"kind":2147483648}', [("kind", "INVALID_FORMAT")]),
    ('{"texts":"x"}', [("texts", "INVALID_FORMAT")]),
    ('{"texts":["a",null]}', [("texts[1]", "INVALID_FORMAT")]),
    ('{"numbers":["x",1,"y"]}', [("numbers[0]", "INVALID_FORMAT"), ("numbers[2]", "INVALID_FORMAT")]),
    ('{"inner":[]}', [("inner", "INVALID_FORMAT")]),
    ('{"inners":{}}', [("inners", "INVALID_FORMAT")]),
    ('{"inners":[null]}', [("inners[0]", "INVALID_FORMAT")]),
    ('{"labels":[]}', [("labels", "INVALID_FORMAT")]),
    ('{"labels":{"a":null}}', [("labels.a", "INVALID_FORMAT")]),
    ('{"labels":{"a b":1}}', [('labels["a b"]', "INVALID_FORMAT")]),
    ('{"counts":{"x":1}}', [("counts.x", "INVALID_FORMAT")]),
    ('{"counts":{"1":1,"01":2}}', [("counts.01", "DUPLICATE_FIELD")]),
    ('{"kinds_by_flag":{"1":1}}', [("kinds_by_flag.1", "INVALID_FORMAT")]),
    ('{"inner_by_name":{"x":{"nope":1}}}', [("inner_by_name.x.nope", "UNKNOWN_FIELD")]),
    ('{"maybe_text":"a","maybeText":"b"}', [("maybeText", "DUPLICATE_FIELD")]),
    ('{"choice_text":"a","choice_number":1}', [("choice_number", "ONEOF_CONFLICT")]),
    ('{"choice_null":null,"choice_text":"a"}', [("choice_text", "ONEOF_CONFLICT")]),
    ('{"time":"2026-1-31T12:00:00Z"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"2026-02-30T12:00:00Z"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"2026-01-31 12:00:00Z"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"2026-01-31T12:00:00"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"2026-01-31T12:00:60Z"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"0000-01-01T00:00:00Z"}', [("time", "INVALID_FORMAT")]),
    ('{"time":"0001-01-01T00:00:00+01:00"}', [("time", "INVALID_FORMAT")]),
    ('{"time":5}', [("time", "INVALID_FORMAT")]),
    ('{"duration":"1"}', [("duration", "INVALID_FORMAT")]),
    ('{"duration":"1.0000000001s"}', [("duration", "INVALID_FORMAT")]),
    ('{"duration":"315576000001s"}', [("duration", "INVALID_FORMAT")]),
    ('{"duration":"1ms"}', [("duration", "INVALID_FORMAT")]),
    ('{"mask":"a,,b"}', [("mask", "INVALID_FORMAT")]),
    ('{"mask":["a"]}', [("mask", "INVALID_FORMAT")]),
    ('{"struct":[]}', [("struct", "INVALID_FORMAT")]),
    ('{"list":{}}', [("list", "INVALID_FORMAT")]),
    ('{"value":1e400}', [("value", "INVALID_FORMAT")]),
    ('{"bool_box":1}', [("bool_box", "INVALID_FORMAT")]),
    ('{"int32_box":{"value":1}}', [("int32_box", "INVALID_FORMAT")]),
    ('{"empty":{"x":1}}', [("empty.x", "UNKNOWN_FIELD")]),
    ('{"any":{"@type":"t/no.such.Type"}}', [("any.@type", "INVALID_FORMAT")]),
    ('{"any":{"country":"x"}}', [("any.@type", "INVALID_FORMAT")]),
    ('{"any":{"@type":"t/google.protobuf.Duration"}}', [("any", "INVALID_FORMAT")]),
    (
        '{"text":1,"flag":2,"inners":[{"kind":"x"}]}',
        [("text", "INVALID_FORMAT"), ("flag", "INVALID_FORMAT"), ("inners[0].kind", "INVALID_FORMAT")],
    ),
]

NOT_JSON = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"{'a':1}", "not JSON"),
    (b'{"a":1,}', "not JSON"),
    (b"[1,]", "not JSON"),
    (b'{"a":NaN}', "NaN"),
    (b"Infinity", "Infinity"),
    (b"-Infinity", "-Infinity"),
    (b'{"a":01}', "not JSON"),
    (b'{"a":+1}', "not JSON"),
    (b'{"a":.5}', "not JSON"),
    (b'{"a":1}x', "not JSON"),
    (b'"\x01"', "not JSON"),
    (b'"\\x"', "not JSON"),
    (b"\xff", "UTF-8"),
    (b'"\xed\xa0\x80"', "UTF-8"),
    (b'"\xc0\xaf"', "UTF-8"),
    (b'{"a":1,"a":2}', "'a' stands twice"),
    (b'{"x":[{"b":1,"\\u0062":2}]}', "'b' stands twice"),
    (b"\xef\xbb\xbf{}", "not JSON"),
    (b"[" * 101 + b"]" * 101, "deeper"),
    (b'{"a":' * 5000, "deeper"),
    (b"[" * 100_000, "deeper"),
    (b"1" * 5000, "digits"),
    (b"// a\n{}", "not JSON"),
]


@pytest.mark.parametrize(("text", "written"), GOOD, ids=[row[0] for row in GOOD])
def test_json_is_read_and_written_again(text: str, written: str) -> None:
    """Read without a violation, written in canonical form; json_format reads our text as the same message."""
    found, violations = read(json_text.parse(text.encode()))
    assert violations == []
    ours = Encoder().encode(found).decode()
    assert ours == written or ("by_name" in text and json.loads(ours) == json.loads(written))
    assert json_format.Parse(written, Everything()) == found or "NaN" in written


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[row[0] for row in BAD])
def test_each_violation_has_its_place(text: str, expected: list[tuple[str, str]]) -> None:
    """All of them, in order."""
    assert read(json_text.parse(text.encode()))[1] == expected


@pytest.mark.parametrize(("text", "why"), NOT_JSON, ids=[repr(row[0][:20]) for row in NOT_JSON])
def test_what_is_not_json_is_refused(text: bytes, why: str) -> None:
    """With the reason."""
    with pytest.raises(json_text.JsonError, match=why):
        json_text.parse(text)


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    """Depth is that of the document."""
    text = json.dumps(["[{" * 200, '"[\\', "]"]).encode()
    assert json_text.parse(text) == ["[{" * 200, '"[\\', "]"]
    assert json_text.parse(b"[" * 100 + b"]" * 100)


def test_lenient_readers_pass_over_what_they_do_not_know() -> None:
    """Unknown fields and enum names; wrong types stay violations."""
    found, violations = read({"nope": 1, "kind": "NEW", "kinds": ["NEW", 1], "text": "a", "flag": 1}, lenient=True)
    assert violations == [("flag", "INVALID_FORMAT")]
    assert (found.text, list(found.kinds)) == ("a", [1])


def test_names_are_of_either_kind_in_and_one_kind_out() -> None:
    """Violations follow the setting too."""
    found, _ = read({"int32Value": 1, "int64_value": 2})
    assert json.loads(Encoder(camel=True).encode(found)) == {"int32Value": 1, "int64Value": "2"}
    assert read({"int32_value": "x"}, camel=True)[1] == [("int32Value", "INVALID_FORMAT")]


# --- slow twin --------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(codec="utf-8"), max_size=5)
_int32 = st.one_of(st.integers(-(1 << 31), (1 << 31) - 1), st.just(0))
_uint32, _uint64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
_int64 = st.integers(-(1 << 63), (1 << 63) - 1)
_float32, _double = st.floats(width=32, allow_nan=False), st.floats(allow_nan=False)
_kind = st.sampled_from([0, 1, 2, 77])
_time = st.builds(dict, seconds=st.integers(-62135596800, 253402300799), nanos=st.integers(0, 999_999_999))
_fields: dict[str, st.SearchStrategy[Any]] = {
    "text": _text,
    "flag": st.booleans(),
    "blob": st.binary(max_size=5),
    "int32_value": _int32,
    "int64_value": _int64,
    "uint32_value": _uint32,
    "uint64_value": _uint64,
    "sint32_value": _int32,
    "sint64_value": _int64,
    "fixed32_value": _uint32,
    "fixed64_value": _uint64,
    "sfixed32_value": _int32,
    "sfixed64_value": _int64,
    "single": _float32,
    "real": _double,
    "kind": _kind,
    "maybe_text": _text,
    "maybe_number": _int32,
    "texts": st.lists(_text, max_size=3),
    "numbers": st.lists(_int64, max_size=3),
    "kinds": st.lists(_kind, max_size=3),
    "blobs": st.lists(st.binary(max_size=3), max_size=3),
    "singles": st.lists(_float32, max_size=3),
    "flags": st.lists(st.booleans(), max_size=3),
    "labels": st.dictionaries(_text, _text, max_size=3),
    "counts": st.dictionaries(_int32, _int64, max_size=3),
    "kinds_by_flag": st.dictionaries(st.booleans(), _kind),
    "choice_text": _text,
    "time": _time,
    "duration": st.builds(dict, seconds=st.integers(-9999, 0), nanos=st.just(-5)),
    "mask": st.builds(dict, paths=st.lists(st.sampled_from(["a", "foo_bar", "a.b_c"]), max_size=3)),
    "bool_box": st.builds(dict, value=st.booleans()),
    "bytes_box": st.builds(dict, value=st.binary(max_size=3)),
    "double_box": st.builds(dict, value=_double),
    "float_box": st.builds(dict, value=_float32),
    "int64_box": st.builds(dict, value=_int64),
    "string_box": st.builds(dict, value=_text),
    "uint64_box": st.builds(dict, value=_uint64),
    "times": st.lists(_time, max_size=2),
    "named": _text,
}
_flat = st.fixed_dictionaries({}, optional=_fields).map(lambda values: Everything(**values))
_nested = st.recursive(
    _flat,
    lambda inner: st.builds(
        lambda outer, one, many, named: Everything(inner=one, inners=many, inner_by_name=named, text=outer.text),
        _flat,
        st.none() | inner,
        st.lists(inner, max_size=2),
        st.dictionaries(_text, inner, max_size=2),
    ),
    max_leaves=4,
)


def same(ours: Any, theirs: Any) -> bool:
    if type(ours) in (int, float) and isinstance(theirs, float):  # we write 3 where json_format writes 3.0
        return ours == theirs and math.copysign(1, ours) == math.copysign(1, theirs)
    if isinstance(ours, dict):
        return (
            isinstance(theirs, dict)
            and ours.keys() == theirs.keys()
            and all(same(v, theirs[k]) for k, v in ours.items())
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(_nested, st.booleans(), st.booleans())
def test_writing_is_as_json_format_writes(original: Any, camel: bool, defaults: bool) -> None:
    """The same document, with either names, with and without defaults."""
    ours = json.loads(Encoder(camel=camel, defaults=defaults).encode(original))
    theirs = json.loads(
        json_format.MessageToJson(
            original, preserving_proto_field_name=not camel, always_print_fields_with_no_presence=defaults
        )
    )
    assert same(ours, theirs)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(_nested, st.booleans())
def test_what_was_written_is_read_again(original: Any, camel: bool) -> None:
    """Reading undoes writing."""
    found, violations = read(json_text.parse(Encoder(camel=camel).encode(original)))
    assert violations == []
    assert found.SerializeToString(deterministic=True) == original.SerializeToString(deterministic=True)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _text
    | st.sampled_from(["1", "KIND_NOVEL"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_fields, "inner", "inners", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, phases=PHASES)
@given(st.dictionaries(st.sampled_from([*_fields, "inner", "inners", "value", "struct", "any"]), _json, max_size=3))
def test_what_we_take_json_format_takes_as_the_same(document: dict[str, Any]) -> None:
    """Strict reading never takes a document that json_format refuses or reads as something else."""
    found, violations = read(document)
    if not violations:
        try:
            theirs = json_format.ParseDict(document, Everything(), max_recursion_depth=200)
        except json_format.ParseError:
            assert "mask" in document or any(isinstance(v, str) and "e" in v.lower() for v in document.values())
            return
        assert theirs.SerializeToString(deterministic=True) == found.SerializeToString(deterministic=True)
