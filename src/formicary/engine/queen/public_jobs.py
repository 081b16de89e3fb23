"""Jobs of other organisations that say `public_plugin`.

Theory of operation. Whoever starts a public job of another organisation runs a definition of his own: a copy of its
text, whose id follows from both organisations' and whose version says, like that of tasks which a template has made,
that it is none (-n of version n). So the job is in every way one of the caller: it sees his configurations and
secrets, counts for his limits, and its rows, files and logs are his. Nothing of the owner's comes along but the text.

A job type of one's own comes first. Of those of others the first publisher has the name: another one is refused.
What the newest version of its owner says decides: once that is not public any more, no version can be started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import groupby

from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.public_jobs import is_early
from formicary.engine.storage.port import Row, Store
from formicary.problems import Problem, problem

Model = Callable[[Row], JobDefinition]


def find_public(store: Store, model: Model, org: str, job_type: str, version: str = "") -> Row | None:
    """The definition with which an organisation starts a public job of another one; blocking.

    Args:
        store: Where definitions are.
        model: The definition of a row.
        org: Who wants it.
        job_type: Its job type.
        version: Its number or `sem_version`; empty = the newest that is no early one (1.0-rc).

    Returns:
        A row that may not be stored yet; None where there is none.

    Raises:
        StoreError: The store cannot be read.
        Problem: FAILED_PRECONDITION where all versions are early ones.
    """
    versions = _published(store, model, job_type, (org,))
    if not versions:
        return None
    if version:
        found = next((row for row, one in versions if version in (str(row[3]), str(row[0]), one.sem_version)), None)
    else:
        found = next((row for row, one in versions if not is_early(one.sem_version)), None)
        if found is None:
            names = ", ".join(dict.fromkeys(str(one.sem_version) for _, one in versions[:5]))
            raise problem(
                "FAILED_PRECONDITION",
                f"the public job {job_type!r} has early versions only ({names}): name the one that is wanted",
            )
    return _copy(found, org) if found is not None else None


def check_publisher(store: Store, model: Model, org: str, job_type: str, others: Iterable[Row]) -> None:
    """Raises Problem ALREADY_EXISTS where another organisation has a public job of this type; StoreError.

    Args:
        store: Where definitions are.
        model: The definition of a row.
        org: Who wants to publish.
        job_type: The job type.
        others: Rows that may not be stored yet.
    """
    more = [row for row in others if row[1] != org and row[2] == job_type and model(row).public_plugin]
    if more or _published(store, model, job_type, (org,)):
        raise problem(
            "ALREADY_EXISTS",
            f"another organisation has a public job {job_type!r}: choose another name, one of your own domain",
        )


def _published(store: Store, model: Model, job_type: str, without: tuple[str, ...]) -> list[tuple[Row, JobDefinition]]:
    """The public versions of the organisation that has published first, newest first."""
    found: list[list[tuple[Row, JobDefinition]]] = []
    rows = [row for row in store.definitions_of_all(job_type) if row[1] not in without]
    for _, some in groupby(rows, key=lambda row: row[1]):
        versions = [(row, one) for row in some if (one := _read(model, row)) is not None]
        if versions and versions[0][1].public_plugin:
            found.append([pair for pair in versions if pair[1].public_plugin])
    return min(found, key=lambda pairs: float(pairs[-1][0][8] or 0), default=[])


def _read(model: Model, row: Row) -> JobDefinition | None:
    """The definition of a row; None where this version cannot read it any more."""
    try:
        return model(row)
    except Problem:
        return None


def _copy(row: Row, org: str) -> Row:
    """The row as that of another organisation; whose files its text came from is nobody's business."""
    key = sha256(f"public\0{org}\0{row[0]!s}".encode()).hexdigest()[:32]
    return (key, org, row[2], -int(row[3] or 0), row[4], row[5], row[6], str(row[2]), row[8])
