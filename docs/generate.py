"""Writes the pages of docs/reference and the pictures that are made from the code: `python -m docs.generate [--check]`.

Each page is one function from tables of the code to text. `--check` only tells which pages are not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from docs.older_files import older_files
from docs.pictures import PICTURES
from formicary.engine.jobs import lifecycle
from formicary.engine.jobs.container_fields import SERVICE_FIELDS
from formicary.engine.jobs.fields import JOB_FIELDS, TASK_FIELDS, Field
from formicary.engine.jobs.schema import job_schema
from formicary.problems.catalogue import ALIASES, CATALOGUE, GRPC_CODES, generic
from formicary.server.metrics.catalogue import CATALOGUE as METRICS
from formicary.server.metrics.collector import MOST_LABELS

REFERENCE = Path(__file__).with_name("reference")
CONCEPTS = Path(__file__).with_name("concepts")

KINDS = {
    "any": "anything",
    "backoff": "mapping: min, max, factor, jitter",
    "bool": "true or false",
    "choice": "one of a few words",
    "deadline": "time, RFC 3339, or duration",
    "demands": "mapping, or list of mappings",
    "circuit_breaker": "mapping: downstream, consecutive_failures, failure_rate, window, minimum_jobs, open_for, "
    "trials",
    "error_handling": "mapping: max_retries, dead_letter_queue, alert_on_dlq",
    "gang": "`job`, or mapping: tasks, min, barrier",
    "backup": "true or false, or mapping: percentile, delay_threshold, resource_threshold, least_history, cap, "
    "extra_work",
    "needs": "mapping of resources to amounts, or list of mappings",
    "devices": "list of: match, expressions, count",
    "placement": "mapping: labels, expressions, versions, preferred",
    "environment": "mapping of names to texts, or list of `NAME=VALUE`",
    "duration": "duration: `90`, `90s`, `1h30m`",
    "duration_range": "duration, or two: `5s to 14s`",
    "function": "`package.module:name`",
    "int": "whole number",
    "method": "name of a method",
    "cron": "text, or mapping: schedule, time_zone, missed, overlap",
    "moment": "time, RFC 3339",
    "name": "name",
    "object": "mapping",
    "object_map": "mapping of names to values",
    "affinity": "mapping: nodeAffinity, podAffinity, podAntiAffinity",
    "container": "mapping, or an image",
    "services": "list of mappings",
    "tolerations": "list of mappings, or mapping",
    "parameters": "list of parameters",
    "routes": "mapping of exit codes and states to tasks and actions",
    "script": "command or list of commands",
    "semver": "version",
    "tags": "list of words",
    "target": "task or action",
    "tasks": "list of tasks",
    "tenant_limits": "mapping of limits, or of organisations to limits",
    "template": "text with template",
    "text": "text",
    "text_list": "list of texts",
    "text_map": "mapping of names to texts",
    "variables": "mapping of names to values, or list of them",
}


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _bounds(field: Field) -> str:
    parts = []
    if field.choices:
        parts.append(" or ".join(f"`{choice}`" for choice in field.choices))
    if field.least is not None:
        parts.append(f"≥ {field.least:,.10g}")
    if field.most is not None:
        parts.append(f"≤ {field.most:,.10g}" + ("" if field.kind in ("int", "number") else " characters"))
    return ", ".join(parts)


def _notes(field: Field) -> str:
    text = field.doc
    if field.required:
        text += " **Required.**"
    if field.aliases:
        text += " Also " + ", ".join(f"`{alias}`" for alias in field.aliases) + "."
    return text


def _default(field: Field) -> str:
    if field.default is None:
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"`{value}`"


def _fields(fields: Iterable[Field]) -> str:
    rows = ((f"`{f.name}`", KINDS.get(f.kind, f.kind), _default(f), _bounds(f), _notes(f)) for f in fields)
    return table(("field", "type", "default", "bounds", "meaning"), rows)


METHOD_ROWS = {
    "SHELL": ("ants", "", "commands, each in a shell of its own"),
    "PYTHON": ("ants", "", "a function"),
    "HTTP_GET": ("ants", "", "a call; also `HTTP_DELETE`"),
    "HTTP_POST_JSON": ("ants", "", "a call with JSON; also `HTTP_PUT_JSON`, `HTTP_PATCH_JSON`"),
    "HTTP_POST_FORM": ("ants", "", "a call with a form; also `HTTP_PUT_FORM`"),
    "DOCKER": ("ants", "a Docker engine", "commands in a container"),
    "KUBERNETES": ("", "", "comes later; `--method KUBERNETES=DOCKER` or `=SHELL` runs it otherwise"),
    "MESSAGING": ("ants", "`FORMICARY_NATS`", "a program that listens on a queue"),
    "WEBSOCKET": ("ants", "", "a program behind a URL, or one that has registered"),
    "FORK_JOB": ("queen", "", "starts a job"),
    "AWAIT_FORKED_JOB": ("queen", "", "waits for jobs"),
    "FAN_OUT_JOB": ("queen", "", "starts a job for each element of a list"),
    "MANUAL": ("queen", "", "asks people"),
    "EXPIRE_ARTIFACTS": ("queen", "", "removes files that have expired, now and not within the hour"),
    "VENDOR.NAME": ("ants", "a package", "an executor of your own"),
}
"""Where each method runs, what it needs there, and what it does."""


def methods() -> str:
    """The table of the methods."""
    rows = ((f"`{name}`", *cells) for name, cells in METHOD_ROWS.items())
    return table(("method", "runs on", "needs", "what it runs"), rows)


ONLY = {"docker": "DOCKER only", "kubernetes": "KUBERNETES only", "service": "services only"}


def containers() -> str:
    """The table of the fields of containers."""
    rows = ((f"`{name}`", row.doc, ONLY.get(row.only, "")) for name, row in SERVICE_FIELDS.items())
    return table(("field", "meaning", ""), rows)


def job_file() -> str:
    """Every field that a job file may have."""
    return (
        "# Fields of a job file\n\n"
        "A job file is YAML 1.2 (so JSON, too); `---` separates several jobs. `formicary validate FILE` reports every\n"
        "mistake with line and column. For editors: [job-file.schema.json](job-file.schema.json), a JSON Schema.\n\n"
        f"## The job\n\n{_fields(JOB_FIELDS)}\n\n## A task\n\n{_fields(TASK_FIELDS)}\n\n"
        f"## Containers and services\n\nEach name may be in camelCase, too.\n\n{containers()}\n\n"
        f"## Methods\n\n{methods()}\n"
    )


def _diagram(states: Iterable[str], transitions: lifecycle.Table, ended: frozenset[str]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {lifecycle.PENDING}"]
    merged: dict[tuple[str, str], list[str]] = {}
    for (state, event), target in transitions.items():
        merged.setdefault((state, target), []).append(event)
    lines += [f"    {state} --> {target}: {', '.join(events)}" for (state, target), events in merged.items()]
    lines += [f"    {state} --> [*]" for state in states if state in ended]
    return "\n".join([*lines, "```"])


def life_cycles() -> str:
    """The life cycles as diagrams."""
    return (
        "# Life cycles\n\n"
        "Each is one table in the code; an event that a state does not know is refused and changes nothing.\n"
        "`lose` is the end of an ant that held the task, `return` a grant given back unstarted.\n\n"
        f"## Job\n\n{_diagram(lifecycle.JOB_STATES, lifecycle.JOB, lifecycle.JOB_ENDED)}\n\n"
        f"## Task\n\n{_diagram(lifecycle.TASK_STATES, lifecycle.TASK, lifecycle.TASK_ENDED)}\n"
    )


_PROBLEM_FUNCTIONS = """## From Python

