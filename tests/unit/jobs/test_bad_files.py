"""Bad job files: each violation has its line, column, path and code, and says what to do."""

import pytest

from formicary.engine.jobs.parse import parse_source

HEAD = "job_type: j\ntasks:\n"
ONE = HEAD + "- task_type: a\n  script: [x]\n"

CASES: list[tuple[str, str | bytes, list[tuple[int, int, str, str]]]] = [
    ("empty file", "", [(1, 1, "EMPTY_FILE", "")]),
    ("comments only", "# nothing\n\n", [(1, 1, "EMPTY_FILE", "")]),
    ("explicit null", "~\n", [(1, 1, "NOT_A_MAPPING", "")]),
    ("a list", "- a\n- b\n", [(1, 1, "NOT_A_MAPPING", "")]),
    ("a text", "hello\n", [(1, 1, "NOT_A_MAPPING", "")]),
    ("too large", "#" * 300_000, [(1, 1, "FILE_TOO_LARGE", "")]),
    ("ten megabytes", b"a: b\n" * 2_000_000, [(1, 1, "FILE_TOO_LARGE", "")]),
    ("binary", b"\x7fELF\x00\x01", [(1, 1, "BINARY_FILE", "")]),
    ("not UTF-8", b"job_type: a\ndescription: \xff\xfe\n", [(2, 14, "BAD_ENCODING", "")]),
    ("control character", "job_type: a\nurl: \x07\n", [(2, 6, "BAD_CHARACTER", "")]),
    ("half a surrogate", "job_type: \ud800\n", [(1, 11, "BAD_CHARACTER", "")]),
    ("tab", "job_type: a\ntasks:\n\t- task_type: x\n", [(3, 1, "YAML_TAB", "")]),
    ("unclosed quote", 'job_type: "a\n', [(2, 1, "YAML_SYNTAX", "")]),
    ("colon in text", "job_type: a: b\n", [(1, 12, "YAML_SYNTAX", "")]),
    ("bad indentation", "job_type: a\n  tasks:\n", [(2, 8, "YAML_SYNTAX", "")]),
    ("unknown alias", "job_type: *x\n", [(1, 11, "YAML_SYNTAX", "")]),
    ("recursive alias", "job_type: &x [*x]\n", [(1, 15, "YAML_SYNTAX", "")]),
    ("python tag", "job_type: !!python/object:os.system x\n", [(1, 11, "YAML_TAG", "")]),
    ("deep nesting", "a: " + "[" * 100_000, [(1, 67, "YAML_TOO_DEEP", "")]),
    (
        "billion laughs",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(20)),
        [(5, 4, "YAML_TOO_LARGE", "")],
    ),
    ("no tasks field", "job_type: j\n", [(1, 1, "MISSING_FIELD", "tasks")]),
    ("no job_type", "tasks:\n- task_type: a\n  script: x\n", [(1, 1, "MISSING_FIELD", "job_type")]),
    ("tasks empty", "job_type: j\ntasks: []\n", [(2, 8, "NO_TASKS", "tasks")]),
    ("tasks null", "job_type: j\ntasks:\n", [(2, 7, "WRONG_TYPE", "tasks")]),
    ("tasks a mapping", "job_type: j\ntasks:\n  a: b\n", [(3, 3, "WRONG_TYPE", "tasks")]),
    ("task a text", HEAD + "- a\n", [(3, 3, "WRONG_TYPE", "tasks[0]")]),
    ("no task_type", HEAD + "- script: [x]\n", [(3, 3, "MISSING_FIELD", "tasks[0].task_type")]),
    ("unknown job field", "job_tpye: j\n" + ONE, [(1, 1, "UNKNOWN_FIELD", "job_tpye")]),
    ("unknown task field", ONE + "  retires: 3\n", [(5, 3, "UNKNOWN_FIELD", "tasks[0].retires")]),
    (
        "unknown backoff field",
        ONE + "  retry_backoff_policy: {mn: 1s}\n",
        [(5, 26, "UNKNOWN_FIELD", "tasks[0].retry_backoff_policy.mn")],
    ),
    ("duplicate key", ONE + "  retry: 1\n  retry: 2\n", [(6, 3, "DUPLICATE_KEY", "tasks[0].retry")]),
    ("duplicate job key", ONE + "retry: 1\nretry: 2\n", [(6, 1, "DUPLICATE_KEY", "retry")]),
    ("text for int", ONE + "  retry: often\n", [(5, 10, "WRONG_TYPE", "tasks[0].retry")]),
    ("float for int", ONE + "  retry: 1.5\n", [(5, 10, "WRONG_TYPE", "tasks[0].retry")]),
    ("list for int", ONE + "  retry: [1]\n", [(5, 10, "WRONG_TYPE", "tasks[0].retry")]),
    ("negative retry", ONE + "  retry: -1\n", [(5, 10, "OUT_OF_RANGE", "tasks[0].retry")]),
    ("priority", ONE + "priority: 11\n", [(5, 11, "OUT_OF_RANGE", "priority")]),
    ("perhaps", ONE + "  allow_failure: maybe\n", [(5, 18, "WRONG_TYPE", "tasks[0].allow_failure")]),
    ("list for text", ONE + "  description: [a]\n", [(5, 16, "WRONG_TYPE", "tasks[0].description")]),
    (
        "mapping in script",
        HEAD + "- task_type: a\n  script:\n  - run: b\n",
        [(5, 5, "WRONG_TYPE", "tasks[0].script[0]")],
    ),
    ("text for mapping", ONE + "  variables: x\n", [(5, 14, "WRONG_TYPE", "tasks[0].variables")]),
    ("mapping for text map", ONE + "  environment: {A: {b: c}}\n", [(5, 20, "WRONG_TYPE", "tasks[0].environment.A")]),
    ("bad duration", ONE + "  timeout: soon\n", [(5, 12, "BAD_DURATION", "tasks[0].timeout")]),
    ("bad unit", ONE + "timeout: 5 minutes\n", [(5, 10, "BAD_DURATION", "timeout")]),
    ("negative duration", ONE + "timeout: -5\n", [(5, 10, "BAD_DURATION", "timeout")]),
    ("eternal duration", ONE + "timeout: 99999d\n", [(5, 10, "BAD_DURATION", "timeout")]),
    ("bad semver", ONE + "sem_version: one\n", [(5, 14, "BAD_SEMVER", "sem_version")]),
    ("bad time", ONE + "scheduled_at: tomorrow\n", [(5, 15, "BAD_TIME", "scheduled_at")]),
    ("unknown template", ONE + "template: mustache\n", [(5, 11, "BAD_VALUE", "template")]),
    (
        "long job_type",
        f"job_type: {'j' * 101}\ntasks:\n- task_type: a\n  script: x\n",
        [(1, 11, "TOO_LONG", "job_type")],
    ),
    ("long task_type", HEAD + f"- task_type: {'t' * 101}\n  script: x\n", [(3, 14, "TOO_LONG", "tasks[0].task_type")]),
    ("long description", ONE + f"description: {'d' * 10_001}\n", [(5, 14, "TOO_LONG", "description")]),
    ("blank name", HEAD + '- task_type: " "\n  script: x\n', [(3, 14, "BAD_NAME", "tasks[0].task_type")]),
    ("unknown method", HEAD + "- task_type: a\n  method: SHEL\n", [(4, 11, "UNKNOWN_METHOD", "tasks[0].method")]),
    (
        "PYTHON without function",
        HEAD + "- task_type: a\n  method: PYTHON\n",
        [(4, 11, "MISSING_FUNCTION", "tasks[0].function")],
    ),
    (
        "bad function",
        HEAD + "- task_type: a\n  method: PYTHON\n  function: f\n",
        [(5, 13, "BAD_FUNCTION", "tasks[0].function")],
    ),
    ("function without PYTHON", ONE + "  function: m:f\n", [(5, 13, "METHOD_MISMATCH", "tasks[0].function")]),
    ("HTTP without url", HEAD + "- task_type: a\n  method: HTTP_GET\n", [(4, 11, "MISSING_URL", "tasks[0].url")]),
    ("SHELL without script", HEAD + "- task_type: a\n", [(3, 3, "MISSING_SCRIPT", "tasks[0].script")]),
    ("duplicate task", ONE + "- task_type: a\n  script: y\n", [(5, 14, "DUPLICATE_TASK", "tasks[1].task_type")]),
    ("unknown target", ONE + "  on_completed: b\n", [(5, 17, "UNKNOWN_TARGET", "tasks[0].on_completed")]),
    (
        "unknown target of an exit code",
        ONE + "  on_exit_code:\n    3: RESTART_TSK\n",
        [(6, 8, "UNKNOWN_TARGET", "tasks[0].on_exit_code.3")],
    ),
    ("unknown dependency", ONE + "  dependencies: [b]\n", [(5, 18, "UNKNOWN_DEPENDENCY", "tasks[0].dependencies[0]")]),
    ("routes to itself", ONE + "  on_failed: a\n", [(5, 14, "CYCLE", "tasks[0].on_failed")]),
    ("depends on itself", ONE + "  dependencies: [a]\n", [(5, 18, "CYCLE", "tasks[0].dependencies[0]")]),
    (
        "cycle of routes",
        HEAD + "- {task_type: a, script: x, on_completed: b}\n- {task_type: b, script: x, on_failed: a}\n",
        [(4, 40, "CYCLE", "tasks[1].on_failed")],
    ),
    (
        "cycle of a route and a dependency",
        HEAD + "- {task_type: a, script: x, dependencies: [b], on_completed: b}\n- {task_type: b, script: x}\n",
        [(3, 44, "CYCLE", "tasks[0].dependencies[0]")],
    ),
    (
        "unreachable task",
        ONE + "- {task_type: b, script: x}\n",
        [(5, 3, "UNREACHABLE_TASK", "tasks[1]")],
    ),
    (
        "two starts",
        HEAD + "- {task_type: a, script: x, on_completed: c}\n"
        "- {task_type: b, script: x, on_completed: c}\n- {task_type: c, script: x}\n",
        [(4, 3, "MULTIPLE_START_TASKS", "tasks[1]")],
    ),
    ("only final tasks", ONE + "  always_run: true\n", [(3, 3, "NO_START_TASK", "tasks[0]")]),
    (
        "too many tasks",
        "job_type: j\ntasks: [" + "a," * 10_001 + "]\n",
        [(2, 8, "TOO_MANY_TASKS", "tasks")],
    ),
    ("bad template", ONE + "  description: {{.a\n", [(5, 16, "BAD_TEMPLATE", "")]),
    ("unknown function", ONE + "  description: x {{ uper .a }} y\n", [(5, 21, "BAD_TEMPLATE", "")]),
    ("unclosed block", ONE + "  {{if .a}}\n  retry: 1\n", [(5, 3, "BAD_TEMPLATE", "")]),
    (
        "block over several tasks",
        HEAD + "- task_type: a\n  script: x\n  on_completed: b\n{{if .x}}\n- task_type: b\n  script: y\n{{end}}\n",
        [(6, 1, "BAD_TEMPLATE", ""), (9, 1, "BAD_TEMPLATE", "")],
    ),
    ("templated name", HEAD + "- task_type: t-{{.x}}\n  script: x\n", [(3, 14, "BAD_TEMPLATE", "tasks[0].task_type")]),
    ("jinja error", "template: jinja\n" + ONE + "  description: '{% if %}'\n", [(6, 1, "BAD_TEMPLATE", "")]),
    (
        "several at once, in the order of the file",
        "job_type: j\nretries: 2\ntasks:\n- task_type: a\n  retry: x\n  script: y\n  on_completed: z\n",
        [
            (2, 1, "UNKNOWN_FIELD", "retries"),
            (5, 10, "WRONG_TYPE", "tasks[0].retry"),
            (7, 17, "UNKNOWN_TARGET", "tasks[0].on_completed"),
        ],
    ),
    (
        "a wrong template does not hide the rest",
        ONE + "  description: {{ nope }}\n  retry: x\n",
        [(5, 19, "BAD_TEMPLATE", ""), (6, 10, "WRONG_TYPE", "tasks[0].retry")],
    ),
    (
        "columns beside templates stay true",
        HEAD + "- {task_type: a, script: '{{ .one }}', retry: x, description: {{ .two }}, timeout: y}\n",
        [(3, 47, "WRONG_TYPE", "tasks[0].retry"), (3, 84, "BAD_DURATION", "tasks[0].timeout")],
    ),
    (
        "all arms are checked",
        HEAD + "- task_type: a\n  script: x\n{{if .a}}\n  on_completed: b\n{{else}}\n  on_completed: c\n{{end}}\n",
        [(6, 17, "UNKNOWN_TARGET", "tasks[0].on_completed"), (8, 17, "UNKNOWN_TARGET", "tasks[0].on_completed")],
    ),
]


