"""The page that shows the document."""

import importlib.resources
import re

from formicary.gateway.openapi import docs_page


def test_the_page_refers_to_its_own_files_only() -> None:
    """Every file that the page loads is one of the page's, and no address of another host is in it."""
    files = docs_page("Things", "/openapi.json")
    page = files[""].content.decode()
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"', page)
    assert {name for name in loaded if not name.startswith("data:")} == files.keys() - {""}
    assert "//" not in page.replace("<!doctype html>", "")
    assert b"validatorUrl: null" in files["start.js"].content


def test_the_page_may_reach_its_own_host_alone() -> None:
    """The policy that comes with every file lets no script in the page and no other host in."""
    for file in docs_page("Things", "/openapi.json").values():
        policy = file.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "connect-src 'self'" in policy
        assert "http" not in policy


def test_titles_and_addresses_cannot_break_out() -> None:
    """Text of the caller is text in the page and in the script."""
    files = docs_page("<b>&", '/x"</script>')
    assert "<b>&" not in files[""].content.decode()
    assert "</script>" not in files["start.js"].content.decode()


def test_the_viewer_comes_with_its_licence() -> None:
    """The licence and the notice of the viewer stand beside it."""
    viewer = importlib.resources.files("formicary.gateway.openapi").joinpath("viewer")
    assert "Apache License" in viewer.joinpath("LICENSE").read_text(encoding="utf-8")
    assert viewer.joinpath("NOTICE").is_file()