| function | does |
|---|---|
| `formicary.problems.problem(code, detail, errors=…)` | makes the `Problem` to raise |
| `formicary.problems.asgi.ProblemMiddleware(app)` | what an ASGI application raises becomes a document |
| `formicary.problems.grpc_aio.ProblemInterceptor()` | whatever a handler of grpc.aio raises becomes a rich status |
| `formicary.problems.http.render_http(problem)` · `parse_http(status, headers, body)` | to an answer, and back |
| `formicary.problems.rpc.to_grpc(problem)` · `from_rpc_error(error)` | to a status, and back on a client |
| `formicary.problems.rpc.to_status(problem)` · `from_status(status)` | `google.rpc.Status` |
| `formicary.problems.validation.Validator(rules=…)` | checks messages by protovalidate's rules and your own |

A status without any of our details becomes the general code of its number, and keeps every detail that it has:

| gRPC | code | HTTP |
|---|---|---:|
%s"""


def _general_codes() -> str:
    found = ((name, generic(name)) for name in GRPC_CODES if name != "OK")
    return "\n".join(f"| {name} | `{row.code}` | {row.status} |" for name, row in found)


def problems() -> str:
    """Every code of a problem document."""
    rows = (
        (
            f"`{row.code}`",
            row.title,
            row.status,
            row.grpc_code,
            "yes" if row.retryable else "no",
            row.blame,
            "shown" if row.show else "hidden",
            row.remedy,
        )
        for row in CATALOGUE.values()
    )
    heads = ("code", "title", "HTTP", "gRPC", "try again", "whose", "detail", "what to do")
    return (
        "# Problem codes\n\n"
        "Every error is a problem document (RFC 9457) with one of these codes. A code never changes its meaning;\n"
        "job files may add their own `ERR_*`. The page of each is on the server at `/problems/<code-in-lower-case>`.\n"
        "Where the detail is hidden, a client sees the title alone; the log has the rest under the `traceId`.\n\n"
        f"{table(heads, rows)}\n\n"
        f"{_PROBLEM_FUNCTIONS % _general_codes()}\n\n"
        "## Aliases\n\nOther names that are accepted where a problem is made; the code itself goes out.\n\n"
        f"{table(('alias', 'code'), ((f'`{alias}`', f'`{code}`') for alias, code in ALIASES.items()))}\n"
    )


def _commands(command: click.Command, path: str) -> Iterable[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):  # a lazy group has them only by name
            found = command.get_command(context, name)
            if found is not None:
                yield from _commands(found, f"{path} {name}")
    else:
        yield path, command


def _options(command: click.Command) -> str:
    context = click.Context(command)
    records = [param.get_help_record(context) for param in command.params]
    rows = [(f"`{record[0]}`", " ".join(record[1].split())) for record in records if record]
    return table(("option", "meaning"), rows)


def _paragraph(text: str) -> str:
    """A paragraph of a help text; one that is not to be wrapped becomes its heading and a block."""
    lines = text.strip().split("\n")
    if lines[0].strip() != "\b":
        return " ".join(line.strip() for line in lines)
    heading, *rest = lines[1:]
    return f"{heading.strip()}\n\n```text\n" + "\n".join(line.strip() for line in rest) + "\n```"


def command_line() -> str:
    """Every command with its options."""
    from formicary.cli.main import cli

    parts = [
        "# Command line\n\nData goes to standard output, everything else to standard error. `NO_COLOR` is honoured."
    ]
    for path, command in _commands(cli, "formicary"):
        usage = " ".join(piece for piece in command.collect_usage_pieces(click.Context(command)))
        text = "\n\n".join(map(_paragraph, (command.help or "").split("\f")[0].strip().split("\n\n")))
        parts.append(f"## {path}\n\n```console\n$ {path} {usage}\n```\n\n{text}\n\n{_options(command)}")
    return "\n\n".join(parts) + "\n"


def metrics() -> str:
    """Every metric of a server."""
    rows = ((f"`{row.name}`", row.kind, ", ".join(f"`{label}`" for label in row.labels), row.help) for row in METRICS)
    return f"""# Metrics

