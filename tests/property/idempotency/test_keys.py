"""The key's parser against a slow twin that follows the grammar of structured fields letter by letter."""

from __future__ import annotations

import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from formicary.idempotency.keys import key_of, parse_key
from formicary.problems import Problem

_LOWER, _DIGITS = string.ascii_lowercase, string.digits
_BARE = {chr(code) for code in range(0x21, 0x7F)} - {'"'}


class Reader:
    """RFC 9651 section 4.2.5 (a string), and parameters with strings or bare words; laxer: blanks before one."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def next(self) -> str:
        """The letter that follows, without taking it; empty at the end."""
        return self._text[self._at : self._at + 1]

    def take(self) -> str:
        """The letter that follows."""
        found, self._at = self.next(), self._at + 1
        return found

    def string(self) -> str:
        """A text in quotes. Raises ValueError."""
        found = ""
        if self.take() != '"':
            raise ValueError
        while (letter := self.take()) != '"':
            if letter == "\\":
                letter = self.take()
                if letter not in ('"', "\\"):
                    raise ValueError
            elif not letter or not " " <= letter <= "~":
                raise ValueError
            found += letter
        return found

    def parameters(self) -> None:
        """Any number of them up to the end. Raises ValueError."""
        while self.next():
            self._blanks()
            if self.take() != ";":
                raise ValueError
            self._blanks()
            first = self.take()
            if not first or first not in _LOWER + "*":
                raise ValueError
            while self.next() and self.next() in _LOWER + _DIGITS + "_-.*":
                self.take()
            if self.next() == "=":
                self.take()
                if self.next() == '"':
                    self.string()
                else:
                    self._word()

    def _word(self) -> None:
        while self.next() in _BARE and self.next() != ";":
            self.take()

    def _blanks(self) -> None:
        while self.next() == " ":
            self.take()


def slow_twin(value: str) -> str | None:
    """The key of one header value; None = refused."""
    text = value.strip(" \t")
    if text.startswith('"'):
        reader = Reader(text)
        try:
            text = reader.string()
            reader.parameters()
        except ValueError:
            return None
    fits = 1 <= len(text) <= 255 and all("!" <= letter <= "~" for letter in text)
    return text if fits else None


def _parsed(value: str) -> str | None:
    try:
        return parse_key([value])
    except Problem as error:
        assert (error.code, len(error.errors)) == ("IDEMPOTENCY_KEY_INVALID", 1)
        return None


_LETTERS = st.sampled_from([*'ab1"\\;=*_-. \t~!\x7f\xe9\n'])


@settings(max_examples=600, deadline=None)
@given(st.text(_LETTERS, max_size=14) | st.text(_LETTERS, max_size=10).map(lambda text: f'"{text}"'))
@example('"a"; b=c; *d="x\\"y"')
@example('"a" ;b')
@example('"a"; B')
@example('"a"x')
@example('"a\\n"')
@example('"a"\n')
@example("a\n")
@example("x" * 255)
@example("x" * 256)
@example('"' + "x" * 255 + '"')
@example('"' + "\\\\" * 256 + '"')
@example('a"b')
@example('"a"; b="')
@example('"a"; b=c;')
def test_keys_are_read_as_the_grammar_says(value: str) -> None:
    """The same key, or both refuse; and the quick way for bytes says the same."""
    expected = slow_twin(value)
    assert _parsed(value) == expected
    try:
        found = key_of([value.encode("latin-1")])
    except Problem:
        found = None
    assert found == expected


@given(st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=255))
def test_every_key_can_be_sent_in_quotes(key: str) -> None:
    """Quoted as the grammar says, it is the same key."""
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_key([quoted]) == key


@given(st.lists(st.text(_LETTERS, max_size=4), min_size=2, max_size=3))
def test_a_header_that_was_sent_twice_is_no_key(values: list[str]) -> None:
    """Whatever the values are, equal ones too."""
    try:
        parse_key(values)
    except Problem as error:
        assert error.errors[0].code == "DUPLICATE_HEADER"
    else:
        raise AssertionError("it was taken")


def test_no_header_takes_long_to_refuse() -> None:
    """Many parameters before a fault are read once: the number of ways to read them must not multiply."""
    for fault in ('"', " x", "\x7f", ";"):
        for piece in (";a=", "; a", ';a=""', " ;a=b"):
            assert _parsed('"a"' + piece * 5000 + fault) is None
