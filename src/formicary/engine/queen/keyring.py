"""The keys that secrets are encrypted with, and how.

Theory of operation. A key is 32 random bytes. The first of a ring encrypts, every one decrypts, so that a key is
replaced by putting a new one before it, encrypting all secrets again, and taking the old one away. From a key each
organisation gets one of its own (HKDF-SHA256); a value is encrypted with AES-256-GCM and a random nonce, and what it
belongs to (scope, organisation, owner, name, id) is authenticated with it: a value that is moved into another row
cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

from formicary.problems import problem

KEY_BYTES = 32
NONCE_BYTES = 12
VARIABLE = "FORMICARY_SECRET_KEY"
WAY_OUT = (
    "make a key with `formicary secrets keygen FILE` and start the server with --secret-key-file FILE "
    f"(or the key in {VARIABLE})"
)
_HEADER = (
    "# Keys of Formicary, one a line. The first encrypts; the others only decrypt, and may go once\n"
    "# `formicary secrets rotate` has said that nothing needs them. Without its key a secret is lost: keep a copy.\n"
)


_NONE = token_bytes(KEY_BYTES)
"""Stands for the keys where there are none."""


class CannotDecrypt(Exception):
    """A secret cannot be read: its key is not here, or its row was damaged."""


class Keyring:
    """Keys, the first of which is current.

    Args:
        keys: Of 32 bytes each; none = nothing can be encrypted.
        source: File that they came from, None = none.
    """

    def __init__(self, keys: Sequence[bytes] = (), source: Path | None = None) -> None:
        self._keys = {key_id(key): key for key in keys}
        self.current = key_id(keys[0]) if keys else ""
        """Id of the key that encrypts, empty = there is none."""
        self.source = source

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the current one first."""
        return tuple(self._keys)

    @classmethod
    def open(cls, source: Path | None) -> Keyring:
        """Reads a key file, or else the environment.

        Raises:
            Problem: VALIDATION_FAILED; the text says what is wrong and never shows a key.
        """
        if source is None:
            text = os.environ.get(VARIABLE, "")
            return cls(_keys(text.replace(",", "\n"), VARIABLE))
        return cls(_keys(_read(source), str(source)), source)

    def again(self) -> Keyring:
        """The same source, read once more. Raises Problem."""
        return self.open(self.source)

    def encrypt(self, tenant: str, place: Sequence[str], text: bytes) -> tuple[bytes, str]:
        """Encrypts a value for its place.

        Returns:
            Nonce and ciphertext, and the id of the key.

        Raises:
            Problem: FAILED_PRECONDITION where there is no key.
        """
        if not self.current:
            raise problem("FAILED_PRECONDITION", f"This server has no key for secrets: {WAY_OUT}.")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # slow to import, and rarely needed

        nonce = token_bytes(NONCE_BYTES)
        key = _derived(self._keys[self.current], tenant)
        return nonce + AESGCM(key).encrypt(nonce, text, _bound(place)), self.current

    def blind(self, digest: bytes) -> bytes:
        """A digest of a secret as it may be stored: without the keys nobody can try values against it.

        The oldest key makes it, so that it stays the same while the others change. Without keys no secret is stored
        either; then it is different in each life of the server.
        """
        key = next(reversed(self._keys.values()), _NONE)
        return hmac.digest(key, b"formicary digest\0" + digest, "sha256")

    def decrypt(self, tenant: str, place: Sequence[str], data: bytes, with_key: str) -> bytes:
        """The value. Raises CannotDecrypt, whose text says why."""
        key = self._keys.get(with_key)
        if key is None:
            raise CannotDecrypt(f"it was encrypted with the key {with_key[:16]}, which this server does not have")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(_derived(key, tenant)).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(place))
        except (InvalidTag, ValueError) as error:
            raise CannotDecrypt("its stored value is damaged or belongs to another secret; set it again") from error


def key_id(key: bytes) -> str:
    """The public name of a key."""
    return sha256(b"formicary key id\0" + key).hexdigest()[:12]


def make_key_file(path: Path, *, add: bool = False) -> str:
    """Writes a file with a new key that only its owner can read; returns the key's id.

    Args:
        path: The file; its folder is there.
        add: Put the key before those that the file has; without, there must be no such file.

    Raises:
        Problem: ALREADY_EXISTS, VALIDATION_FAILED; FAILED_PRECONDITION where it cannot be written.
    """
    earlier = [_text(key) for key in _keys(_read(path), str(path))] if add else []
    key = token_bytes(KEY_BYTES)
    text = _HEADER + "\n".join([_text(key), *earlier]) + "\n"
    if path.exists() and not add:
        raise problem("ALREADY_EXISTS", f"{path} is there already; with --add a new key is put before those it has.")
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        _sync(path.parent)
    except OSError as error:
        raise problem("FAILED_PRECONDITION", f"{path} cannot be written: {error.strerror}.") from error
    return key_id(key)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(65536)
    except OSError as error:
        raise problem(
            "VALIDATION_FAILED", f"The key file {path} cannot be read: {error.strerror}; {WAY_OUT}."
        ) from error
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise problem(
            "VALIDATION_FAILED",
            f"The key file {path} can be read by others (mode {mode:04o}): say `chmod 600 {path}`, and take a new key "
            "if anybody may have seen it.",
        )
    return data.decode("utf-8", "replace")


def _keys(text: str, where: str) -> list[bytes]:
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise problem(
                "VALIDATION_FAILED",
                f"{where}, line {number}: this is no key. A key is 32 bytes in base64, one a line; "
                "`formicary secrets keygen FILE` makes one.",
            )
        if key not in found:
            found.append(key)
    if not found and where != VARIABLE:
        raise problem("VALIDATION_FAILED", f"{where} holds no key: {WAY_OUT}.")
    return found


def _derived(key: bytes, tenant: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    salt = sha256(tenant.encode()).digest()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"formicary secret 1").derive(key)


def _bound(place: Sequence[str]) -> bytes:
    """What the value is bound to, without a doubt where one part ends."""
    return b"".join(len(data).to_bytes(4, "big") + data for data in (part.encode() for part in place))
