"""What the store in memory knows of files: rows in one dictionary, looked through as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from formicary.engine.storage.port import ARTIFACT_COLUMNS, TASK_COLUMNS, Row, RowRefused

_AT = {name: at for at, name in enumerate(ARTIFACT_COLUMNS)}
_STATE, _TOKEN, _ERROR = (TASK_COLUMNS.index(name) for name in ("state", "token", "error_code"))


class ArtifactTable:
    """Rows of ARTIFACT_COLUMNS.

    Args:
        task: Gives the row of the task at a position of a job, None where there is none.
    """

    def __init__(self, task: Callable[[int, int], Row | None]) -> None:
        self._task = task
        self.rows: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """Stores a row. Raises RowRefused where there is one of that id."""
        if str(row[0]) in self.rows:
            raise RowRefused(f"There is an artifact {row[0]!r} already")
        self.rows[str(row[0])] = row

    def of_job(self, org: str, job_id: str) -> list[Row]:
        """The artifacts of a job that can be seen."""
        found = [row for row in self.rows.values() if row[_AT["job_id"]] == job_id and row[_AT["org"]] == org]
        seen = [row for row in found if not row[_AT["cache_key"]] and self._is_seen(row)]
        return sorted(seen, key=lambda row: (_int(row, "position"), str(row[_AT["name"]]), str(row[0])))

    def find(self, artifact_id: str) -> Row | None:
        """One artifact that can be seen, or one entry of the cache."""
        row = self.rows.get(artifact_id)
        return row if row is not None and (row[_AT["cache_key"]] or self._is_seen(row)) else None

    def cached(self, org: str, job_type: str, cache_key: str, now: float) -> Row | None:
        """The oldest entry under a key that has not expired."""
        wanted = {"org": org, "job_type": job_type, "cache_key": cache_key}
        found = [
            row
            for row in self.rows.values()
            if all(row[_AT[name]] == value for name, value in wanted.items()) and _float(row, "expires_at") > now
        ]
        return min(found, key=lambda row: (_float(row, "created_at"), str(row[0])), default=None)

    def uploads(self, org: str) -> list[Row]:
        """Uploads of an organisation that are not complete."""
        return [row for row in self.rows.values() if row[_AT["org"]] == org and _is_upload(row)]

    def upload(self, org: str, name: str) -> Row | None:
        """One of them, by its id or its place."""
        return next((row for row in self.uploads(org) if name in (row[0], row[_AT["job_id"]])), None)

    def complete(self, row: Row) -> bool:
        """Puts an artifact in the place of its upload; False where there is none."""
        before = self.rows.get(str(row[0]))
        if before is None or not _is_upload(before):
            return False
        self.rows[str(row[0])] = row
        return True

    def size_of(self, org: str) -> int:
        """Bytes of an organisation's files."""
        return sum(_int(row, "size") for row in self.rows.values() if row[_AT["org"]] == org)

    def removable(self, now: float, left_before: float, limit: int) -> list[str]:
        """Ids of files that have expired or were left by an attempt that does not count."""
        found = [
            row for row in self.rows.values() if _float(row, "expires_at") <= now or self._is_left(row, left_before)
        ]
        return [str(row[0]) for row in sorted(found, key=lambda row: (_float(row, "expires_at"), str(row[0])))[:limit]]

    def remove(self, ids: Sequence[str]) -> int:
        """Removes rows."""
        return sum(self.rows.pop(one, None) is not None for one in ids)

    def _its_task(self, row: Row) -> Row | None:
        task = self._task(_int(row, "job"), _int(row, "position"))
        return task if task is not None and task[_TOKEN] == row[_AT["token"]] else None

    def _is_seen(self, row: Row) -> bool:
        task = self._its_task(row)
        return task is not None and task[_STATE] in ("COMPLETED", "FAILED") and task[_ERROR] != "ERR_POISON"

    def _is_left(self, row: Row, before: float) -> bool:
        return not row[_AT["cache_key"]] and _float(row, "created_at") < before and self._its_task(row) is None


def _is_upload(row: Row) -> bool:
    return not row[_AT["cache_key"]] and not row[_AT["job"]]


def _int(row: Row, name: str) -> int:
    return int(row[_AT[name]] or 0)


def _float(row: Row, name: str) -> float:
    return float(row[_AT[name]] or 0.0)
