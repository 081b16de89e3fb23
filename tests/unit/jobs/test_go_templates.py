"""The Go template dialect, case by case: what a template prints, and what it refuses."""

import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from formicary.engine.jobs.templates.budget import Budget, TemplateError
from formicary.engine.jobs.templates.engine import render_text
from formicary.engine.jobs.templates.go_eval import render_go
from formicary.engine.jobs.templates.go_functions import FUNCTIONS
from formicary.engine.jobs.templates.go_parser import parse_go
from formicary.engine.jobs.templates.lookup import Environment, LookupRefused

VALUES = {
    "a": 5,
    "name": "ann",
    "empty": "",
    "quoted": 'a "b" \\ c\nd\x85',
    "zero": 0,
    "yes": True,
    "no": False,
    "nil": None,
    "pi": 3.5,
    "big": 1234567.0,
    "list": ["x", "y", "z"],
    "nums": [3, 1, 2],
    "nested": [[1, 2], [3]],
    "map": {"b": 2, "a": 1},
    "deep": {"in": {"side": "found"}},
    "text": "refs/heads/main",
    "html": "<a & 'b'>",
    "build.result": "exact",
    "number": "42",
}


def render(template: str) -> str:
    env = Environment(86400.0 * 365, random.Random(7), Budget())
    return render_go(parse_go(template, FUNCTIONS), VALUES, env)


