"""The command group: every command is there, documented, and costs nothing before it is called."""

import subprocess
import sys

import click
import pytest

from formicary.cli.main import COMMANDS, cli, status_of

HEAVY = ("grpc", "google.protobuf", "rich", "yaml", "jinja2", "httpx", "uvicorn", "sqlite3", "asyncio")


def command(name: str) -> click.Command:
    """A subcommand, imported."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_what_the_overview_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Name and line of the overview are the command's own; its help has an example and documents every option."""
    found = command(name)
    assert found.name == name
    assert found.short_help == COMMANDS[name][1]
    options = [one for one in found.params if isinstance(one, click.Option)]
    assert all(one.help for one in options)
    assert status_of([name, "--help"]) == 0
    shown = capsys.readouterr().out
    if name != "version":
        assert "Example" in shown
    assert "\\b" not in shown
    assert "\b" not in shown


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("version", "schema", "completion")])
def test_exit_statuses_are_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that can fail says with which status."""
    status_of([name, "--help"])
    assert "Exit status:" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    """`formicary --help` imports no gRPC, no Rich, no database and no event loop."""
    code = (
        "import sys\nfrom formicary.cli.main import status_of\nassert status_of(['--help']) == 0\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that names the command."""
    assert status_of(["completion", shell]) == 0
    assert "formicary" in capsys.readouterr().out


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`formicary schema` prints the schema of job files."""
    import json

    assert status_of(["schema"]) == 0
    assert "job_type" in json.loads(capsys.readouterr().out)["properties"]


def test_no_command_is_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    """`formicary` alone shows what there is."""
    status_of([])
    shown = capsys.readouterr()
    assert "Commands:" in shown.out + shown.err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_shows_a_mark_of_its_paragraphs(name: str) -> None:
    """Examples stand line by line, in subcommands of groups too."""
    found = command(name)
    inner = found.commands.values() if isinstance(found, click.Group) else ()
    for one in (found, *inner):
        assert "\\b" not in one.get_help(click.Context(one)), one.name
