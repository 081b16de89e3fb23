"""The root exception, its document and the catalogue."""

import pickle
import subprocess
import sys

import pytest

from formicary.problems import CATALOGUE, FieldError, Problem, problem
from formicary.problems.http import public_document


def test_a_problem_knows_its_status_from_the_catalogue() -> None:
    found = problem("UNAVAILABLE", "The database is locked.")
    assert (found.status, found.grpc_code, found.retryable, found.blame) == (503, "UNAVAILABLE", True, "server")
    assert str(found) == "The database is locked."


def test_a_document_comes_back_as_the_same_problem() -> None:
    before = problem("VALIDATION_FAILED", "No.", errors=[FieldError("tasks[1].retry", "WRONG_TYPE", "Use.", 3, 4)], x=1)
    after = Problem.from_document(before.to_document())
    assert after.to_document() == before.to_document()
    assert pickle.loads(pickle.dumps(before)).to_document() == before.to_document()


def test_a_strange_document_gives_a_problem_and_no_error() -> None:
    found = Problem.from_document({"status": "x", "errors": [1, {"field": 2}], "more": True})
    assert found.status == 500 and found.extensions == {"more": True} and len(found.errors) == 1


def test_an_error_code_of_a_job_file_counts_as_the_tasks_own() -> None:
    assert problem("ERR_NO_DISK").blame == "task"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_row_has_a_title_and_a_status(code: str) -> None:
    row = CATALOGUE[code]
    assert row.title and 400 <= row.status < 600 and row.blame in {"caller", "server", "task"}


def test_problems_load_no_grpc() -> None:
    code = "import sys, formicary.problems; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_remedy_points_to_a_list_that_is_empty() -> None:
    """Where nothing is wrong field by field, the sentence says to look at `detail`; so where the list is not shown."""
    errors = iter([FieldError("key", "TOO_LONG", "Shorten it.")])
    listed = problem("VALIDATION_FAILED", "the key is too long", errors=errors)
    assert len(listed.errors) == 1 and "`errors`" in listed.remedy
    bare = problem("VALIDATION_FAILED", "the key is too long")
    assert "`errors`" not in bare.remedy and "`detail`" in bare.remedy
    listed.show = False
    assert "errors" not in public_document(listed) and "`errors`" not in str(public_document(listed)["remedy"])
