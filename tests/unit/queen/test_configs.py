"""Configurations in a queen's memory and its store: what jobs see, what is refused, rotation, damage."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine

import pytest

from formicary.engine.jobs.configs import held_secrets, stand_in
from formicary.engine.queen.configs import Configs
from formicary.engine.queen.core.batch import Assignment
from formicary.engine.queen.keyring import CannotDecrypt, Keyring
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Row, StoreUnavailable
from formicary.problems import Problem

VALUE = "correct-horse"


def on_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """The test as a plain function."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def ring(*letters: str) -> Keyring:
    return Keyring([letter.encode() * 32 for letter in letters])


def grant(configs: Configs, variables: bytes) -> Assignment:
    secrets = frozenset(configs.view("here", "", "nightly").secrets.values())
    return Assignment(1, "d", 0, None, "j", 1, 1, variables, 1.0, secrets)


@on_a_loop
async def test_the_nearer_scope_wins_and_job_values_come_above() -> None:
    """System, organisation and user lie below job variables; those of the job type above."""
    configs = Configs(MemoryStore())
    for scope, owner in (("system", ""), ("org", ""), ("user", "me"), ("job", "nightly")):
        await configs.put("here", scope, owner, "A", scope, secret=False)
    await configs.put("here", "system", "", "B", [1, {"x": None}], secret=False)
    await configs.put("there", "org", "", "A", "theirs", secret=False)
    view = configs.view("here", "me", "nightly")
    assert (view.below, view.above) == ({"A": "user", "B": [1, {"x": None}]}, {"A": "job"})
    assert configs.view("here", "", "other").below["A"] == "org"
    assert configs.view("there", "me", "nightly").names == {"A": "theirs", "B": [1, {"x": None}]}
    assert configs.view("there", "me", "nightly") is configs.view("there", "me", "nightly")


@on_a_loop
async def test_a_secret_is_seen_as_a_stand_in_and_filled_at_the_end() -> None:
    """Nothing but the assignment has the value."""
    store = MemoryStore()
    configs = Configs(store, ring("a"))
    config = await configs.put("here", "org", "", "TOKEN", VALUE, secret=True, by="me")
    assert config.shown == "***" and configs.reveal(config) == VALUE
    assert VALUE.encode() not in repr(store.configs()).encode()
    mark = stand_in(config.id)
    assert configs.view("here", "", "nightly").names == {"TOKEN": mark}
    variables = f'{{"a": "{mark}", "b": "x {mark}!"}}'.encode()
    assert configs.filled(grant(configs, variables)) == (
        b"",
        b'{"a": "correct-horse", "b": "x correct-horse!"}',
        [VALUE],
    )


@on_a_loop
async def test_values_keep_their_types_and_are_escaped() -> None:
    """Alone in a string a secret has its own type, inside of a longer one it is text."""
    configs = Configs(MemoryStore(), ring("a"))
    number = await configs.put("here", "org", "", "N", 12345, secret=True)
    text = await configs.put("here", "org", "", "T", 'a"b\nc', secret=True)
    variables = f'["{stand_in(number.id)}", "n={stand_in(number.id)} {stand_in(text.id)}"]'.encode()
    assert configs.filled(grant(configs, variables))[1] == rb'[12345, "n=12345 a\"b\nc"]'


@on_a_loop
async def test_a_stand_in_of_another_organisation_is_not_filled() -> None:
    configs = Configs(MemoryStore(), ring("a"))
    theirs = await configs.put("there", "org", "", "TOKEN", VALUE, secret=True)
    await configs.put("here", "org", "", "TOKEN", "another one", secret=True)
    with pytest.raises(CannotDecrypt, match="removed"):
        configs.filled(grant(configs, f'{{"a": "{stand_in(theirs.id)}"}}'.encode()))
    assert held_secrets(f'"{stand_in(theirs.id)}"'.encode()) == {theirs.id}


@on_a_loop
async def test_rows_that_were_swapped_or_whose_key_is_missing_fail_alone() -> None:
    """The error names the secret and says why; the other secret goes on."""
    store = MemoryStore()
    before = Configs(store, ring("a"))
    one = await before.put("here", "org", "", "ONE", "value of one", secret=True)
    two = await before.put("here", "org", "", "TWO", "value of two", secret=True)
    rows = {row[3]: row for row in store.configs()}
    store.put_config((*rows["ONE"][:7], rows["TWO"][7], *rows["ONE"][8:]))
    after = Configs(store, ring("a"))
    await after.load()
    with pytest.raises(CannotDecrypt, match="The secret ONE cannot be read: its stored value is damaged"):
        after.filled(grant(after, f'"{stand_in(one.id)}"'.encode()))
    assert after.filled(grant(after, f'"{stand_in(two.id)}"'.encode()))[1] == b'"value of two"'
    keyless = Configs(store, ring("b"))
    await keyless.load()
    with pytest.raises(CannotDecrypt, match="TWO cannot be read: it was encrypted with the key"):
        keyless.filled(grant(keyless, f'"{stand_in(two.id)}"'.encode()))
    with pytest.raises(Problem, match="TWO cannot be read"):
        keyless.reveal(keyless.find("here", "org", "", "TWO"))


