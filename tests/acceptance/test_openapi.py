"""The served OpenAPI document is valid, and the server does what it says, for requests nobody thought of."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.acceptance.server import REPOSITORY, Up

SETTINGS = REPOSITORY / "tests" / "acceptance" / "schemathesis.toml"
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"
ENDLESS = r":follow$"
"""A followed job is over when it has ended, and without an ant none ends."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server without ants."""
    server = Up(tmp_path_factory.mktemp("openapi") / "data", "--ants", "0")
    server.start()
    yield server
    server.clear()


@pytest.fixture(scope="module")
def document(up: Up) -> dict[str, Any]:
    """The document as it is served."""
    status, found = up.page("/openapi.json")
    assert status == 200
    return found


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert "x-not-expressible" not in document


def test_the_key_is_a_header_that_must_be_there(document: dict[str, Any]) -> None:
    """Over HTTP the header alone says the key; the older engine's path can do without."""
    for path, needed in (("/v1/jobs", True), ("/api/jobs/requests", False)):
        (key,) = document["paths"][path]["post"]["parameters"]
        assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", needed)
    assert "idempotency_key" not in document["components"]["schemas"]["SubmitJobRequest"]["properties"]


def test_statuses_that_http_adds_are_said(document: dict[str, Any]) -> None:
    assert {"400", "406", "409", "413", "415", "422"} <= document["paths"]["/v1/jobs"]["post"]["responses"].keys()
    assert "412" in document["paths"]["/v1/jobs/{id}:retry"]["post"]["responses"]


def test_problems_look_as_the_document_says(up: Up, document: dict[str, Any]) -> None:
    """Each operation names problems; an example has the members of the real document, at their places."""
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            assert any(status.startswith("4") for status in operation["responses"]), (verb, path)
    example = document["components"]["responses"]["Problem400"]["content"]["application/problem+json"]["examples"]
    _, real = up.page("/v1/jobs?page_size=-1")
    shown = example["VALIDATION_FAILED"]["value"]
    assert shown.keys() == real.keys() and shown["errors"][0].keys() == real["errors"][0].keys()
    assert (
        shown["extensions"].keys()
        == real["extensions"].keys()
        <= (document["components"]["schemas"]["Problem"]["properties"]["extensions"]["properties"].keys())
    )


def test_schemathesis_finds_nothing(up: Up, tmp_path: Path) -> None:
    """Every operation, its examples, its bounds, random input and sequences of calls; valid and invalid requests."""
    command = (
        *(sys.executable, str(SCHEMATHESIS), "--config-file", str(SETTINGS), "run"),
        f"http://127.0.0.1:{up.http}/openapi.json",
        *("--max-examples", "10", "--seed", "1", "--generation-deterministic"),
        *("--exclude-path-regex", ENDLESS, "--request-timeout", "60", "--warnings", "off", "--no-color"),
        *("--suppress-health-check", "all", "--continue-on-failure"),
    )
    done = run(command, capture_output=True, text=True, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, _readable(done.stdout) + done.stderr
    assert "No issues found" in done.stdout
    assert up.page("/readyz")[0] == 200
    assert "Traceback" not in up.log.read_text()


def _readable(report: str) -> str:
    """What failed, with random values of thousands of characters cut short."""
    found = report[max(report.find("= FAILURES ="), 0) :]
    return "\n".join(
        line if len(line) <= 300 else f"{line[:300]}… ({len(line)} characters)" for line in found.splitlines()
    )
