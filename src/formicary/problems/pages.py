"""The page of each problem type, and problems as pages for browsers: made of the catalogue, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import msgspec

from formicary.problems.catalogue import ALIASES, CATALOGUE, OWN_ERROR, CodeEntry
from formicary.problems.problem import TYPE_PREFIX, number, type_uri

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left;"
    "vertical-align:top}code{background:#eee;padding:0 .2rem}@media(prefers-color-scheme:dark)"
    "{body{background:#111;color:#eee}code{background:#333}a{color:#8bf}}"
)
_BY_SLUG = {row.slug: row for row in CATALOGUE.values()}


def find(path: str) -> CodeEntry | None:
    """The row that a path like ``/problems/not-found`` shows; None where there is no such page.

    An ``err-…`` of a job file has the page of all errors of its kind.
    """
    name = path.removeprefix(TYPE_PREFIX) if path.startswith(TYPE_PREFIX) else ""
    if name.startswith("err-") and name not in _BY_SLUG:
        return OWN_ERROR
    return _BY_SLUG.get(name)


def document(row: CodeEntry, type_base: str = "") -> dict[str, object]:
    """A row as JSON values."""
    retry = row.retry
    return {
        "type": type_uri(row.code, type_base),
        "code": row.code,
        "title": row.title,
        "status": row.status,
        "grpcCode": row.grpc_code,
        "retryable": row.retryable,
        "retryAfter": None if retry.after_s is None else number(retry.after_s),
        "maxRetries": retry.max_retries,
        "backoffType": retry.backoff_type or None,
        "backoffMs": retry.backoff_ms,
        "blame": row.blame,
        "errorCategory": row.category,
        "detailShown": row.show,
        "remedy": row.remedy,
        "aliases": sorted(alias for alias, code in ALIASES.items() if code == row.code),
    }


def page(row: CodeEntry, *, html: bool, type_base: str = "") -> bytes:
    """The page of a type, in HTML or JSON."""
    members = document(row, type_base)
    if not html:
        return msgspec.json.encode(members)
    body = f"<h1>{escape(row.title)}</h1><p>{escape(row.remedy)}</p>{_table(members)}"
    return _whole(row.title, f'{body}<p><a href="{TYPE_PREFIX}">All problem types</a></p>')


def index(*, html: bool, type_base: str = "") -> bytes:
    """All types, in HTML or JSON."""
    if not html:
        return msgspec.json.encode({"problems": [document(row, type_base) for row in CATALOGUE.values()]})
    rows = "".join(
        f'<tr><td><a href="{escape(type_uri(row.code, type_base))}"><code>{escape(row.code)}</code></a></td>'
        f"<td>{escape(row.title)}</td><td>{row.status}</td><td>{escape(row.grpc_code)}</td></tr>"
        for row in CATALOGUE.values()
    )
    head = "<tr><th>code</th><th>title</th><th>HTTP</th><th>gRPC</th></tr>"
    return _whole("Problem types", f"<h1>Problem types</h1><table>{head}{rows}</table>")


def problem_html(members: Mapping[str, object]) -> bytes:
    """A problem document as a page for people."""
    title = str(members.get("title", ""))
    kind = escape(str(members.get("type", "")))
    head = f"<h1>{escape(title)}</h1><p>{escape(str(members.get('detail', '')))}</p>"
    return _whole(title, f'{head}{_table(members)}<p><a href="{kind}">About this type of problem</a></p>')


def _table(members: Mapping[str, object]) -> str:
    cells = ((name, value if isinstance(value, str) else _json(value)) for name, value in members.items())
    rows = "".join(f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in cells)
    return f"<table>{rows}</table>"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _whole(title: str, body: str) -> bytes:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'.encode()
