"""Keys: where they come from, what is refused, and that a value can be read in its own place only."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from formicary.engine.queen.keyring import VARIABLE, CannotDecrypt, Keyring, make_key_file
from formicary.problems import Problem

PLACE = ("org", "here", "", "TOKEN", "1")


def ring(*letters: str) -> Keyring:
    return Keyring([letter.encode() * 32 for letter in letters])


def test_a_value_is_read_with_the_key_and_place_that_it_was_written_with() -> None:
    value, used = ring("a").encrypt("here", PLACE, b"value")
    assert b"value" not in value and ring("b", "a").decrypt("here", PLACE, value, used) == b"value"
    assert ring("a").encrypt("here", PLACE, b"value")[0] != value, "each has a nonce of its own"


@pytest.mark.parametrize("at", range(5))
def test_a_value_in_another_place_cannot_be_read(at: int) -> None:
    value, used = ring("a").encrypt("here", PLACE, b"value")
    moved = (*PLACE[:at], PLACE[at] + "x", *PLACE[at + 1 :])
    with pytest.raises(CannotDecrypt, match="damaged"):
        ring("a").decrypt("here", moved, value, used)


@pytest.mark.parametrize("broken", [b"", b"short", b"\0" * 60])
def test_a_damaged_value_says_so(broken: bytes) -> None:
    _, used = ring("a").encrypt("here", PLACE, b"value")
    with pytest.raises(CannotDecrypt, match="damaged"):
        ring("a").decrypt("here", PLACE, broken, used)


def test_another_tenants_key_and_an_unknown_key_do_not_help() -> None:
    value, used = ring("a").encrypt("here", PLACE, b"value")
    with pytest.raises(CannotDecrypt, match="damaged"):
        ring("a").decrypt("there", PLACE, value, used)
    with pytest.raises(CannotDecrypt, match="does not have"):
        ring("b").decrypt("here", PLACE, value, used)


def test_no_key_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Problem, match="formicary secrets keygen"):
        Keyring.open(None).encrypt("here", PLACE, b"value")


def test_a_key_file_is_made_once_and_further_keys_come_first(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Problem, match="--add"):
        make_key_file(path)
    second = make_key_file(path, add=True)
    assert Keyring.open(path).ids == (second, first)
    assert [one.name for one in tmp_path.iterdir()] == ["keys"]


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(Problem, match="chmod 600"):
        Keyring.open(path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "hunter2hunter2\n", base64.b64encode(b"short").decode()])
def test_what_is_no_key_is_named_by_its_line_and_never_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Problem) as refused:
        Keyring.open(path)
    assert "keygen" in str(refused.value) and (not text.strip() or text.strip() not in str(refused.value))


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")]
    monkeypatch.setenv(VARIABLE, ",".join(keys))
    assert Keyring.open(None).ids == ring("a", "b").ids
