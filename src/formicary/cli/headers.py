"""`formicary headers`: look at what a header mapping does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from formicary.cli import exits
from formicary.cli.output import emit, emit_table, write
from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.headers.journey import Journey

MOST_BYTES = 1 << 20


@click.group(short_help="Check a mapping between HTTP headers and gRPC metadata.", epilog=exits.EXIT_HELP)
def headers() -> None:
    r"""Looks at mappings between HTTP headers and gRPC metadata.

    \b
    Example:
      formicary headers check mapping.yaml --request request.http
    """


@headers.command(short_help="Show header by header what a mapping does with a request.")
@click.argument("mapping", metavar="MAPPING", type=click.Path())
@click.option(
    "--request", "request_file", required=True, metavar="FILE", type=click.Path(), help="Request, as in HTTP."
)
@click.option(
    "--response",
    "response_file",
    metavar="FILE",
    type=click.Path(),
    help="What the service sends back: `name: value` lines, an empty line, its trailers.",
)
@click.option("--trusted", is_flag=True, help="The request comes from a peer whose identity headers are believed.")
@click.option("--show-secrets", is_flag=True, help="Do not mask secrets in the table.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Form of the data on standard output; json and yaml hold secrets as they are.",
)
def check(
    mapping: str, request_file: str, response_file: str | None, trusted: bool, show_secrets: bool, output: str
) -> int:
    r"""Sends one request through a mapping and shows what arrives at the service and what goes back.

    \b
    Examples:
      formicary headers check mapping.yaml --request request.http
      formicary headers check mapping.toml --request request.http --response response.http --output json

    Exit status: 0 when the request passes, 1 when the mapping refuses it, 2 when a file is not valid.
    """
    from formicary.headers import load
    from formicary.headers.journey import travel
    from formicary.problems import Problem

    try:
        compiled = load(mapping)
    except Problem as error:
        if not error.errors:
            raise
        lines = [f"{mapping}:{e.line or 1}:{e.column or 1}: {e.field}: {e.message}" for e in error.errors]
        error.extensions["lines"] = lines
        raise
    request = _read(request_file)
    response = _read(response_file) if response_file else ""
    journey = travel(compiled, request, response, trusted=trusted)
    for hint in compiled.hints:
        exits.say(f"hint: {hint}")
    if output == "table":
        _print(journey, show_secrets)
    else:
        emit(_document(journey, compiled.hints), output)
    return exits.FAILED if journey.rejected else exits.OK


def _read(name: str) -> str:
    try:
        with open(name, "rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise problem("NOT_FOUND", f"Cannot read {name}: {error.strerror}.") from error
    if len(raw) > MOST_BYTES:
        raise problem("PAYLOAD_TOO_LARGE", f"{name} has more than {MOST_BYTES} bytes.")
    return raw.decode("utf-8", "replace")


def _document(journey: Journey, hints: tuple[str, ...]) -> dict[str, object]:
    return {
        "metadata": [list(pair) for pair in journey.metadata],
        "response_headers": [list(pair) for pair in journey.response_headers],
        "rejected": [refusal.to_document() for refusal in journey.rejected],
        "journey": [
            {
                "way": stop.way,
                "header": stop.header,
                "metadata": stop.metadata,
                "outcome": stop.outcome,
                "values": list(stop.values),
                "reason": stop.reason,
            }
            for stop in journey.stops
        ],
        "hints": list(hints),
    }


def _print(journey: Journey, show_secrets: bool) -> None:
    for way, title in (("request", "At the service"), ("response", "Back at the caller")):
        stops = [stop for stop in journey.stops if stop.way == way]
        write(f"{title}:\n")
        rows = [
            (stop.header or "-", stop.metadata or "-", stop.outcome, ", ".join(stop.values), stop.reason)
            for stop in stops
        ]
        emit_table(("HEADER", "METADATA", "OUTCOME", "VALUES", "WHY"), rows)
        write("\n")
    if show_secrets:
        emit_table(("METADATA", "VALUE"), journey.metadata)
    for refusal in journey.rejected:
        write(f"Refused with {refusal.status} {refusal.code}: {refusal.detail}\n")
