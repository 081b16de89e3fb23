"""`formicary secrets` and `formicary config`: values that jobs see as variables."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click
import msgspec

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write
from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")


class Place(TypedDict, total=False):
    """Whose a configuration is."""

    scope: str
    owner: str


F = TypeVar("F", bound=Callable[..., Any])
_FIELDS = ("scope", "owner", "name", "type", "value", "updated_at", "updated_by")
_SECRET_FIELDS = ("scope", "owner", "name", "key_id", "updated_at", "updated_by")
_OPTIONS = (
    click.option("--job", "job_type", default="", metavar="TYPE", help="Of this job type alone."),
    click.option("--user", default="", metavar="ID", help="Of the jobs that this user or token submits."),
    click.option("--system", "is_system", is_flag=True, help="Of every organisation; for the server's administrators."),
)


def _place(command: F) -> F:
    """The options that say whose a configuration is; without any it is the organisation's."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _where(job_type: str, user: str, is_system: bool) -> Place:
    if bool(job_type) + bool(user) + is_system > 1:
        raise click.UsageError("--job, --user and --system exclude each other.")
    if is_system:
        return {"scope": "system"}
    return {"scope": "job" if job_type else "user" if user else "org", "owner": job_type or user}


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


# --- secrets -----------------------------------------------------------------------------------------------------


@click.group(short_help="Set, list, rotate and remove secrets; make keys.", epilog=exits.EXIT_HELP)
def secrets() -> None:
    r"""Works with secrets: variables of jobs that are encrypted at rest and masked in logs.

    \b
    Examples:
      formicary secrets keygen /etc/formicary/secret.key
      formicary up --secret-key-file /etc/formicary/secret.key
      formicary secrets set DEPLOY_TOKEN < token.txt
      formicary secrets list
    """


@secrets.command("set", short_help="Set a secret.", epilog=exits.EXIT_HELP)
@click.argument("name")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take a file as it is.")
@_place
@options.server
@options.timeout
def set_secret(
    name: str, file: Path | None, job_type: str, user: str, is_system: bool, server: str, timeout_s: float
) -> None:
    r"""Sets a secret. Its value is asked for without being shown, or comes from standard input or a file.

    \b
    Examples:
      formicary secrets set DEPLOY_TOKEN
      pass show deploy | formicary secrets set DEPLOY_TOKEN --job nightly
      formicary secrets set SSH_KEY --file id_ed25519

    It is never an argument: others could see it. A newline at the end of standard input is left out.
    """
    from formicary.client.configs import set_config

    where, value = _where(job_type, user, is_system), _secret_value(name, file)
    _ask(server, timeout_s, lambda client: set_config(client, name, value, secret=True, **where))
    write(f"{name} set\n")


def _secret_value(name: str, file: Path | None) -> str:
    if file is None and sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True))
    data = file.read_bytes() if file is not None else sys.stdin.buffer.read()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "The value is not UTF-8: set its base64, and decode it in the task."
        raise problem("VALIDATION_FAILED", text) from None
    return text if file is not None else text.removesuffix("\n").removesuffix("\r")


@secrets.command("list", short_help="List the secrets, without their values.", epilog=exits.EXIT_HELP)
@_place
@options.server
@options.timeout
@options.output
def list_secrets(job_type: str, user: str, is_system: bool, server: str, timeout_s: float, output: str) -> None:
    """Lists the secrets that the organisation's jobs see, and the key of each. Nobody is shown values."""
    _list(job_type, user, is_system, server, timeout_s, output, secrets=True)


@secrets.command("delete", short_help="Remove a secret.", epilog=exits.EXIT_HELP)
@click.argument("name")
@_place
@options.server
@options.timeout
def delete_secret(name: str, job_type: str, user: str, is_system: bool, server: str, timeout_s: float) -> None:
    """Removes a secret; tasks that still name it find nothing."""
    _delete(name, job_type, user, is_system, server, timeout_s)


@secrets.command(short_help="Show the value of a secret (administrators).", epilog=exits.EXIT_HELP)
@click.argument("name")
@_place
@options.server
@options.timeout
def reveal(name: str, job_type: str, user: str, is_system: bool, server: str, timeout_s: float) -> None:
    """Prints the value of a secret. Only administrators may; the audit log says who did."""
    from formicary.client.configs import reveal_config

    where = _where(job_type, user, is_system)
    found = _ask(server, timeout_s, lambda client: reveal_config(client, name, **where))
    value = found["value"]
    write(f"{value if isinstance(value, str) else msgspec.json.encode(value).decode()}\n")


