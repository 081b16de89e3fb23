"""What good job files become: fields, types, templates, several documents, later features."""

import random
import time

import pytest

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.fields import JOB_FIELDS, TASK_FIELDS
from formicary.engine.jobs.model import (
    Backoff,
    JobDefinition,
    TaskDefinition,
    definition_from_json,
    definition_id,
    definition_to_json,
    task_from_json,
    task_to_json,
)
from formicary.engine.jobs.parse import FIELD_READERS, parse_source
from formicary.engine.jobs.rendering import expand_dynamic, render_job_variables, render_task
from formicary.engine.jobs.schema import job_schema
from formicary.engine.jobs.task_parser import TASK_READERS


def one(source: str, **methods: str) -> JobDefinition:
    parsed = parse_source(source, methods=methods)
    assert len(parsed) == 1 and parsed[0].definition is not None, parsed[0].violations
    return parsed[0].definition


def task(fields: str, **methods: str) -> TaskDefinition:
    lines = "".join(f"  {line}\n" for line in fields.strip("\n").splitlines())
    return one(f"job_type: j\ntasks:\n- task_type: a\n{lines}", **methods).tasks[0]


@pytest.mark.parametrize(
    ("yaml", "attribute", "value"),
    [
        ("script: one", "script", ("one",)),
        ("script: [one, two]", "script", ("one", "two")),
        ("script: [x]\ntimeout: 15s", "timeout_s", 15.0),
        ("script: [x]\ntimeout: 1h30m", "timeout_s", 5400.0),
        ("script: [x]\ntimeout: 500ms", "timeout_s", 0.5),
        ("script: [x]\ntimeout: 90", "timeout_s", 90.0),
        ("script: [x]\ntimeout: 2.5", "timeout_s", 2.5),
        ("script: [x]\ntimeout: 0", "timeout_s", None),
        ("script: [x]\ndelay: 2m", "delay_s", 120.0),
        ("script: [x]\ndelay_between_retries: 5s", "delay_between_retries_s", (5.0, 5.0)),
        ("script: [x]\ndelay_between_retries: 5s to 14s", "delay_between_retries_s", (5.0, 14.0)),
        (
            "script: [x]\nretry_backoff_policy: {min: 500ms, max: 5s, factor: 1.5, jitter: true}",
            "retry_backoff",
            Backoff(0.5, 5.0, 1.5, True),
        ),
        ("script: [x]\nretry: 3", "retry", 3),
        ('script: [x]\nretry: "3"', "retry", 3),
        ("script: [x]\ntags: [Builder, GPU]", "tags", frozenset({"builder", "gpu"})),
        ("script: [x]\ntags: Builder, GPU", "tags", frozenset({"builder", "gpu"})),
        (
            "script: [x]\nenvironment: {A: on, B: 0, C: 1.50, D: }",
            "environment",
            {"A": "on", "B": "0", "C": "1.50", "D": ""},
        ),
        ("script: [x]\nheaders: {a: 1, b: true}", "headers", {"a": "1", "b": "true"}),
        (
            "script: [x]\nvariables: {a: 1, b: [x, y], c: {d: 4.5}, e: yes}",
            "variables",
            {"a": 1, "b": ["x", "y"], "c": {"d": 4.5}, "e": "yes"},
        ),
        ("script: [x]\ntask_variables: {a: 1}", "variables", {"a": 1}),
        (
            "script: [x]\non_exit_code: {404: EXECUTING, FAILED: COMPLETED}",
            "on_exit_code",
            {"404": "EXECUTING", "FAILED": "COMPLETED"},
        ),
        (
            "script: [x]\non_completed: RESTART_JOB\non_failed: ERR_OOPS",
            "routes",
            {"COMPLETED": "RESTART_JOB", "FAILED": "ERR_OOPS"},
        ),
        ("script: [x]\nallow_failure: True", "allow_failure", True),
        ("method: python\nfunction: a.b:c", "method", "PYTHON"),
        ("method: HTTP_GET\nurl: http://x", "url", "http://x"),
        ("method: HTTP_GET\nscript: [http://x]", "script", ("http://x",)),
        ("script: [x]\nnodeSelector: {disk: ssd}", "node_selector", {"disk": "ssd"}),
        ("script: [x]\ncontainer: {image: alpine}", "method", "KUBERNETES"),
        ("script: [x]\nservices: [{name: db, image: postgres}]", "method", "KUBERNETES"),
        ("script: [x]\nhost_network: false", "method", "SHELL"),
        ("script: [x]\nexcept: false", "except_", "false"),
        ("script: !!str 5", "script", ("5",)),
        ("script: ! 5", "script", ("5",)),
    ],
)
def test_a_field_is_read(yaml: str, attribute: str, value: object) -> None:
    assert getattr(task(yaml), attribute) == value


