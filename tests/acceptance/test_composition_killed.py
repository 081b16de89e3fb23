"""A fan-out while its process is killed by SIGKILL: every element has one forked job, before and after."""

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.test_examples_killed import wait_until

FORMICARY = [sys.executable, "-m", "formicary"]
ELEMENTS = 12
JOBS = """job_type: child
required_params: [n, out]
tasks:
- task_type: work
  script: ['echo "{{.n}} {{.JobID}}" >> {{.out}}; sleep 0.2']
---
job_type: parent
job_variables: {}
required_params: [list, out]
tasks:
- task_type: fan
  method: FAN_OUT_JOB
  fork_job_type: child
  variables: {out: '{{.out}}'}
  fan_out: {source: list, item_var: n, max_parallel: 3}
"""


def test_a_killed_fan_out_goes_on_and_forks_nothing_twice(tmp_path: Path, data_dir: Path) -> None:
    """Three times killed with kill -9 and resumed: the job completes, and each element was worked on by one job."""
    file, out = tmp_path / "jobs.yaml", tmp_path / "marks"
    file.write_text(JOBS)

    def marks() -> list[list[str]]:
        return [line.split() for line in out.read_text().splitlines()] if out.exists() else []

    given = ["-p", f"list={json.dumps(list(range(ELEMENTS)))}", "-p", f"out={out}", "--job", "parent"]
    command = [*FORMICARY, "run", str(file), *given, "--data", str(data_dir)]
    for _ in range(3):
        seen = len(marks())
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            told = next(line for line in process.stdout if "job " in line)  # its work may be ahead of what is shown
            wait_until("two more marks", lambda seen=seen: len(marks()) >= seen + 2)  # type: ignore[misc]  # early bound
            process.kill()
        job_id = told.split("job ", 1)[1].split()[0]
        command = [*FORMICARY, "run", "--resume", job_id, "--data", str(data_dir)]
    last = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, timeout=120)
    document = json.loads(last.stdout)
    assert document["state"] == "COMPLETED", document["error"]
    jobs = {(n, job) for n, job in marks()}
    assert len(jobs) == ELEMENTS
    assert [result["job"] for result in document["outputs"]["FanOutResults"]] == [
        job for _, job in sorted(jobs, key=lambda pair: int(pair[0]))
    ]
