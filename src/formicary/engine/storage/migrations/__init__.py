"""Numbered schema changes, forward only, one text for every SQL dialect.

Each ``NNNN_name.sql`` file is applied once, in one transaction, and recorded in ``schema_version``. A file that has
been released is never edited: data written by every released version must arrive at the same schema. What the dialects
spell differently stands in braces and is replaced from :data:`DIALECTS`; a file whose first line is
``-- only: NAME`` has statements for that dialect alone (the others record its number all the same).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from formicary.engine.storage.port import UnsupportedDataVersion

DIALECTS: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {
        "integer": "INTEGER",
        "real": "REAL",
        "blob": "BLOB",
        "number_key": "INTEGER PRIMARY KEY",
        "counted_key": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "without_rowid": " WITHOUT ROWID",
        # An index entry of SQLite ends in the row's number anyway.
        "then_number": "",
        "in_place": "",
    },
    "postgresql": {
        "integer": "BIGINT",
        "real": "DOUBLE PRECISION",
        "blob": "BYTEA",
        "number_key": "BIGINT PRIMARY KEY",
        "counted_key": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "without_rowid": "",
        "then_number": ", number",
        # Room on each page for the next image of a row: no index entry is written when it stays on its page.
        "in_place": " WITH (fillfactor = 60)",
    },
}

BOOTSTRAP: Final = (
    "CREATE TABLE IF NOT EXISTS schema_version "
    "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at {real} NOT NULL, product TEXT NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    text: str

    def statements(self, dialect: str) -> list[str]:
        """The SQL statements of this step in a dialect; empty where it does not concern it."""
        first = self.text.partition("\n")[0]
        if first.startswith("-- only: ") and first.removeprefix("-- only: ").strip() != dialect:
            return []
        lines = (line.partition("--")[0].rstrip() for line in self.text.splitlines())
        text = in_dialect("\n".join(line for line in lines if line), dialect)
        return [statement.strip() for statement in text.split(";") if statement.strip()]


def in_dialect(text: str, dialect: str) -> str:
    """The text with everything in braces replaced."""
    return text.format_map(DIALECTS[dialect])


@cache
def migrations() -> tuple[Migration, ...]:
    """Every step in order. Raises ValueError when the numbers have a gap."""
    found = []
    for entry in files(__package__).iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migration numbers have a gap: {[migration.version for migration in found]}")
    return tuple(found)


def pending(found: int, writer: str, where: str) -> tuple[Migration, ...]:
    """The steps that data at version `found` still needs.

    Args:
        found: version of the data, 0 for empty data.
        writer: version of the product that brought it there.
        where: what the data is called in a message.

    Raises:
        UnsupportedDataVersion: the data is newer than this program.
    """
    known = migrations()
    if found > len(known):
        raise UnsupportedDataVersion(
            f"{where} has data version {found}, written by Formicary {writer}; this program knows versions up to "
            f"{len(known)}. Nothing was changed. Start Formicary {writer} or newer on it, or restore a copy that was "
            "made before the upgrade."
        )
    return known[found:]