def test_all_fields_have_a_reader_and_an_attribute() -> None:
    for rows, model in ((JOB_FIELDS, JobDefinition), (TASK_FIELDS, TaskDefinition)):
        readers = FIELD_READERS if rows is JOB_FIELDS else TASK_READERS
        for row in rows:
            assert row.kind == "tasks" or row.kind in readers, row
            assert not row.target or row.target in model.__dataclass_fields__, row


def test_a_method_mapping_makes_container_fields_without_effect() -> None:
    found = task("script: [x]\ncontainer: {image: alpine}", KUBERNETES="SHELL")
    assert found.method == "SHELL"


def test_job_fields_are_read() -> None:
    job = one(
        "job_type: j\ndescription: d\nsem_version: 1.0-rc\nmax_concurrency: 0\npriority: 7\ntimeout: 5m\nretry: 2\n"
        "scheduled_at: 2027-01-31T18:00:00Z\nrequired_params: [A, B]\npause_time: 1m\nhard_reset_after_retries: 1\n"
        "job_variables: {x: 1, y: [2]}\nvariables: {x: 9, z: 3}\nskip_if: '{{if eq .x 1}} true {{end}}'\n"
        "parameters: [{name: n, type: int, default: 3}, {name: m}]\n"
        "tasks:\n- {task_type: a, script: x}\n"
    )
    assert (job.max_concurrency, job.priority, job.timeout_s, job.retry) == (None, 7, 300.0, 2)
    assert job.scheduled_at == 1801418400.0 and job.required_params == ("A", "B")
    assert job.variables == {"x": 1, "y": [2], "z": 3} and job.pause_time_s == (60.0, 60.0)
    assert job.skip_if == "{{if eq .x 1}} true {{end}}"
    assert [(p.name, p.type, p.required, p.default) for p in job.parameters] == [
        ("n", "int", False, 3),
        ("m", "any", True, None),
    ]
    assert job.start == ("a",) and job.index == {"a": 0}


def test_merge_keys_and_anchors_are_read() -> None:
    job = one(
        "job_type: j\njob_variables: {base: &b {x: 1, y: 2}, more: {<<: *b, y: 3}}\n"
        "tasks:\n- &t {task_type: a, script: [x], on_completed: b, retry: 4}\n"
        "- {<<: *t, task_type: b, on_completed: COMPLETED}\n"
    )
    assert job.variables["more"] == {"x": 1, "y": 3}
    assert job.tasks[1].retry == 4 and job.tasks[1].script == ("x",)


def test_a_json_file_is_a_job_file() -> None:
    job = one('{"template": "none", "job_type": "j", "tasks": [{"task_type": "a", "script": ["echo {{.x}}"]}]}')
    assert job.template == "none" and job.is_static and job.tasks[0].script == ("echo {{.x}}",)


TEMPLATED = """\
job_type: build
job_variables:
  Answer: {{ Add 40 2 }}
  Text: "{{ .who }}"
  Fixed: 1.5
skip_if: {{if eq .Target "x"}} true {{end}}
tasks:
- task_type: compile
  method: SHELL
  tags:
  - builder
  - {{ .Language }}
  script:
    - echo sleep {{ .Secs }}
    {{ if .Windows }}
    - dir
    {{ else }}
    - ls "{{ default "." .Dir }}"
    {{ end }}
{{- range $i := Iterate 2 }}
    - echo {{ $i }}
{{ end }}
  timeout: {{ .Limit }}
  retry: {{ .Retry }}
  except: {{ if .Skip }}true{{ end }}
  {{if .Fast}}
  on_completed: ship
  {{else}}
  on_completed: check
  {{end}}
- task_type: compile-docs
  script: echo static
- task_type: check
  script: [ "{{ .Dir }}" ]
  on_completed: compile-docs
- task_type: ship
  script: [ "true" ]
"""


