"""Tasks in SQLite: one connection per call, so that a database that is gone, locked or full shows at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.todo.filtering import FOLD, SORTABLE, Node, Sql, after_sql, to_sql
from examples.todo.instants import loaded, stored
from examples.todo.v1 import todo_pb2
from formicary.problems import Problem, problem

RETRY_AFTER_S = 30
BUSY_WAIT_S = 1.0

_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_PROTOCOL,
}
"""Primary result codes that say the database cannot serve now; any other one is a mistake of ours."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    status INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_date TEXT,
    create_time TEXT NOT NULL,
    update_time TEXT NOT NULL,
    created_by TEXT NOT NULL,
    tags TEXT NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (created_by, title)
) STRICT
"""
_COLUMNS = (
    "id",
    "title",
    "description",
    "status",
    "priority",
    "due_date",
    "create_time",
    "update_time",
    "created_by",
    "tags",
    "version",
)


class TitleTaken(Exception):
    """The owner has a task with this title already."""


class Changed(Exception):
    """The task is not of the expected version any more, or is gone."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks in order.

    Attributes:
        tasks: Of this page.
        last: Values of the order's fields and the id of the last one; None when no task follows.
        total: How many tasks there are on all pages.
    """

    tasks: list[todo_pb2.Task]
    last: list[str | int] | None
    total: int


@contextmanager
def unavailable() -> Iterator[None]:
    """Raises Problem UNAVAILABLE for whatever keeps the database from serving; the cause stays attached."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in _AWAY:
            raise
        raise away() from error


def away() -> Problem:
    """The article's fourth example: what a caller needs to try again by itself."""
    return problem(
        "UNAVAILABLE",
        "The tasks cannot be reached at the moment. Try again later.",
        retry_after_s=RETRY_AFTER_S,
    )


def path_of(url: str) -> Path:
    """The file of ``sqlite:///relative``, ``sqlite:////absolute`` or a plain path.

    Raises:
        ValueError: The URL is of another kind.
    """
    if "://" not in url:
        return Path(url).resolve()
    kind, _, rest = url.partition("://")
    if kind != "sqlite" or not rest.startswith("/") or len(rest) < 2:
        raise ValueError(f"{url!r} is no database: write sqlite:///FILE or the path of a file.")
    return Path(rest[1:]).resolve()


class Store:
    """The tasks in a file; every method raises Problem UNAVAILABLE when the file cannot be used.

    Args:
        path: The file, created where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.as_uri()}?mode="
        with unavailable(), self._connected("rwc") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)

    @contextmanager
    def _connected(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._uri + mode, uri=True, timeout=BUSY_WAIT_S, isolation_level=None)
        try:
            connection.create_function(FOLD, 1, str.casefold, deterministic=True)
            yield connection
        finally:
            connection.close()

    def ping(self) -> None:
        """Returns if the tasks can be read."""
        with unavailable(), self._connected() as connection:
            connection.execute("SELECT 1 FROM tasks LIMIT 1").fetchone()

    def create(self, task: todo_pb2.Task) -> None:
        """Adds a task. Raises TitleTaken."""
        row = _row(task, 1)
        marks = ", ".join("?" * len(_COLUMNS))
        with unavailable(), self._connected() as connection:
            try:
                connection.execute(f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES ({marks})", row)
            except sqlite3.IntegrityError as error:
                raise TitleTaken(task.title) from error

    def get(self, task_id: str) -> todo_pb2.Task | None:
        """Reads a task."""
        with unavailable(), self._connected() as connection:
            query = f"SELECT {', '.join(_COLUMNS)} FROM tasks WHERE id = ?"
            row = connection.execute(query, (task_id,)).fetchone()
        return None if row is None else _task(row)

    def replace(self, task: todo_pb2.Task, etag: str) -> str:
        """Writes a task over its version `etag` and returns the new one. Raises Changed and TitleTaken."""
        version = int(etag)
        sets = ", ".join(f"{column} = ?" for column in _COLUMNS[1:])
        row = _row(task, version + 1)
        with unavailable(), self._connected() as connection:
            try:
                done = connection.execute(
                    f"UPDATE tasks SET {sets} WHERE id = ? AND version = ?", (*row[1:], row[0], version)
                )
            except sqlite3.IntegrityError as error:
                raise TitleTaken(task.title) from error
        if not done.rowcount:
            raise Changed(task.name)
        return str(version + 1)

    def delete(self, task_id: str, etag: str) -> None:
        """Removes the version `etag` of a task. Raises Changed."""
        with unavailable(), self._connected() as connection:
            done = connection.execute("DELETE FROM tasks WHERE id = ? AND version = ?", (task_id, int(etag)))
        if not done.rowcount:
            raise Changed(task_id)

    def list(
        self,
        owner: str | None,
        where: Node | None,
        order: tuple[tuple[str, bool], ...],
        after: list[str | int] | None,
        size: int,
    ) -> Page:
        """Reads a page.

        Args:
            owner: Whose tasks; None = everybody's.
            where: The filter.
            order: Fields with whether they descend; the id decides last.
            after: `Page.last` of the page before.
            size: Most tasks in the page.
        """
        condition, values = to_sql(where)
        if owner is not None:
            condition, values = f"created_by = ? AND ({condition})", [owner, *values]
        later: Sql = after_sql(order, after) if after is not None else ("1", [])
        keys = [SORTABLE[field] for field, _ in order]
        directions = [f"{key} {'DESC' if down else 'ASC'}" for key, (_, down) in zip(keys, order, strict=True)]
        query = (
            f"SELECT {', '.join([*_COLUMNS, *keys])} FROM tasks WHERE ({condition}) AND {later[0]} "
            f"ORDER BY {', '.join([*directions, 'id'])} LIMIT ?"
        )
        with unavailable(), self._connected() as connection:
            connection.execute("BEGIN")
            rows = connection.execute(query, (*values, *later[1], size + 1)).fetchall()
            total = connection.execute(f"SELECT count(*) FROM tasks WHERE {condition}", values).fetchone()[0]
        tasks = [_task(row[: len(_COLUMNS)]) for row in rows[:size]]
        last = [*rows[size - 1][len(_COLUMNS) :], rows[size - 1][0]] if len(rows) > size else None
        return Page(tasks, last, total)


def _row(task: todo_pb2.Task, version: int) -> tuple[str | int | None, ...]:
    return (
        task.name.removeprefix("tasks/"),
        task.title,
        task.description,
        task.status,
        task.priority,
        stored(task.due_date) if task.HasField("due_date") else None,
        stored(task.create_time),
        stored(task.update_time),
        task.created_by,
        json.dumps(list(task.tags)),
        version,
    )


def _task(row: tuple[str | int | None, ...]) -> todo_pb2.Task:
    known = dict(zip(_COLUMNS, row, strict=True))
    task = todo_pb2.Task(
        name=f"tasks/{known['id']}",
        etag=str(known["version"]),
        tags=json.loads(str(known["tags"])),
        **{name: known[name] for name in ("title", "description", "status", "priority", "created_by")},  # type: ignore[arg-type]  # as the table has them
    )
    for name in ("due_date", "create_time", "update_time"):
        if known[name] is not None:
            getattr(task, name).CopyFrom(loaded(str(known[name])))
    return task
