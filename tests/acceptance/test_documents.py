"""The code that the README and the documents show is true."""

import re
import runpy
from pathlib import Path

import pytest

from formicary.engine.jobs.parse import parse_source

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[object]:
    """Every fenced block of a language in the documents, named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match.group(1), id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("source", blocks("yaml"))
def test_a_job_file_in_a_document_is_valid(source: str) -> None:
    """Each YAML block that is a job passes validation."""
    if "job_type:" not in source:
        pytest.skip("is no job file")
    assert [violation for parsed in parse_source(source) for violation in parsed.violations] == []


@pytest.mark.parametrize("source", blocks("python"))
def test_python_in_a_document_runs(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block can be run as it stands, in an empty folder, and the jobs in it are definitions."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "shown.py"
    path.write_text(source)
    names = runpy.run_path(str(path), run_name="shown")
    for value in names.values():
        if hasattr(value, "definition"):
            assert value.definition().tasks