CASES = [
    # plain text and values
    ("", ""),
    ("plain", "plain"),
    ("{{.a}}", "5"),
    ("{{ .a }}", "5"),
    ("{{.name}} is {{.a}}", "ann is 5"),
    ("{{.missing}}", "<no value>"),
    ("{{.missing.deeper}}", "<no value>"),
    ("{{.nil}}", "<no value>"),
    ("{{.deep.in.side}}", "found"),
    ("{{.build.result}}", "exact"),
    ("{{.yes}} {{.no}}", "true false"),
    ("{{.pi}}", "3.5"),
    ("{{.big}}", "1.234567e+06"),
    ("{{.list}}", "[x y z]"),
    ("{{.map}}", "map[a:1 b:2]"),
    ("{{.nested}}", "[[1 2] [3]]"),
    ("{{`raw \\n`}}", "raw \\n"),
    ('{{"tab\\there"}}', "tab\there"),
    ('{{"\\u00e9\\x41\\101"}}', "éAA"),
    ('{{"say \\"hi\\""}}', 'say "hi"'),
    ("{{'a'}}", "97"),
    ("{{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}}", "31 3 15 15 1000"),
    ("{{1.50}} {{.5}} {{1e3}} {{-7}}", "1.5 0.5 1000 -7"),
    ("{{true}} {{false}}", "true false"),
    ('{{"}}"}}', "}}"),
    ("{{if true}}{{end}}x", "x"),
    ("{ {.a} }", "{ {.a} }"),
    # trimming and comments
    ("a {{- .a -}} b", "a5b"),
    ("a\n\n{{- .a }}\n b", "a5\n b"),
    ("a {{-3}}", "a -3"),
    ("a {{- 3}}", "a3"),
    ("x{{/* gone */}}y", "xy"),
    ("x {{- /* gone */ -}} y", "xy"),
    ("x{{/* two\nlines */}}y", "xy"),
    ("{{/* {{.a}} */}}", ""),
    ("{{.a\n}}", "5"),
    # if
    ("{{if .yes}}t{{end}}", "t"),
    ("{{if .no}}t{{end}}", ""),
    ("{{if .no}}t{{else}}f{{end}}", "f"),
    ("{{if .no}}1{{else if .yes}}2{{else}}3{{end}}", "2"),
    ("{{if .no}}1{{else if .no}}2{{else}}3{{end}}", "3"),
    ("{{if .empty}}t{{else}}f{{end}}", "f"),
    ("{{if .zero}}t{{else}}f{{end}}", "f"),
    ("{{if .missing}}t{{else}}f{{end}}", "f"),
    ("{{if .list}}t{{end}}", "t"),
    ("{{if $x := .a}}{{$x}}{{end}}", "5"),
    ("{{if not .no}}t{{end}}", "t"),
    ('{{if and .yes (eq .name "ann")}}t{{end}}', "t"),
    ("{{if or .no .zero .a}}t{{end}}", "t"),
    # and, or, not
    ("{{and .a .name}}", "ann"),
    ("{{and .zero .name}}", "0"),
    ("{{or .empty .name}}", "ann"),
    ("{{or .empty .zero}}", "0"),
    ("{{and .no (index .list 99)}}", "false"),
    ("{{or .yes (index .list 99)}}", "true"),
    ("{{not .empty}}", "true"),
    ("{{.name | and .yes}}", "ann"),
    # comparisons
    ("{{eq .a 5}} {{eq .a 6}}", "true false"),
    ('{{index (dict "x" 1) "x"}}', "1"),
    ("{{eq .a 1 2 5}}", "true"),
    ("{{ne .a 5}}", "false"),
    ("{{lt .a 6}} {{le .a 5}} {{gt .a 6}} {{ge .a 5}}", "true true false true"),
    ('{{lt "a" "b"}}', "true"),
    ("{{eq .missing 5}}", "false"),
    ("{{eq .pi 3.5}}", "true"),
    ("{{lt .a .pi}}", "false"),
    ("{{eq .number 42}} {{gt .number 9}}", "true true"),
    ('{{eq .a "5"}} {{eq .a "five"}} {{ne .a "five"}}', "true false true"),
    ('{{eq .yes "true"}} {{eq "false" .yes}} {{ne .yes "yes"}}', "true false true"),
    # range
    ("{{range .list}}{{.}},{{end}}", "x,y,z,"),
    ("{{range $v := .list}}{{$v}}{{end}}", "xyz"),
    ("{{range $i, $v := .list}}{{$i}}={{$v}} {{end}}", "0=x 1=y 2=z "),
    ("{{range $k, $v := .map}}{{$k}}{{$v}}{{end}}", "a1b2"),
    ("{{range .map}}{{.}}{{end}}", "12"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ("{{range $i := 2}}{{$i}}{{end}}", "01"),
    ("{{range .missing}}x{{else}}none{{end}}", "none"),
    ("{{range .empty | len | Iterate}}x{{else}}none{{end}}", "none"),
    ("{{range $val := Iterate 3}}{{Add $val 7}} {{end}}", "7 8 9 "),
    ('{{range .list}}{{if eq . "y"}}{{break}}{{end}}{{.}}{{end}}', "x"),
    ('{{range .list}}{{if eq . "y"}}{{continue}}{{end}}{{.}}{{end}}', "xz"),
    ("{{range .nested}}{{range .}}{{.}}{{end}};{{end}}", "12;3;"),
    ("{{range .list}}{{$.a}}{{end}}", "555"),
    ("{{$n := 0}}{{range .nums}}{{$n = Add $n .}}{{end}}{{$n}}", "6"),
    ("{{$v := 1}}{{range $v := .list}}{{$v}}{{end}}{{$v}}", "xyz1"),
    # with
    ("{{with .deep}}{{.in.side}}{{end}}", "found"),
    ("{{with .missing}}x{{else}}{{.a}}{{end}}", "5"),
    ("{{with $d := .deep}}{{$d.in.side}}{{end}}", "found"),
    ("{{with .missing}}x{{else with .name}}{{.}}{{end}}", "ann"),
    # variables
    ("{{$x := 3}}{{$x}}", "3"),
    ("{{$x := 3}}{{$x = 4}}{{$x}}", "4"),
    ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
    ("{{$m := .deep}}{{$m.in.side}}", "found"),
    ("{{$}}", str_of := "{{.}}"),
    # pipelines and parentheses
    ("{{.name | upper}}", "ANN"),
    ('{{"x" | printf "%s-%s" "y"}}', "y-x"),
    ("{{(.deep).in.side}}", "found"),
    ("{{(index .nested 0)}}", "[1 2]"),
    ("{{.list | len | Add 1}}", "4"),
    ('{{Dict "k" .a | printf "%v"}}', "map[k:5]"),
    ('{{(Dict "k" (Dict "j" 9)).k.j}}', "9"),
    # templates
    ('{{define "t"}}<{{.}}>{{end}}{{template "t" .a}}', "<5>"),
    ('{{define "t"}}<{{.}}>{{end}}{{template "t"}}', "<<no value>>"),
    ('{{block "t" .name}}[{{.}}]{{end}}', "[ann]"),
    ('{{define "t"}}{{$}}{{end}}{{template "t" .name}}', "ann"),
    # built-in functions
    ("{{index .list 1}} {{index .map `b`}} {{index .nested 0 1}}", "y 2 2"),
    ('{{index .map "nope"}}', "<no value>"),
    ("{{slice .name 1}} {{slice .name 0 2}} {{slice .list 1 2}}", "nn an [y]"),
    ('{{len .list}} {{len .map}} {{len "é"}}', "3 2 2"),
    ('{{print 1 2 "x" 3}}', "1 2x3"),
    ("{{print .nil}}", "<nil>"),
    ('{{println "a" 1}}', "a 1\n"),
    ('{{printf "%d %s %v" .a .name .yes}}', "5 ann true"),
    ('{{printf "%05d|%-4d|%4d|%+d" 42 7 7 7}}', "00042|7   |   7|+7"),
    ('{{printf "%.2f %8.3f %e" 3.14159 2.5 1500.0}}', "3.14    2.500 1.500000e+03"),
    ('{{printf "%q %x %X %o %b %c %U" "hi" 255 255 8 5 65 65}}', '"hi" ff FF 10 101 A U+0041'),
    ('{{printf "%t %T %%" true 1}}', "true int %"),
    ('{{printf "%6s|%-6s|%.2s" "ab" "ab" "abc"}}', "    ab|ab    |ab"),
    ('{{printf "%d" "x"}}', "%!d(string=x)"),
    ('{{printf "%d"}}', "%!d(MISSING)"),
    ('{{printf "x" 1}}', "x%!(EXTRA int=1)"),
    ('{{printf "%*d" 5 42}}', "   42"),
    ('{{printf "%v" .list}} {{printf "%s" .list}}', "[x y z] [x y z]"),
    ('{{printf "%q" .list}}', '["x" "y" "z"]'),
    ("{{html .html}}", "&lt;a &amp; &#39;b&#39;&gt;"),
    ("{{js `it's <b>`}}", "it\\'s \\u003Cb\\u003E"),
    ('{{urlquery "a b&c=d/é"}}', "a+b%26c%3Dd%2F%C3%A9"),
    ('{{call .UnescapeHTML "&lt;"}}', "<"),
    # functions of job files
    ('{{default "x" .missing}} {{default "x" .name}} {{.empty | default "d"}}', "x ann d"),
    ("{{default 5 0}} {{default 5 false}} {{default 5 .none}}", "0 false 5"),
    ('"{{.quoted | yamlq}}" "{{yamlq .missing}}" "{{yamlq 3}}"', '"a \\"b\\" \\\\ c\\nd\\N" "" "3"'),
    ('{{trimPrefix .text "refs/heads/"}} {{trimSuffix .text "/main"}}', "main refs/heads"),
    ('{{hasPrefix .text "refs"}} {{hasSuffix .text "x"}}', "true false"),
    ('{{lower "AbC"}} {{upper .name}}', "abc ANN"),
    ('{{contains .text "heads"}}', "true"),
    ('{{replace "a-b-c" "-" "+"}} {{replace "a-b-c" "-" "+" 1}}', "a+b+c a+b-c"),
    ('{{split "a,b" ","}} {{join .list "-"}} {{join .nums ","}}', "[a b] x-y-z 3,1,2"),
    ('{{Unescape "&lt;&amp;"}}', "<&"),
    ('{{MarkdownLink "docs" "https://x.y"}}', "[docs](https://x.y)"),
    (
        '{{MarkdownLink "see [a & b](https://x.y?a=1&b)"}}',
        '<a href="https://x.y?a=1&amp;b" target="_blank" rel="noopener noreferrer">a &amp; b</a>',
    ),
    (
        '{{MarkdownLink "https://x.y"}}',
        '<a href="https://x.y" target="_blank" rel="noopener noreferrer">https://x.y</a>',
    ),
    ('{{MarkdownLink "[a](javascript:b)"}} {{MarkdownLink ""}}', "[a](javascript:b) "),
    ('{{formatTime 0 "2006-01-02 15:04:05"}}', "1970-01-01 00:00:00"),
    ("{{FormatTime 90061.5}}", "1970-01-02T01:01:01Z"),
    ('{{formatTime 1700000000 "Mon Jan _2 3:04PM 06 MST -0700 .000"}}', "Tue Nov 14 10:13PM 23 UTC +0000 .000"),
    ('{{formatTime "2027-03-04T05:06:07Z" "02.01.2006"}}', "04.03.2027"),
    ('{{formatTime "2006"}}', "1971"),
    ("{{Percent100 0.5}} {{Percent100 1 3}} {{Percent100 1 0}} {{Percent100 7 5}}", "50 33 100 100"),
    ('{{atoi "12"}} {{atof "1.25"}}', "12 1.25"),
    ("{{Add 1 2}} {{Add 1.5 2}} {{Add .number 1}}", "3 3.5 43"),
    ("{{Random 4 5}}", "4"),
    ("{{Iterate 3}}", "[0 1 2]"),
]


def test_the_table_is_as_long_as_it_says() -> None:
    assert len(CASES) >= 120


@pytest.mark.parametrize(("template", "expected"), CASES, ids=[case[0][:40] for case in CASES])
def test_a_template_prints_what_go_prints(template: str, expected: str) -> None:
    if expected == str_of:
        expected = render(expected)
    assert render(template) == expected


ERRORS = [
    ("{{", 0, "not closed"),
    ("a{{.x", 1, "not closed"),
    ("{{/* x", 0, "comment is not closed"),
    ("{{/* x */ y}}", 0, "whole action"),
    ("{{}}", 0, "empty"),
    ("{{.a}", 4, "Unexpected"),
    ('{{"x}}', 2, "quoted string"),
    ("{{`x}}", 2, "raw string"),
    ("{{'ab'}}", 2, "character"),
    ("{{.my-key}}", 5, "use index"),
    ("{{nope}}", 2, "no function nope"),
    ("{{uper .name}}", 2, "did you mean upper"),
    ("{{$x}}", 2, "$x is not set"),
    ("{{$x = 1}}", 2, "$x is not set"),
    ("{{if .a}}", 0, "not closed"),
    ("{{if}}x{{end}}", 4, "missing"),
    ("{{end}}", 0, "no open"),
    ("{{else}}", 0, "no open"),
    ("{{if .a}}{{else}}{{else}}{{end}}", 17, "second else"),
    ("{{break}}", 0, "outside"),
    ("{{range .list}}{{end}}{{continue}}", 22, "outside"),
    ("{{(.a}}", 2, "'(' is not closed"),
    ("{{.a)}}", 4, "Unexpected"),
    ("{{.a | 5}}", 7, "Only a function"),
    ("{{5 .a}}", 2, "constant"),
    ("{{define .a}}{{end}}", 9, "quoted name"),
    ("{{0x}}", 3, "Unexpected"),
    ("{{99999999999999999999}}", 2, "64-bit"),
    ('{{"\\z"}}', 2, "escape"),
    ("{{.a;.b}}", 4, "Unexpected"),
    # while rendering
    ("{{.name.field}}", 2, "has no field"),
    ("{{.a .name}}", 2, "no function"),
    ('{{template "none"}}', 0, "no template"),
    ("{{eq .list .list}}", 2, "cannot be compared"),
    ("{{eq .a .yes}}", 2, "cannot compare"),
    ('{{lt .a "five"}}', 2, "cannot compare"),
    ("{{lt .missing 5}}", 2, "cannot compare|no order"),
    ("{{lt .yes .no}}", 2, "no order"),
    ("{{index .list 9}}", 2, "out of range"),
    ('{{index .list "x"}}', 2, "expected a number"),
    ("{{slice .name 9}}", 2, "out of range"),
    ("{{len .a}}", 2, "no length"),
    ("{{range .name}}{{end}}", 0, "use split"),
    ("{{range .yes}}{{end}}", 0, "cannot loop"),
    ("{{upper .missing}}", 2, "expected text"),
    ("{{upper}}", 2, "takes 1 arguments"),
    ('{{atoi "x"}}', 2, "whole number"),
    ("{{Random 5 5}}", 2, "range"),
    ('{{Dict "a"}}', 2, "pairs"),
    ("{{call .name}}", 2, "call expects"),
    ('{{SubmitJob "x"}}', 2, "only tasks"),
    ('{{checksum "../go.mod"}}', 2, "inside the working directory"),
    ("{{checksum '/go.mod'}}", 2, "inside the working directory"),
    ('{{CountByJobTypeAndState "x" "PENDING"}}', 2, "only tasks"),
]


@pytest.mark.parametrize(("template", "pos", "part"), ERRORS, ids=[case[0][:40] for case in ERRORS])
def test_a_wrong_template_says_where_and_what(template: str, pos: int, part: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template)
    assert caught.value.pos == pos
    assert any(one in caught.value.message for one in part.split("|")), caught.value.message
    assert caught.value.message.endswith((".", "?"))


BOMBS = [
    "{{range Iterate 1000}}{{range Iterate 1000}}{{end}}{{end}}",
    "{{range 100000000000}}{{end}}",
    "{{Iterate 100000000000}}",
    '{{define "t"}}{{template "t"}}{{end}}{{template "t"}}',
    '{{define "t"}}{{template "t"}}{{template "t"}}{{end}}{{template "t"}}',
    '{{$x := "ab"}}{{range 60}}{{$x = printf "%s%s" $x $x}}{{end}}',
    '{{$x := Dict "a" 1}}{{range 60}}{{$x = Dict "a" $x "b" $x}}{{end}}{{$x}}',
    '{{$x := "aa"}}{{range 60}}{{$x = replace $x "a" $x}}{{end}}',
    '{{printf "%1000000000d" 1}}',
    '{{printf "%.1000000000f" 1.5}}',
    "{{range 100000}}{{.}} is a number{{end}}",
    "{{" + "(" * 500 + ".a" + ")" * 500 + "}}",
    "{{if .a}}" * 500 + "{{end}}" * 500,
    "x" * 300_000,
]


@pytest.mark.parametrize("template", BOMBS, ids=range(len(BOMBS)))
def test_a_template_that_would_never_end_is_stopped(template: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template)
    assert caught.value.code == "TEMPLATE_LIMIT"


def test_the_deadline_stops_a_template_that_stays_within_the_counts() -> None:
    ticks = iter(range(1_000_000))
    env = Environment(0.0, random.Random(1), Budget(lambda: next(ticks) * 0.05))
    with pytest.raises(TemplateError, match="too long"):
        render_go(parse_go("{{range 50000}}{{.}}{{end}}", FUNCTIONS), {}, env)


class Port:
    """Other jobs as a test has them: every call is noted."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def submit_job(self, job_type: str, params: Mapping[str, object]) -> str:
        if job_type == "none":
            raise LookupRefused("the job type 'none' is not registered")
        self.asked.append((job_type, dict(params)))
        return f"id{len(self.asked)}"

    def count_by_job_type_and_state(self, job_type: str, states: tuple[str, ...]) -> int:
        self.asked.append((job_type, *states))
        return len(states)


def ask(text: str, dialect: str = "go") -> tuple[str, list[object]]:
    """What a template renders to, and what it asks for."""
    port = Port()
    values = {"jobs": [{"a": 1}, {"job_type": "k", "params": {"b": 2}}], "text": '[{"a": 1}, {"a": 2}]'}
    return render_text(text, values, dialect, now=0.0, rng=random.Random(1), lookup=port), port.asked


@pytest.mark.parametrize(
    ("go", "jinja", "rendered", "asked"),
    [
        ('{{SubmitJob "j"}}', "{{submit_job('j')}}", "id1", [("j", {})]),
        (
            '{{SubmitJob "j" "a=1" "b=x=y"}}',
            "{{submit_job('j', a='1', b='x=y')}}",
            "id1",
            [("j", {"a": "1", "b": "x=y"})],
        ),
        ('{{SubmitJob "j" "a" 1}}', "{{submit_job('j', {'a': 1})}}", "id1", [("j", {"a": 1})]),
        ('{{SubmitJob "j" (Dict "a" 1)}}', "{{submit_job('j', a=1)}}", "id1", [("j", {"a": 1})]),
        ('{{SubmitJob "j" "What it does" "a=1"}}', "{{submit_job('j', a='1')}}", "id1", [("j", {"a": "1"})]),
        ('{{SubmitJob "j" "What it does"}}', "{{submit_job('j')}}", "id1", [("j", {})]),
        (
            '{{SubmitJobsFromJSON "j" .text "a=9"}}',
            "{{submit_jobs('j', text, a='9')}}",
            "id1,id2",
            [("j", {"a": "9"}), ("j", {"a": "9"})],
        ),
        (
            '{{SubmitJobsFromJSON "j" .text (printf "_p=%d" 3)}}',
            "{{submit_jobs('j', text, _p='3')}}",
            "id1,id2",
            [("j", {"_p": "3", "a": 1}), ("j", {"_p": "3", "a": 2})],
        ),
        (
            '{{SubmitJobsFromJSON .jobs "j"}}',
            "{{submit_jobs('j', jobs)}}",
            "id1,id2",
            [("j", {"a": 1}), ("k", {"b": 2})],
        ),
        ('{{SubmitJobsFromJSON "j" ""}}', "{{submit_jobs('j', '[]')}}", "", []),
        (
            '{{CountByJobTypeAndState "j" "PENDING" "STARTED"}}',
            "{{count_jobs('j', 'PENDING', 'executing')}}",
            "2",
            [("j", "PENDING", "EXECUTING")],
        ),
        (
            '{{CountByJobTypeAndState "j"}}',
            "{{count_jobs('j', 'WAITING,RUNNING')}}",
            "4",
            [("j", "PENDING", "PAUSED", "MANUAL_APPROVAL_REQUIRED", "EXECUTING")],
        ),
    ],
)
def test_templates_ask_for_other_jobs(go: str, jinja: str, rendered: str, asked: list[object]) -> None:
    """Both dialects count and submit through the port, with parameters in every form."""
    assert ask(go) == (rendered, asked)
    assert ask(jinja, "jinja") == (rendered, asked)


@pytest.mark.parametrize(
    ("go", "jinja", "said"),
    [
        ('{{SubmitJob "none"}}', "{{submit_job('none')}}", "is not registered"),
        ('{{SubmitJobsFromJSON "j" "{"}}', "{{submit_jobs('j', '{')}}", "JSON array of objects"),
        ('{{SubmitJobsFromJSON "j" "[1]"}}', "{{submit_jobs('j', [1])}}", "JSON array of objects"),
        ('{{CountByJobTypeAndState "j" "DONE"}}', "{{count_jobs('j', 'DONE')}}", "no state of a job"),
        ('{{SubmitJob "j" "a" "b" "c"}}', "{{submit_jobs('j', 5)}}", "name=value|JSON array"),
    ],
)
def test_what_cannot_be_asked_is_an_error_of_the_template(go: str, jinja: str, said: str) -> None:
    """In both dialects, with a sentence."""
    for text, dialect in ((go, "go"), (jinja, "jinja")):
        with pytest.raises(TemplateError) as caught:
            ask(text, dialect)
        assert any(part in caught.value.message for part in said.split("|")), caught.value.message


FACTS = set(
    re.findall(
        r"\w+",
        "Dict Iterate Add default trimPrefix trimSuffix hasPrefix hasSuffix lower upper contains replace Unescape "
        "Random MarkdownLink CountByJobTypeAndState SubmitJob SubmitJobsFromJSON formatTime FormatTime Percent100 "
        "urlquery atoi atof split join lt gt eq index printf and or not len",
    )
)


def test_every_function_is_tried_here_and_documented() -> None:
    """Those of older files are all there; the reference names each, and a case above calls each."""
    assert FUNCTIONS.keys() >= FACTS
    cases = Path(__file__).read_text("utf-8")
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "templates.md").read_text("utf-8")
    called = {name for name in FUNCTIONS if re.search(rf"[{{(|] ?{name}\b", cases)}
    named = {name for name in FUNCTIONS if re.search(rf"`[^`]*\b{name}\b[^`]*`", page)}
    assert FUNCTIONS.keys() - called == set()
    assert FUNCTIONS.keys() - named == set()