@pytest.mark.parametrize(("source", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_file_says_where_and_what(source: str | bytes, expected: list[tuple[int, int, str, str]]) -> None:
    parsed = parse_source(source, filename="job.yaml")
    assert len(parsed) == 1 and parsed[0].definition is None
    found = [(v.line, v.column, v.code, v.path) for v in parsed[0].violations]
    assert found == expected, parsed[0].violations
    for violation in parsed[0].violations:
        assert violation.message[-1] in ".?" and len(violation.message) < 400, violation.message


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (ONE + "  scrpit: y\n", "Did you mean script?"),
        (HEAD + "- task_type: a\n  method: kubernets\n", "Did you mean KUBERNETES?"),
        (ONE + "  on_completed: COMPLETE\n", "Did you mean COMPLETED?"),
        (ONE + "  on_completed: ab\n- {task_type: abc, script: x}\n", "Did you mean abc?"),
        (HEAD + "- task_type: a\n  script:\n  - echo a: b\n", "quotes"),
        (ONE + "  on_failed: a\n", "RESTART_TASK"),
    ],
)
def test_a_message_says_what_to_do(source: str, hint: str) -> None:
    messages = " ".join(v.message for v in parse_source(source)[0].violations)
    assert hint in messages


def test_a_file_may_have_256_kib_and_not_a_byte_more() -> None:
    """Bytes, not characters."""
    limit = 256 * 1024
    fits = ONE + "#" * (limit - len(ONE))
    assert parse_source(fits)[0].is_valid
    for text in (fits + "#", fits[:-1] + "é"):
        assert [v.code for v in parse_source(text)[0].violations] == ["FILE_TOO_LARGE"]


def test_lines_count_over_all_documents_of_a_file() -> None:
    parsed = parse_source(f"# first\n---\n{ONE}---\n{ONE}  retry: x\n")
    assert [p.is_valid for p in parsed] == [True, False]
    assert parsed[1].violations[0].line == 12
    assert parsed[0].definition is not None and parsed[0].definition.source == f"---\n{ONE}"
