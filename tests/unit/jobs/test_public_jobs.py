"""What a job has to be that other organisations may start."""

import pytest

from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.public_jobs import is_early, public_violations

JOB = "job_type: %s\ndescription: x\npublic_plugin: %s\ntasks:\n- {task_type: t, script: x}\n"


@pytest.mark.parametrize(
    ("name", "public", "is_good"),
    [
        ("io.example.stock-plugin", "true", True),
        ("com.example.team.a_b", "true", True),
        ("plugin", "true", False),
        ("example.plugin", "true", False),
        ("io..plugin", "true", False),
        ("plugin", "false", True),
    ],
)
def test_a_public_job_has_a_name_of_its_owners_domain(name: str, public: str, is_good: bool) -> None:
    """Said where the file says that it is public."""
    (parsed,) = parse_source(JOB % (name, public))
    assert parsed.definition is not None
    found = [(v.line, v.column, v.code, v.path) for v in public_violations(parsed.definition)]
    assert found == ([] if is_good else [(3, 1, "BAD_NAME", "public_plugin")])


def test_early_versions() -> None:
    """What stands behind a plus is of the build, not of the version."""
    assert [is_early(one) for one in ("1.0-dev", "2.0.0-rc", "2.0.0-rc.1+5")] == [True] * 3
    assert [is_early(one) for one in (None, "", "1.2", "1.2.0", "1.2.0+2026-11-27")] == [False] * 5
