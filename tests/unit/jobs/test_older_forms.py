"""Other spellings of older files: lists of demands, environments as lists, words for true, fields that nobody reads."""

import random

import pytest

from formicary.engine.jobs.cron import parse_cron
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.rendering import expand_dynamic, render_task

TASKS = "tasks:\n- task_type: a\n  script: x\n"


def test_resources_are_a_list_or_a_mapping() -> None:
    """Both are read and kept."""
    listed = parse_source(f"job_type: j\nresources: [{{resource_type: A, value: 1}}]\n{TASKS}")[0].definition
    single = parse_source(f"job_type: j\nresources: {{resource_type: A}}\n{TASKS}")[0].definition
    assert listed is not None and listed.resources == ({"resource_type": "A", "value": 1},)
    assert single is not None and single.resources == {"resource_type": "A"}


@pytest.mark.parametrize(
    "text", ["{A: 1, B: two=3}", "[A=1, B=two=3]", "[{A: 1}, {name: B, value: two=3}]", "[A=1, '', {B: two=3}]"]
)
def test_an_environment_is_a_mapping_or_a_list(text: str) -> None:
    """Every form means the same."""
    found = parse_source(f"job_type: j\n{TASKS}  environment: {text}\n")[0]
    if "''" in text:
        assert [(v.path, v.code) for v in found.violations] == [("tasks[0].environment[1]", "WRONG_TYPE")]
    else:
        assert found.definition is not None
        assert found.definition.tasks[0].environment == {"A": "1", "B": "two=3"}


@pytest.mark.parametrize(("text", "path"), [("[A]", "[0]"), ("[=x]", "[0]"), ("[A=1, [B]]", "[1]"), ("5", "")])
def test_a_wrong_environment_is_named_with_its_place(text: str, path: str) -> None:
    """What names no variable is refused."""
    found = parse_source(f"job_type: j\n{TASKS}  environment: {text}\n")[0]
    assert [v.path for v in found.violations if v.is_error] == [f"tasks[0].environment{path}"]


def notes(text: str) -> tuple[JobDefinition | None, list[tuple[str, str, str]]]:
    """The definition of a task with these further fields, and what is said of it."""
    found = parse_source(f"job_type: j\n{TASKS}{text}")[0]
    return found.definition, [(v.path, v.code, v.severity) for v in found.violations]


@pytest.mark.parametrize("word", ["true", "yes", "Yes", "on", "y", '"true"', "TRUE"])
def test_words_for_true_are_read_where_nothing_else_can_stand(word: str) -> None:
    """Go's YAML reads them as bools in a bool's place, and as texts elsewhere."""
    definition, said = notes(
        f"  always_run: false\n  allow_failure: {word}\n  variables: {{A: {word.strip(chr(34))}}}\n"
    )
    assert definition is not None and definition.tasks[0].allow_failure is True and not said
    kept = definition.tasks[0].variables["A"]
    assert kept == word or kept is True


@pytest.mark.parametrize(
    ("word", "kept"), [("onSuccess", "onSuccess"), ("on_success", "onSuccess"), ("ALWAYS", "always")]
)
def test_when_artifacts_are_kept_has_many_spellings(word: str, kept: str) -> None:
    """Case and underscores do not count."""
    definition, said = notes(f"  artifacts: {{paths: [x], when: {word}}}\n")
    assert definition is not None and (definition.tasks[0].artifacts or {})["when"] == kept and not said


def test_a_field_inside_of_a_field_that_nobody_reads_is_a_warning() -> None:
    """The original reads past it; what looks like a slip of a known name is still an error."""
    definition, said = notes("  artifacts: {paths: [x], title: y}\n  retry_backoff_policy: {min: 1s, kind: z}\n")
    assert definition is not None
    assert said == [
        ("tasks[0].artifacts.title", "UNKNOWN_FIELD", "warning"),
        ("tasks[0].retry_backoff_policy.kind", "UNKNOWN_FIELD", "warning"),
    ]
    assert notes("  artifacts: {pahts: [x]}\n")[0] is None


def test_paths_of_a_container_are_read_and_named() -> None:
    """Absolute paths are right in a container; climbing ones nowhere, absolute ones of a shell neither."""
    paths = "  artifacts: {paths: [/out/a.txt]}\n  cache: {key: k, paths: [/m2/repository]}\n"
    definition, said = notes(f"  container: {{image: maven}}\n{paths}")
    assert definition is not None and {severity for _, _, severity in said} == {"warning"} and len(said) == 2
    assert notes(paths)[0] is None
    assert notes("  container: {image: maven}\n  artifacts: {paths: [/a/../b]}\n")[0] is None


