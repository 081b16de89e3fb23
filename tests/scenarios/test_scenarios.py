"""Each file tells how the engine behaves in one situation; see `transcript` for the form."""

from pathlib import Path

import pytest

from tests.scenarios.transcript import files, replay


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_what_happens_is_what_is_written(path: Path, request: pytest.FixtureRequest) -> None:
    """Running the commands of the file gives the outputs in the file."""
    text = path.read_text(encoding="utf-8")
    found = replay(text)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(found, encoding="utf-8")
    else:
        assert found == text
