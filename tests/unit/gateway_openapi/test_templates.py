"""Path templates become OpenAPI paths."""

import pytest

from formicary.gateway.openapi.templates import openapi_path

PATHS = {
    "/v1/jobs": ("/v1/jobs", []),
    "/v1/jobs/{id}": ("/v1/jobs/{id}", ["id"]),
    "/v1/jobs/{id}:cancel": ("/v1/jobs/{id}:cancel", ["id"]),
    "/v1/{name=jobs/*}": ("/v1/jobs/{job}", ["name"]),
    "/v1/{name=orgs/*/policies/*}:check": ("/v1/orgs/{org}/policies/{policy}:check", ["name", "name"]),
    "/v1/{job.name=jobs/*}": ("/v1/jobs/{job}", ["job.name"]),
    "/v1/{job.id}": ("/v1/{job.id}", ["job.id"]),
    "/v1/files/{path=**}": ("/v1/files/{path}", ["path"]),
    "/v1/{name=files/**}": ("/v1/files/{file}", ["name"]),
    "/v1/{a=jobs/*}/{b=jobs/*}": ("/v1/jobs/{job}/jobs/{job_2}", ["a", "b"]),
    "/v1/*/x": ("/v1/{v1}/x", [""]),
}


@pytest.mark.parametrize("template", PATHS)
def test_a_template_becomes_a_path(template: str) -> None:
    """Literals of a variable stand in the path; each wildcard is a parameter with a name of its own."""
    found = openapi_path(template)
    assert (found.path, [one.field for one in found.parameters]) == PATHS[template]


def test_names_of_parameters_follow_the_json_names() -> None:
    """A parameter that is a whole field is named as the field is named in JSON."""
    assert openapi_path("/v1/{job_id}", lambda path: "jobId").path == "/v1/{jobId}"


def test_the_shape_forgets_names() -> None:
    """Two templates that differ only in the names of their parameters have one shape."""
    assert openapi_path("/v1/{a}/b").shape == openapi_path("/v1/{c}/b").shape == "/v1/{}/b"