def test_a_container_without_commands_is_a_task_in_a_shell_too() -> None:
    """Its image would have run; without it nothing does, and validation says so."""
    source = "job_type: j\ntasks:\n- task_type: a\n  container: {image: x, command: [run]}\n"
    found = parse_source(source, methods={"KUBERNETES": "SHELL"})[0]
    assert found.definition is not None
    assert [(v.path, v.code, v.severity) for v in found.violations] == [
        ("tasks[0].script", "MISSING_SCRIPT", "warning")
    ]


@pytest.mark.parametrize(("jitter", "kept"), [("true", True), ("0.2", True), ("0", False), ("no", False)])
def test_jitter_may_be_a_share(jitter: str, kept: bool) -> None:
    """Here it is on or off."""
    definition, said = notes(f"  retry_backoff_policy: {{min: 1s, jitter: {jitter}}}\n")
    assert definition is not None and not said
    policy = definition.tasks[0].retry_backoff
    assert policy is not None and policy.jitter is kept


@pytest.mark.parametrize(
    ("text", "seven"),
    [
        ("0 4 * * * 2099", "0 0 4 * * * 2099"),
        ("0 30 9 * * MON-FRI", "0 30 9 * * MON-FRI *"),
        ("*/15 0 9 * * ?", "*/15 0 9 * * ? *"),
    ],
)
def test_six_fields_of_cron_end_with_a_year_or_begin_with_a_second(text: str, seven: str) -> None:
    """Whichever can be; where both can, the year."""
    assert parse_cron(text).expression == seven


def test_fields_of_the_writers_own_are_read_past_and_an_empty_route_is_none() -> None:
    """`x-NAME` and `.NAME` of a job and of a task; anything else that is unknown is still an error."""
    definition, said = notes("  x-note: 1\n  .hidden: {a: b}\n  on_completed: ''\nx-top: [1]\n")
    assert definition is not None and not said and definition.tasks[0].targets == ()
    assert notes("  xnote: 1\n")[0] is None


def test_a_task_that_borrows_a_template_by_an_alias_is_rendered() -> None:
    """Its own lines hold none; what the alias leads to is rendered with it, and a mistake there is told."""
    source = "job_type: j\nx-l: &l 'echo {{.Name.x}}'\ntasks:\n- task_type: a\n  script: [*l]\n"
    definition = parse_source(source)[0].definition
    assert definition is not None and not definition.tasks[0].is_static
    made = render_task(definition, "a", {"Name": {"x": "Ada"}}, now=0.0, rng=random.Random(1))
    assert made.task.script == ("echo Ada",) and not made.violations
    wrong = render_task(definition, "a", {"Name": "text"}, now=0.0, rng=random.Random(1))
    assert wrong.violations and "alias" in wrong.violations[0].message


@pytest.mark.parametrize(
    "text", ["{A: 1, B: two}", "[{A: 1}, {name: B, value: two}]", "[{A: 1, B: two}]", "[{A: 1}, B=two]"]
)
def test_variables_are_a_mapping_or_a_list(text: str) -> None:
    """Every form means the same, for the job and for a task."""
    found = parse_source(f"job_type: j\njob_variables: {text}\n{TASKS}  variables: {text}\n")[0].definition
    assert found is not None
    assert found.variables == found.tasks[0].variables == {"A": 1, "B": "two"}


def test_a_wrong_list_of_variables_is_named_with_its_place() -> None:
    """What names no variable is refused."""
    found = parse_source(f"job_type: j\njob_variables: [A=1, [B]]\n{TASKS}")[0]
    assert [(v.path, v.code) for v in found.violations] == [("job_variables[1]", "WRONG_TYPE")]


def test_an_action_that_nobody_closes_is_told_once() -> None:
    """What YAML makes of the rest of the line follows from it."""
    found = parse_source('job_type: j\ntasks:\n- task_type: a\n  script:\n  - "echo {{ .A "\n  - echo b\n')[0]
    assert [(v.line, v.code) for v in found.violations] == [(5, "BAD_TEMPLATE")]