def test_a_task_is_rendered_from_its_own_lines() -> None:
    job = one(TEMPLATED)
    assert [t.is_static for t in job.tasks] == [False, True, False, True]
    assert job.tasks[0].targets == ("ship", "check") and job.tasks[0].timeout_s is None
    values = {"Language": "Go", "Secs": 3, "Limit": "90s", "Retry": 2, "Dir": "src"}
    found = render_task(job, "compile", values, now=0.0, rng=random.Random(1))
    assert found.violations == () and not found.skipped
    made = found.task
    assert made.script == ("echo sleep 3", 'ls "src"', "echo 0", "echo 1")
    assert (made.timeout_s, made.retry, made.on_completed) == (90.0, 2, "check")
    assert made.tags == {"builder", "go"} and made.is_static and made.targets == ("check",)
    assert task_from_json(task_to_json(made)) == made
    skipped = render_task(job, "compile", {**values, "Skip": True, "Fast": 1}, now=0.0, rng=random.Random(1))
    assert skipped.skipped and skipped.task.on_completed == "ship"
    static = render_task(job, "compile-docs", {}, now=0.0, rng=random.Random(1))
    assert static.task is job.tasks[1]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"Limit": "soon"}, (23, 12, "BAD_DURATION")),
        ({"Limit": "1s", "Retry": "x"}, (24, 10, "WRONG_TYPE")),
        ({"Limit": "1s", "Language": "[", "Retry": 1}, (14, 5, "YAML_SYNTAX")),
        ({"Limit": "1s", "Language": "&", "Retry": 1}, (12, 5, "YAML_SYNTAX")),
    ],
)
def test_what_is_wrong_after_rendering_is_reported_at_its_line(
    values: dict[str, object], place: tuple[int, int, str]
) -> None:
    found = render_task(one(TEMPLATED), "compile", values, now=0.0, rng=random.Random(1))
    first = found.violations[0]
    assert (first.line, first.code) == (place[0], place[2])


def test_a_template_error_while_rendering_is_reported_at_its_place() -> None:
    job = one("job_type: j\ntasks:\n- task_type: a\n  script:\n  - echo {{ .x.y.z }}\n")
    found = render_task(job, "a", {"x": {"y": "text"}}, now=0.0, rng=random.Random(1))
    assert [(v.line, v.column, v.code) for v in found.violations] == [(5, 13, "BAD_TEMPLATE")]


def test_a_name_that_another_one_begins_with_is_its_own_task() -> None:
    """Each gets its own lines, whichever stands first, and also where the name stands in a text."""
    tasks = [
        "- task_type: build-image\n  script: ['echo task_type: build {{.x}} image']\n  on_completed: build\n",
        "- task_type: build\n  script: ['echo {{.x}} alone']\n",
    ]
    job = one("job_type: j\ntasks:\n" + "".join(tasks))
    found = [render_task(job, name, {"x": 1}, now=0.0, rng=random.Random(1)).task for name in ("build", "build-image")]
    assert [task.script for task in found] == [("echo 1 alone",), ("echo task_type: build 1 image",)]


def test_job_variables_are_rendered_and_then_typed() -> None:
    values, violations = render_job_variables(one(TEMPLATED), {"who": "42"}, now=0.0, rng=random.Random(1))
    assert values == {"Answer": 42, "Text": "42", "Fixed": 1.5} and violations == ()


def test_jinja_tasks_are_rendered() -> None:
    job = one(
        "template: jinja\njob_type: j\ntasks:\n- task_type: a\n  script:\n  {% for i in range(n) %}\n"
        "    - echo {{ i }}\n  {% endfor %}\n"
        "  {% if fast %}\n  retry: 1\n  {% else %}\n  retry: {{ n }}\n  {% endif %}\n"
    )
    made = render_task(job, "a", {"n": 3, "fast": False}, now=0.0, rng=random.Random(1))
    assert made.violations == () and made.task.script == ("echo 0", "echo 1", "echo 2") and made.task.retry == 3
    missing = render_task(job, "a", {"n": 1}, now=0.0, rng=random.Random(1))
    assert [(v.line, v.code) for v in missing.violations] == [(9, "BAD_TEMPLATE")]


