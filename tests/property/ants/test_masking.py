"""No secret of any shape gets into a log line, a set output or the text of an error, however it is written."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from formicary.engine.ants.attempt import failure
from formicary.engine.ants.masking import Mask
from formicary.engine.ants.output import STDOUT, Line, TaskOutput
from formicary.engine.jobs.configs import SHORTEST_SECRET, texts_to_mask

_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=SHORTEST_SECRET, max_size=60)
_SECRET = st.one_of(
    _LINE.filter(lambda text: len(text.strip()) >= SHORTEST_SECRET),
    st.text("ab", min_size=SHORTEST_SECRET, max_size=12),
    st.text("a'\"\\$%<&/+=* ", min_size=SHORTEST_SECRET, max_size=12).filter(
        lambda text: len(text.strip()) >= SHORTEST_SECRET
    ),
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of the line": lambda text: base64.b64encode(text.encode() + b"\n").decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "percent": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "json of bytes": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "repr": lambda text: repr(text)[1:-1],
    "html": html.escape,
    "shell": lambda text: shlex.quote(text).removeprefix("'").removesuffix("'"),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal of a certificate": lambda text: text.encode().hex(":"),
    "hexadecimal of a dump": lambda text: text.encode().hex(" "),
    "json in json": lambda text: json.dumps(json.dumps(text))[3:-3],
    "bash": lambda text: re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", text),
}


def folded(text: str, width: int) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def written(
    secrets: list[str], raw: bytes, cuts: list[int], line_bytes: int = 65536
) -> tuple[list[str], dict[str, str]]:
    seen: list[str] = []

    def emit(lines: list[Line]) -> None:
        seen.extend(text for _, _, text in lines)

    output = TaskOutput(
        emit, head_bytes=10**7, tail_bytes=10**6, max_line_bytes=line_bytes, max_outputs_bytes=10**6, mask=Mask(secrets)
    )
    at = 0
    for cut in [*sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]:
        if cut > at:
            output.feed(STDOUT, raw[at:cut])
            at = cut
    output.finish()
    return seen, output.outputs


@given(
    st.lists(_SECRET, min_size=1, max_size=3), st.sampled_from(sorted(FORMS)), st.text("a \n=/", max_size=20), st.data()
)
def test_a_secret_is_masked_in_every_form_and_every_cut(
    secrets: list[str], form: str, around: str, data: st.DataObject
) -> None:
    """Also where secrets overlap, and whatever pieces the bytes come in."""
    shown = [FORMS[form](secret) for secret in secrets]
    raw = (around + around.join(shown) + around + "\n" + "".join(shown)).encode()
    seen, _ = written(secrets, raw, data.draw(st.lists(st.integers(0, 10_000), max_size=8)))
    for text in (*secrets, *shown):
        assert all(text not in line for line in seen)


@given(st.lists(_LINE.filter(lambda text: len(text.strip()) >= 4), min_size=2, max_size=5), st.data())
def test_a_value_of_several_lines_is_masked_line_by_line(lines: list[str], data: st.DataObject) -> None:
    """As a whole and each line by itself."""
    value = "\n".join(lines)
    raw = f"{value}\n{lines[-1]} and {json.dumps(value)}\n".encode()
    seen, _ = written([value], raw, data.draw(st.lists(st.integers(0, 10_000), max_size=8)))
    assert all(line not in text for text in seen for line in lines)
    assert all(json.dumps(value)[1:-1] not in text for text in seen)


@given(_SECRET, st.integers(1, 200))
def test_a_line_that_is_cut_shows_no_beginning_of_a_secret(secret: str, before: int) -> None:
    """Not more of it than is too short to be masked."""
    assume("*" not in secret and "x" not in secret)
    seen, _ = written([secret], b"x" * before + secret.encode() * 3, [before + 2, before + 5], line_bytes=64)
    assert all(secret[:SHORTEST_SECRET] not in line for line in seen)


@given(_SECRET, st.integers(4, 90))
def test_an_error_that_was_cut_shows_no_piece_of_a_secret(secret: str, length: int) -> None:
    """The executors cut long lines and tracebacks; outputs are masked too, names and values."""
    assume("*" not in secret and not set(secret) & set("xline …"))
    line = "x" * 60 + secret
    result = failure("ERR_EXIT_CODE", f"The line {line[:length]}… ended with exit code 1.")
    result.traceback = line[:length] + "\n…\n" + line[-max(4, len(secret) // 2) :] + "\nKeyError: " + repr(secret)
    result.outputs = json.dumps({"a": [secret, {"b" + secret: 1}]}).encode()
    Mask([secret]).result(result)
    whole = result.error_message + result.traceback + json.dumps(json.loads(result.outputs), ensure_ascii=False)
    assert secret not in whole
    assert secret[:SHORTEST_SECRET] not in whole and secret[-SHORTEST_SECRET:] not in result.traceback


@example("0123456789")
@given(_SECRET)
def test_set_outputs_are_masked(secret: str) -> None:
    _, outputs = written([secret], f"::set-output name=token::{secret}\n".encode(), [3, 30])
    assert secret not in outputs.get("token", "")


def test_base64_is_masked_inside_of_something_longer_and_wrapped() -> None:
    """As `user:secret` in a header, and as `base64` writes it."""
    secret = "correct horse battery staple, " * 5
    for user in ("", "u", "us", "use"):
        (line,), _ = written([secret], base64.b64encode(f"{user}:{secret}!".encode()), [])
        assert base64.b64encode(secret.encode())[4:60].decode() not in line and "***" in line and len(line) < 20
    seen, _ = written([secret], base64.encodebytes(secret.encode()), [])
    assert set(seen) == {"***"}


@pytest.mark.parametrize(
    "shown",
    [
        r"""k+/=\u003c\u0026\u003e'\"é42""",  # encoding/json of Go
        r"""k+/\u003d\u003c\u0026\u003e\u0027\"é42""",  # Gson
        r"""k\u002B/=\u003C\u0026\u003E\u0027\u0022\u00E942""",  # System.Text.Json of .NET
        "k%252B%252F%253D%253C%2526%253E%2527%2522%25C3%25A942",
    ],
)
def test_what_other_languages_write_is_masked(shown: str) -> None:
    """JSON may be escaped more than it has to be, and what is in an address may be in an address again."""
    seen, _ = written(["k+/=<&>'\"é42"], f"token={shown};\n".encode(), [9])
    assert seen == ["token=***;"]