def test_braces_in_a_comment_need_not_be_a_template_and_those_beside_it_do() -> None:
    """The error is that of the text, at its place."""
    good = f"# {{{{ of mine\njob_type: j # {{{{ if\n{TASKS}"
    assert parse_source(good)[0].violations == ()
    (wrong,) = parse_source(f"{good}  description: x {{{{ .A\n")[0].violations
    assert (wrong.line, wrong.column, wrong.code) == (6, 18, "BAD_TEMPLATE")


def test_variables_that_are_only_declared_have_no_value_but_their_default() -> None:
    """What looks like a value stays one, and so does everything under `job_variables`."""
    head = (
        "job_type: j\nvariables:\n  A: {type: STRING, required: true}\n  B: {type: bool, default: yes}\n"
        "  C: {type: STRING, size: 3}\n  D: {type: pine}\n  E: 1\n  F: {type: INTEGER}\n"
    )
    found = parse_source(f"{head}job_variables: {{F: 6, G: {{type: STRING}}}}\n{TASKS}")[0]
    assert found.definition is not None
    assert found.definition.variables == {
        "B": "yes", "C": {"type": "STRING", "size": 3}, "D": {"type": "pine"}, "E": 1, "F": 6, "G": {"type": "STRING"}
    }  # fmt: skip
    assert [(v.path, v.code, v.severity) for v in found.violations] == [
        (f"variables.{name}", "NOT_CHECKED", "warning") for name in "ABF"
    ]


def test_a_task_that_may_run_again_and_depends_on_itself_starts() -> None:
    """With a warning; it is no start of a circle, and other circles are told as before."""
    source = "job_type: j\ntasks:\n- {task_type: a, script: x, retry: 1, dependencies: [a]}\n"
    again = "on_exit_code: {3: PAUSE_JOB}"
    found = parse_source(f"{source}- {{task_type: b, script: x, dependencies: [a, b], {again}}}\n")[0]
    assert found.definition is not None
    assert [task.dependencies for task in found.definition.tasks] == [(), ("a",)]
    assert [(v.path, v.code, v.severity) for v in found.violations] == [
        ("tasks[0].dependencies[0]", "OWN_DEPENDENCY", "warning"),
        ("tasks[1].dependencies[1]", "OWN_DEPENDENCY", "warning"),
    ]
    circle = parse_source(f"{source.replace('[a]', '[a, b]')}- {{task_type: b, script: x, dependencies: [a]}}\n")[0]
    assert [v.code for v in circle.violations if v.is_error] == ["CYCLE"]


def test_artifacts_may_say_expire_after() -> None:
    """The field itself comes first."""
    for text, seconds in (("expire_after: 24h", 86400.0), ("expires_after: 1h, expire_after: 24h", 3600.0)):
        definition, said = notes(f"  artifacts: {{paths: [x], {text}}}\n")
        assert definition is not None and not said
        assert (definition.tasks[0].artifacts or {})["expires_after_s"] == seconds


LONG = "job_type: j\ntasks:\n- task_type: a\n  script:\n"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("exit $(( A % 10 < 7 ? 1 : 0 ))", "exit $(( A % 10 < 7 ? 1 : 0 ))"),
        ('echo "for {{.Who}}): {{.Sum}} EUR" # said', 'echo "for {{.Who}}): {{.Sum}} EUR"'),
        ("echo a: 'b'  c", None),
        ("echo the end:", "echo the end:"),
        ("run: make all", None),
        ("{echo a: b}", None),
        ("echo a:\n        b", None),
        ("echo a: 1\n      echo b: 2", None),
    ],
)
def test_a_command_without_quotes_may_have_a_colon(line: str, command: str | None) -> None:
    """One line that YAML takes for a key and a value is the command that it looks like; anything else is refused."""
    found = parse_source(f"{LONG}    - {line}\n    - echo after\n")[0]
    if command is None:
        assert found.definition is None
        assert [v.line for v in found.violations if v.is_error][:1] == [5]
        return
    assert found.definition is not None and found.definition.tasks[0].script == (command, "echo after")
    assert [(v.line, v.column, v.code, v.severity) for v in found.violations] == [(5, 7, "UNQUOTED_TEXT", "warning")]


