"""Properties of masking and parsing that hold for any text."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.model import definition_from_json, definition_to_json, task_from_json, task_to_json
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.rendering import expand_dynamic, render_job_variables, render_task
from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.engine import render_text
from formicary.engine.jobs.templates.masking import LINE_BREAK, mask

PIECES = st.sampled_from(
    [
        "job_type: j", "tasks:", "- task_type: a", "- task_type: b", "  script: [x]", "  retry: 1", "  on_completed: b",
        "  dependencies: [a]",
        "  timeout: {{ .t }}", "{{ if .x }}", "{{ else }}", "{{ end }}", "{{- range Iterate 2 }}",
        "{{/* c */}}", "{{ `a\nb` }}", "{% if x %}", "{% endif %}", "{# c #}", "{{", "}}", "---", "&a", "*a", "<<: *a",
        "\t", " ", "\n", "\r\n", "\n\n", ": ", "- ", "[", "]", "{", "}", '"', "'", "|", ">", "#", "!!int", "%",
        "\u2028", "\x85",
        "é", "\ue000", "template: jinja", "dynamic_template_tasks: true", "job_variables: {a: {{ .b }}}",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=25).map("\n".join),
    st.lists(PIECES, max_size=25).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["go", "jinja"]))
def test_masking_keeps_every_line_and_every_column_outside_of_actions(text: str, dialect: str) -> None:
    masked = mask(text, dialect)
    before, after = LINE_BREAK.split(text), LINE_BREAK.split(masked.text)
    assert len(before) == len(after)
    hidden = [False] * len(text)
    for start, end in masked.spans:
        hidden[start:end] = [True] * (end - start)
    at = 0
    starts = masked.line_starts
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        at = starts[number]
        if new == "" and old:
            assert any(hidden[at : at + len(old)])
            assert all(hidden[at + i] or char in " \t" for i, char in enumerate(old))
            continue
        assert len(old) == len(new)
        for i, char in enumerate(old):
            assert new[i] == (masked.char if hidden[at + i] else char)


@settings(max_examples=500, deadline=None)
@given(st.one_of(TEXTS, st.binary(max_size=100)))
def test_the_parser_never_raises(source: str | bytes) -> None:
    parsed = parse_source(source)
    assert parsed
    for document in parsed:
        assert (document.definition is None) == any(v.is_error for v in document.violations)
        assert all(v.line >= 1 and v.column >= 1 and v.message for v in document.violations)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("\n".join))
def test_what_was_parsed_can_be_rendered_encoded_and_expanded(rest: str) -> None:
    source = (
        f"job_type: j\ntasks:\n- task_type: z\n  script: [x]\n  on_completed: a\n- task_type: a\n  script: [y]\n{rest}"
    )
    for parsed in parse_source(source):
        job = parsed.definition
        if job is None:
            continue
        availability_violations(job)
        assert definition_from_json(definition_to_json(job)) == job
        render_job_variables(job, {"b": 1}, now=0.0, rng=random.Random(1))
        for task in job.tasks:
            assert task_from_json(task_to_json(task)) == task
            made = render_task(job, task.task_type, {"t": "5s", "x": 1}, now=0.0, rng=random.Random(1))
            assert made.violations or made.task.is_static
        expand_dynamic(job, {"x": True}, 0.0, random.Random(1))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=5), st.sampled_from(
    ["{{ .a | printf", '"%v"', "}}", "(", ")", "$x := ", "$x", "{{ range $k, $v := .m }}",
     "{{ template", "{{ define", "index .l 1 "]
)), max_size=15).map(" ".join))  # fmt: skip
def test_rendering_raises_nothing_but_template_errors(text: str) -> None:
    for dialect in ("go", "jinja"):
        try:
            render_text(text, {"a": 1, "l": [1, 2], "m": {"k": None}}, dialect, now=0.0, rng=random.Random(1))
        except TemplateError:
            pass