DYNAMIC = """\
job_type: years
dynamic_template_tasks: true
job_variables: {Count: 3}
tasks:
- task_type: start
  script: a
{{- range $i := Iterate .Count }}
- task_type: year-{{ $i }}
  dependencies: [start]
  script:
    - echo {{ $i }}
  {{ if eq $i 0 }}
  allow_failure: true
  {{ end }}
{{ end }}
"""


def test_a_template_makes_the_tasks() -> None:
    job = one(DYNAMIC)
    assert job.tasks == () and job.dynamic_template_tasks
    made = expand_dynamic(job, {}, 0.0, random.Random(1)).definition
    assert made is not None and [t.task_type for t in made.tasks] == ["start", "year-0", "year-1", "year-2"]
    assert made.tasks[1].allow_failure and made.is_static and not made.dynamic_template_tasks
    assert [t.dependencies for t in one(made.source).tasks] == [t.dependencies for t in made.tasks]
    more = expand_dynamic(DYNAMIC, {"Count": 5000}, 0.0, random.Random(1)).definition
    assert more is not None and len(more.tasks) == 5001


RENDERED_TWICE = """\
job_type: twice
dynamic_template_tasks: true
tasks:
{{- range $i := Iterate 2 }}
- task_type: t{{ $i }}
  {{ if eq $i 0 }}on_completed: t1{{ end }}
  script:
    - echo {{ $i }} {{ $.JobID }} {{ $.first }} {{ printf "%02d" $.TaskRetry }} {{ with "x" }}{{ . }}{{ end }}
    - "{{ if lt $.JobRetry 1 }}exit {{ $i }}{{ else if eq $.JobRetry 1 }}one{{ else }}more{{ end }}"
{{- end }}
"""


@pytest.mark.parametrize(("retry", "line"), [(0, "exit 1"), (1, "one"), (2, "more")])
def test_what_only_an_attempt_knows_waits_for_it(retry: int, line: str) -> None:
    made = expand_dynamic(RENDERED_TWICE, {}, 0.0, random.Random(1)).definition
    assert made is not None and [t.task_type for t in made.tasks] == ["t0", "t1"]
    values = {"JobID": "01j", "JobRetry": retry, "TaskRetry": 3, "first": "f"}
    task = render_task(made, "t1", values, now=0.0, rng=random.Random(1)).task
    assert task.script == ("echo 1 01j f 03 x", line)


def test_a_name_without_a_value_is_missing_in_the_name_of_a_made_task() -> None:
    source = DYNAMIC.replace("year-{{ $i }}", "{{ $.Kind }}-{{ $i }}")
    parsed = expand_dynamic(source, {}, 0.0, random.Random(1))
    assert {(v.line, v.code) for v in parsed.violations if "{{.Kind}} has no value" in v.message} == {
        (8, "BAD_TEMPLATE")
    }
    assert expand_dynamic(source, {"Kind": "k"}, 0.0, random.Random(1)).definition is not None


def test_a_made_task_that_is_wrong_is_reported_at_the_line_that_made_it() -> None:
    parsed = expand_dynamic(DYNAMIC.replace("[start]", "[strat]"), {}, 0.0, random.Random(1))
    assert parsed.definition is None
    assert {(v.line, v.column, v.code) for v in parsed.violations} == {(9, 18, "UNKNOWN_DEPENDENCY")}


def later(source: str, **methods: str) -> list[tuple[int, str, str]]:
    return [(v.line, v.path, v.severity) for v in availability_violations(one(source, **methods))]


def test_what_comes_later_is_refused_with_its_line() -> None:
    source = (
        "job_type: j\ntriggers: [{type: webhook, name: w}]\ntenant_limits: {concurrent_jobs: 1}\n"
        'skip_if: \'{{CountByJobTypeAndState "x" "PENDING"}}\'\n'
        "tasks:\n- task_type: a\n  container: {image: x}\n  on_completed: b\n"
        "- task_type: b\n  method: FORK_JOB\n  fork_job_type: k\n  on_completed: c\n"
        "- task_type: c\n  script: x\n  artifacts: {paths: [x]}\n"
        "  resources: {resource_type: licence}\n  fan_out: {source: s}\n"
        "  report_stdout: true\n"
    )
    assert later(source) == [
        (7, "tasks[0].container", "error"),
    ]