def test_a_command_with_a_colon_is_rendered() -> None:
    """What the template makes of the line is read like the line."""
    found = parse_source(f'{LONG}    - echo "{{{{.Who}}}}): {{{{.Sum}}}}"\n')[0]
    assert found.definition is not None
    rendered = render_task(found.definition, "a", {"Who": "you", "Sum": 5}, now=0.0, rng=random.Random(1))
    assert rendered.task.script == ('echo "you): 5"',) and not [v for v in rendered.violations if v.is_error]


def test_a_colon_in_other_lists_is_no_text() -> None:
    """Commands alone are read like that."""
    assert notes("  dependencies:\n  - the one: b\n")[0] is None


def test_a_cache_may_name_its_files_by_an_older_word_and_needs_a_key() -> None:
    """`keys` are files whose content is the key; without a key there is no cache, which is said."""
    definition, said = notes("  cache: {paths: [x], keys: [go.mod]}\n")
    assert definition is not None and not said
    assert (definition.tasks[0].cache or {})["key_paths"] == ["go.mod"]
    definition, said = notes("  cache: {paths: [x]}\n")
    assert definition is not None and definition.tasks[0].cache is None
    assert said == [("tasks[0].cache.key", "MISSING_FIELD", "warning")]


def test_a_queue_has_an_older_name() -> None:
    """A MESSAGING task of older files says `messaging_queue`."""
    found = parse_source("job_type: j\ntasks:\n- task_type: a\n  method: MESSAGING\n  messaging_queue: q\n")[0]
    assert found.definition is not None and found.definition.tasks[0].messaging_request_queue == "q"


def test_descriptions_may_be_handbooks() -> None:
    """Some thousand characters are taken, more than ten thousand are refused with the bound."""
    assert notes(f"  description: {'x' * 10_000}\n")[0] is not None
    found = parse_source(f"job_type: j\ndescription: {'x' * 10_001}\n{TASKS}")[0]
    assert [(v.path, v.line) for v in found.violations] == [("description", 2)]


def test_an_address_without_a_value_fails_no_task() -> None:
    """Where a notice goes may be known to some who run the job only; another wrong address is still told."""
    webhook = "  webhook: {url: '{{.Hook}}', headers: {A: b}}\n"
    found = parse_source(f"job_type: j\n{TASKS}{webhook}")[0]
    assert found.definition is not None
    for given, wrong in (({}, False), ({"Hook": "http://x"}, False), ({"Hook": "ftp://x"}, True)):
        rendered = render_task(found.definition, "a", given, now=0.0, rng=random.Random(1))
        assert any(v.is_error for v in rendered.violations) is wrong


def test_lines_of_a_text_are_kept_though_they_hold_only_actions() -> None:
    """Whatever the text's marks; lines before its indentation belong to the template around it."""
    head = "job_type: j\ndescription: |\n  {{ .A }}\n  b {{ .B }}\n{{ if .C }}\n  c\n{{ end }}\n    {{ .D }}\n  # |\n"
    for mark, between in (("|-", "\n"), (">-", " "), ("|2-", "\n"), ("&a >-", " ")):
        source = f"{head}skip_if: {mark}\n  {{{{ $x := 1 }}}}\n  {{{{ eq $x .A }}}}\n{TASKS}"
        found = parse_source(source)[0].definition
        assert found is not None and found.skip_if == f"{{{{ $x := 1 }}}}{between}{{{{ eq $x .A }}}}"
        assert found.description == "{{ .A }}\nb {{ .B }}\n\nc\n\n  {{ .D }}\n# |\n"


def test_a_template_that_makes_the_tasks_has_an_older_word() -> None:
    """`parse_template_on_load` is `dynamic_template_tasks`; directories and labels have other names, too."""
    source = (
        "job_type: j\nparse_template_on_load: true\ntasks:\n{{- range $n := Iterate 2 }}\n- task_type: t-{{$n}}\n"
        "  working_directory: /tmp\n  container: {image: a}\n  pod_label: {a: b}\n  script: [x]\n"
        "{{- if lt $n 1 }}\n  on_completed: t-1\n{{- end }}\n{{- end }}\n"
    )
    found = parse_source(source)[0]
    assert found.definition is not None and found.definition.dynamic_template_tasks
    made = expand_dynamic(found.definition, {}, 0.0, random.Random(1)).definition
    assert made is not None and not made.dynamic_template_tasks
    assert [(task.task_type, task.working_dir, task.on_completed) for task in made.tasks] == [
        ("t-0", "/tmp", "t-1"),
        ("t-1", "/tmp", None),
    ]


