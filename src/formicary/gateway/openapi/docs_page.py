"""The page that shows an OpenAPI document in a browser; every file of it comes from this package.

The viewer is Swagger UI, unchanged (``viewer/``). Its validator badge, the only thing that would call another host,
is off, and the Content-Security-Policy lets the page reach its own host alone.
"""

from __future__ import annotations

import html
import importlib.resources
import json
from dataclasses import dataclass
from functools import cache

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Inline styles are what the viewer sets on its elements; inline scripts and evaluation stay forbidden."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="swagger-ui.css">
</head>
<body>
<div id="viewer"></div>
<noscript>This page needs scripts; the document itself is at <a href="{url}">{url}</a>.</noscript>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({{
  url: {url},
  dom_id: "#viewer",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null
}});
"""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page.

    Attributes:
        content: Its bytes.
        media_type: Its ``Content-Type``.
        headers: Further headers to send with it, the Content-Security-Policy among them.
    """

    content: bytes
    media_type: str
    headers: dict[str, str]


def docs_page(title: str, openapi_url: str) -> dict[str, PageFile]:
    """The files of the page by name; serve them in one directory, whose own address (with a slash) is ``""``.

    Args:
        title: Of the browser's window.
        openapi_url: Where the document is, on the same host: absolute path, or relative to the page.

    Returns:
        ``""`` is the page; the others are what it refers to.
    """
    page = _PAGE.format(title=html.escape(title), url=html.escape(openapi_url))
    start = _START.format(url=json.dumps(openapi_url).replace("</", "<\\/"))
    script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
    return {
        "": PageFile(page.encode(), "text/html; charset=utf-8", dict(_HEADERS)),
        "start.js": PageFile(start.encode(), script, dict(_HEADERS)),
        "swagger-ui-bundle.js": PageFile(_viewer("swagger-ui-bundle.js"), script, dict(_HEADERS)),
        "swagger-ui.css": PageFile(_viewer("swagger-ui.css"), style, dict(_HEADERS)),
    }


@cache
def _viewer(name: str) -> bytes:
    return importlib.resources.files("formicary.gateway.openapi").joinpath("viewer", name).read_bytes()