`GET /metrics` on the HTTP port gives these figures in Prometheus' text format, or as OpenMetrics where `Accept` asks
for it. Beside them stand `process_*` (processor time, memory, open files) and `python_*` of the server's process. They
are read from the server's counters when somebody asks; how to scrape them: [Observe a server](../how-to/observe.md).

Counters of the queen begin at zero when the server starts, and again when she reads her state anew because the store
failed. Organisations, tags and ants beyond the {MOST_LABELS} largest stand together as `other` (tags: are left out).
A call that streams ends with its stream, so sessions of ants and clients count once they are over. Requests that never
become a call are in none of these figures: an unknown route, a foreign host or page, a connection's 408, 431 or 503.

{table(("metric", "kind", "labels", "meaning"), rows)}
"""


def job_schema_text() -> str:
    """The JSON Schema of job files, as `formicary schema` prints it."""
    return json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "job-file.md": job_file,
    "job-file.schema.json": job_schema_text,
    "life-cycles.md": life_cycles,
    "problems.md": problems,
    "command-line.md": command_line,
    "metrics.md": metrics,
    "older-job-files.md": older_files,
}


def stale() -> dict[Path, str]:
    """Pages and pictures whose text is not what the code gives, with the text that they should have."""
    made = {REFERENCE / name: make for name, make in PAGES.items()}
    made |= {CONCEPTS / "pictures" / name: make for name, make in PICTURES.items()}
    texts = {path: make() for path, make in made.items()}
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text}


def main() -> None:
    """Writes the pages that are not current, or only names them."""
    found = stale()
    check = "--check" in sys.argv[1:]
    for path, text in found.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        name = path.relative_to(REFERENCE.parent.parent)
        print(f"{name}: {'not current: run `make docs`' if check else 'written'}")
    if check and found:
        sys.exit(1)


if __name__ == "__main__":
    main()