def test_a_filter_of_a_job_is_told_to_have_no_effect() -> None:
    """Those who wrote it wanted jobs to be left out."""
    found = parse_source(f"job_type: j\nfilter: {{{{if .A}}}} true {{{{end}}}}\n{TASKS}")[0]
    assert found.definition is not None
    assert [(v.line, v.code, v.severity) for v in found.violations] == [(2, "NO_EFFECT", "warning")]
    assert not parse_source(f"job_type: j\nfilter:\n{TASKS}")[0].violations


def test_a_sum_between_braces_is_text() -> None:
    """Go's templates cannot reckon: `{{7*7}}` is what a test of a web page sends. Other mistakes are told as before."""
    definition, said = notes("")
    assert definition is not None and not said
    found = parse_source("job_type: j\ntasks:\n- task_type: a\n  script: ['echo {{7*7}} {{ 1 + 2 }} {{.A}}']\n")[0]
    assert found.definition is not None
    rendered = render_task(found.definition, "a", {"A": 1}, now=0.0, rng=random.Random(1))
    assert rendered.task.script == ("echo {{7*7}} {{ 1 + 2 }} 1",)
    for wrong in ("{{7*}}", "{{.A*7}}", "{{7 7}}"):
        assert parse_source(f"job_type: j\ntasks:\n- task_type: a\n  script: ['echo {wrong}']\n")[0].definition is None


def test_a_port_may_come_from_a_template() -> None:
    """It is read when it has been rendered."""
    service = "  services: [{name: s, image: redis, ports: [{number: {{ default 6379 .Port }}}, {{.Port}}/udp]}]\n"
    source = f"job_type: j\ntasks:\n- task_type: a\n  method: DOCKER\n  container: {{image: x}}\n  script: x\n{service}"
    found = parse_source(source)[0]
    assert found.definition is not None and not [v for v in found.violations if v.is_error]
    rendered = render_task(found.definition, "a", {"Port": 80}, now=0.0, rng=random.Random(1))
    assert [port["number"] for port in rendered.task.services[0]["ports"]] == [80, 80]
    assert [v.code for v in render_task(found.definition, "a", {"Port": 0}, now=0.0, rng=random.Random(1)).violations]


@pytest.mark.parametrize(
    ("below", "condition"),
    [
        ('  {{ if eq .A "x" }}\n  true\n  {{ end }}\n', '{{ if eq .A "x" }} true {{ end }}'),
        ("  # when\n  {{ eq .A 1 }}\n", "{{ eq .A 1 }}"),
        ("  true\n", "true"),
        ("  a {{ .A }}\n  b\n", "a {{ .A }} b"),
    ],
)
def test_a_condition_may_stand_below_its_key(below: str, condition: str) -> None:
    """Also where its lines hold nothing but actions, which are no YAML."""
    found = parse_source(f"job_type: j\nskip_if:\n{below}{TASKS}")[0].definition
    assert found is not None and found.skip_if == condition


def test_states_of_routes_may_be_in_small_letters() -> None:
    """Error codes stay as they are."""
    source = (
        "job_type: j\ntasks:\n- {task_type: a, script: x, on_exit_code: {completed: b, Failed: c, Err_x: c, 3: b}}\n"
    )
    found = parse_source(f"{source}- {{task_type: b, script: x}}\n- {{task_type: c, script: x}}\n")[0].definition
    assert found is not None
    assert found.tasks[0].routes == {"COMPLETED": "b", "FAILED": "c", "Err_x": "c", "3": "b"}


@pytest.mark.parametrize(
    ("routes", "is_told"),
    [
        ("on_failed: end", True),
        ("on_exit_code: {7: end, FAILED: end}", True),
        ("on_exit_code: {0: end}", False),
        ("on_completed: end\n  on_failed: end", False),
        ("on_failed: '{{.X}}'", False),
        ("description: none leads there", False),
    ],
)
def test_who_is_always_run_but_only_after_failures_is_told(routes: str, is_told: bool) -> None:
    source = f"job_type: j\ntasks:\n- task_type: a\n  script: x\n  {routes}\n- task_type: end\n  always_run: true\n"
    (parsed,) = parse_source(source + "  script: x\n")
    assert parsed.definition is not None
    found = [(v.path, v.severity) for v in parsed.violations if v.code == "ONLY_AFTER_FAILURES"]
    assert found == [("tasks[1]", "warning")] * is_told
