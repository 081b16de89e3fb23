"""`formicary up`."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import click

from formicary.cli import exits, options
from formicary.cli.notifying import notify_config, notify_options
from formicary.cli.observing import Observed, observing_options
from formicary.cli.offering import offered, offering_options
from formicary.cli.securing import Secured, securing_options
from formicary.problems import Problem

STARTING_GC_THRESHOLD = (100_000, 50, 100)
"""While modules are read: nearly all that they make stays, so collections would only make the start longer."""
_PORT = click.IntRange(0, 65535)


@click.command(short_help="Start a queen with local ants; runs until SIGTERM.", epilog=exits.EXIT_HELP)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory; default the user's state directory (FORMICARY_DATA).",
)
@click.option("--database", default="", metavar="URL", help="postgresql://… instead of the SQLite file.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; loopback, or any with --auth and --tls-cert (or --insecure).",
)
@click.option("--http-port", type=_PORT, default=7777, show_default=True, help="Health pages; 0 = any free port.")
@click.option("--grpc-port", type=_PORT, default=7778, show_default=True, help="The API; 0 = any free port.")
@click.option("--ants", type=click.IntRange(0, 256), default=1, show_default=True, help="Local ants.")
@click.option("--slots", type=click.IntRange(1, 1024), default=4, show_default=True, help="Tasks at a time per ant.")
@offering_options
@click.option("--grace", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds to drain.")
@options.method
@click.option(
    "--path",
    "paths",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of PYTHON modules; repeatable.",
)
@click.option(
    "--auth",
    type=click.Choice(["token"]),
    envvar="FORMICARY_AUTH",
    help="Every caller has to send an API token (FORMICARY_AUTH); default nobody has to, on this machine only.",
)
@securing_options
@click.option("--insecure", is_flag=True, help="Let tokens travel as plain text beyond this machine.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01),
    default=100.0,
    show_default=True,
    metavar="N",
    help="Calls a second of each token, twice as many at once; only with --auth.",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin (https://app.example) call over HTTP; repeatable, never *.",
)
@click.option(
    "--queue-url",
    default="",
    envvar="FORMICARY_QUEUE_URL",
    metavar="URL",
    help="Where triggers find their messages: nats://HOST:4222 or redis://HOST:6379 (FORMICARY_QUEUE_URL).",
)
@options.queues
@click.option(
    "--keep-jobs",
    is_flag=True,
    envvar="FORMICARY_KEEP_JOBS",
    help="Remove no job, whatever its retention_days_for_… say (FORMICARY_KEEP_JOBS).",
)
@observing_options
@notify_options
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
def up(
    data: Path | None,
    database: str,
    host: str,
    http_port: int,
    grpc_port: int,
    ants: int,
    slots: int,
    grace: float,
    methods: tuple[str, ...],
    paths: tuple[Path, ...],
    auth: str | None,
    secured: Secured,
    insecure: bool,
    rate: float,
    keep_jobs: bool,
    observed: Observed,
    cors_origins: tuple[str, ...],
    queue_url: str,
    queues: options.QueuesFile,
    verbose: bool,
) -> int:
    r"""Starts a queen with local ants and serves until SIGTERM or Ctrl-C.

    \b
    Examples:
      formicary up --data /var/lib/formicary --ants 2 --slots 8
      formicary up --database postgresql://me@db/formicary
      formicary token create --data /var/lib/formicary --role admin
      formicary up --data /var/lib/formicary --auth token
      formicary up --auth token --host 0.0.0.0 --tls-cert server.pem --tls-key server.key

    Prints one line `ready http=… grpc=… data=… ants=…` when it serves. SIGTERM drains: /readyz says no, running tasks
    finish within --grace; a second signal ends them. After a crash start it again: nothing that was accepted is lost.
    """
    _begin_process(verbose=verbose)
    from formicary.embedded.opening import default_data_dir
    from formicary.server.config import UpConfig
    from formicary.server.serving import run_server

    try:
        config = UpConfig(
            data=(data or default_data_dir()).absolute(),
            database=database,
            host=host,
            http_port=http_port,
            grpc_port=grpc_port,
            ants=ants,
            slots=slots,
            paths=tuple(path.absolute() for path in paths),
            methods=options.read_methods(methods),
            grace_s=grace,
            auth=auth or "",
            insecure=insecure,
            rate_per_s=rate,
            keep_jobs=keep_jobs,
            cors_origins=cors_origins,
            queue_url=queue_url,
            **queues,
            **observed,
            **offered(),
            notify=notify_config(is_guarded=bool(auth)),
            **secured,
        )
        return run_server(config)
    except Problem as error:
        exits.tell(error)
        return exits.CANNOT_START


def _begin_process(*, verbose: bool) -> None:
    """Log lines on standard error, and hardly any garbage collection while much is loaded."""
    gc.set_threshold(*STARTING_GC_THRESHOLD)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