@pytest.mark.parametrize(
    ("scope", "owner", "name", "value", "secret", "says"),
    [
        ("planet", "", "A", "x", False, "One of system"),
        ("job", "", "A", "x", False, "whose it is"),
        ("org", "me", "A", "x", False, "no owner"),
        ("org", "", "1 A", "x", False, "no digit first"),
        ("org", "", "JobID", "x", False, "variable of the engine"),
        ("org", "", "A", None, False, "no value"),
        ("org", "", "A", "x" * 70_000, False, "64 KB"),
        ("org", "", "A", "abc", True, "4 characters at least"),
        ("org", "", "A", True, True, "4 characters at least"),
        ("org", "", "A", "abc\0def", True, "U\\+0000"),
    ],
)
@on_a_loop
async def test_what_cannot_be_kept_is_refused(
    scope: str, owner: str, name: str, value: object, secret: bool, says: str
) -> None:
    store = MemoryStore()
    with pytest.raises(Problem, match=says) as refused:
        await Configs(store, ring("a")).put("here", scope, owner, name, value, secret=secret)
    assert not store.configs() and not (secret and isinstance(value, str) and value in str(refused.value.to_document()))


@on_a_loop
async def test_without_a_key_a_secret_is_refused_with_the_way_out() -> None:
    configs = Configs(MemoryStore())
    with pytest.raises(Problem, match=r"secrets keygen FILE.*--secret-key-file"):
        await configs.put("here", "org", "", "TOKEN", VALUE, secret=True)
    assert (await configs.put("here", "org", "", "REGION", "eu", secret=False)).shown == "eu"


@on_a_loop
async def test_a_rotation_that_is_cut_off_goes_on_at_the_next_start() -> None:
    """Two keys are there; each secret can be read at every moment."""

    class Failing(MemoryStore):
        left = 10**9

        def put_config(self, row: Row) -> None:
            self.left -= 1
            if self.left < 0:
                raise StoreUnavailable("on order")
            super().put_config(row)

    store = Failing()
    old = Configs(store, ring("a"))
    for number in range(250):
        await old.put("here", "org", "", f"S{number}", f"value {number}", secret=True)
    store.left = 120
    first = Configs(store, ring("b", "a"))
    await first.load()
    assert first._rotating is not None
    with pytest.raises(Problem):
        await first._rotating
    assert first.reveal(first.find("here", "org", "", "S249")) == "value 249"
    store.left = 10**9
    second = Configs(store, ring("b", "a"))
    await second.load()
    assert second._rotating is not None
    done = await second._rotating
    assert (done.rotated, done.unreadable, done.keys) == (130, (), ring("b").ids)
    last = Configs(store, ring("b"))
    await last.load()
    assert last._rotating is None and last.reveal(last.find("here", "org", "", "S3")) == "value 3"


@on_a_loop
async def test_a_value_that_is_set_during_a_rotation_stays() -> None:
    store = MemoryStore()
    old = Configs(store, ring("a"))
    for number in range(300):
        await old.put("here", "org", "", f"S{number}", "old value", secret=True)
    fresh = Configs(store, ring("b", "a"))
    await fresh.load()
    assert fresh._rotating is not None
    await asyncio.gather(*(fresh.put("here", "org", "", f"S{n}", f"new {n}", secret=True) for n in range(0, 300, 7)))
    await fresh._rotating
    assert all(fresh.reveal(fresh.find("here", "org", "", f"S{n}")) == f"new {n}" for n in range(0, 300, 7))


@on_a_loop
async def test_a_new_value_keeps_the_stand_in_and_a_removed_one_takes_it_away() -> None:
    """What was rendered before a new value gets the new value."""
    configs = Configs(MemoryStore(), ring("a"))
    first = await configs.put("here", "org", "", "T", "value one", secret=True)
    await configs.put("here", "org", "", "T", "value two", secret=True)
    variables = f'"{stand_in(first.id)}"'.encode()
    assert configs.filled(grant(configs, variables))[1] == b'"value two"'
    old_grant = grant(configs, variables)
    await configs.remove(configs.find("here", "org", "", "T"))
    with pytest.raises(CannotDecrypt, match="removed"):
        configs.filled(old_grant)
    with pytest.raises(Problem, match="no configuration 'T'"):
        configs.find("here", "org", "", "T")
