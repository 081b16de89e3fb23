"""The queen's configurations: values that jobs see as variables, secrets among them.

Theory of operation. All rows are in memory, as the store has them: secrets encrypted, and decrypted when a task that
names one is sent to an ant. Changes go to the store first and then into memory, one at a time. A job reads them when
its tasks start, so a new value holds for every attempt from then on. A row that cannot be decrypted fails the tasks
that need it and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from secrets import token_hex
from typing import Any

import msgspec

from formicary.engine.jobs.configs import (
    MASK,
    NO_CONFIGS,
    SCOPES,
    SHORTEST_SECRET,
    ConfigView,
    fill,
    held_secrets,
    stand_in,
    text_of,
    texts_to_mask,
)
from formicary.engine.jobs.variables import BUILT_IN_NAMES
from formicary.engine.queen.core.batch import Assignment
from formicary.engine.queen.keyring import WAY_OUT, CannotDecrypt, Keyring
from formicary.engine.queen.pump import unavailable
from formicary.engine.storage.port import Row, Store, StoreError
from formicary.problems import FieldError, problem

log = logging.getLogger("formicary.queen")
MAX_VALUE_BYTES = 64 * 1024
MAX_CONFIGS = 10_000
"""Of one organisation."""
ROTATION_SLICE = 100
"""Rows between two looks at what else is to be done."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_OWNER_CHARS = 200
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration, in the order of the store's columns.

    Attributes:
        scope: One of SCOPES.
        org: Organisation, empty for the system.
        owner: The user or the job type, empty for the others.
        name: Of the variable.
        id: Random; what stands for a secret has it.
        type: string, int, float, bool or json.
        secret: 1 = the value is encrypted.
        value: JSON, or nonce and ciphertext.
        key_id: Of the key it is encrypted with.
        created_at: Seconds since the epoch, as the other times.
        updated_at: When it got this value.
        updated_by: From whom.
    """

    scope: str
    org: str
    owner: str
    name: str
    id: str
    type: str
    secret: int
    value: bytes
    key_id: str
    created_at: float
    updated_at: float
    updated_by: str

    @property
    def key(self) -> Key:
        """What there is one of."""
        return self.scope, self.org, self.owner, self.name

    @property
    def place(self) -> tuple[str, ...]:
        """What the ciphertext is bound to."""
        return (*self.key, self.id)

    @property
    def shown(self) -> object:
        """The value as everybody may see it."""
        return MASK if self.secret else _plain(self.value)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What re-encryption has done.

    Attributes:
        key_id: Of the current key.
        rotated: Secrets that were encrypted again.
        unreadable: Names of those that cannot be decrypted.
        keys: Ids of the keys that some secret still needs.
    """

    key_id: str
    rotated: int
    unreadable: tuple[str, ...]
    keys: tuple[str, ...]