def test_container_tasks_run_with_a_method_mapping() -> None:
    source = "job_type: j\ntasks:\n- {task_type: a, container: {image: x}, script: y}\n"
    assert later(source) and not later(source, KUBERNETES="SHELL")
    assert not availability_violations(one(source), {"KUBERNETES": "SHELL"})


def test_equal_content_has_equal_ids() -> None:
    first = one("job_type: j\ntasks:\n- {task_type: a, script: x}\n")
    second = one("# comment\njob_type: j\ntasks:\n  - task_type: a\n    script: [x]\n")
    third = one("job_type: j\ntasks:\n- {task_type: a, script: y}\n")
    assert definition_id(first) == definition_id(second) != definition_id(third)
    assert definition_from_json(definition_to_json(first)) == first


def test_ten_thousand_tasks_are_read() -> None:
    lines = "".join(f"- {{task_type: t{i}, script: x, dependencies: [t0]}}\n" for i in range(1, 10_000))
    parsed = parse_source(f"job_type: j\ntasks:\n- {{task_type: t0, script: x}}\n{lines}", max_bytes=10**6)
    assert parsed[0].definition is not None and len(parsed[0].definition.tasks) == 10_000


def test_the_schema_names_every_field() -> None:
    schema = job_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict) and {row.name for row in JOB_FIELDS} <= set(properties)
    assert schema["required"] == ["job_type", "tasks"]


def test_crlf_files_are_read_and_rendered() -> None:
    job = one(TEMPLATED.replace("\n", "\r\n"))
    made = render_task(job, "check", {"Dir": "d"}, now=0.0, rng=random.Random(1))
    assert made.task.script == ("d",) and made.violations == ()


def test_a_bom_does_no_harm() -> None:
    assert parse_source("\ufeffjob_type: j\ntasks: [{task_type: a, script: x}]\n".encode())[0].is_valid


HEAD_OF_MANY = "job_type: j\ntasks:\n"


def test_hostile_text_does_not_take_long() -> None:
    started = time.perf_counter()
    for text in (
        "[" * 250_000,
        "{{" * 120_000,
        "- " * 120_000,
        "a: " * 80_000,
        "&a " * 80_000,
        "%" * 250_000,
        "'" * 250_000,
    ):
        parse_source(text)
    for field in ("retyr: 1", "on_completed: tx", "dependencies: [tx]", "method: SHEL", "on_failed: t0"):
        parse_source(HEAD_OF_MANY + "".join(f"- {{task_type: t{i}, script: x, {field}}}\n" for i in range(4000)))
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("lines", "placed"),
    [
        ("  script: ['{{.x}}']\n  tags: [big]\n  resources: {cpu: 2}", True),
        ("{{if .x}}\n  script: [ok]\n{{end}}\n  tags: [big]", True),
        ("  container: {image: '{{.x}}', cpu_request: 1}\n  method: DOCKER\n  script: [ok]", True),
        ("  tags: ['{{.x}}']\n  script: [ok]", False),
        ("{{if .x}}\n  tags: [big]\n{{else}}\n  tags: [small]\n{{end}}\n  script: [ok]", False),
        ("  resources: {cpu: '{{.x}}'}\n  script: [ok]", False),
        ("  placement: {labels: {zone: '{{.x}}'}}\n  script: [ok]", False),
        ("  container: {image: a, cpu_request: '{{.x}}'}\n  method: DOCKER\n  script: [ok]", False),
        ("{{if .x}}\n  container: {image: a}\n{{end}}\n  script: [ok]", False),
    ],
)
def test_what_an_ant_must_have_is_known_where_no_template_decides_it(lines: str, placed: bool) -> None:
    task = one(f"job_type: t\ntasks:\n- task_type: a\n{lines}\n").tasks[0]
    assert (task.is_static, task.is_placed) == (False, placed)
