"""The command group: subcommands are imported when they are called, so that `--help` and completion stay quick."""

from __future__ import annotations

import atexit
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from formicary import __version__
from formicary.cli import exits
from formicary.cli.output import ReaderGone
from formicary.problems import Problem

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("formicary.cli.run:run", "Run a job here and show it; the exit status is the job's."),
    "validate": ("formicary.cli.validate:validate", "Show every mistake in job files, with line and column."),
    "up": ("formicary.cli.up:up", "Start a queen with local ants; runs until SIGTERM."),
    "ant": ("formicary.cli.ant:ant", "Start one more ant for a queen."),
    "submit": ("formicary.cli.submit:submit", "Submit a job to the server."),
    "list": ("formicary.cli.reading:list_jobs", "List jobs, newest first."),
    "get": ("formicary.cli.reading:get", "Show one job with its tasks and outputs."),
    "elements": ("formicary.cli.reading:elements", "Show the elements of a task that fans out."),
    "explain": ("formicary.cli.reading:explain", "Say why a job is not running now."),
    "estimate": ("formicary.cli.estimate:estimate", "Say when a job would start."),
    "logs": ("formicary.cli.reading:logs", "Show the log lines of a job."),
    "artifacts": ("formicary.cli.artifacts:artifacts", "List, fetch and put files of tasks."),
    "events": ("formicary.cli.events:events", "Show what happens to jobs, tasks and ants."),
    "cancel": ("formicary.cli.changing:cancel", "Cancel a job; its always_run tasks still run."),
    "retry": ("formicary.cli.changing:retry", "Run an ended job again."),
    "restart": ("formicary.cli.changing:restart", "The same as retry."),
    "pause": ("formicary.cli.changing:pause", "Let a job pause until it is resumed."),
    "resume": ("formicary.cli.changing:resume", "Let a paused job go on now."),
    "approve": ("formicary.cli.approvals:approve", "Vote for what a job waits for."),
    "reject": ("formicary.cli.approvals:reject", "Vote against what a job waits for."),
    "approvals": ("formicary.cli.approvals:approvals", "Show what waits for votes."),
    "token": ("formicary.cli.token:token", "Make, list and revoke the API tokens of a server."),
    "queues": ("formicary.cli.queues:queues", "Show, change and check the queues of a server."),
    "secrets": ("formicary.cli.configs:secrets", "Set, list, rotate and remove secrets; make keys."),
    "config": ("formicary.cli.configs:config", "Set, list and remove variables of all jobs."),
    "notifications": (
        "formicary.cli.notifications:notifications",
        "Show what was told of the ends of jobs, and try again.",
    ),
    "definitions": ("formicary.cli.definitions:definitions", "Register, list and show versions of job definitions."),
    "jobs": ("formicary.cli.jobs:jobs", "Remove ended jobs whose retention is over."),
    "error-codes": ("formicary.cli.error_codes:error_codes", "Give failures a code, and say what follows."),
    "triggers": ("formicary.cli.triggers:triggers", "Show, start, pause, resume and reset what starts jobs by itself."),
    "deadletters": (
        "formicary.cli.dead_letters:deadletters",
        "Show, redrive and purge jobs that no retry will help.",
    ),
    "alerts": ("formicary.cli.alerts:alerts", "Check alert rules."),
    "breakers": ("formicary.cli.breakers:breakers", "Show and reset the circuit breakers of jobs and tasks."),
    "locks": ("formicary.cli.locks:locks", "Show and set licences, locks and quotas of jobs."),
    "audit": ("formicary.cli.audit:audit", "Show who changed what, and who was refused."),
    "idempotency": (
        "formicary.cli.idempotency:idempotency",
        "Look at idempotency keys; purge those whose time is over.",
    ),
    "simulate": ("formicary.cli.simulate:simulate", "Run a workload under scheduling policies, without running it."),
    "headers": ("formicary.cli.headers:headers", "Check a mapping between HTTP headers and gRPC metadata."),
    "schema": ("formicary.cli.about:schema", "Print the JSON Schema of job files, for editors."),
    "completion": ("formicary.cli.about:completion", "Print what a shell needs to complete commands."),
    "version": ("formicary.cli.about:version", "Print the version."),
}
"""Name of a subcommand -> where it is, and its line in the overview."""


CANNOT_WRITE = 120
"""As Python ends where the last of the output cannot be written."""


def _mark_paragraphs(command: click.Command) -> None:
    """Docstrings are raw texts; click wants the character itself before a paragraph that is not to be wrapped."""
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _mark_paragraphs(inner)


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a subcommand."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            return None
        _mark_paragraphs(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the subcommand, and suggests one where there is none of that name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else " `formicary --help` lists the commands."
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


HELP = f"""Formicary runs jobs that are never lost, whose results count exactly once, in the right order.

A job file (YAML) or a function of yours says which tasks a job has; a queen decides what runs next, ants run it.

\b
Run a job here, nothing else needed:
  formicary run job.yaml -p year=2020
  formicary run package.module:job --output json
\b
Keep a server running and work with it:
  formicary up &
  formicary submit job.yaml
  formicary list
  formicary logs ID -f

{exits.EXIT_HELP}"""


@click.group(
    cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="formicary", message="%(prog)s %(version)s")
def cli() -> None:
    """The command group itself does nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and ends the process with its status, without the time it takes to free what the system frees.

    That all modules and what they made are taken apart one by one is a tenth of a second after a server's last word.
    Threads have been waited for before, and all that others want done at the end is done before, since it was asked
    for later.
    """
    end = _End()
    atexit.register(end)
    end.status = status_of(arguments)
    sys.exit(end.status)


class _End:
    """Ends the process at once; the status is that of an error that nobody has caught, until it is set."""

    def __init__(self) -> None:
        self.status = 1

    def __call__(self) -> None:
        """Writes what is still to be written, and ends the process."""
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None and not stream.closed:
                    stream.flush()
            except OSError:  # nobody reads it any more, or the disk is full
                self.status = self.status or CANNOT_WRITE
        os._exit(self.status)


def status_of(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; errors have been told."""
    try:
        result = cli.main(arguments, prog_name="formicary", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else exits.OK
    except Problem as error:
        return exits.tell(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        exits.say("interrupted")
        return exits.INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        exits.say(f"error: The output cannot be written: {error.strerror}. Make room, or write it elsewhere.")
        return CANNOT_WRITE