class Configs:
    """The configurations of one queen.

    Args:
        store: Where they are kept.
        keyring: Keys of secrets; None = none.
        wall: Seconds since the epoch.
    """

    def __init__(self, store: Store, keyring: Keyring | None = None, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._keyring = keyring or Keyring()
        self._wall = wall
        self._changing = asyncio.Lock()
        self._rows: dict[Key, Config] = {}
        self._by_id: dict[str, Config] = {}
        self._groups: dict[tuple[str, str, str], dict[str, Config]] = {}
        self._views: dict[tuple[str, str, str], ConfigView] = {}
        self._values: dict[str, object] = {}
        self._rotating: asyncio.Task[Rotation] | None = None

    async def load(self) -> None:
        """Reads what the store has, and goes on with a rotation that was cut off. Raises StoreError."""
        rows = await asyncio.to_thread(self._store.configs)
        for row in rows:
            self._keep(Config(*row))  # type: ignore[arg-type]  # types by COLUMN_TYPES
        if any(found.key_id in self._keyring.ids for found in self._outdated()):
            self._rotating = asyncio.create_task(self._rotate(), name="secret rotation")
            self._rotating.add_done_callback(_rotated)

    async def stop(self) -> None:
        """Ends a rotation that goes on; the next start continues it."""
        if self._rotating is not None:
            self._rotating.cancel()
            await asyncio.wait([self._rotating])

    def blind(self, digest: bytes) -> bytes:
        """See :meth:`formicary.engine.queen.keyring.Keyring.blind`."""
        return self._keyring.blind(digest)

    # --- what jobs see ----------------------------------------------------------------------------------------------

    def view(self, org: str, user: str, job_type: str) -> ConfigView:
        """What a job of this organisation, user and type sees; a look-up in memory."""
        if not self._rows:
            return NO_CONFIGS
        found = self._views.get((org, user, job_type))
        if found is None:
            if len(self._views) > MAX_CONFIGS:
                self._views.clear()
            found = self._views[org, user, job_type] = self._make_view(org, user, job_type)
        return found

    def _make_view(self, org: str, user: str, job_type: str) -> ConfigView:
        below: dict[str, Config] = {}
        below.update(self._groups.get(("system", "", ""), {}))
        below.update(self._groups.get(("org", org, ""), {}))
        if user:
            below.update(self._groups.get(("user", org, user), {}))
        above = self._groups.get(("job", org, job_type), {})
        secrets = {name: found.id for name, found in {**below, **above}.items() if found.secret}
        return ConfigView(
            {name: _seen(found) for name, found in below.items()},
            {name: _seen(found) for name, found in above.items()},
            secrets,
        )

    def filled(self, grant: Assignment) -> tuple[bytes, bytes, list[str]]:
        """The rendered task and the variables of an assignment with the secrets in their places.

        Returns:
            Both, and the texts that the ant has to mask.

        Raises:
            CannotDecrypt: One of them cannot be read, or was removed; the text names it.
        """
        task, variables = grant.rendered or b"", grant.variables
        ids = held_secrets(task, variables)
        values = {one: self._secret(one) for one in ids if one in grant.secrets}
        if len(values) < len(ids):
            raise CannotDecrypt("A secret that the task was rendered with was removed since.")
        masked = [text for value in values.values() for text in texts_to_mask(value)]
        return fill(task, values), fill(variables, values), list(dict.fromkeys(masked))

    def fill_text(self, text: str, view: ConfigView) -> str:
        """A text with the secrets of a view in the places of what stands for them. Raises CannotDecrypt."""
        allowed = set(view.secrets.values())
        for secret_id in held_secrets(text.encode("utf-8", "replace")) & allowed:
            text = text.replace(stand_in(secret_id), text_of(self._secret(secret_id)))
        return text

    def secret_text(self, org: str, job_type: str, name: str) -> str:
        """The text of a secret that jobs of this type see; empty where there is none or it cannot be read."""
        secret_id = self.view(org, "", job_type).secrets.get(name)
        try:
            return "" if secret_id is None else text_of(self._secret(secret_id))
        except CannotDecrypt as error:
            log.warning("%s", error)
            return ""

    def _secret(self, secret_id: str) -> object:
        if secret_id in self._values:
            return self._values[secret_id]
        config = self._by_id.get(secret_id)
        if config is None:
            raise CannotDecrypt("A secret that the task was rendered with was removed since.")
        try:
            value = _decode(self._decrypt(config))
        except (CannotDecrypt, msgspec.DecodeError) as error:
            raise CannotDecrypt(f"The secret {config.name} cannot be read: {error}.") from error
        self._values[secret_id] = value
        return value

    # --- what people do ---------------------------------------------------------------------------------------------

    def of(self, org: str, *, scope: str = "", owner: str = "", secrets_alone: bool = False) -> list[Config]:
        """The configurations that an organisation sees, in order of scope, owner and name."""
        found = [
            one
            for one in self._rows.values()
            if one.org in ("", org) and scope in ("", one.scope) and owner in ("", one.owner)
            if one.secret or not secrets_alone
        ]
        return sorted(found, key=lambda one: (SCOPES.index(one.scope), *one.key[1:]))

    def find(self, org: str, scope: str, owner: str, name: str) -> Config:
        """One of them. Raises Problem NOT_FOUND."""
        found = self._rows.get((scope, "" if scope == "system" else org, owner, name))
        if found is None:
            of = f" of {owner[:60]!r}" if owner else ""
            raise problem(
                "NOT_FOUND",
                f"There is no configuration {name[:60]!r} of scope {scope[:20]}{of}; `formicary config list` shows "
                "those that are.",
            )
        return found

    def reveal(self, config: Config) -> object:
        """The value, also of a secret. Raises Problem DATA_CORRUPT."""
        if not config.secret:
            return config.shown
        try:
            return self._secret(config.id)
        except CannotDecrypt as error:
            raise problem("DATA_CORRUPT", str(error)) from error

    async def put(
        self, org: str, scope: str, owner: str, name: str, value: object, *, secret: bool, by: str = ""
    ) -> Config:
        """Stores a value, instead of an earlier one of the same place.

        Raises:
            Problem: VALIDATION_FAILED naming all that is wrong; FAILED_PRECONDITION where there is no key for a
                secret or there are too many; UNAVAILABLE.
        """
        data = _encode(value)
        _check(scope, owner, name, value, data, secret=secret)
        org = "" if scope == "system" else org
        async with self._changing:
            earlier = self._rows.get((scope, org, owner, name))
            if earlier is None and sum(one.org == org for one in self._rows.values()) >= MAX_CONFIGS:
                raise problem("FAILED_PRECONDITION", f"There are {MAX_CONFIGS:,} configurations: remove some first.")
            now = self._wall()
            keeps_id = earlier is not None and bool(earlier.secret) == secret
            config = Config(
                scope, org, owner, name, earlier.id if earlier is not None and keeps_id else token_hex(16),
                _type_of(value), int(secret), data, "", earlier.created_at if earlier is not None else now, now, by,
            )  # fmt: skip
            await self._write(self._encrypted(config, data) if secret else config)
            return self._rows[config.key]

    async def remove(self, config: Config) -> None:
        """Removes one. Raises Problem NOT_FOUND, UNAVAILABLE."""
        async with self._changing:
            try:
                was_there = await asyncio.to_thread(self._store.remove_config, *config.key)
            except StoreError as error:
                raise unavailable(error) from error
            self._drop(config.key)
        if not was_there:
            raise problem("NOT_FOUND", f"The configuration {config.name} has just been removed.")

    async def rotate(self) -> Rotation:
        """Reads the keys again and encrypts every secret with the first. Raises Problem."""
        async with self._changing:
            fresh = await asyncio.to_thread(self._keyring.again)
            if not fresh.current:
                raise problem("FAILED_PRECONDITION", f"This server has no key for secrets: {WAY_OUT}.")
            self._keyring = fresh
            self._values.clear()
        return await self._rotate()

    async def _rotate(self) -> Rotation:
        rotated = 0
        while True:
            async with self._changing:  # a value that is set meanwhile is not written over
                some = [one for one in self._outdated() if one.key_id in self._keyring.ids][:ROTATION_SLICE]
                readable = 0
                for config in some:
                    try:
                        text = self._decrypt(config)
                    except CannotDecrypt:
                        continue
                    await self._write(self._encrypted(config, text))
                    readable += 1
            rotated += readable
            if not readable:
                break
        unreadable = tuple(one.name for one in self._rows.values() if one.secret and not self._is_readable(one))
        needed = dict.fromkeys(one.key_id for one in self._rows.values() if one.secret)
        return Rotation(self._keyring.current, rotated, unreadable, tuple(needed))

    def _outdated(self) -> list[Config]:
        current = self._keyring.current
        return [one for one in self._rows.values() if one.secret and one.key_id != current] if current else []

    def _is_readable(self, config: Config) -> bool:
        try:
            self._decrypt(config)
        except CannotDecrypt:
            return False
        return True

    def _encrypted(self, config: Config, text: bytes) -> Config:
        value, used = self._keyring.encrypt(config.org, config.place, text)
        return replace(config, value=value, key_id=used)

    def _decrypt(self, config: Config) -> bytes:
        return self._keyring.decrypt(config.org, config.place, config.value, config.key_id)

    # --- rows -------------------------------------------------------------------------------------------------------

    async def _write(self, config: Config) -> None:
        row: Row = astuple(config)
        try:
            await asyncio.to_thread(self._store.put_config, row)
        except StoreError as error:
            raise unavailable(error) from error
        self._keep(config)

    def _keep(self, config: Config) -> None:
        self._drop(config.key)
        self._rows[config.key] = self._by_id[config.id] = config
        self._groups.setdefault(config.key[:3], {})[config.name] = config

    def _drop(self, key: Key) -> None:
        found = self._rows.pop(key, None)
        self._views.clear()
        if found is not None:
            self._by_id.pop(found.id, None)
            self._values.pop(found.id, None)
            self._groups[key[:3]].pop(found.name, None)


def _rotated(task: asyncio.Task[Rotation]) -> None:
    if task.cancelled():
        return
    if (error := task.exception()) is not None:
        log.warning("secrets could not be encrypted with the new key: %s", error)
    else:
        log.info("%d secrets were encrypted with the key %s", task.result().rotated, task.result().key_id)


def _seen(config: Config) -> object:
    return stand_in(config.id) if config.secret else _plain(config.value)


def _plain(data: bytes) -> object:
    try:
        value: object = _decode(data)
    except msgspec.DecodeError:
        return None
    return value


def _type_of(value: Any) -> str:
    return {str: "string", bool: "bool", int: "int", float: "float"}.get(type(value), "json")


def _check(scope: str, owner: str, name: str, value: object, data: bytes, *, secret: bool) -> None:
    """Raises Problem VALIDATION_FAILED for what cannot be kept; its texts never show the value."""
    errors: list[FieldError] = []
    if scope not in SCOPES:
        errors.append(FieldError("scope", "UNKNOWN_VALUE", f"One of {', '.join(SCOPES)}."))
    elif (scope in ("user", "job")) != bool(owner):
        text = "Say whose it is." if not owner else f"A configuration of the scope {scope} has no owner."
        errors.append(FieldError("owner", "REQUIRED_FIELD" if not owner else "CONFLICT", text))
    if len(owner) > _OWNER_CHARS or not (owner.isprintable() or not owner):
        errors.append(FieldError("owner", "INVALID_FORMAT", f"At most {_OWNER_CHARS} printable characters."))
    if not _NAME.fullmatch(name):
        text = "At most 128 letters, digits, '_', '.' and '-', and no digit first."
        errors.append(FieldError("name", "INVALID_FORMAT", text))
    elif name in BUILT_IN_NAMES:
        errors.append(FieldError("name", "CONFLICT", f"{name} is a variable of the engine; choose another name."))
    errors += _check_value(value, data, secret=secret)
    if errors:
        raise problem("VALIDATION_FAILED", " ".join(one.message for one in errors), errors=errors)


def _check_value(value: object, data: bytes, *, secret: bool) -> Iterable[FieldError]:
    if value is None:
        yield FieldError("value", "REQUIRED_FIELD", "There is no value.")
    elif len(data) > MAX_VALUE_BYTES:
        yield FieldError("value", "OUT_OF_RANGE", f"The value is longer than {MAX_VALUE_BYTES // 1024} KB.")
    elif not secret:
        return
    elif "\\u0000" in data.decode("utf-8", "replace") or not _is_unicode(text_of(value)):
        yield FieldError("value", "INVALID_FORMAT", "A secret is text without U+0000.")
    elif isinstance(value, bool) or len(text_of(value).strip()) < SHORTEST_SECRET:
        text = f"A secret has {SHORTEST_SECRET} characters at least: a shorter one could not be masked in logs."
        yield FieldError("value", "OUT_OF_RANGE", text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