@secrets.command(short_help="Encrypt every secret with the first key.", epilog=exits.EXIT_HELP)
@options.server
@options.timeout
@options.output
def rotate(server: str, timeout_s: float, output: str) -> int:
    r"""Has the server read its keys again and encrypt every secret with the first of them.

    \b
    Examples:
      formicary secrets keygen /etc/formicary/secret.key --add
      formicary secrets rotate

    It can be cut off at any moment: say it again, or start the server. Keys that are not listed afterwards may be taken
    out of the file. The exit status is 1 where a secret cannot be decrypted with any key.
    """
    from formicary.client.configs import rotate_secrets

    done = _ask(server, timeout_s, rotate_secrets)
    if output == "table":
        needed = ", ".join(done["keys"]) or "-"
        write(f"{done['rotated']} secrets encrypted with the key {done['key_id']}; needed: {needed}\n")
        for name in done["unreadable"]:
            click.echo(f"error: {name} cannot be decrypted with any key of the server; set it again.", err=True)
    else:
        emit(done, output)
    return exits.FAILED if done["unreadable"] else exits.OK


@secrets.command(short_help="Make a key file.", epilog=exits.EXIT_HELP)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--add", is_flag=True, help="Put a new key before those of the file, for a rotation.")
def keygen(file: Path, add: bool) -> None:
    r"""Makes a file with a new key for `formicary up --secret-key-file`; only its owner can read it.

    \b
    Examples:
      formicary secrets keygen /etc/formicary/secret.key
      formicary secrets keygen /etc/formicary/secret.key --add

    Keep a copy elsewhere than the data: without the key no secret can be read any more.
    """
    from formicary.engine.queen.keyring import make_key_file

    write(f"{make_key_file(file.absolute(), add=add)}\n")


# --- configurations ----------------------------------------------------------------------------------------------


@click.group(short_help="Set, list and remove variables of all jobs.", epilog=exits.EXIT_HELP)
def config() -> None:
    r"""Works with configurations: variables of every job of the system, the organisation, a user or a job type.

    \b
    Examples:
      formicary config set REGION eu-west-1
      formicary config set WORKERS 8 --job nightly
      formicary config list
    """


@config.command("set", short_help="Set a configuration.", epilog=exits.EXIT_HELP)
@click.argument("name")
@click.argument("value")
@click.option("--text", "is_text", is_flag=True, help="Take the value as text, also where it looks like JSON.")
@_place
@options.server
@options.timeout
def set_value(
    name: str, value: str, is_text: bool, job_type: str, user: str, is_system: bool, server: str, timeout_s: float
) -> None:
    """Sets a configuration. 5, true and JSON are read as such, everything else is text."""
    from formicary.client.configs import set_config

    where, given = _where(job_type, user, is_system), value if is_text else options.typed(value)
    _ask(server, timeout_s, lambda client: set_config(client, name, given, **where))
    write(f"{name} set\n")


@config.command("list", short_help="List the configurations.", epilog=exits.EXIT_HELP)
@_place
@options.server
@options.timeout
@options.output
def list_values(job_type: str, user: str, is_system: bool, server: str, timeout_s: float, output: str) -> None:
    """Lists the configurations that the organisation's jobs see; secrets as ***."""
    _list(job_type, user, is_system, server, timeout_s, output, secrets=False)


@config.command("delete", short_help="Remove a configuration.", epilog=exits.EXIT_HELP)
@click.argument("name")
@_place
@options.server
@options.timeout
def delete_value(name: str, job_type: str, user: str, is_system: bool, server: str, timeout_s: float) -> None:
    """Removes a configuration."""
    _delete(name, job_type, user, is_system, server, timeout_s)


def _list(
    job_type: str, user: str, is_system: bool, server: str, timeout_s: float, output: str, *, secrets: bool
) -> None:
    from formicary.client.configs import list_configs

    where = _where(job_type, user, is_system)
    if where.get("scope") == "org":
        where = {}
    found = _ask(server, timeout_s, lambda client: list_configs(client, secrets=secrets, **where))
    if output == "table":
        fields = _SECRET_FIELDS if secrets else _FIELDS
        emit_table([name.upper() for name in fields], [[_shown(one[name]) for name in fields] for one in found])
    else:
        emit(found, output)


def _shown(value: object) -> str:
    if value in ("", None):
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _delete(name: str, job_type: str, user: str, is_system: bool, server: str, timeout_s: float) -> None:
    from formicary.client.configs import delete_config

    where = _where(job_type, user, is_system)
    _ask(server, timeout_s, lambda client: delete_config(client, name, **where))
    write(f"{name} deleted\n")