KEY = "\n".join(
    [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0B",
        "ab",
        "AQEFAASCBKcwggSjAgEAAoIB",
        "xyz=",
        "-----END PRIVATE KEY-----",
    ]
)
WAYS: dict[str, Callable[[str], str]] = {
    **{name: FORMS[name] for name in ("plain", "base64", "percent", "percent twice", "form", "json", "repr", "html")},
    "on one line": lambda text: text.replace("\n", ""),
    "between blanks": lambda text: text.replace("\n", " "),
    "of Windows": lambda text: text.replace("\n", "\r\n"),
    "indented": lambda text: text.replace("\n", "\n    "),
    "between commas": lambda text: text.replace("\n", ", "),
    "as a list": lambda text: json.dumps(text.split("\n")),
    "as a list of one line": lambda text: repr(text.split("\n")),
    "in base64 on one line": lambda text: base64.b64encode(text.replace("\n", " ").encode()).decode(),
    "folded": lambda text: folded(text.replace("\n", " "), 20),
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "base64 of mail": lambda text: base64.encodebytes(text.encode()).decode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("every", [1, 7, 1000])
def test_a_key_of_several_lines_is_masked_however_it_is_written(way: str, every: int) -> None:
    """In whatever pieces it comes, across lines and chunks."""
    shown = WAYS[way](KEY)
    seen, _ = written([KEY + "\n"], f"key: {shown}\nend\n".encode(), list(range(every, len(shown) + 5, every)))
    text = "\n".join(seen)
    assert seen[-1] == "end" and "***" in text
    assert not any(line in text for line in (*KEY.splitlines(), *shown.split("\n")) if len(line) >= 8)


@given(_SECRET, st.sampled_from(sorted(FORMS)), st.integers(SHORTEST_SECRET, 40), st.sampled_from(["", "  ", "\t"]))
def test_what_is_folded_is_masked_at_any_width(secret: str, form: str, width: int, indent: str) -> None:
    """Lines that come together show nothing of what goes over their ends, be they indented or not."""
    shown = FORMS[form](secret)
    assume(len(shown) > width and not set(shown) & set("*key:") and shown.splitlines() == [shown])
    assume(not indent or not any(letter.isspace() for letter in shown))
    pieces = folded(shown, width).split("\n")
    raw = "key: " + f"\n{indent}".join(pieces) + "\nend\n"
    seen, _ = written([secret], raw.encode(), [])
    assert seen[-1] == "end" and len(seen) == len(pieces) + 1
    for piece, line in zip(pieces, seen, strict=False):
        assert piece not in line.replace("***", "") or not piece.strip()


@pytest.mark.parametrize("width", [8, 11, 30])
def test_what_is_folded_is_masked_when_its_lines_come_one_by_one(width: int) -> None:
    """A line that has left cannot be taken back: of narrower ones the first is seen."""
    secret = "correct-horse-battery-staple-and-more"
    raw = f"key: {folded(secret, width)}\nend\n".encode()
    ends = [at + 1 for at, byte in enumerate(raw) if byte == 10]
    seen, _ = written([secret], raw, ends)
    assert seen == ["key: ***", *["***"] * (len(seen) - 2), "end"]
    seen, _ = written([secret], f"{folded(secret, 6)}\n".encode(), list(range(7, 100, 7)))
    assert seen[0] == secret[:6] and set(seen[1:]) == {"***"}


def test_what_only_looks_like_the_beginning_of_a_secret_stays() -> None:
    """A line that ends as a secret begins says nothing while the next one does not go on."""
    lines = ["pass", "words are passwords", "a rule ----", "another", "", "pass"]
    seen, _ = written(["password-of-mine", "-----BEGIN KEY-----\nabcdefgh"], "\n".join(lines).encode() + b"\n", [5])
    assert seen == lines


def test_what_is_no_secret_stays_as_it_is() -> None:
    """Only what has to go goes: neighbours, other lines and numbers stay."""
    seen, _ = written(["hunter22"], b"a hunter2 b\r\nhunter22hunter22 end\nnothing\n", [4])
    assert seen == ["a hunter2 b", "*** end", "nothing"]
    assert json.loads(Mask(["hunter22", "1234"]).json(b'{"a": 12, "b": 1234, "c": null}')) == {
        "a": 12,
        "b": "***",
        "c": None,
    }


def test_a_structure_is_masked_leaf_by_leaf() -> None:
    """And as the JSON text that a variable of a shell has."""
    texts = texts_to_mask({"user": "somebody", "n": 7, "keys": ["abcdef"]})
    assert {"somebody", "abcdef"} <= set(texts) and "abc" not in texts
    (line,), _ = written(texts, b'{"user":"somebody","n":7,"keys":["abcdef"]}', [])
    assert line == "***"


def test_masking_a_large_log_is_quick_enough_not_to_be_felt() -> None:
    """A value that nearly matches everywhere makes it no slower than linear."""
    raw = (b"a" * 999 + b"b\n") * 2000
    seen, _ = written(["a" * 1000 + "c"], raw, [])
    assert b"\n".join(line.encode() for line in seen) + b"\n" == raw
    seen, _ = written(["aaaa"], raw, [])
    assert set(seen) == {"***b"}
