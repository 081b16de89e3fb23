"""`formicary error-codes`: rules that name failures and say what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")
_FIELDS = ("name", "code", "exit_code", "pattern", "job_type", "task_type", "action", "retry", "message")
_system = click.option("--system", "is_system", is_flag=True, help="Of every organisation; for administrators.")


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


def _scope(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which tasks are meant."""
    for option in (
        click.option("--platform", default="", metavar="NAME", help="Only jobs of this platform."),
        click.option("--task", "task_type", default="", metavar="NAME", help="Only tasks of this name."),
        click.option("--job", "job_type", default="", metavar="TYPE", help="Only this job type."),
        click.option("--exit-code", type=int, default=None, help="Exit code, or HTTP status."),
    ):
        command = option(command)
    return command


@click.group("error-codes", short_help="Give failures a code, and say what follows.", epilog=exits.EXIT_HELP)
def error_codes() -> None:
    r"""Works with rules that give failed attempts a code, and say whether they are repeated.

    \b
    Examples:
      formicary error-codes set disk-full ERR_NO_SPACE --pattern "No space left" --action HARD_FAILURE
      formicary error-codes set busy ERR_BUSY --exit-code 75 --action RETRY_TASK --retry 5
      formicary error-codes match --exit-code 1 --text "write: No space left on device"

    A job file comes first: what it maps to the exit code or to the new code is done instead of a rule's action.
    """


@error_codes.command("set", short_help="Set a rule.", epilog=exits.EXIT_HELP)
@click.argument("name")
@click.argument("code")
@_scope
@click.option("--pattern", default="", metavar="REGEX", help="Regular expression (RE2) in the error or the output.")
@click.option("--message", default="", metavar="TEXT", help="What people read first.")
@click.option(
    "--action",
    type=click.Choice(["RETRY_TASK", "RETRY_JOB", "HARD_FAILURE"], case_sensitive=False),
    help="What follows; without it the failure is named and nothing else.",
)
@click.option("--retry", "times", type=int, default=0, help="How often it is repeated in all.")
@_system
@options.server
@options.timeout
def set_rule(
    name: str,
    code: str,
    exit_code: int | None,
    job_type: str,
    task_type: str,
    platform: str,
    pattern: str,
    message: str,
    action: str | None,
    times: int,
    is_system: bool,
    server: str,
    timeout_s: float,
) -> None:
    r"""Sets a rule: failures that it matches are called CODE from then on.

    \b
    Example:
      formicary error-codes set busy ERR_BUSY --exit-code 75 --action RETRY_TASK --retry 5 --job nightly

    It needs --exit-code, --pattern or both. Of several rules that match, the one for a task counts before the one for a
    job type, that before the one for a platform, and the organisation's before the system's.
    """
    from formicary.client.error_codes import set_error_code

    _ask(
        server,
        timeout_s,
        lambda client: set_error_code(
            client, name, code, exit_code=exit_code, pattern=pattern, job_type=job_type, task_type=task_type,
            platform=platform, message=message, action=action or "", retry=times, system=is_system,
        ),
    )  # fmt: skip
    write(f"{name} set\n")


@error_codes.command("list", short_help="List the rules.", epilog=exits.EXIT_HELP)
@options.server
@options.timeout
@options.output
def list_rules(server: str, timeout_s: float, output: str) -> None:
    """Lists the rules that the organisation's jobs meet, those of the system last."""
    from formicary.client.error_codes import list_error_codes

    found = _ask(server, timeout_s, list_error_codes)
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[_shown(one[name]) for name in _FIELDS] for one in found])
    else:
        emit(found, output)


@error_codes.command("get", short_help="Show a rule.", epilog=exits.EXIT_HELP)
@click.argument("name")
@_system
@options.server
@options.timeout
@options.output
def get_rule(name: str, is_system: bool, server: str, timeout_s: float, output: str) -> None:
    """Shows a rule."""
    from formicary.client.error_codes import get_error_code

    _show(_ask(server, timeout_s, lambda client: get_error_code(client, name, system=is_system)), output)


@error_codes.command("delete", short_help="Remove a rule.", epilog=exits.EXIT_HELP)
@click.argument("name")
@_system
@options.server
@options.timeout
def delete_rule(name: str, is_system: bool, server: str, timeout_s: float) -> None:
    """Removes a rule."""
    from formicary.client.error_codes import delete_error_code

    _ask(server, timeout_s, lambda client: delete_error_code(client, name, system=is_system))
    write(f"{name} deleted\n")


@error_codes.command("match", short_help="Say which rule would count.", epilog=exits.EXIT_HELP)
@_scope
@click.option("--text", default="", help="What the attempt said.")
@options.server
@options.timeout
@options.output
def match(
    exit_code: int | None,
    job_type: str,
    task_type: str,
    platform: str,
    text: str,
    server: str,
    timeout_s: float,
    output: str,
) -> int:
    """Says which rule would count for such a failure. The exit status is 1 where none does."""
    from formicary.client.error_codes import match_error_code

    found = _ask(
        server,
        timeout_s,
        lambda client: match_error_code(
            client, job_type=job_type, task_type=task_type, platform=platform, exit_code=exit_code, text=text
        ),
    )
    if found is None:
        click.echo("no rule matches", err=True)
        return exits.FAILED
    _show(found, output)
    return exits.OK


def _show(rule: dict[str, Any], output: str) -> None:
    if output == "table":
        write("".join(f"{name:<11} {_shown(rule[name])}\n" for name in rule if rule[name] not in ("", None)))
    else:
        emit(rule, output)


def _shown(value: object) -> str:
    return "-" if value in ("", None) else str(value)
